"""Measure how long the commands of the README take in a fresh clone; writes docs/first_run.json.

    python scripts/measure_first_run.py

Clones the last commit into a temporary folder and runs each command with an empty home directory and without the
environment variables of this shell. A custom corpus is simulated with the recordings of data/samples.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from ser_utils._utils.files import ROOT, to_csv_bytes
from ser_utils.datasets import SAMPLES
from ser_utils.datasets.core import load_clips

OUT = ROOT / "docs" / "first_run.json"
STEPS = (
    ("set up", "make .venv/ready"),
    ("one notebook", ".venv/bin/python scripts/execute_notebooks.py notebooks/01_data_exploration.ipynb"),
    ("training, notebooks and site", "make run"),
    ("prediction of one recording", ".venv/bin/ser predict ../custom/00.flac"),
    ("features of a custom corpus", ".venv/bin/ser extract ../custom/my.csv --dataset custom"),
    ("evaluation of three models on it", ".venv/bin/ser evaluate --features build/features/my"))


def copy_samples(folder):
    """Copy the sample recordings to numbered files, with a table of their labels."""
    folder.mkdir()
    clips = load_clips(SAMPLES)
    names = [f"{index:02d}{Path(file).suffix}" for index, file in enumerate(clips["file"])]
    for file, name in zip(clips["file"], names, strict=True):
        shutil.copy(SAMPLES / file, folder / name)
    (folder / "my.csv").write_bytes(to_csv_bytes(clips.assign(file=names)[["file", "emotion", "speaker", "gender"]]))


def run_step(command, clone, home):
    """Run a command and return its duration in seconds; raise subprocess.CalledProcessError if it fails."""
    start = time.perf_counter()
    result = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, check=False,
                            env={"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8"})
    seconds = time.perf_counter() - start
    print(f"{seconds:6.1f} s  {command}\n{result.stdout[-1500:]}{result.stderr[-1500:]}", flush=True)
    result.check_returncode()
    return seconds


def main():
    """Measure all steps and write the result; the first failing step ends the measurement."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder) / "clone", Path(folder) / "home"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        home.mkdir()
        copy_samples(Path(folder) / "custom")
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        steps = [{"step": step, "command": command, "seconds": round(run_step(command, clone, home), 1), "date": date}
                 for step, command in STEPS]
    result = {"cores": os.cpu_count(),
              "python": platform.python_version(), "steps": steps}
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
