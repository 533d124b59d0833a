"""Experiments: train and evaluate models on splits, in parallel, with a cache of finished runs."""

import gzip
import hashlib
import json
import time
import warnings
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils._utils.files import read_csv, to_csv_bytes, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import CLIP_COLUMNS
from ser_utils.evaluation.splits import MULTI_CORPUS_SPLITS, SPLITS, get_classes, get_labels, sort_classes
from ser_utils.features.spectral import speaker_normalize
from ser_utils.features.store import RAVDESS_FEATURES, load_features
from ser_utils.models.classifier import SequenceClassifier, use_single_thread
from ser_utils.models.linear import balance_corpora
from ser_utils.models.registry import MODELS, get_model

RESULTS_VERSION = 1  # part of the cache key; to be increased when a change of this package changes results
SUBSETS = ("validation", "test")
VERSIONED_PACKAGES = ("tensorflow", "keras", "scikit-learn", "numpy", "scipy", "librosa")  # that affect results


class RunError(RuntimeError):
    """A model raised an error during a run.

    The original exception is `__cause__`; from a worker process, its traceback text.
    """


@dataclass(frozen=True)
class Run:
    """One training and evaluation of a model.

    Parameters
    ----------
    model : str
        Name for `get_model`.
    split : str
        Name in `SPLITS`.
    target : {"emotion", "gender_emotion", "gender"}
        Classes to predict, as for `get_labels`.
    seed : int
        Seed of the split and of the model.
    fold : int
        Number of the fold, from 0.
    subset : {"validation", "test"}, default "validation"
        Subset to predict. For "test", the model is trained on the training and validation sets together.

    Examples
    --------
    >>> Run("cnn", "speaker-independent", "emotion", seed=0, fold=2)
    Run(model='cnn', split='speaker-independent', target='emotion', seed=0, fold=2, subset='validation')
    """

    model: str
    split: str
    target: str
    seed: int
    fold: int
    subset: str = "validation"


def plan_runs(models, splits=("speaker-independent",), target="emotion", seeds=(0,), folds=None, subset="validation",
              clips=None):
    """List the runs of an experiment.

    Parameters
    ----------
    models : sequence of str
        Names for `get_model`.
    splits : sequence of str, default ("speaker-independent",)
        Names in `SPLITS`.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Classes to predict, as for `get_labels`.
    seeds : sequence of int, default (0,)
        Seeds of splits and models.
    folds : sequence of int, optional
        Numbers of the folds; all by default.
    subset : {"validation", "test"}, default "validation"
        Clips to predict.
    clips : pd.DataFrame, optional
        Clips table; by default that of RAVDESS.

    Returns
    -------
    list of Run
        Runs ordered by seed, then slower models first (reverse order of `MODELS`).

    Raises
    ------
    ValueError
        If a model, a split, a fold, the target or the subset does not exist, or the target has fewer than two classes.

    See Also
    --------
    run_experiment : Execute runs.

    Examples
    --------
    >>> runs = plan_runs(["svm", "cnn"], seeds=[0, 1])
    >>> len(runs), runs[0].model  # two models, two seeds, five folds
    (20, 'cnn')
    """
    clips = load_features().clips if clips is None else clips
    classes = get_classes(clips, target)
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} classes of {target} are too few; add clips or choose another target "
                         "(--target)")
    for model in models:
        get_model(model)
    runs = [Run(model, split, target, seed, fold, subset) for split in splits
            for seed, fold in _plan_folds(split, target, seeds, folds, subset, clips) for model in models]
    by_duration = list(MODELS)[::-1]
    return sorted(runs, key=lambda run: (run.seed, by_duration.index(run.model) if run.model in MODELS else -1))


