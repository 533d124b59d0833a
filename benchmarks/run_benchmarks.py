"""Time this package against alternatives and write results.json: make bench, or python benchmarks/run_benchmarks.py.

Each contender (contenders.py) has a process of its own. All contenders of a benchmark run in turn, so that other load
on the machine affects them equally; the result is the ratio of the durations within a turn. SER_DATA is the folder of
RAVDESS; by default the recordings are those of data/samples.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from ser_utils import datasets
from ser_utils._utils.files import ROOT
from ser_utils.datasets import SAMPLES

HERE = Path(__file__).parent
BENCH_PYTHON = ROOT / "build" / "bench" / "bin" / "python"  # has the packages of requirements.txt
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
EXTERNAL = ("extract_original", "extract_opensmile")  # the contenders that need them
CLIP = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"
NETWORKS = ("cnn_attention", "crnn")  # trained with augmentation


@dataclass(frozen=True)
class Baseline:
    """An alternative implementation, and the tolerance if its result must equal that of ser_utils."""

    title: str
    command: tuple  # name and arguments of its contender
    tolerance: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """A contender of ser_utils and its baselines, run in turn. If cold, each turn measures a new process."""

    work: str
    command: tuple
    baselines: tuple
    n_turns: int = 3
    is_cold: bool = False


def list_benchmarks(recordings, models):
    """List all benchmarks, on a folder of recordings and the folder that `prepare_models` filled."""
    training = [Benchmark(f"{name}, four epochs", ("train_classifier", name), (
        Baseline("model.fit on padded arrays, one thread", ("train_padded", name, "one")),
        Baseline("model.fit on padded arrays, TensorFlow's threads", ("train_padded", name, "default"))))
        for name in NETWORKS]
    return [
        Benchmark("MFCC of WAV recordings, two processes", ("extract_mfcc", recordings), (
            Baseline("librosa under joblib, two processes", ("extract_librosa", recordings), 1e-3),
            Baseline("openSMILE eGeMAPSv02, two workers", ("extract_opensmile", recordings)),
            Baseline("original project's loop, one process", ("extract_original", recordings))), n_turns=5),
        Benchmark("loading extracted features", ("load_features", recordings), (
            Baseline("ser extract", ("extract_features", recordings), 0.0),
            Baseline("ser extract --no-f0", ("extract_features", recordings, "no-f0"), 0.0))),
        *training,
        Benchmark("cnn_attention, one epoch on each of two folds, two processes", ("train_folds", 2), (
            Baseline("one process", ("train_folds", 1), 0.0),)),
        Benchmark("ser predict --model mfcc of one file, cold process", ("predict", "--model", "mfcc", CLIP), (
            Baseline("Keras and TensorFlow", ("predict_keras", CLIP, models)),), n_turns=5, is_cold=True),
        Benchmark("prediction of one file with the MFCC model, warm process", ("predict_onnx", CLIP, models), (
            Baseline("Keras and TensorFlow", ("predict_keras", CLIP, models), 1e-3),), n_turns=25)]


def list_equality_checks():
    """List benchmarks whose run time is not reported, only the difference of their results."""
    for name in NETWORKS:
        title = f"{name}, loss of one epoch with clips padded to 144 and to 288 frames"
        baseline = Baseline(title, ("train_short_clips", name, 2), 1e-3)
        yield Benchmark(title, ("train_short_clips", name, 1), (baseline,), n_turns=1)


def select_rows(benchmark, words):
    """Select the baselines of a benchmark whose row contains one of the words."""
    return replace(benchmark, baselines=tuple(
        baseline for baseline in benchmark.baselines
        if not words or any(word in f"{benchmark.work}: {baseline.title}" for word in words)))


class Contender:
    """A process of contenders.py for all turns, or, if cold, a new one for each; "predict" is `ser predict`."""

    def __init__(self, command, is_cold=False):
        program = ["-m", "ser_utils"] if command[0] == "predict" else [HERE / "contenders.py"]
        python = BENCH_PYTHON if command[0] in EXTERNAL else sys.executable
        self.command, self.process = [str(word) for word in (python, *program, *command)], None
        if not is_cold:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            env=ENVIRONMENT)
            self.request("warm-up")

    def request(self, *words):
        """Send a request to the process and return its duration in s."""
        print(*words, file=self.process.stdin, flush=True)
        if reply := self.process.stdout.readline():
            return float(reply)
        raise RuntimeError(f"{' '.join(self.command)} ended before its reply; see its error above")

    def run(self):
        """Run once and return the duration in s."""
        if self.process:
            return self.request("run")
        start = time.perf_counter()
        subprocess.run(self.command, input="run\n", stdout=subprocess.DEVNULL, text=True, check=True, env=ENVIRONMENT)
        return time.perf_counter() - start

    def load_result(self):
        """Load the result of the last run (np.ndarray [shape=(n,)])."""
        with tempfile.TemporaryDirectory() as folder:
            self.request("save", path := Path(folder, "result.npy"))
            return np.load(path, allow_pickle=False)

    def close(self):
        """End the process."""
        if self.process:
            self.process.communicate()


def measure(benchmark, n_turns=None):
    """Run all turns of a benchmark and return a row of results.json per baseline."""
    with ExitStack() as stack:
        ours, *others = (stack.enter_context(closing(Contender(command, benchmark.is_cold))) for command in (
            benchmark.command, *(baseline.command for baseline in benchmark.baselines)))
        seconds = {contender: [] for contender in (ours, *others)}
        for turn in tqdm(range(n_turns or benchmark.n_turns), benchmark.work, unit="turn"):
            for contender in list(seconds)[::1 if turn % 2 else -1]:
                seconds[contender].append(contender.run())
        return [{"work": benchmark.work, "baseline": baseline.title,
                 **summarize_turns(seconds[ours], seconds[other]), **compare_results(ours, other, baseline)}
                for baseline, other in zip(benchmark.baselines, others, strict=True)]


def summarize_turns(seconds, baseline_seconds):
    """Compute median and range of the ratio within a turn, and median durations in s."""
    ratios = np.divide(baseline_seconds, seconds)
    return {"ratio": round(np.median(ratios), 2), "ratio_min": round(ratios.min(), 2),
            "ratio_max": round(ratios.max(), 2), "seconds": round(np.median(seconds), 5),
            "baseline_seconds": round(np.median(baseline_seconds), 5), "n_turns": len(ratios)}


def compare_results(ours, other, baseline):
    """Compute the largest difference between the results of two contenders, None without tolerance."""
    difference = None
    if baseline.tolerance is not None:
        difference = float(np.abs(ours.load_result() - other.load_result()).max())
        if not difference <= baseline.tolerance:
            raise ValueError(f"{baseline.title}: difference {difference:.2g} from ser_utils exceeds the tolerance "
                             f"{baseline.tolerance:g}; compare both contenders in contenders.py")
    return {"max_difference": difference, "tolerance": baseline.tolerance}


def convert_to_wav(source, file, folder):
    """Convert a recording of a corpus to 16-bit WAV."""
    path = (folder / file).with_suffix(".wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, *soundfile.read(source / file, dtype="int16"))


def describe_machine():
    """Describe this machine and the date."""
    info, memory = Path("/proc/cpuinfo"), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = re.search(r"model name\s*: (.*)", info.read_text() if info.is_file() else "")
    return {"processor": name[1] if name else platform.processor(), "cores": os.cpu_count(),
            "memory_gb": round(memory / 1e9), "system": platform.system(), "python": platform.python_version(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def main():
    """Measure and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose text contains one of these words")
    parser.add_argument("--clips", type=int, default=240, help="number of recordings (default: %(default)s)")
    parser.add_argument("--turns", type=int, help="number of turns of each benchmark")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="default: benchmarks/results.json")
    options = parser.parse_args()
    source = Path(os.environ.get("SER_DATA") or SAMPLES)
    clips = datasets.load_clips(source)
    clips = clips.iloc[np.linspace(0, len(clips) - 1, min(options.clips, len(clips))).astype(int)]
    checks = [] if options.only else [row for check in list_equality_checks() for row in measure(check)]
    with tempfile.TemporaryDirectory() as folder:
        recordings, models = Path(folder, "recordings"), Path(folder, "models")
        benchmarks = [select_rows(benchmark, options.only) for benchmark in list_benchmarks(recordings, models)]
        for file in clips["file"]:
            convert_to_wav(source, file, recordings)
        if any("predict" in benchmark.command[0] for benchmark in benchmarks if benchmark.baselines):
            Contender(("prepare_models", models)).close()
        rows = [row for benchmark in benchmarks if benchmark.baselines for row in measure(benchmark, options.turns)]
    results = {"machine": describe_machine(), "dataset": clips["corpus"].iloc[0], "n_clips": len(clips), "rows": rows,
               "equality": {check["work"]: check["max_difference"] for check in checks}}
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print("{work}: {ratio} ({ratio_min}–{ratio_max}) times as fast as {baseline}".format(**row))


if __name__ == "__main__":
    main()
