"""That make bench works, and notices a fast path whose result is another; what it times is nobody's test."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ser_utils import corpora

BENCH = corpora.ROOT / "benchmarks"
sys.path.insert(0, str(BENCH))


def test_a_row_is_measured_in_turns_and_compared(tmp_path):
    out = tmp_path / "results.json"
    arguments = ["--only", "samples", "--clips", "3", "--rounds", "3", "--out", out]
    done = subprocess.run([sys.executable, BENCH / "bench.py", *arguments], capture_output=True, text=True, check=False,
                          env=os.environ | {"SER_DATA": ""})
    assert done.returncode == 0, done.stderr
    [row] = json.loads(out.read_text())["rows"]
    assert row["turns"] == 3
    assert row["low"] <= row["ratio"] <= row["high"]
    assert row["limit_seconds"] > 0
    assert 0 < row["difference"] <= row["allowed"] == 1e-3
    assert row["memory_mb"] > 0


def test_another_result_ends_the_run():
    import bench

    ours = [np.zeros(3), np.ones(2)]
    assert bench._difference(ours, [np.zeros(3), np.ones(2)]) == 0
    assert bench._difference(ours, [np.zeros(3), np.full(2, 1.5)]) == 0.5
    with pytest.raises(AssertionError, match="another shape"):
        bench._difference(ours, [np.zeros(3), np.ones(3)])
    group, row = bench.Group("work", ("ours",), ()), bench.Row("theirs", ("theirs",), same=0.1)
    times = {"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 8.0, 12.0]}
    line = bench._line(group, row, times, {"ours": 1, "theirs": 2}, 0.05)
    assert (line["ratio"], line["low"], line["high"]) == (3, 2, 4)
    with pytest.raises(AssertionError, match=r"work: 0.5 from theirs"):
        bench._line(group, row, times, {"ours": 1, "theirs": 2}, 0.5)


def test_what_is_published_kept_its_equalities():
    found = json.loads((BENCH / "results.json").read_text())
    for row in found["rows"]:
        assert row["difference"] is None or row["difference"] <= row["allowed"], row
    assert found["equal"]
    assert max(found["equal"].values()) < 1e-3