def _plan_folds(split, target, seeds, folds, subset, clips):
    """List pairs of seed and fold of one split."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if subset not in SUBSETS:
        raise ValueError(f"subset={subset!r} is unknown; choose one of {', '.join(SUBSETS)}")
    fold_numbers = [fold.fold for fold in SPLITS[split](clips, target) if len(getattr(fold, subset))]
    if not fold_numbers:
        remedy = ('it is for model selection: choose subset="validation" (leave out --test)' if subset == "test" else
                  'choose subset="test" (--test)')
        raise ValueError(f"split {split} has no {subset} set; {remedy}")
    if missing := set(folds or ()) - set(fold_numbers):
        raise ValueError(f"fold {min(missing)} of {split} does not exist; choose from {fold_numbers}")
    return [(seed, fold) for seed in seeds for fold in fold_numbers if not folds or fold in folds]


def package_versions():
    """Return the installed versions of the packages that affect results.

    Returns
    -------
    dict of str to str
        Version of each package.

    Examples
    --------
    >>> sorted(package_versions())
    ['keras', 'librosa', 'numpy', 'scikit-learn', 'scipy', 'tensorflow']
    """
    return {name: version(name) for name in VERSIONED_PACKAGES}


def cache_key(model, data):
    """Compute the cache key of a model: a hash of features, clips table, model settings and package versions.

    A change of the package's own source needs a new `RESULTS_VERSION`, which is hashed as well.

    Parameters
    ----------
    model : str
        Name for `get_model`. For a model outside this package, its module's source is hashed as well.
    data : FeatureSet
        Features of the clips.

    Returns
    -------
    str
        Hash of 12 hexadecimal digits.

    Raises
    ------
    ValueError
        If the model is unknown or cannot be imported.

    Examples
    --------
    >>> data = load_features()
    >>> keys = [cache_key(model, data) for model in ("svm", "svm", "cnn")]
    >>> len(keys[0]), keys[0] == keys[1], keys[0] == keys[2]
    (12, True, False)
    """
    spec = get_model(model)
    text = f"{RESULTS_VERSION} {data.digest} {spec.settings} {package_versions()}"
    digest = hashlib.blake2b(text.encode(), digest_size=6)
    digest.update(to_csv_bytes(data.clips.reindex(columns=CLIP_COLUMNS)))
    for name in spec.input_type.split("+"):
        for values in data.extra.get(name, ()):
            digest.update(values.tobytes())
    if spec.source:
        digest.update(Path(spec.source).read_bytes())
    return digest.hexdigest()


def fit_predict(estimator, X, y, train_index, eval_index, track_validation=False, fit_params=None, prepare=None):
    """Fit an estimator on the training rows and predict the evaluation rows, on one thread.

    Parameters
    ----------
    estimator : scikit-learn classifier
        Unfitted; it is fitted in place.
    X : sequence
        Input of each clip: an array [shape=(n_frames, n_mfcc)] for a model of sequences.
    y : np.ndarray [shape=(n_clips,)], object
        Class names.
    train_index : np.ndarray [shape=(n_train,)], int
        Rows of `X` and `y` to fit.
    eval_index : np.ndarray [shape=(n_eval,)], int
        Rows of `X` and `y` to predict.
    track_validation : bool, default False
        Also record validation loss and accuracy per epoch if `fit` accepts `validation_data`; they are not used for
        training.
    fit_params : dict, optional
        Further arguments of `fit`, such as `sample_weight` of the training rows.
    prepare : callable, optional
        Function from the fitted estimator and the input of the evaluation rows to the input that is predicted.

    Returns
    -------
    probabilities : np.ndarray [shape=(n_eval, n_classes)]
        Predicted probabilities, columns in the order of `estimator.classes_`.
    history : dict
        The estimator's `history_`, if it has one, `seconds` of training, `ms_per_clip` of prediction and, of a
        network, `n_parameters`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.random.default_rng(0).normal(size=(6, 3)), np.array(["calm", "sad"] * 3, dtype=object)
    >>> probabilities, history = fit_predict(LogisticRegression(), X, y, np.arange(4), np.array([4, 5]))
    >>> probabilities.shape, sorted(history)
    ((2, 2), ['ms_per_clip', 'seconds'])
    """
    from sklearn.utils.validation import has_fit_parameter
    from threadpoolctl import threadpool_limits

    (X_train, y_train), (X_eval, y_eval) = (([X[row] for row in rows], y[rows].astype(str))
                                            for rows in (train_index, eval_index))
    has_curves = track_validation and has_fit_parameter(estimator, "validation_data")
    fit_params = (fit_params or {}) | ({"validation_data": (X_eval, y_eval)} if has_curves else {})
    with threadpool_limits(1):
        start = time.perf_counter()
        estimator.fit(X_train, y_train, **fit_params)
        fit_end = time.perf_counter()
        X_eval = X_eval if prepare is None else prepare(estimator, X_eval)
        probabilities = estimator.predict_proba(X_eval)
        predict_end = time.perf_counter()
    history = {**getattr(estimator, "history_", {}), "seconds": fit_end - start,
               "ms_per_clip": 1000 * (predict_end - fit_end) / len(eval_index)}
    if hasattr(estimator, "network_"):
        history["n_parameters"] = estimator.network_.count_params()
    return probabilities, history


def execute_run(run, data):
    """Train the model of a run and predict its validation or test set.

    Parameters
    ----------
    run : Run
        Run to execute.
    data : FeatureSet
        Features of the clips.

    Returns
    -------
    predictions : pd.DataFrame
        Predictions table of the predicted clips.
    history : dict
        Training history; see `fit_predict`.

    Raises
    ------
    ValueError
        If the model or the target is unknown, or the features of the model are missing.
    KeyError, IndexError
        If there is no such split or fold; `plan_runs` checks both.

    Examples
    --------
    >>> predictions, history = execute_run(Run("chance", "speaker-independent", "emotion", 0, 0), load_features())
    >>> len(predictions), sorted(predictions["speaker"].unique())  # 60 clips of each validation speaker
    (120, ['03', '06'])
    >>> predictions[["p_neutral", "p_calm"]].iloc[0].tolist()  # RAVDESS has half as many neutral clips as calm ones
    [0.06667, 0.13333]
    """
    spec, clips = get_model(run.model), data.clips
    estimator = spec.build(run.seed)
    if isinstance(estimator, SequenceClassifier):
        use_single_thread()
    folds, y = SPLITS[run.split](clips, run.target, seed=run.seed), get_labels(clips, run.target)
    split = folds[run.fold]
    train_index, eval_index = _select_rows(split, run.subset)
    X, prepare = data.get_input(spec.input_type), None
    if split.norm_index is not None and hasattr(estimator, "adapt"):
        prepare = _get_adaptation(X, split, clips, eval_index)
    elif split.norm_index is not None:
        X = speaker_normalize(X, clips[split.norm_by].to_numpy(), split.norm_index, train_index)
    probabilities, history = fit_predict(
        estimator, X, y, train_index, eval_index, track_validation=run.subset == "validation",
        fit_params=_get_metadata(clips, y, train_index) if spec.uses_metadata else None, prepare=prepare)
    probabilities = pd.DataFrame(probabilities, columns=estimator.classes_).reindex(
        columns=_get_classes_of_folds(folds, clips, run.target), fill_value=0.0)
    if run.split in MULTI_CORPUS_SPLITS:
        probabilities = restrict_to_common_classes(probabilities, estimator.classes_, y[eval_index],
                                                   clips["corpus"].to_numpy()[eval_index])
        # To save space; significant digits, because the restriction to few classes scales up small values
        probabilities = probabilities.map(lambda value: float(f"{value:.3g}"))
    else:
        probabilities = probabilities.round(5)
    return build_predictions_table(run, clips, train_index, eval_index, probabilities), history


def _select_rows(split, subset):
    """Return the rows to fit and to predict; for the test set, those of the validation set are fitted as well."""
    if subset == "validation":
        return split.train, split.validation
    return np.sort(np.concatenate([split.train, split.validation])), split.test


def _get_metadata(clips, y, train_index):
    """Return the arguments of `fit` for models with `uses_metadata`."""
    rows = clips.iloc[train_index]
    return {"sample_weight": balance_corpora(rows["corpus"], y[train_index]), "speakers": rows["speaker"].to_numpy()}


def _get_adaptation(X, split, clips, eval_index):
    """Return a function of a fitted estimator and its input that adapts the input to the enrollment clips."""
    groups, enrollment_index = clips[split.norm_by].to_numpy(), np.asarray(split.norm_index)
    enrollment_X = [X[row] for row in enrollment_index]
    return lambda estimator, X_eval: estimator.adapt(X_eval, groups[eval_index], enrollment_X, groups[enrollment_index])


def _get_classes_of_folds(folds, clips, target):
    """Return the classes of all folds, so that the tables of their predictions have the same columns."""
    rows = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.validation, fold.test)]))
    return get_classes(clips.iloc[rows], target)


def restrict_to_common_classes(probabilities, train_classes, labels, corpora):
    """Renormalize the probabilities of each test corpus over the classes that it shares with the training set.

    Parameters
    ----------
    probabilities : pd.DataFrame
        Row per clip, column per class.
    train_classes : array-like [shape=(n_train_classes,)], str
        Classes of the training set.
    labels : np.ndarray [shape=(n_clips,)], object
        Class of each clip.
    corpora : np.ndarray [shape=(n_clips,)], object
        Corpus of each clip.

    Returns
    -------
    pd.DataFrame
        Renormalized probabilities, NaN for the other classes.

    Examples
    --------
    >>> p = pd.DataFrame({"calm": [0.5, 0.5], "sad": [0.2, 0.2], "angry": [0.3, 0.3]})
    >>> restrict_to_common_classes(p, p.columns, np.array(["sad", "angry"]), np.array(["emodb", "emodb"]))
       calm  sad  angry
    0   NaN  0.4    0.6
    1   NaN  0.4    0.6
    """
    parts = []
    for _, rows in probabilities.groupby(corpora, sort=False):
        common = set(train_classes) & set(labels[rows.index])
        p_common = rows.loc[:, rows.columns.isin(common)].reindex(columns=rows.columns)
        parts.append(p_common.div(p_common.sum(axis=1).clip(lower=1e-9), axis=0))
    return pd.concat(parts).loc[probabilities.index]


def build_predictions_table(run, clips, train_index, rows, probabilities):
    """Build the predictions table of a run.

    Parameters
    ----------
    run : Run
        Run that predicted the clips.
    clips : pd.DataFrame
        Clips table of the experiment.
    train_index : np.ndarray [shape=(n_train,)], int
        Rows of the training clips.
    rows : np.ndarray [shape=(n_rows,)], int
        Rows of the predicted clips.
    probabilities : pd.DataFrame
        Row per predicted clip, column per class.

    Returns
    -------
    pd.DataFrame
        Predictions table. `train_corpus` is "multiple" if the model was trained on several corpora.
    """
    test_clips = clips.iloc[rows].reset_index(drop=True)
    test_corpus = test_clips["corpus"] if run.split in MULTI_CORPUS_SPLITS else _join_corpora(clips)
    keys = {"model": run.model, "split": run.split, "train_corpus": _name_train_corpus(run.split, clips, train_index),
            "test_corpus": test_corpus, "target": run.target, "seed": run.seed, "fold": run.fold,
            "clip": test_clips["clip"], "speaker": test_clips["speaker"], "label": get_labels(test_clips, run.target)}
    return pd.DataFrame(keys).join(probabilities.add_prefix("p_"))


def _join_corpora(clips):
    return "-".join(clips["corpus"].unique())


def _name_train_corpus(split, clips, train_index):
    if split not in MULTI_CORPUS_SPLITS:
        return _join_corpora(clips)
    corpora = clips["corpus"].iloc[train_index].unique()
    if len(corpora) > 1 or split.startswith("train-"):  # in a learning curve, the name is the same in all folds
        return "multiple"
    return corpora[0]


def check_training_sets(runs, clips):
    """Check that the training set of each run is large enough for its model (`ModelSpec.min_clips`).

    Parameters
    ----------
    runs : sequence of Run
        Runs to check.
    clips : pd.DataFrame
        Clips table of the experiment.

    Raises
    ------
    ValueError
        If a training set is too small.

    Examples
    --------
    >>> clips = load_features().clips.groupby(["speaker", "emotion"]).head(1)
    >>> check_training_sets(plan_runs(["svm", "mlp"], clips=clips), clips)
    >>> clips = clips[clips["speaker"] < "06"]
    >>> check_training_sets(plan_runs(["svm", "mlp"], clips=clips), clips)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: svm needs 5 training clips of at least one class, but fold 0 of speaker-independent has 3 of ...
    """
    folds: dict[tuple, list] = {}
    for run in runs:
        if (min_clips := get_model(run.model).min_clips) > 1:
            key = run.split, run.target, run.seed
            if key not in folds:
                folds[key] = SPLITS[run.split](clips, run.target, seed=run.seed)
            train_index, _ = _select_rows(folds[key][run.fold], run.subset)
            counts = Counter(get_labels(clips, run.target)[train_index])
            [(name, n_clips)] = counts.most_common(1) or [("any class", 0)]
            if n_clips < min_clips:
                raise ValueError(
                    f"{run.model} needs {min_clips} training clips of at least one class, but fold {run.fold} of "
                    f"{run.split} has {n_clips} of {name}, the most frequent class; add clips of each class, or choose "
                    "another model (--model), such as sklearn.linear_model:LogisticRegression")


def run_experiment(runs, features=RAVDESS_FEATURES, cache_dir="build/runs", *, n_jobs=-1, scheduler=None,
                   progress=True):
    """Execute runs in parallel; cached runs are loaded instead.

    Parameters
    ----------
    runs : sequence of Run
        Runs to execute, such as `plan_runs` returns.
    features : str, Path or list of these, default RAVDESS_FEATURES
        Feature folders.
    cache_dir : str or Path, default "build/runs"
        Folder of the cached runs.
    n_jobs : int, default -1
        Number of processes; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then execute the runs. They need this package and the features under
        the same path.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    predictions : dict of str to pd.DataFrame
        Predictions table of each target, in the order of `runs`.
    histories : dict of Run to dict
        Training history of each run; see `fit_predict`.

    Raises
    ------
    RunError
        If a model raises an error.
    ValueError
        If a model is unknown, a training set is too small for its model, or the Dask scheduler or one of its workers
        cannot be used.

    See Also
    --------
    ser_utils.evaluation.results.evaluate_test : Evaluate on the test sets and log the access.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     predictions, histories = run_experiment(plan_runs(["chance"], folds=[0, 1]), cache_dir=folder, n_jobs=1)
    ...     len(list(Path(folder).glob("*.csv.gz")))
    2
    >>> predictions["emotion"]["speaker"].unique().tolist(), len(histories)
    (['03', '06', '10', '11'], 2)
    """
    folder, data, source = Path(cache_dir), load_features(features), _resolve_folder(features)
    keys = {model: cache_key(model, data) for model in {run.model for run in runs}}
    stems = {run: folder / f"{run.model.replace(':', '.')}_{run.split}_{run.target}_{run.subset}_seed{run.seed}_fold"
                           f"{run.fold}_{keys[run.model]}" for run in runs}
    folder.mkdir(parents=True, exist_ok=True)
    results_by_run = {run: _load_run(stem) for run, stem in stems.items()}
    missing_runs = [run for run in runs if results_by_run[run] is None]
    check_training_sets(missing_runs, data.clips)
    results = parallel_map(partial(_execute, features=source), missing_runs, desc=_describe(missing_runs), unit="run",
                           ordered=False, n_jobs=n_jobs, scheduler=scheduler, progress=progress,
                           n_done=len(runs) - len(missing_runs),
                           environment=partial(_worker_fingerprint, sorted(keys), source))
    with closing(results):  # ends the progress bar before an error is printed
        for run, predictions, history in results:
            _save_run(stems[run], predictions, history)
            results_by_run[run] = _load_run(stems[run])
    tables: dict[str, list] = {}
    for run in runs:
        tables.setdefault(run.target, []).append(results_by_run[run][0])
    return ({target: concat_predictions(parts) for target, parts in tables.items()},
            {run: history for run, (_, history) in results_by_run.items()})


def concat_predictions(tables):
    """Concatenate predictions tables of one target, their probability columns in the order of `sort_classes`.

    Parameters
    ----------
    tables : list of pd.DataFrame
        Predictions tables.

    Returns
    -------
    pd.DataFrame
        Predictions table with all rows; probabilities that a table lacks are NaN.

    Examples
    --------
    >>> tables = [pd.DataFrame({"clip": [clip], f"p_{name}": [1.0]}) for clip, name in (("a", "sad"), ("b", "calm"))]
    >>> concat_predictions(tables)
      clip  p_calm  p_sad
    0    a     NaN    1.0
    1    b     1.0    NaN
    """
    table = pd.concat(tables, ignore_index=True)
    keys = [name for name in table if not name.startswith("p_")]
    return table[keys + [f"p_{name}" for name in sort_classes(name[2:] for name in table.columns.drop(keys))]]


def _resolve_folder(features):
    """Resolve feature folders for a worker process; None is RAVDESS, whose path differs between machines."""
    if not isinstance(features, str | Path):
        return [_resolve_folder(folder) for folder in features]
    return None if Path(features) == RAVDESS_FEATURES else str(Path(features).resolve())


def _describe(runs):
    """Title of the progress bar: the models, unless there are many."""
    models = dict.fromkeys(run.model for run in runs)
    return ", ".join(models) if len(models) <= 3 else "runs"


def _worker_fingerprint(models, features):
    """Compute what must be equal on every worker: cache keys, and a hash of this package's source."""
    data = load_features(features)
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    code = hashlib.blake2b(b"".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
    return [cache_key(model, data) for model in models], code


def _execute(run, features):
    try:
        return run, *execute_run(run, load_features(features))
    except Exception as error:
        raise RunError(f"{run} failed: {type(error).__name__}: {error}") from error


def _save_run(stem, predictions, history):
    """Write a run to the cache, the predictions last: without them it is incomplete."""
    write_atomic(stem.with_name(f"{stem.name}.json.gz"), gzip.compress(json.dumps(history).encode(), mtime=0))
    write_predictions(stem.with_name(f"{stem.name}.csv.gz"), predictions)


def _load_run(stem):
    """Read the predictions and history of a cached run; None if it does not exist or is damaged."""
    table, history = (stem.with_name(stem.name + suffix) for suffix in (".csv.gz", ".json.gz"))
    try:
        return read_csv(table), json.loads(gzip.decompress(history.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        warnings.warn(f"{table}: damaged cached run ({error}); the run is executed again", stacklevel=3)
        return None


def write_predictions(path, predictions):
    """Write a predictions table as compressed CSV; equal tables give equal bytes.

    Parameters
    ----------
    path : Path
        File to write, ending in `.csv.gz`.
    predictions : pd.DataFrame
        Predictions table.
    """
    write_atomic(path, gzip.compress(to_csv_bytes(predictions), mtime=0))


def save_experiment(folder, predictions, histories):
    """Write the results of `run_experiment` to a folder.

    Parameters
    ----------
    folder : Path
        Target of `predictions_<target>.csv.gz`, and of `experiment.json` with the training curves of each network's
        first run; it is created if it does not exist.
    predictions : dict of str to pd.DataFrame
        Predictions table of each target.
    histories : dict of Run to dict
        Training history of each run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = {run.model: history for run, history in reversed(histories.items()) if "loss" in history}
    write_atomic(folder / "experiment.json", json.dumps({"curves": curves}).encode())
    for target, table in predictions.items():
        write_predictions(folder / f"predictions_{target}.csv.gz", table)
