"""Malformed recordings: each is processed or skipped with a reason, and does not affect other files.

Generated from a fixed seed: a few inputs in `make test`, SER_FUZZ (default 300) in the slow test.
"""

import functools
import io
import json
import multiprocessing
import os
import re
import shutil
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import record
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ser_utils.audio import AudioError
from ser_utils.datasets.core import SAMPLES, find_recordings
from ser_utils.features import extract_features, extract_mfcc, load_features
from ser_utils.live.predictor import predict

N_INPUTS = int(os.environ.get("SER_FUZZ", "300"))
BATCH_SIZE = 60  # malformed files per extraction
TIMEOUT, MAX_MEMORY = 300, 500  # s; MB per file, beyond imports and models
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

def flip_bits(data, rng, n, end):
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[rng.integers(0, 8 * min(end, len(data)), n if data else 0)] ^= 1
    return np.packbits(bits).tobytes()


# functions of the bytes, a generator and values of the strategies
CORRUPTIONS = {
    "truncate": (lambda data, rng, fraction: data[:int(fraction * len(data))], st.floats(0, 1)),
    "flip bits": (flip_bits, st.integers(1, 40), st.just(2 ** 40)),
    "flip header bits": (flip_bits, st.integers(1, 8), st.just(64)),
    "header field": (lambda data, rng, start, value: data[:start] + value + data[start + len(value):],
                     st.sampled_from([4, 16, 20, 22, 24, 28, 32, 34, 36, 40]),
                     st.builds(lambda n, width: n.to_bytes(4, "little")[:width], NUMBERS, st.sampled_from([2, 4]))),
    "FLAC length": (lambda data, rng, n: data[:22] + n.to_bytes(4, "big") + data[26:], NUMBERS),
    "append zeros": (lambda data, rng, n: data + bytes(n), st.sampled_from([10, 1000, 10**6])),
    "duplicate": (lambda data, rng: data * 2,),
    "unknown chunk": (lambda data, rng, n: data[:12] + b"junk" + n.to_bytes(4, "little") + bytes(min(n, 1000))
                      + data[12:], NUMBERS)}
