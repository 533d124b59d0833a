"""Results that are kept: whoever reads test folds does it through here, and every reading leaves a trace."""

import json
import shutil
import subprocess
import zlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ser_utils import compare, corpora, files, models, scores, store

PUBLISHED = corpora.ROOT / "results"
KEYS = scores.KEYS
LEARNED = ("mlp", "lstm", "cnn")


class UncommittedError(RuntimeError):
    """Published rows must be traceable to a commit, and the tree holds changes that are in none.

    >>> from unittest.mock import patch
    >>> with patch("ser_utils.publish._git", side_effect=["1a2b3c", " M notes.txt"]):
    ...     require_committed(PUBLISHED / "ravdess")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ser_utils.publish.UncommittedError: ... name their commit, and 1 files are in none (notes.txt); ...
    """


def name(clips):
    """Of the folder of results: the corpus's, or those of several.

    >>> name(store.load().clips)
    'ravdess'
    >>> name(pd.DataFrame({"corpus": ["ravdess", "ravdess", "emodb"]}))
    'ravdess-emodb'
    """
    return "-".join(clips["corpus"].unique())


def everything(clips):
    """The units of all that this repository publishes of a corpus, as `rows.csv` of its results says. list of Unit

    >>> units = everything(store.load().clips)
    >>> {unit.part for unit in units}
    {'test'}
    >>> everything(pd.DataFrame({"corpus": ["mine"]}))
    Traceback (most recent call last):
    ValueError: corpus mine: no rows are published of it; name models with --model
    """
    corpus = name(clips)
    path = PUBLISHED / corpus / "rows.csv"
    if not path.is_file():
        raise ValueError(f"corpus {corpus}: no rows are published of it; name models with --model")
    return [unit for row in pd.read_csv(path, dtype=str).itertuples()
            for unit in compare.plan(row.models.split(), row.protocols.split(), row.labels,
                                     [int(seed) for seed in row.seeds.split()], part="test", clips=clips)]


