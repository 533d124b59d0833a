"""Ours against what one would otherwise use, in one run, in turns: make bench, or python benchmarks/bench.py.

Every contender (work.py) is made ready in a process of its own, then all take turns, so that a busy moment of the
machine falls on all alike; what counts is the ratio within a turn. Results go to results.json, the growth of time and
memory to growth.png, the table to README.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import soundfile
from tqdm.auto import tqdm

from ser_utils import corpora

HERE = Path(__file__).parent
BASELINES = corpora.ROOT / "build" / "bench" / "bin" / "python"  # has what only the alternatives need
VOICE = corpora.ROOT / "data" / "this_coffee_sucks.flac"
TIMES, LENGTHS = (1, 4, 16), (1, 2, 4, 8, 15, 30, 59)  # how often every fourth clip is there; s


@dataclass(frozen=True)
class Row:
    """One line of the table: what ours is measured against, and what is hoped for."""

    against: str
    contender: tuple  # of `work`, and its arguments
    reach: float = 0.0  # the least ratio hoped for; 0 where the row is there to be known
    same: float | None = None  # the most by which a result may differ from ours
    outside: bool = False  # it needs what this package does not


@dataclass(frozen=True)
class Group:
    """What is timed in turns: ours, the alternatives, and what no program could do without."""

    work: str
    ours: tuple
    rows: tuple
    limit: tuple | None = None
    floor: str = ""  # what the limit is, in words
    rounds: int = 5
    cold: bool = False  # each turn is a whole process
    slow: bool = False  # each turn takes minutes


def groups(place):
    """All there is to measure, over what `prepare` made."""
    wav, flac, voice = str(place / "wav"), str(place / "flac"), str(VOICE)
    plain = "librosa clip by clip, joblib, two processes"
    yield Group("recordings (WAV) to MFCC", ("mfcc_ours", wav), (
        Row("the original's loop (kaiser_fast to 44.1 kHz, 2.5 s, 13 MFCC), one process", ("mfcc_original", wav), 12,
            outside=True),
        Row("openSMILE eGeMAPSv02, two workers", ("mfcc_opensmile", wav), 15, outside=True),
        Row(plain, ("mfcc_librosa", wav), 1.5, same=1e-3)), ("mfcc_limit", wav), "decode and resample", rounds=3)
    yield Group("recordings (FLAC) to MFCC", ("mfcc_ours", flac), (Row(plain, ("mfcc_librosa", flac), 1.5, same=1e-3),),
                ("mfcc_limit", flac), "decode and resample")
    yield Group("samples to MFCC, one process", ("stage_ours", wav), (
        Row("librosa.feature.mfcc", ("stage_librosa", wav), 3, same=1e-3),), ("stage_limit", wav), "Fourier transforms")
    yield Group("reading cached features", ("cache_read", flac), (
        Row("extracting them", ("cache_extract", flac), 500, same=0.0),
        Row("extracting them with --no-pitch", ("cache_extract_no_pitch", flac), same=0.0)), ("cache_limit", flac),
        "unpack the bytes", rounds=3)
    for model in ("cnn", "lstm"):
        yield Group(f"{model.upper()}, four epochs", ("epoch_ours", model), (
            Row("model.fit, clips padded to the longest, TensorFlow's threads", ("epoch_fit", model, "default"), 1.5),
            Row("model.fit, clips padded to the longest, one thread as ours", ("epoch_fit", model, "one")),
            Row("model.fit, the same stretches, not augmented, one thread", ("epoch_fit", model, "one", "144"))),
            ("epoch_limit", model), "multiply-adds, one thread")
    yield Group("five folds × three models, two cores", ("folds_ours", "2"), (
        Row("one after another, TensorFlow's threads", ("folds_plain",), 1.7),), rounds=3, slow=True)
    yield Group("predict, cold", ("predict", voice), (
        Row("through Keras and TensorFlow", ("through_keras", voice, str(place)), 15),), ("empty",),
        "Python, NumPy and libsndfile begin", cold=True)
    yield Group("predict, warm", ("warm_ours", voice), (
        Row("the original's path", ("warm_original", voice), 10, outside=True),
        Row("through Keras and TensorFlow", ("through_keras", voice, str(place)))), ("warm_limit", voice),
        "read the file, multiply-adds", rounds=25)


class Contender:
    """A process that is ready to work when told."""

    def __init__(self, what, outside=False):
        python = BASELINES if outside else sys.executable
        self.process = subprocess.Popen([python, HERE / "work.py", *what], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())
        self._hear("ready")

    def _hear(self, expected=None):
        said = self.process.stdout.readline().strip()
        if not said or (expected and said != expected):
            raise RuntimeError(f"{' '.join(map(str, self.process.args[1:]))} said {said!r} and stopped; run it by hand "
                               "to see why")
        return said

    def go(self):
        """One turn. Returns seconds."""
        print("go", file=self.process.stdin, flush=True)
        return float(self._hear())

    def result(self, folder):
        """What the last turn gave. list of np.ndarray"""
        path = Path(folder) / f"{id(self)}.npz"
        print("save", path, file=self.process.stdin, flush=True)
        self._hear("saved")
        with np.load(path, allow_pickle=False) as kept:
            return [kept[name] for name in kept.files]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Cold:
    """The same as a whole process a turn."""

    def __init__(self, what, outside=False):
        programs = {"predict": ["-m", "ser_utils", "predict", *what[1:]],
                    "empty": ["-c", "import argparse, numpy, soundfile, soxr"]}
        self.process, self.arguments = None, programs.get(what[0], [str(HERE / "work.py"), *what])

    def go(self):
        """One turn, begin to end. Returns seconds."""
        before = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, *self.arguments], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        self.process.communicate("go\n")
        return time.perf_counter() - before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def environment():
    """Of the contenders: they find the package and each other."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (corpora.ROOT, HERE))), "TQDM_DISABLE": "1"}


