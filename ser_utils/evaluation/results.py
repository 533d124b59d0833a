"""Published results: predictions on the test sets, the log of test-set evaluations and run metadata."""

import json
import warnings
import zlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ser_utils._utils.files import ROOT, IntegrityError, read_csv, run_git, to_csv_bytes, write_atomic
from ser_utils.datasets.core import TARGETS
from ser_utils.evaluation import experiment, metrics
from ser_utils.models.registry import get_model

RESULTS = ROOT / "results"
MAX_ROWS = 250_000  # of a file of predictions
MULTI_CORPUS = "multi-corpus"  # results of experiments with several corpora
MAIN_MODELS = ("mlp", "lstm", "cnn")
RUN_KEYS = ["model", "split", "target"]  # one row of the access log, one record of the metadata


class UncommittedError(RuntimeError):
    """The working tree has uncommitted changes, so published predictions would have no commit to refer to."""


def corpus_name(clips):
    """Return the name of the results folder of a table of clips: its corpus, or "multi-corpus".

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table.

    Returns
    -------
    str
        Name of the folder below `RESULTS`.

    Examples
    --------
    >>> corpus_name(pd.DataFrame({"corpus": ["ravdess", "ravdess", "emodb"]}))
    'multi-corpus'
    """
    corpora = clips["corpus"].unique()
    return corpora[0] if len(corpora) == 1 else MULTI_CORPUS


def published_runs(data):
    """List the test runs behind the published results of a corpus, from its `experiments.csv`.

    Parameters
    ----------
    data : FeatureSet
        Features of the clips.

    Returns
    -------
    list of Run
        Runs on the test sets.

    Raises
    ------
    ValueError
        If there are no published results of the corpus.

    Warns
    -----
    RuntimeWarning
        If runs are left out because their features or corpora are missing.
    """
    corpus = corpus_name(data.clips)
    path = RESULTS / corpus / "experiments.csv"
    if not path.is_file():
        raise ValueError(f"corpus {corpus} has no published results to reproduce; plan the runs with "
                         "experiment.plan_runs (--model)")
    runs = []
    for row in pd.read_csv(path, dtype=str).itertuples():
        models = row.models.split()
        missing = [name for name in models if not data.has_input(get_model(name).input_type)]
        reasons = [f"{name} without features {get_model(name).input_type}" for name in missing]
        for split in row.splits.split():
            try:
                runs += experiment.plan_runs([name for name in models if name not in missing], [split], row.target,
                                             [int(seed) for seed in row.seeds.split()], subset="test",
                                             clips=data.clips)
            except ValueError as error:
                reasons.append(f"{split}: {error}")
        if reasons:
            warnings.warn(f"left out of the published runs of {corpus}: {'; '.join(reasons)}", RuntimeWarning,
                          stacklevel=2)
    return runs


def require_committed(results):
    """Check that the working tree is committed before predictions are written below `RESULTS`.

    Parameters
    ----------
    results : str or Path
        Folders outside `RESULTS` are not checked.

    Raises
    ------
    UncommittedError
        If files outside `RESULTS` differ from the last commit, or there is no git repository.
    """
    if not Path(results).resolve().is_relative_to(RESULTS):
        return
    if not run_git("rev-parse", "HEAD"):
        raise UncommittedError(
            f"{results} needs a commit, but {ROOT} is not a git repository; choose another results folder (--results)")
    changed = [file for line in run_git("status", "--porcelain").splitlines()
               if not (file := line[3:]).startswith(f"{RESULTS.name}/")]
    if changed:
        raise UncommittedError(f"{results} needs a commit, and {len(changed)} changed files are not committed "
                               f"({', '.join(changed[:3])}); commit them or choose another results "
                               "folder (--results)")