INPUTS = st.fixed_dictionaries({
    "format": st.sampled_from(FORMATS), "signal": st.sampled_from(sorted(SIGNALS)),
    "sr": st.sampled_from([1, 100, 3999, 4000, *[8000, 11025, 16000, 44100, 48000] * 3, 192_000, 768_000]),
    "n_channels": st.sampled_from([*[1, 2] * 3, 3, 8, 16, 64]),
    "n_samples": st.sampled_from([0, 1, 2, 100, *[5000, 30_000, 90_000] * 3]),
    "corruptions": st.one_of(st.just([]), st.lists(
        st.sampled_from(sorted(CORRUPTIONS)).flatmap(lambda name: st.tuples(st.just(name), *CORRUPTIONS[name][1:])),
        min_size=1, max_size=3)),
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
    data = buffer.getvalue()
    for name, *arguments in example["corruptions"]:
        data = CORRUPTIONS[name][0](data, rng, *arguments)
    return data


def write_input(folder, example):
    """Write one input to an empty folder. Returns its path."""
    folder.mkdir(parents=True)
    path, target, kind = folder / os.fsdecode(example["name"]), folder / "target", example["type"]
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        if "link" in kind or kind == "loop":
            path.symlink_to(path if kind == "loop" else target)
        if kind not in ("broken link", "loop"):
            path.write_bytes(encode(example))  # through the link, if it is one
        if kind == "unreadable":
            path.chmod(0)
    return path


def memory_mb(field):
    """A field of /proc/self/status; unlike ru_maxrss, VmHWM excludes the parent process."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def describe_outcome(function, path):
    """One of "accepted", "rejected: <reason>", or a traceback."""
    try:
        result = function(path)
        assert np.isfinite(result).all() if function is extract_mfcc else json.dumps(result, allow_nan=False)
        return "accepted"
    except AudioError as error:
        return f"rejected: {error.reason}" if str(error).isprintable() and error.remedy else f"bad message: {error!r}"
    except Exception:
        return traceback.format_exc()


@functools.cache
def baseline_memory():
    """Memory in MB with all imports and models."""
    assert {describe_outcome(function, SPEECH) for function in (extract_mfcc, predict)} == {"accepted"}
    return memory_mb("VmRSS")


def process_file(path):
    """Outcome of extraction and of prediction, duration in s and memory in MB."""
    baseline, start = baseline_memory(), time.perf_counter()
    outcomes = [describe_outcome(function, path) for function in (extract_mfcc, predict)]
    return *outcomes, time.perf_counter() - start, memory_mb("VmHWM") - baseline


def check_batch(folder, expected, n_jobs, run_cli):
    """Valid recordings have the same features beside malformed files, each reported on one line."""
    for name, path in VALID.items():
        shutil.copy(path, folder / "neutral" / name)
    status, _, stderr = run_cli("extract", folder, "--dataset", "custom", "--no-f0", "--out", folder / "features",
                                "--jobs", n_jobs)
    messages = stderr.splitlines()
    assert status == 0
    assert all(message.startswith(("skipped: ", "warning: ")) for message in messages), messages
    features = load_features(folder / "features")
    assert np.isfinite(features.frames).all()
    n_skipped = sum(message.startswith("skipped: ") for message in messages)
    assert len(features.clips) + n_skipped == len(find_recordings(folder))
    for name, sequence in expected.items():
        [row] = np.flatnonzero(features.clips["file"].str.endswith(name))
        np.testing.assert_array_equal(features.sequences[row], sequence)


def summarize(results):
    reasons = Counter(re.sub(r"\d[\d.]*", "…", outcome.removeprefix("rejected: "))[:60] for outcome, *_ in results)
    return {"n_inputs": len(results), "n_accepted": reasons.pop("accepted", 0), "n_rejected": sum(reasons.values()),
            "n_reasons": len(reasons), "max_seconds": round(max(result[2] for result in results), 2),
            "max_memory_mb": round(max(result[3] for result in results)), "n_tracebacks_or_hangs": 0}


@pytest.mark.parametrize(("n_inputs", "n_jobs"), [(20, 1), pytest.param(N_INPUTS, 2, marks=pytest.mark.slow)])
def test_malformed_files_are_accepted_or_rejected_with_a_reason(n_inputs, n_jobs, tmp_path, small_features, run_cli):
    results = []

    @seed(0)
    @settings(max_examples=n_inputs, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(INPUTS)
    def check(example):
        path = write_input(tmp_path / f"batch_{len(results) // BATCH_SIZE}" / "neutral" / f"{len(results)}", example)
        try:
            results.append(pool.apply_async(process_file, (path,)).get(TIMEOUT))
        except multiprocessing.TimeoutError:
            raise AssertionError(f"{example}: the process hangs or crashed") from None
        for outcome in results[-1][:2]:
            assert outcome == "accepted" or outcome.startswith("rejected: "), f"{example}: {outcome}"
        assert results[-1][3] < MAX_MEMORY, example

    with multiprocessing.get_context("spawn").Pool(1) as pool:  # so that a hang or crash is attributed to its file
        check()
    files = small_features.clips["file"].str.split("/").str[-1].tolist()
    expected = {name: small_features.sequences[files.index(path.name)] for name, path in VALID.items()}
    for folder in tmp_path.glob("batch_*"):
        check_batch(folder, expected, n_jobs, run_cli)
    if n_inputs >= 50:
        summary = summarize(results)
        assert summary["n_inputs"] >= n_inputs
        assert 0.1 < summary["n_accepted"] / summary["n_inputs"] < 0.9  # otherwise too few or too many are malformed
        record("fuzzing", summary)


def test_extract_features_skips_the_unusable_files_of_a_table(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "my.csv").write_text(f"file,emotion\na.wav,sad\n{SPEECH},angry\nmissing.wav,sad\n")
    features, errors = extract_features(tmp_path / "my.csv", tmp_path, "custom", f0=False, n_jobs=1, progress=False)
    assert (len(features.clips), [Path(error.path).name for error in errors]) == (1, ["a.wav", "missing.wav"])
