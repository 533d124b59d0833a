"""One benchmark runs; it ends with an error if a fast implementation gives another result than its alternative."""

import json
import os
import subprocess
import sys

from ser_utils._utils.files import ROOT


def test_one_benchmark_runs(tmp_path):
    options = ["--only", "librosa", "--clips", "4", "--turns", "1", "--out", tmp_path / "results.json"]
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "run_benchmarks.py", *options], capture_output=True,
                          text=True, check=False, env=os.environ | {"SER_DATA": "", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    [row] = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["ratio"] > 0
    assert row["max_difference"] <= row["tolerance"]
