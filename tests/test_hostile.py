"""Files from the internet: each is heard, or left out with a reason on one line, and none takes others along.

`make fuzz` tries 2,000 inputs, the suite 300; the same ones every time.
"""

import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from conftest import MINIATURE, record
from ser_utils import audio, corpora, store

COUNT = int(os.environ.get("SER_FUZZ", "300"))
BATCH = 60  # inputs that are extracted together
PATIENCE, MEMORY = 5, 600  # s; MB
VOICE = MINIATURE / "Actor_02" / "03-01-05-01-02-01-02.flac"
GOOD = {f"good_{number}.flac": MINIATURE / "Actor_02" / name for number, name in enumerate(
    ("03-01-02-01-01-01-02.flac", "03-01-05-01-02-01-02.flac"))}

KINDS = [("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")] + [
    ("RF64", "PCM_16"), ("W64", "PCM_24"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
NUMBERS = st.sampled_from([0, 1, 2, 3, 44, 64, 255, 4000, 65535, 768_000, 10**8, 2**31 - 1, 2**31, 2**32 - 1])
SOUNDS = {
    "voice": lambda rng, n: np.resize(soundfile.read(VOICE, dtype="float32")[0], n),
    "noise": lambda rng, n: rng.normal(0, 0.1, n), "silence": lambda rng, n: np.zeros(n),
    "constant": lambda rng, n: np.full(n, 0.5), "clipped": lambda rng, n: np.sign(rng.normal(size=n)),
    "nearly nothing": lambda rng, n: rng.normal(0, 1e-40, n), "one click": lambda rng, n: np.eye(1, n)[0],
    "nan": lambda rng, n: np.where(rng.random(n) < 0.01, np.nan, 0.1), "infinite": lambda rng, n: np.full(n, np.inf),
    "one nan": lambda rng, n: np.where(np.arange(n) == n - 1, np.nan, rng.normal(0, 0.1, n)),
    "beyond": lambda rng, n: rng.normal(0, 1e37, n), "as integers": lambda rng, n: rng.normal(0, 3000, n)}

SPOIL = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.integers(1, 40)),
    st.tuples(st.just("flip in the header"), st.integers(1, 8)),
    st.tuples(st.just("lie"), st.sampled_from([4, 16, 20, 22, 24, 28, 32, 34, 36, 40]), NUMBERS,
              st.sampled_from([2, 4])),
    st.tuples(st.just("lie of a FLAC"), NUMBERS),
    st.tuples(st.just("zeros"), st.sampled_from([10, 1000, 10**6])),
    st.tuples(st.just("twice"), st.just(2)),
    st.tuples(st.just("junk chunk"), NUMBERS))
INPUTS = st.fixed_dictionaries({
    "kind": st.sampled_from(KINDS), "sound": st.sampled_from(sorted(SOUNDS)),
    "rate": st.sampled_from([1, 100, 3999, 4000, *[8000, 11025, 16000, 44100, 48000] * 3, 192_000, 768_000]),
    "channels": st.sampled_from([*[1, 2] * 3, 3, 8, 16, 64]),
    "samples": st.sampled_from([0, 1, 2, 100, *[5000, 30_000, 90_000] * 3]),
    "spoil": st.one_of(st.just([]), st.lists(SPOIL, min_size=1, max_size=3)), "seed": st.integers(0, 2**32 - 1),
    "place": st.sampled_from(["file"] * 24 + ["link", "dangling", "folder", "pipe", "locked", "loop"]),
    "name": st.sampled_from([b"a.wav", b"b.flac", b"c c.wav", "ü☕.wav".encode(), b"new\nline.wav", b"\xff\xfe.wav",
                             b"tab\t.flac", b"-option.wav", b"x" * 200 + b".wav", b"#.wav", b"esc\x1b[31m.flac"])})


def sound_of(one):
    """The bytes of a recording, as far as there is a format for it, else of a plain one."""
    rng, memory = np.random.default_rng(one["seed"]), io.BytesIO()
    with np.errstate(all="ignore"):
        y = np.tile(SOUNDS[one["sound"]](rng, one["samples"])[:, None], one["channels"])
    (kind, subtype), rate = one["kind"], one["rate"]
    if subtype not in ("FLOAT", "DOUBLE"):
        y = np.clip(np.nan_to_num(y), -1, 1)  # libsndfile's encoders crash on what is no sound
    if kind in ("OGG", "MP3"):
        y, rate = y[:, :2], int(np.clip(rate, 8000, 48000))
    try:
        soundfile.write(memory, y, rate, format=kind, subtype=subtype)
    except (soundfile.SoundFileError, ValueError):  # this format has no such rate or no so many channels
        memory = io.BytesIO()
        soundfile.write(memory, y[:, :1], 16000, format="WAV", subtype="FLOAT")
    return spoilt(bytearray(memory.getvalue()), one["spoil"], rng)


def spoilt(data, how, rng):
    """The bytes after what a disk, a bad cable or somebody's program did to them."""
    for what, amount, *more in how:
        if what == "cut":
            del data[int(amount * len(data)):]
        elif what in ("flip", "flip in the header") and data:
            for at in rng.integers(0, len(data) if what == "flip" else min(64, len(data)), amount):
                data[at] ^= 1 << rng.integers(8)
        elif what == "lie":
            number, width = more
            data[amount:amount + width] = (number % 256 ** width).to_bytes(width, "little")
        elif what == "lie of a FLAC":
            data[22:26] = (amount % 2**32).to_bytes(4, "big")
        elif what == "zeros":
            data += bytes(amount)
        elif what == "twice":
            data = data * 2
        elif what == "junk chunk":
            data[12:12] = b"junk" + (amount % 2**32).to_bytes(4, "little") + bytes(min(amount, 1000))
    return bytes(data)