def peak(contender, pause):
    """A turn in which memory is looked at, every `pause` seconds and what that takes.

    Returns seconds and the most memory of its processes together, in MB (proportional set size).
    """
    found, done = [], threading.Event()

    def watch():
        while not done.is_set():
            try:
                first = psutil.Process(contender.process.pid)
                found.append(sum(one.memory_full_info().pss for one in [first, *first.children(recursive=True)]) / 1e6)
            except (psutil.Error, AttributeError):  # a process is gone meanwhile, or not begun
                continue
            time.sleep(pause)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = contender.go()
    done.set()
    watcher.join()
    return seconds, round(max(found, default=0))


def measure(group, place, rounds=None):
    """All turns of a group. Returns the rows for results.json; AssertionError where results differ that must not."""
    make, rounds = Cold if group.cold else Contender, rounds or group.rounds
    named = [("ours", group.ours, False), *((row.against, row.contender, row.outside) for row in group.rows),
             *([("limit", group.limit, False)] if group.limit else [])]
    turns = rounds + (not group.slow)  # the last is to look at memory; where it takes minutes its time counts too
    with ExitStack() as open_:
        made = {name: open_.enter_context(make(what, outside)) for name, what, outside in named}
        times, memory = {name: [] for name in made}, {}
        for turn in tqdm(range(turns), group.work, unit="turn"):
            for name in list(made)[::1 if turn % 2 else -1]:
                seconds, memory[name] = peak(made[name], 1 if group.slow else 0.02) if turn == turns - 1 else (
                    made[name].go(), 0)
                times[name] += [seconds] * (turn < rounds)
        ours = made["ours"].result(place) if any(row.same is not None for row in group.rows) else None
        return [_line(group, row, times, memory, _difference(ours, made[row.against].result(place))
                      if row.same is not None else None) for row in group.rows]


def _difference(ours, others):
    assert [one.shape for one in ours] == [one.shape for one in others], "results of another shape"
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, others, strict=True))


def _line(group, row, times, memory, difference):
    assert difference is None or difference <= row.same, f"{group.work}: {difference} from {row.against}"
    ratios = [other / ours for ours, other in zip(times["ours"], times[row.against], strict=True)]
    return {"work": group.work, "against": row.against, "ratio": round(statistics.median(ratios), 2),
            "low": round(min(ratios), 2), "high": round(max(ratios), 2), "turns": len(ratios), "reach": row.reach,
            "seconds": round(statistics.median(times["ours"]), 5),
            "their_seconds": round(statistics.median(times[row.against]), 5),
            "limit_seconds": round(statistics.median(times["limit"]), 5) if group.limit else None,
            "limit": group.floor, "difference": difference, "allowed": row.same,
            "memory_mb": memory["ours"], "their_memory_mb": memory[row.against]}


def equal(place):
    """What no row can show: that a fast path gives the plain one's result. dict of name to the largest difference"""
    once = {}
    for model in ("cnn", "lstm"):
        with Contender(("epoch_equal", model)) as contender:
            contender.go()
            bare, padded = contender.result(place)[0]
        once[f"{model}: loss of an epoch, padded to the stretch and to twice its length"] = float(abs(bare - padded))
    for name, pair in {
            "probabilities through NumPy and through Keras": [
                (kind, str(VOICE), str(place)) for kind in ("through_keras", "through_numpy")],
            "probabilities of three units over two processes and in one": [
                ("folds_ours", jobs, "3") for jobs in "21"]}.items():
        with Contender(pair[0]) as one, Contender(pair[1]) as other:
            one.go()
            other.go()
            once[name] = _difference(one.result(place), other.result(place))
    assert all(difference < 1e-3 for difference in once.values()), once
    return once


