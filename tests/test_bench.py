"""A benchmark runs and reports the difference between the results of both implementations."""

import json
import os
import subprocess
import sys

from ser_utils._utils.files import ROOT


def test_benchmark_reports_ratio_and_difference_within_tolerance(tmp_path):
    options = ["--only", "librosa", "--clips", "4", "--turns", "1", "--out", tmp_path / "results.json"]
    process = subprocess.run([sys.executable, ROOT / "benchmarks" / "run_benchmarks.py", *options], capture_output=True,
                             text=True, check=False, env=os.environ | {"SER_DATA": "", "PYTHONPATH": str(ROOT)})
    assert process.returncode == 0, process.stderr
    [row] = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["ratio"] > 0
    assert row["max_difference"] <= row["tolerance"]
