"""A newcomer's first hour with a stopwatch: python tools/trial.py, which writes docs/trial.json.

A fresh clone of what is committed, an empty HOME and nothing of this shell's environment; then what the README says,
one command after another. The corpus of one's own is the synthetic miniature under other names.
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

import pandas as pd

from ser_utils import corpora

OUT = corpora.ROOT / "docs" / "trial.json"
PYTHON = ".venv/bin/python"
STEPS = (("set up", "make .venv/ready"),
         ("the first figures", f"{PYTHON} tools/notebooks.py notebooks/01_data_exploration.ipynb"),
         ("the full report", "make run"),
         ("what is heard in a voice of one's own", f"{PYTHON} -m ser_utils predict ../own/00.flac"),
         ("features of a corpus of one's own", f"{PYTHON} -m ser_utils extract ../own/my.csv --corpus own"),
         ("three models compared on it", f"{PYTHON} -m ser_utils compare --features build/features/my"))


def own(folder):
    """Somebody's recordings and their table."""
    folder.mkdir()
    clips = corpora.read(corpora.ROOT / "data" / "miniature")
    names = [f"{number:02d}{Path(path).suffix}" for number, path in enumerate(clips["path"])]
    for path, name in zip(clips["path"], names, strict=True):
        shutil.copy(corpora.ROOT / "data" / "miniature" / path, folder / name)
    clips.assign(path=names)[["path", "emotion", "speaker", "gender"]].to_csv(folder / "my.csv", index=False)


def main():
    """Try, and write what each step took; the first that fails ends the trial."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as place:
        clone, home, steps = Path(place) / "clone", Path(place) / "home", []
        subprocess.run(["git", "clone", "--quiet", corpora.ROOT, clone], check=True)
        home.mkdir()
        own(Path(place) / "own")
        for what, command in STEPS:
            before = time.perf_counter()
            done = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, check=False,
                                  env={"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8"})
            steps.append({"step": what, "command": command, "seconds": round(time.perf_counter() - before, 1)})
            print(f"{steps[-1]['seconds']:6.1f} s  {what}\n{done.stdout[-1500:]}{done.stderr[-1500:]}", flush=True)
            done.check_returncode()
    found = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "cores": os.cpu_count(),
             "python": platform.python_version(), "steps": steps}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table():
    """What it took, as Markdown."""
    from ser_utils.report import lined

    found = json.loads(OUT.read_text(encoding="utf-8"))
    return lined(pd.DataFrame([{"step": f"{one['step']}: `{one['command']}`", "time": _clock(one["seconds"])}
                               for one in found["steps"]]))


def took(step):
    """What a step took, for the README. str"""
    [one] = [one for one in json.loads(OUT.read_text(encoding="utf-8"))["steps"] if one["step"] == step]
    return _clock(one["seconds"])


def _clock(seconds):
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    main()
