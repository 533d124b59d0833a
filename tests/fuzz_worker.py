"""Subprocess of test_fuzzing.py: answers each hexadecimal path on standard input with the outcome of processing it."""

import json
import os
import re
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from ser_utils.audio import AudioError
from ser_utils.features.spectral import extract_mfcc
from ser_utils.live.predictor import predict


def run_extraction(path):
    coefficients = extract_mfcc(path)
    assert coefficients.shape[1] == 64
    assert np.isfinite(coefficients).all()


def run_prediction(path):
    answer = json.loads(json.dumps(predict(path)))
    if answer["emotion"] is not None:
        assert abs(sum(answer["probabilities"].values()) - 1) < 1e-4


def outcome(function, path):
    """One of "accepted", "rejected: <reason>", or a traceback."""
    try:
        function(path)
        return "accepted"
    except AudioError as error:
        return f"rejected: {error.reason}" if str(error).isprintable() and error.remedy else f"bad message: {error!r}"
    except Exception:
        return traceback.format_exc()


def memory_mb(field):
    """A field of /proc/self/status; unlike ru_maxrss, VmHWM excludes the parent process."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main():
    baseline = None
    for line in sys.stdin:
        start, path = time.perf_counter(), Path(os.fsdecode(bytes.fromhex(line)))
        outcomes = [outcome(function, path) for function in (run_extraction, run_prediction)]
        baseline = baseline or memory_mb("VmRSS")  # after the first file: with all imports and models
        print(json.dumps([*outcomes, time.perf_counter() - start, memory_mb("VmHWM") - baseline]), flush=True)


if __name__ == "__main__":
    main()