def _git(*arguments):
    if not shutil.which("git"):
        return ""
    done = subprocess.run(["git", "-C", str(corpora.ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.rstrip() if done.returncode == 0 else ""


def require_committed(results):
    """Insist on a committed tree when the rows go where this repository publishes them, else UncommittedError.

    >>> require_committed(corpora.ROOT / "build" / "results")  # nothing is asked of other folders
    >>> from unittest.mock import patch
    >>> with patch("ser_utils.publish._git", return_value=""):
    ...     require_committed(PUBLISHED / "ravdess")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ser_utils.publish.UncommittedError: ... name their commit, and this folder is no git checkout; ...
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


def look(units, features, results, checkpoints="build/units", *, jobs=-1, scheduler=None, progress=True):
    """Train on everything but the test folds, predict those, and add the rows and the trace of it to `results`.

    All units have `part="test"`. Returns the new rows of the predictions table. Raises UncommittedError when `results`
    is where this repository publishes and the tree has changes in no commit.

    >>> from tempfile import TemporaryDirectory
    >>> units = compare.plan(["chance"], folds=[0], part="test")
    >>> with TemporaryDirectory() as folder:
    ...     rows = look(units, store.SHIPPED, folder, Path(folder) / "units", jobs=1)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['looks.csv', 'made.json', 'predictions.csv.gz', 'units']
    >>> len(rows), rows["speaker"].unique().tolist()
    (300, ['02', '05', '14', '15', '16'])
    """
    results, data = Path(results), store.load(features)
    require_committed(results)
    results.mkdir(parents=True, exist_ok=True)
    looks = trace(results, units, data)
    rows, histories = compare.run(units, features, checkpoints, jobs=jobs, scheduler=scheduler, progress=progress)
    unique = [*KEYS, "seed", "fold"]
    kept = load(results) if exists(results) else rows[:0]
    fresh = pd.MultiIndex.from_frame(rows[unique].drop_duplicates())
    kept = kept[~pd.MultiIndex.from_frame(kept[unique]).isin(fresh)]
    table = pd.concat([part for part in (kept, rows) if len(part)], ignore_index=True)
    compare.write(table, results / "predictions.csv.gz")
    note(results, looks, rows)
    _made(results, looks, rows, histories, data)
    return rows


def trace(results, units, data):
    """A line in `looks.csv` for every row about to be made, before any test clip is predicted; its UAR comes later.

    >>> from tempfile import TemporaryDirectory
    >>> units = compare.plan(["chance"], folds=[0, 1], part="test")
    >>> with TemporaryDirectory() as folder:
    ...     looks = trace(Path(folder), units, store.load())
    >>> looks[["corpus", "model", "seeds", "folds", "uar"]].to_dict("records")
    [{'corpus': 'ravdess', 'model': 'chance', 'seeds': '0', 'folds': '0 1', 'uar': None}]
    """
    path, now = results / "looks.csv", datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    commit = _git("rev-parse", "HEAD") or "none"
    looks = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    planned = pd.DataFrame([asdict(unit) for unit in units]).groupby(KEYS, sort=False)
    begun = [{"date": now, "commit": commit, "corpus": name(data.clips),
              **dict(zip(KEYS, key, strict=True)), "seeds": " ".join(map(str, sorted(part["seed"].unique()))),
              "folds": " ".join(map(str, sorted(part["fold"].unique()))), "settings": models.find(key[0]).settings,
              "features": data.digest, "uar": None} for key, part in planned]
    looks = pd.concat([looks, pd.DataFrame(begun)], ignore_index=True)
    files.write(path, store.as_csv(looks))
    return looks


def _line(looks, key):
    return looks.index[(looks[KEYS] == list(key)).all(axis=1)][-1]


def note(results, looks, rows):
    """The scores of this look into `looks.csv`.

    >>> from tempfile import TemporaryDirectory
    >>> rows = load().query("model == 'chance' and protocol == 'random-split'")
    >>> looks = rows[KEYS].drop_duplicates().assign(uar=None)
    >>> with TemporaryDirectory() as folder:
    ...     note(Path(folder), looks, rows)
    >>> looks["uar"].tolist()  # it names one of ten classes always
    [0.1]
    """
    looks["uar"] = looks["uar"].astype(float)
    for key, part in rows.groupby(KEYS, sort=False):
        looks.loc[_line(looks, key), "uar"] = round(scores.summary(part)["uar"].mean(), 4)
    files.write(results / "looks.csv", store.as_csv(looks))


def _made(results, looks, rows, histories, data):
    """How each row was made, into `made.json`."""
    path = results / "made.json"
    made = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for key, _ in rows.groupby(KEYS, sort=False):
        costs = pd.DataFrame([value for unit, value in histories.items()
                              if (unit.model, unit.protocol, unit.labels) == key])
        made[" ".join(key)] = {
            "commit": looks.loc[_line(looks, key), "commit"], "settings": models.find(key[0]).settings,
            "features": asdict(data.settings), "features_digest": data.digest, "versions": compare.versions(),
            "units": len(costs), "core_minutes": round(costs["seconds"].sum() / 60, 1),
            "ms_a_clip": round(costs["ms_a_clip"].median(), 2),
            **({"parameters": int(costs["parameters"].iloc[0])} if "parameters" in costs else {})}
    files.write(path, (json.dumps(made, indent=1) + "\n").encode())


def exists(results=PUBLISHED / "ravdess"):
    """Whether anything has been published there.

    >>> exists(), exists("nowhere")
    (True, False)
    """
    return (Path(results) / "predictions.csv.gz").is_file()


def load(results=PUBLISHED / "ravdess"):
    """The predictions table of a results folder; by default the published one.

    Raises FileNotFoundError when there is none, and DamagedError when it is not what was written.

    >>> load().columns[:9].tolist()
    ['model', 'protocol', 'labels', 'seed', 'fold', 'clip', 'speaker', 'emotion', 'p_neutral']
    >>> load("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: no predictions in nowhere; make them with python -m ser_utils compare --publish --results nowhere
    """
    path = Path(results) / "predictions.csv.gz"
    if not path.is_file():
        raise FileNotFoundError(f"no predictions in {results}; make them with python -m ser_utils compare --publish "
                                f"--results {results}")
    try:
        return pd.read_csv(path, **store.READ)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise files.DamagedError(f"{path}: not what was written ({error}); git checkout it, or make it again"
                                 ) from error