def evaluate_test(runs, features, results, cache_dir="build/runs", *, n_jobs=-1, scheduler=None, progress=True):
    """Train on the training and validation sets, predict the test sets, and store predictions, log and metadata.

    The access is logged in `test_access.csv` before the first test clip is predicted. Stored predictions of the same
    runs are replaced, all others are kept.

    Parameters
    ----------
    runs : list of Run
        Runs with `subset="test"`.
    features : str, Path or list of these
        Feature folders.
    results : str or Path
        Folder of the results.
    cache_dir : str or Path, default "build/runs"
        Folder of the cached runs.
    n_jobs : int, default -1
        Number of processes; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler, as for `run_experiment`.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    dict of str to pd.DataFrame
        New predictions table of each target.

    Raises
    ------
    UncommittedError
        If `results` lies below `RESULTS` and the working tree has uncommitted changes.
    RunError
        If a model raises an error.
    ValueError
        If a model is unknown, a training set is too small for its model, or the Dask scheduler or one of its workers
        cannot be used.

    See Also
    --------
    load_predictions : Load stored predictions.
    ser_utils.evaluation.experiment.run_experiment : Execute runs without storing predictions.
    """
    from ser_utils.features.store import load_features

    folder, data = Path(results), load_features(features)
    require_committed(folder)
    folder.mkdir(parents=True, exist_ok=True)
    experiment.check_training_sets(runs, data.clips)  # before the access is logged
    log = log_test_access(folder, runs, data)
    predictions, histories = experiment.run_experiment(runs, features, cache_dir, n_jobs=n_jobs, scheduler=scheduler,
                                                       progress=progress)
    save_predictions(folder, {target: _merge(folder, target, table) for target, table in predictions.items()})
    log_test_scores(folder, log, predictions.values())
    _save_metadata(folder, log, histories, data)
    return predictions


def _merge(folder, target, table):
    """Replace the rows of the same runs in the stored predictions of a target."""
    if not _find_files(folder, target):
        return table
    keys, stored = [*metrics.KEYS, "seed", "fold"], load_predictions(folder, target)
    is_new = pd.MultiIndex.from_frame(stored[keys]).isin(pd.MultiIndex.from_frame(table[keys].drop_duplicates()))
    return experiment.concat_predictions([part for part in (stored[~is_new], table) if len(part)])


def log_test_access(folder, runs, data, **columns):
    """Append one row per model, split and target to `test_access.csv`, without a score yet.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    runs : list of Run
        Runs about to be executed.
    data : FeatureSet
        Features of the clips.
    **columns
        Further columns of the log, such as `condition`, or another value for `corpus` or `settings`.

    Returns
    -------
    pd.DataFrame
        The whole log, all columns as str.
    """
    path, now = folder / "test_access.csv", datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    log = [pd.read_csv(path, dtype=str)] if path.is_file() else []
    new = [{"date": now, "commit": run_git("rev-parse", "HEAD") or "none", "corpus": corpus_name(data.clips),
            **dict(zip(RUN_KEYS, key, strict=True)), **columns,
            **{f"{name}s": " ".join(map(str, sorted(set(part[name])))) for name in ("seed", "fold")},
            "settings": columns.get("settings") or get_model(key[0]).settings, "features_digest": data.digest,
            "uar": None}
           for key, part in pd.DataFrame(map(asdict, runs)).groupby(RUN_KEYS, sort=False)]
    log = pd.concat([*log, pd.DataFrame(new)], ignore_index=True)
    write_atomic(path, to_csv_bytes(log))
    return log


def log_test_scores(folder, log, tables):
    """Write each UAR to the most recent row of the log with the same model, split, target and condition.

    Parameters
    ----------
    folder : Path
        Folder of the results.
    log : pd.DataFrame
        Log as `log_test_access` returns it; it is changed in place.
    tables : iterable of pd.DataFrame
        Predictions tables, one per target.
    """
    for table in tables:
        keys = [name for name in (*RUN_KEYS, "condition") if name in table]
        for key, part in table.groupby(keys, sort=False):
            log.loc[_last_row(log, keys, key), "uar"] = str(round(float(metrics.summarize(part)["uar"].mean()), 4))
    write_atomic(folder / "test_access.csv", to_csv_bytes(log))


def _last_row(log, keys, key):
    return log.index[(log[keys] == list(key)).all(axis=1)][-1]


def _save_metadata(folder, log, histories, data):
    """Write how each model, split and target was evaluated to `run_metadata.json`."""
    path = folder / "run_metadata.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    records = {tuple(record[name] for name in RUN_KEYS): record for record in stored}
    finished = pd.DataFrame([asdict(run) | history for run, history in histories.items()])
    for key, part in finished.groupby(RUN_KEYS, sort=False):
        n_parameters = part.get("n_parameters", pd.Series()).dropna()
        records[key] = {
            **dict(zip(RUN_KEYS, key, strict=True)), "commit": log.loc[_last_row(log, RUN_KEYS, key), "commit"],
            "settings": get_model(key[0]).settings, "feature_config": asdict(data.config),
            "features_digest": data.digest, "versions": experiment.package_versions(), "n_runs": len(part),
            "core_minutes": round(part["seconds"].sum() / 60, 1), "ms_per_clip": round(part["ms_per_clip"].median(), 2),
            **({"n_parameters": int(n_parameters.iloc[0])} if len(n_parameters) else {})}
    write_atomic(path, (json.dumps(list(records.values()), indent=1) + "\n").encode())