def prepare(place, source, chosen):
    """Recordings of a clips table as WAV and as FLAC, as a corpus of 1×, 4× and 16× clips, and as long ones."""
    long = []
    for number, path in enumerate(tqdm(chosen["path"], "preparing", unit="clip")):
        y, sr = soundfile.read(Path(source) / path, dtype="int16")
        long.append(np.asarray(y if y.ndim == 1 else y[:, 0]))
        for suffix in ("wav", "flac"):
            out = (place / suffix / path).with_suffix(f".{suffix}")
            out.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(out, y, sr, subtype="PCM_16")
        for link in [place / f"own_{times}" / chosen["emotion"].iloc[number] / f"{number}_{copy}.wav"
                     for times in TIMES for copy in range(times) if number % 4 == 0]:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((place / "wav" / path).with_suffix(".wav"))
    for seconds in LENGTHS:
        soundfile.write(place / f"{seconds}.wav", np.resize(np.concatenate(long), seconds * sr), sr, subtype="PCM_16")


def growth(place, turns=9):
    """Seconds and MB by the number of clips and by their length. list of dict"""
    own = [(place / f"own_{times}", len(list((place / f"own_{times}").rglob("*.wav")))) for times in TIMES]
    there = [(name, (contender, str(folder), "own"), count, "clips") for folder, count in own for name, contender in
             (("extract --no-pitch", "cache_extract_no_pitch"), ("open the features", "cache_read"))]
    there += [(name, (contender, str(place / f"{seconds}.wav")), seconds, "s") for seconds in LENGTHS
              for name, contender in (("MFCC", "length"), ("predict", "warm_ours"))]
    found = []
    for name, what, size, unit in tqdm(there, "growth", unit="point"):
        with Contender(what) as contender:
            seconds, memory = statistics.median(contender.go() for _ in range(turns)), peak(contender, 0.02)[1]
        found.append({"what": name, "size": size, "unit": unit, "seconds": seconds, "memory_mb": memory})
    return found


def machine():
    """What all this was measured on. dict"""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line] \
        if info.is_file() else []
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9), "system": platform.system(),
            "python": platform.python_version(), "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def draw(found, path):
    """How seconds and memory grow with the number of clips and with their length, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ser_utils import plots

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex="col")
    for column, (unit, label) in enumerate((("clips", "clips"), ("s", "length of one clip (s)"))):
        points = [one for one in found["growth"] if one["unit"] == unit]
        for number, name in enumerate(dict.fromkeys(one["what"] for one in points)):
            mine = [one for one in points if one["what"] == name]
            for ax, what in ((axes[0][column], "seconds"), (axes[1][column], "memory_mb")):
                ax.plot([one["size"] for one in mine], [one[what] for one in mine], label=name,
                        marker=plots.MARKS[number], color=plots.COLOURS[number])
        axes[0][column].set(xscale="log", yscale="log", ylabel="seconds")
        axes[1][column].set(xscale="log", ylabel="memory (MB)", ylim=(0, None), xlabel=label)
        axes[0][column].legend(frameon=False)
        ticks = sorted({one["size"] for one in points})
        axes[1][column].set_xticks(ticks, ticks)
        axes[1][column].minorticks_off()
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main():
    """Measure, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="groups whose name has one of these words")
    parser.add_argument("--clips", type=int, default=480)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    source = corpora.folder_of()
    source = source if source.is_dir() else corpora.ROOT / "data" / "miniature"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        clips = corpora.read(source)
        count = min(options.clips, len(clips))
        prepare(place, source, clips.iloc[np.linspace(0, len(clips) - 1, count).astype(int)])
        chosen = [group for group in groups(place)
                  if not options.only or any(word in group.work for word in options.only)]
        if any(group.work.startswith("predict") for group in chosen):
            with Contender(("keras_pair", folder)):
                pass  # it writes them while it is made ready
        found = {"machine": machine(), "clips": count, "corpus": clips["corpus"].iloc[0],
                 "rows": [line for group in chosen for line in measure(group, place, options.rounds)]}
        if not options.only:
            found |= {"equal": equal(place), "growth": growth(place)}
            draw(found, options.out.with_name("growth.png"))
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"{one['work']}: {one['ratio']} ({one['low']} to {one['high']}) times as quick as {one['against']}"
                    for one in found["rows"]))


if __name__ == "__main__":
    main()
