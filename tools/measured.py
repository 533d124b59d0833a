"""What `make bench` and `make fuzz` found, as tables for README.md, benchmarks/README.md and SECURITY.md."""

import json

import pandas as pd

from ser_utils import corpora
from ser_utils.report import lined

FOLDER = corpora.ROOT / "benchmarks"
README_ROWS = {  # how the work begins, and a word of against what
    "recordings (WAV) to MFCC": None, "samples to MFCC": None, "reading cached features": "extracting them",
    "CNN, four epochs": "TensorFlow", "LSTM, four epochs": "TensorFlow", "five folds": "TensorFlow",
    "predict, cold": None, "predict, warm": "original"}


def _read(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def seconds(value):
    """A time for people. str"""
    if value is None:
        return "–"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def times(row):
    """How many times as quick, with the range over turns. str"""
    ratio, low, high = (f"{row[key]:.{0 if row['ratio'] >= 20 else 1}f}" for key in ("ratio", "low", "high"))
    return f"{ratio} ({low}–{high})"


def bench():
    """Every row of the benchmark. Markdown"""
    return lined(pd.DataFrame([{
        "work": row["work"], "against": row["against"], "times as quick": times(row),
        "hoped for": f"≥ {row['reach']:g}" if row["reach"] else "–", "ours": seconds(row["seconds"]),
        "theirs": seconds(row["their_seconds"]),
        "limit": f"{seconds(row['limit_seconds'])} ({row['limit']})" if row["limit"] else "–",
        "memory, ours and theirs (MB)": f"{row['memory_mb']}, {row['their_memory_mb']}",
        "largest difference": "–" if row["difference"] is None else f"{row['difference']:.1g}"}
        for row in _read("results.json")["rows"]]))


def brief():
    """The rows that the README shows. Markdown"""
    rows = [row for row in _read("results.json")["rows"] for work, against in README_ROWS.items()
            if row["work"].startswith(work) and (against is None or against in row["against"])
            and "--no-pitch" not in row["against"]]
    return lined(pd.DataFrame([{"work": row["work"], "against": row["against"], "times as quick": times(row)}
                               for row in rows]))


def equal():
    """What the benchmark made sure of beside its rows. Markdown"""
    return "\n".join(f"- {name}: {value:.1g}" for name, value in _read("results.json")["equal"].items())


def machine():
    """What the benchmark ran on, in a sentence."""
    found = _read("results.json")
    about = found["machine"]
    return (f"Measured on {about['date']}: {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
            f"{about['system']}, Python {about['python']}; {found['clips']} clips of {found['corpus']}.")


def robustness():
    """What was tried on purpose to break it, and what came of it. Markdown"""
    found = _read("robustness.json")
    hostile = found["hostile"]
    lines = [{"tried": f"{hostile['inputs']:,} hostile files through load, extract and predict",
              "outcome": f"{hostile['heard']:,} heard, {hostile['left out']:,} left out in one line, for "
                         f"{hostile['reasons']} reasons; no traceback, no hang; slowest {hostile['slowest (s)']} s, at "
                         f"most {hostile['most memory (MB)']} MB"}]
    lines += [{"tried": f"{name.removeprefix('killed: ')}: SIGKILL at a random moment, {one['kills']} times",
               "outcome": f"nothing half-written under its name; {one['reruns that end as undisturbed']} of "
                          f"{one['kills']} end as if undisturbed"}
              for name, one in found.items() if name.startswith("killed: ")]
    lines += [{"tried": f"{name}: tests that need no browser and no hour (CONTRIBUTING.md)",
               "outcome": f"{one['passed']} passed, {one['failed'] + one['error']} failed, {one['skipped']} skipped"}
              for name, one in found.items() if name.startswith("Python ")]
    return lined(pd.DataFrame(lines)).replace("|---:|", "|---|")