def _find_files(folder, target):
    """Files of the predictions of a target; a large table has several, predictions_<target>.2.csv.gz and so on."""
    return sorted(Path(folder).glob(f"predictions_{target}.*csv.gz"), key=lambda path: (len(path.name), path.name))


def _results_folder(results):
    """Look up the folder of a corpus named by a str below `RESULTS`; a Path, and any other str, is a folder itself."""
    is_name = isinstance(results, str) and Path(results).name == results != ".."
    return RESULTS / results if is_name and (RESULTS / results).is_dir() else Path(results)


def save_predictions(folder, tables):
    """Write one compressed predictions table per target, in several files of at most `MAX_ROWS` rows.

    Parameters
    ----------
    folder : str or Path
        Folder of the results.
    tables : dict of str to pd.DataFrame
        Predictions table of each target.
    """
    for target, table in tables.items():
        stale = set(_find_files(folder, target))
        for part, start in enumerate(range(0, len(table), MAX_ROWS), start=1):
            path = Path(folder) / f"predictions_{target}.{'' if part == 1 else f'{part}.'}csv.gz"
            experiment.write_predictions(path, table.iloc[start:start + MAX_ROWS])
            stale.discard(path)
        for path in stale:
            path.unlink()


def has_predictions(results="ravdess", target=None):
    """Check whether a results folder contains predictions.

    Parameters
    ----------
    results : str or Path, default "ravdess"
        Name of a corpus below `RESULTS`, or a folder.
    target : str, optional
        Target of the predictions; by default any.

    Returns
    -------
    bool
        True if there are predictions.

    Examples
    --------
    >>> has_predictions("ravdess", "gender"), has_predictions("savee")
    (True, False)
    """
    folder = _results_folder(results)
    return any(_find_files(folder, name) for name in ([target] if target else TARGETS))


def load_predictions(results="ravdess", target="emotion"):
    """Load the stored predictions of a target.

    Parameters
    ----------
    results : str or Path, default "ravdess"
        Name of a corpus below `RESULTS`, or a folder.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Target of the predictions.

    Returns
    -------
    pd.DataFrame
        Predictions table with the columns model, split, train_corpus, test_corpus, target, seed, fold, clip, speaker,
        label and `p_<class>`.

    Raises
    ------
    FileNotFoundError
        If the folder has no predictions of the target.
    IntegrityError
        If the file is damaged.
    ValueError
        If the target is unknown.

    See Also
    --------
    load_summary : Load predictions and compute their scores.

    Examples
    --------
    >>> load_predictions("emodb").columns[:10].tolist()
    ['model', 'split', 'train_corpus', 'test_corpus', 'target', 'seed', 'fold', 'clip', 'speaker', 'label']
    """
    if target not in TARGETS:
        raise ValueError(f"target={target!r} is unknown; choose one of {', '.join(TARGETS)}")
    folder = _results_folder(results)
    parts = []
    for path in _find_files(folder, target):
        try:
            parts.append(read_csv(path))
        except (OSError, EOFError, ValueError, zlib.error) as error:
            remedy = "restore it with git checkout or evaluate again"
            raise IntegrityError(f"{path}: damaged ({error}); {remedy}") from error
    if not parts:
        raise FileNotFoundError(f"no predictions_{target}.csv.gz in {folder}; create it with evaluate_test (ser "
                                "evaluate --test --results)")
    return pd.concat(parts, ignore_index=True)


def load_summary(results="ravdess", emotions=None):
    """Load the predictions of all targets of a results folder and summarize them.

    Parameters
    ----------
    results : str or Path, default "ravdess"
        Name of a corpus below `RESULTS`, or a folder.
    emotions : sequence of str, optional
        Restrict the target "emotion" to clips of these classes, and return only this target.

    Returns
    -------
    pd.DataFrame
        Scores as `metrics.summarize` returns them.

    Raises
    ------
    FileNotFoundError
        If the folder has no predictions.

    See Also
    --------
    load_predictions : Load predictions.
    ser_utils.evaluation.metrics.summarize : Compute the scores.

    Examples
    --------
    >>> summary = load_summary("emodb").set_index(["split", "model"])
    >>> round(float(summary.loc[("leave-one-speaker-out", "chance"), "uar"]), 3)  # seven classes
    0.143
    """
    if emotions:
        return metrics.summarize(metrics.restrict_classes(load_predictions(results), emotions))
    targets = [target for target in TARGETS if has_predictions(results, target)] or TARGETS[:1]
    return pd.concat([metrics.summarize(load_predictions(results, target)) for target in targets], ignore_index=True)
