"""Malformed recordings: each is processed or skipped with a reason, and does not affect other files.

Generated from a fixed seed: a few inputs in `make test`, SER_FUZZ (default 300) in the slow test.
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

from conftest import SAMPLES, record
from ser_utils import audio
from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import find_recordings
from ser_utils.features.store import extract_features, load_features

N_INPUTS = int(os.environ.get("SER_FUZZ", "300"))
BATCH_SIZE = 60  # malformed files per extraction
TIMEOUT, MAX_MEMORY = 60, 500  # s; MB per file, beyond imports and models
VALID = {f"valid_{number}.flac": SAMPLES / "Actor_02" / name for number, name in enumerate(
    ("03-01-02-01-01-01-02.flac", "03-01-05-01-01-01-02.flac"))}
SPEECH = VALID["valid_1.flac"]

WAV_SUBTYPES = "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"
FORMATS = [("WAV", subtype) for subtype in WAV_SUBTYPES] + [
    ("RF64", "PCM_16"), ("W64", "PCM_24"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
NUMBERS = st.sampled_from([0, 1, 2, 3, 44, 64, 255, 4000, 65535, 768_000, 10**8, 2**31 - 1, 2**31, 2**32 - 1])
SIGNALS = {
    "speech": lambda rng, n: np.resize(soundfile.read(SPEECH, dtype="float32")[0], n),
    "noise": lambda rng, n: rng.normal(0, 0.1, n), "silence": lambda rng, n: np.zeros(n),
    "constant": lambda rng, n: np.full(n, 0.5), "clipped": lambda rng, n: np.sign(rng.normal(size=n)),
    "subnormal": lambda rng, n: rng.normal(0, 1e-40, n), "impulse": lambda rng, n: np.eye(1, n)[0],
    "nan": lambda rng, n: np.where(rng.random(n) < 0.01, np.nan, 0.1), "infinite": lambda rng, n: np.full(n, np.inf),
    "last is nan": lambda rng, n: np.where(np.arange(n) == n - 1, np.nan, rng.normal(0, 0.1, n)),
    "huge": lambda rng, n: rng.normal(0, 1e37, n), "integer scale": lambda rng, n: rng.normal(0, 3000, n)}

CORRUPTIONS = st.one_of(
    st.tuples(st.just("truncate"), st.floats(0, 1)),
    st.tuples(st.just("flip bits"), st.integers(1, 40)),
    st.tuples(st.just("flip header bits"), st.integers(1, 8)),
    st.tuples(st.just("header field"), st.sampled_from([4, 16, 20, 22, 24, 28, 32, 34, 36, 40]), NUMBERS,
              st.sampled_from([2, 4])),
    st.tuples(st.just("FLAC length"), NUMBERS),
    st.tuples(st.just("append zeros"), st.sampled_from([10, 1000, 10**6])),
    st.tuples(st.just("duplicate"), st.just(2)),
    st.tuples(st.just("unknown chunk"), NUMBERS))
INPUTS = st.fixed_dictionaries({
    "format": st.sampled_from(FORMATS), "signal": st.sampled_from(sorted(SIGNALS)),
    "sr": st.sampled_from([1, 100, 3999, 4000, *[8000, 11025, 16000, 44100, 48000] * 3, 192_000, 768_000]),
    "n_channels": st.sampled_from([*[1, 2] * 3, 3, 8, 16, 64]),
    "n_samples": st.sampled_from([0, 1, 2, 100, *[5000, 30_000, 90_000] * 3]),
    "corruptions": st.one_of(st.just([]), st.lists(CORRUPTIONS, min_size=1, max_size=3)),
    "seed": st.integers(0, 2**32 - 1),
    "type": st.sampled_from(["file"] * 24 + ["link", "broken link", "folder", "pipe", "unreadable", "loop"]),
    "name": st.sampled_from([b"a.wav", b"b.flac", b"c c.wav", "ü☕.wav".encode(), b"new\nline.wav", b"\xff\xfe.wav",
                             b"tab\t.flac", b"-option.wav", b"x" * 200 + b".wav", b"#.wav", b"esc\x1b[31m.flac"])})


def encode(example):
    """The bytes of a recording; a plain WAV where the format does not support the rate or channels."""
    rng, buffer = np.random.default_rng(example["seed"]), io.BytesIO()
    with np.errstate(all="ignore"):
        y = np.tile(SIGNALS[example["signal"]](rng, example["n_samples"])[:, None], example["n_channels"])
    (container, subtype), sr = example["format"], example["sr"]
    if subtype not in ("FLOAT", "DOUBLE"):
        y = np.clip(np.nan_to_num(y), -1, 1)  # libsndfile's encoders crash on NaN
    if container in ("OGG", "MP3"):
        y, sr = y[:, :2], int(np.clip(sr, 8000, 48000))
    try:
        soundfile.write(buffer, y, sr, format=container, subtype=subtype)
    except (soundfile.SoundFileError, ValueError):
        buffer = io.BytesIO()
        soundfile.write(buffer, y[:, :1], 16000, format="WAV", subtype="FLOAT")
    return corrupt(bytearray(buffer.getvalue()), example["corruptions"], rng)


def corrupt(data, corruptions, rng):
    for kind, amount, *arguments in corruptions:
        if kind == "truncate":
            del data[int(amount * len(data)):]
        elif kind in ("flip bits", "flip header bits") and data:
            for position in rng.integers(0, len(data) if kind == "flip bits" else min(64, len(data)), amount):
                data[position] ^= 1 << rng.integers(8)
        elif kind == "header field":
            value, width = arguments
            data[amount:amount + width] = (value % 256 ** width).to_bytes(width, "little")
        elif kind == "FLAC length":
            data[22:26] = (amount % 2**32).to_bytes(4, "big")
        elif kind == "append zeros":
            data += bytes(amount)
        elif kind == "duplicate":
            data = data * 2
        elif kind == "unknown chunk":
            data[12:12] = b"junk" + (amount % 2**32).to_bytes(4, "little") + bytes(min(amount, 1000))
    return bytes(data)


def write_input(folder, example):
    """Write one input to an empty folder. Returns its path as bytes."""
    path, hidden = os.path.join(os.fsencode(folder), example["name"]), os.path.join(os.fsencode(folder), b"hidden")
    if example["type"] == "folder":
        os.mkdir(path)
    elif example["type"] == "pipe":
        os.mkfifo(path)
    elif example["type"] in ("broken link", "loop"):
        os.symlink(path if example["type"] == "loop" else hidden, path)
    else:
        Path(os.fsdecode(hidden if example["type"] == "link" else path)).write_bytes(encode(example))
        if example["type"] == "link":
            os.symlink(hidden, path)
        if example["type"] == "unreadable":
            os.chmod(path, 0)
    return path


class Worker:
    """A process that handles one file after another, so that a hang or a crash is attributed to its file."""

    def __init__(self, log):
        self.process, self.log = None, log

    def process_file(self, path):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen([sys.executable, Path(__file__).with_name("fuzz_worker.py")], text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"),
                                            env=os.environ | {"PYTHONPATH": str(ROOT)})
            self.process_file(os.fsencode(SPEECH))  # imports
        print(path.hex(), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
            self.close()
            raise AssertionError(f"{path}: no answer within {TIMEOUT} s")
        answer = self.process.stdout.readline()
        assert answer, f"{path}: the process ended: {self.log.read_text()[-500:]}"
        return json.loads(answer)

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()


def extract(folder, out, n_jobs):
    """The exit status of `extract`, and its messages on standard error."""
    done = subprocess.run([sys.executable, "-m", "ser_utils", "extract", folder, "--dataset", "custom", "--no-f0",
                           "--out", out, "--jobs", str(n_jobs)], capture_output=True, cwd=ROOT, check=False)
    lines = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, [line for line in lines if line and not line.startswith("extracting")]


def make_corpus(folder, examples):
    """Inputs and the valid recordings as a custom dataset."""
    for number, example in enumerate(examples):
        subfolder = folder / "neutral" / f"{number}"
        subfolder.mkdir(parents=True)
        write_input(subfolder, example)
    (folder / "neutral").mkdir(parents=True, exist_ok=True)
    for name, path in VALID.items():
        shutil.copy(path, folder / "neutral" / name)
    return folder


def check_batch(folder, examples, expected, n_jobs):
    """Valid recordings have the same features beside malformed files, each of which is reported on one line."""
    corpus, out = make_corpus(folder / "corpus", examples), folder / "features"
    status, messages = extract(corpus, out, n_jobs)
    assert status == 0
    assert all(message.startswith(("skipped: ", "warning: ")) for message in messages), messages
    features = load_features(out)
    assert np.isfinite(features.frames).all()
    n_skipped = sum(message.startswith("skipped: ") for message in messages)
    assert len(features.clips) + n_skipped == len(find_recordings(corpus))
    for name, sequence in zip(VALID, expected, strict=True):
        [row] = np.flatnonzero(features.clips["file"].str.endswith(name))
        np.testing.assert_array_equal(features.sequences[row], sequence)


def summarize(answers):
    reasons = Counter(re.sub(r"\d[\d.]*", "…", outcome.removeprefix("rejected: "))[:60] for outcome, *_ in answers)
    return {"n_inputs": len(answers), "n_accepted": reasons.pop("accepted", 0), "n_rejected": sum(reasons.values()),
            "n_reasons": len(reasons), "max_seconds": round(max(answer[2] for answer in answers), 2),
            "max_memory_mb": round(max(answer[3] for answer in answers)), "n_tracebacks_or_hangs": 0}


@pytest.mark.parametrize(("n_inputs", "n_jobs"), [(20, 1), pytest.param(N_INPUTS, 2, marks=pytest.mark.slow)])
def test_malformed_files_are_accepted_or_rejected_with_a_reason(n_inputs, n_jobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzing")
    assert extract(make_corpus(folder / "valid", []), folder / "features", n_jobs) == (0, [])
    worker, answers, examples = Worker(folder / "log"), [], []

    @seed(0)
    @settings(max_examples=n_inputs, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(INPUTS)
    def check(example):
        subfolder = folder / f"input_{len(answers)}"
        subfolder.mkdir()
        answers.append(worker.process_file(write_input(subfolder, example)))
        for outcome in answers[-1][:2]:
            assert outcome == "accepted" or outcome.startswith("rejected: "), f"{example}: {outcome}"
        assert answers[-1][3] < MAX_MEMORY, example
        examples.append(example)

    try:
        check()
    finally:
        worker.close()
    expected = load_features(folder / "features").sequences
    for start in range(0, len(examples), BATCH_SIZE):
        check_batch(tmp_path_factory.mktemp("batch"), examples[start:start + BATCH_SIZE], expected, n_jobs)
    if n_inputs >= 100:
        summary = summarize(answers)
        assert summary["n_inputs"] >= n_inputs
        assert 0.1 < summary["n_accepted"] / summary["n_inputs"] < 0.9  # else the inputs are too regular, or too broken
        record("fuzzing", summary)


def test_load_rejects_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(audio.AudioError, match="not a regular file"):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("amplitude", [32768.0, 1e37])
def test_load_rejects_samples_far_beyond_full_scale(tmp_path, amplitude):
    soundfile.write(tmp_path / "a.wav", np.resize([amplitude, -amplitude], 16000), 16000, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match="samples"):
        audio.load(tmp_path / "a.wav")


def test_extract_features_skips_the_unusable_files_of_a_table(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    shutil.copy(SPEECH, tmp_path / "b.flac")
    (tmp_path / "my.csv").write_text("file,emotion\na.wav,sad\nb.flac,angry\nmissing.wav,sad\n")
    features, errors = extract_features(tmp_path / "my.csv", tmp_path / "out", "custom", f0=False, n_jobs=1,
                                        progress=False)
    assert features.clips["file"].tolist() == ["b.flac"]
    assert [Path(error.path).name for error in errors] == ["a.wav", "missing.wav"]
