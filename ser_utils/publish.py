"""Results that are kept: test folds are read here and nowhere else, and every reading leaves a trace."""

import json
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ser_utils import compare, corpora, models, scores

PUBLISHED = corpora.ROOT / "results"
KEYS = scores.KEYS
LEARNED = ("mlp", "lstm", "cnn")
ROWS = (  # models, protocol, labels, seeds: everything this repository publishes on RAVDESS
    (LEARNED, "speaker-independent", "emotion", (0, 1, 2)),
    (("chance", "svm", "original_cnn"), "speaker-independent", "emotion", (0,)),
    (tuple(models.MODELS), "random-split", "gender_emotion", (0,)),
    (("chance", "svm", *LEARNED), "speaker-independent", "gender_emotion", (0,)),
)


class UncommittedError(RuntimeError):
    """Published rows must be traceable to a commit, and the tree holds changes that are in none."""


def everything(clips):
    """The units of all published rows. list of compare.Unit"""
    return [unit for names, protocol, labels, seeds in ROWS
            for unit in compare.plan(names, [protocol], labels, seeds, part="test", clips=clips)]


def _git(*arguments):
    done = subprocess.run(["git", "-C", str(corpora.ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.rstrip() if done.returncode == 0 else ""


def require_committed(results):
    """Insist on a committed tree when the rows go where this repository publishes them.

    Raises
    ------
    UncommittedError
        With the first files that differ.
    """
    if PUBLISHED not in [Path(results).resolve(), *Path(results).resolve().parents]:
        return
    if not _git("rev-parse", "HEAD"):
        raise UncommittedError(f"{results}: rows published here name their commit, and this folder is no git checkout; "
                               "name another folder with --results")
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()
               if not line[3:].startswith(PUBLISHED.name + "/")]
    if changed:
        raise UncommittedError(f"{results}: rows published here name their commit, and {len(changed)} files are in "
                               f"none ({', '.join(changed[:3])}); commit them, or name another folder with --results")


def look(units, features, results, checkpoints="build/units", *, jobs=-1, progress=True):
    """Train on everything but the test folds, predict those, and add the rows and the trace of it to `results`.

    Parameters
    ----------
    units : list of compare.Unit
        All with `part="test"`.
    features, results, checkpoints : str or Path
    jobs : int
    progress : bool

    Returns
    -------
    pd.DataFrame
        The new rows of the predictions table.

    Raises
    ------
    UncommittedError
        When `results` is where this repository publishes and the tree has changes in no commit.
    """
    results = Path(results)
    require_committed(results)
    rows, histories = compare.run(units, features, checkpoints, jobs=jobs, progress=progress)
    results.mkdir(parents=True, exist_ok=True)
    path = results / "predictions.csv.gz"
    kept = load(results) if path.is_file() else rows[:0]
    fresh = pd.MultiIndex.from_frame(rows[KEYS].drop_duplicates())
    kept = kept[~pd.MultiIndex.from_frame(kept[KEYS]).isin(fresh)]
    table = pd.concat([part for part in (kept, rows) if len(part)], ignore_index=True)
    # no time stamp inside, so that the same rows give the same file
    table.to_csv(path, index=False, lineterminator="\n", compression={"method": "gzip", "mtime": 0})
    _leave_trace(results, rows, histories, compare.store.load(features))
    return rows


def _leave_trace(results, rows, histories, data):
    made_path, looks_path = results / "made.json", results / "looks.csv"
    made = json.loads(made_path.read_text()) if made_path.is_file() else {}
    now, commit = datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), _git("rev-parse", "HEAD") or "none"
    looks = []
    for key, part in rows.groupby(KEYS, sort=False):
        seconds = [value["seconds"] for unit, value in histories.items()
                   if (unit.model, unit.protocol, unit.labels) == key]
        how = {"commit": commit, "settings": repr(models.find(key[0]).estimator(0)).replace("\n", " "),
               "features": asdict(data.settings), "features_digest": data.digest, "versions": compare.versions(),
               "units": len(seconds), "core_minutes": round(sum(seconds) / 60, 1)}
        made[" ".join(key)] = how
        looks.append({"date": now, "commit": commit, **dict(zip(KEYS, key, strict=True)),
                      "seeds": part["seed"].nunique(), "folds": part["fold"].nunique(),
                      "settings": " ".join(how["settings"].split()), "features": data.digest,
                      "uar": round(scores.summary(part)["uar"].item(), 4)})
    made_path.write_text(json.dumps(made, indent=1) + "\n")
    pd.DataFrame(looks).to_csv(looks_path, mode="a", header=not looks_path.is_file(), index=False, lineterminator="\n")


def load(results=PUBLISHED / "ravdess"):
    """The predictions table of a results folder; by default the published one.

    Returns
    -------
    pd.DataFrame

    Raises
    ------
    FileNotFoundError
        When nothing has been published there.
    """
    path = Path(results) / "predictions.csv.gz"
    if not path.is_file():
        raise FileNotFoundError(f"no predictions in {results}; make them with python -m ser_utils compare --publish "
                                f"--results {results}")
    return pd.read_csv(path, dtype={"clip": str, "speaker": str})