def put(folder, one):
    """Leave an input in an empty folder under its name. Returns the path, as bytes."""
    path, hidden = os.path.join(os.fsencode(folder), one["name"]), os.path.join(os.fsencode(folder), b"hidden")
    if one["place"] == "folder":
        os.mkdir(path)
    elif one["place"] == "pipe":
        os.mkfifo(path)
    elif one["place"] in ("dangling", "loop"):
        os.symlink(path if one["place"] == "loop" else hidden, path)
    else:
        Path(os.fsdecode(hidden if one["place"] == "link" else path)).write_bytes(sound_of(one))
        if one["place"] == "link":
            os.symlink(hidden, path)
        if one["place"] == "locked":
            os.chmod(path, 0)
    return path


class Listener:
    """A process that hears one file after another; a new one when it had to be stopped."""

    def __init__(self):
        self.process = None

    def ask(self, path):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen([sys.executable, Path(__file__).with_name("hear.py")], text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.ask(os.fsencode(VOICE))  # its imports are not the file's fault
        print(path.hex(), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], PATIENCE if path != os.fsencode(VOICE) else 60)[0]:
            self.close()
            raise AssertionError(f"{path}: no answer in {PATIENCE} s")
        said = self.process.stdout.readline()
        assert said, f"{path}: the process ended: {self.process.stderr.read()[-500:]}"
        return json.loads(said)

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()


def extracted(folder, out):
    done = subprocess.run([sys.executable, "-m", "ser_utils", "extract", folder, "--corpus", "own", "--no-pitch",
                           "--out", out], capture_output=True, cwd=corpora.ROOT, check=False, timeout=120)
    said = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, [line for line in said if line and not line.startswith("extracting:")]


def corpus(folder, inputs):
    """Inputs beside the good recordings, as somebody's own corpus. Returns the folder."""
    for number, one in enumerate(inputs):
        home = folder / "neutral" / f"{number}"
        home.mkdir(parents=True)
        put(home, one)
    (folder / "neutral").mkdir(parents=True, exist_ok=True)
    for name, path in GOOD.items():
        shutil.copy(path, folder / "neutral" / name)
    return folder


def together(place, inputs, alone):
    """Inputs leave the good recordings beside them as they are `alone`, and are left out in a line each."""
    folder, out = corpus(place / "corpus", inputs), place / "features"
    status, said = extracted(folder, out)
    assert status == 0
    assert all(re.match("left out: |warning: ", line) for line in said), said
    made = store.load(out)
    assert np.isfinite(made.frames).all()
    assert len(made.clips) + sum(line.startswith("left out") for line in said) == len(corpora.recordings(folder))
    for name, sequence in zip(GOOD, alone, strict=True):
        [row] = np.flatnonzero(made.clips["path"].str.endswith(name))
        np.testing.assert_array_equal(made.sequences[row], sequence)


def outcomes(met):
    """What became of all inputs, to be kept."""
    reasons = Counter(re.sub(r"\d[\d.]*", "…", said.removeprefix("left out: "))[:60] for said, *_ in met)
    return {"inputs": len(met), "heard": reasons.pop("heard"), "left out": sum(reasons.values()),
            "reasons": len(reasons), "slowest (s)": round(max(one[2] for one in met), 2),
            "most memory (MB)": round(max(one[3] for one in met)), "tracebacks, hangs": 0}


@pytest.mark.filterwarnings("ignore::ser_utils.corpora.CorpusWarning")
def test_every_input_is_heard_or_left_out_with_a_reason(tmp_path_factory):
    place, listener, met, inputs = tmp_path_factory.mktemp("hostile"), Listener(), [], []
    assert extracted(corpus(place / "alone", []), place / "features") == (0, [])

    @seed(0)
    @settings(max_examples=COUNT, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(INPUTS)
    def each(one):
        folder = place / f"input_{len(met)}"
        folder.mkdir()
        met.append(listener.ask(put(folder, one)))
        for said in met[-1][:2]:
            assert said == "heard" or said.startswith("left out: "), f"{one}: {said}"
        assert met[-1][3] < MEMORY, one
        inputs.append(one)

    try:
        each()
    finally:
        listener.close()
    alone = store.load(place / "features").sequences
    for start in range(0, len(inputs), BATCH):
        together(tmp_path_factory.mktemp("together"), inputs[start:start + BATCH], alone)
    found = outcomes(met)
    assert found["inputs"] >= COUNT
    assert 0.1 < found["heard"] / found["inputs"] < 0.9  # or the inputs are too tame, or too wild
    record("hostile", found)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(audio.AudioError, match="it is no file"):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize(("level", "why"), [(32768.0, "samples of 32768, where full scale is 1"), (1e37, "samples of")])
def test_samples_far_beyond_full_scale_are_refused(tmp_path, level, why):
    soundfile.write(tmp_path / "a.wav", np.resize([level, -level], 16000), 16000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match=why):
        audio.load(tmp_path / "a.wav")


@pytest.mark.filterwarnings("ignore::ser_utils.corpora.CorpusWarning")
def test_a_table_that_names_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.flac").write_bytes(VOICE.read_bytes())
    (tmp_path / "my.csv").write_text("path,emotion\na.wav,sad\nb.flac,angry\nnowhere.wav,sad\n")
    made, errors = store.extract(tmp_path / "my.csv", tmp_path / "out", "own", pitch=False, jobs=1, progress=False)
    assert made.clips["path"].tolist() == ["b.flac"]
    assert ["it is no file" in str(error) for error in errors] == [True, False]
