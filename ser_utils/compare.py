"""Train and predict, unit by unit: a model, a protocol, a labelling, a seed and a fold. What is finished is kept."""

import gzip
import hashlib
import json
import time
import warnings
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import corpora, files, models, splits, store
from ser_utils.features import by_speaker
from ser_utils.parallel import each

PACKAGE = Path(__file__).parent
DECIDES = ("features.py", "splits.py", "augment.py", "networks.py", "sequence.py", "models.py", "compare.py")


class UnitError(RuntimeError):
    """A unit whose model failed: which, and the model's own error as cause.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     run([Unit("chance", "random-split", "emotion", seed=0, fold=7)], checkpoints=folder, jobs=1)
    Traceback (most recent call last):
    ser_utils.compare.UnitError: Unit(model='chance', ...) failed: IndexError: list index out of range
    """


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work, done by one thread from seeds of its own.

    `part` is what is predicted: "validation" trains on the training speakers alone; "test" trains on those and the
    validation speakers together, for by then nothing is left to decide.

    >>> Unit("cnn", "speaker-independent", "emotion", seed=0, fold=2)
    Unit(model='cnn', protocol='speaker-independent', labels='emotion', seed=0, fold=2, part='validation')
    """

    model: str
    protocol: str
    labels: str
    seed: int
    fold: int
    part: str = "validation"


def plan(names, protocols=("speaker-independent",), labels="emotion", seeds=(0,), folds=None, part="validation",
         clips=None):
    """Every unit of a comparison, longest training first so that the last ones to finish are short. list of Unit

    All folds of a protocol by default; `part` is "validation" or "test"; `clips` a clips table, by default that of the
    shipped features. Raises ValueError for a fold or part that a protocol does not have.

    >>> units = plan(["svm", "cnn"], seeds=[0, 1])
    >>> len(units), units[0].model  # two models, two seeds, five folds
    (20, 'cnn')
    >>> plan(["svm"], folds=[7])
    Traceback (most recent call last):
    ValueError: fold 7 of speaker-independent does not exist; choose from [0, 1, 2, 3, 4]
    """
    clips = store.load().clips if clips is None else clips
    units, classes = [], splits.classes(clips, labels)
    if len(classes) < 2:
        raise ValueError(f"by {labels} there is nothing to tell apart ({', '.join(classes) or 'no clip has one'}); "
                         "bring clips of two classes at least, or other --labels")
    for name in names:
        models.find(name)
    for protocol in protocols:
        if protocol not in splits.PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is unknown; choose one of {', '.join(splits.PROTOCOLS)}")
        there = [split.fold for split in splits.PROTOCOLS[protocol](clips, labels) if len(getattr(split, part))]
        if not there:
            raise ValueError(f"{protocol} has no {part} clips: " + (
                "it is for choosing; leave out --publish" if part == "test" else "it chooses nothing; add --publish"))
        missing = set(folds or ()) - set(there)
        if missing:
            raise ValueError(f"fold {min(missing)} of {protocol} does not exist; choose from {there}")
        units += [Unit(name, protocol, labels, seed, fold, part)
                  for seed in seeds for fold in there if not folds or fold in folds for name in names]
    slow = list(models.MODELS)[::-1]
    return sorted(units, key=lambda unit: (unit.seed, slow.index(unit.model) if unit.model in slow else -1))


def recipe(name, data):
    """Everything a result depends on, as 12 hex digits: a checkpoint made by other code or features is not reused.

    >>> data = store.load()
    >>> len(recipe("cnn", data))
    12
    >>> recipe("cnn", data) == recipe("cnn", data), recipe("cnn", data) == recipe("mlp", data)
    (True, False)
    """
    model = models.find(name)
    digest = hashlib.blake2b(f"{data.digest} {model.settings} {versions()}".encode(), digest_size=6)
    # the labels, the speakers
    digest.update(store.as_csv(data.clips.reindex(columns=corpora.COLUMNS)))
    for file in [*(PACKAGE / file for file in DECIDES), Path(model.source)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def versions():
    """Of the packages that decide a number. dict of str to str

    >>> list(versions())
    ['tensorflow', 'keras', 'scikit-learn', 'numpy', 'scipy']
    >>> versions()["numpy"] == np.__version__
    True
    """
    from importlib.metadata import version

    return {name: version(name) for name in ("tensorflow", "keras", "scikit-learn", "numpy", "scipy")}


def run_unit(unit, data):
    """Train one model on its side of one fold of a FeatureSet and predict the other side, on one thread.

    Returns its rows of the predictions table, and its training history with the `seconds` it took, the `ms_a_clip` of
    predicting, and a network's number of `parameters`.

    >>> rows, history = run_unit(Unit("chance", "speaker-independent", "emotion", seed=0, fold=0), store.load())
    >>> len(rows), sorted(rows["speaker"].unique())  # 60 clips of each validation speaker
    (120, ['03', '06'])
    >>> rows[["p_neutral", "p_calm"]].iloc[0].tolist()  # RAVDESS has half as many neutral clips as calm ones
    [0.06667, 0.13333]
    >>> list(history)
    ['seconds', 'ms_a_clip']
    """
    from threadpoolctl import threadpool_limits

    started, model = time.perf_counter(), models.find(unit.model)
    folds = splits.PROTOCOLS[unit.protocol](data.clips, unit.labels, seed=unit.seed)
    split, used = folds[unit.fold], np.unique(np.concatenate(
        [rows for one in folds for rows in (one.train, one.validation, one.test)]))
    X = data.sequences if model.hears == "sequences" else list(data.contours[..., None])
    y = splits.label(data.clips, unit.labels)
    learned, asked = ((split.train, split.validation) if unit.part == "validation" else
                      (np.sort(np.concatenate([split.train, split.validation])), split.test))
    if split.known is not None:
        X = by_speaker(X, data.clips[split.by].to_numpy(), split.known, learned)
    estimator = model.estimator(unit.seed)
    with threadpool_limits(1):
        if unit.part == "validation" and hasattr(estimator, "network"):  # curves to look at; nothing is decided on them
            estimator.fit([X[row] for row in learned], y[learned].astype(str),
                          validation=([X[row] for row in asked], y[asked].astype(str)))
        else:
            estimator.fit([X[row] for row in learned], y[learned].astype(str))
        trained = time.perf_counter()
        probabilities = estimator.predict_proba([X[row] for row in asked])
    given = pd.DataFrame(probabilities, columns=estimator.classes_)
    classes = splits.classes(data.clips.iloc[used], unit.labels)
    given = given.reindex(columns=classes, fill_value=0.0).add_prefix("p_").round(5)
    rows = _keys(unit, data.clips.iloc[asked]).assign(emotion=y[asked]).join(given)
    history = {**getattr(estimator, "history_", {}), "seconds": trained - started,
               "ms_a_clip": 1000 * (time.perf_counter() - trained) / len(asked)}
    if hasattr(estimator, "network_"):
        history["parameters"] = estimator.network_.count_params()
    return rows, history


def _keys(unit, clips):
    keys = {name: value for name, value in asdict(unit).items() if name != "part"}
    return pd.DataFrame({**keys, **{name: clips[name].to_numpy() for name in ("clip", "speaker")}})


def run(units, features=store.SHIPPED, checkpoints="build/units", *, jobs=-1, scheduler=None, progress=True):
    """Run units over `jobs` processes (-1: one a core), keeping each as it finishes; those already kept are read.

    With the address of a Dask `scheduler` its workers do it; they need this package and the features at the same path.

    Returns the predictions table, in the order of the units, and a dict of Unit to training history.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     rows, histories = run(plan(["chance"], folds=[0, 1]), checkpoints=folder, jobs=1)
    ...     len(list(Path(folder).glob("*.csv.gz")))
    2
    >>> rows["speaker"].unique().tolist(), len(histories)
    (['03', '06', '10', '11'], 2)
    """
    from joblib import delayed

    folder, data = Path(checkpoints), store.load(features)
    recipes = {name: recipe(name, data) for name in {unit.model for unit in units}}
    paths = {unit: folder / _file_name(unit, recipes[unit.model]) for unit in units}
    folder.mkdir(parents=True, exist_ok=True)
    kept = {unit: _kept(path) for unit, path in paths.items()}
    waiting = [unit for unit in units if kept[unit] is None]
    shown = _anywhere(features)
    work = (delayed(_done)(unit, shown) for unit in waiting)
    finished = each(work, len(units), "comparing", "unit", ordered=False, jobs=jobs, scheduler=scheduler,
                    same=partial(_recipes, sorted(recipes), shown), progress=progress, done=len(units) - len(waiting))
    with closing(finished):  # and its bar, before anybody speaks of an error
        for unit, rows, history in finished:
            _keep(rows, history, paths[unit])
            kept[unit] = _kept(paths[unit])
    return pd.concat([kept[unit][0] for unit in units], ignore_index=True), {
        unit: history for unit, (_, history) in kept.items()}


def _file_name(unit, recipe_digest):
    name = unit.model.replace(":", ".")
    return f"{name}_{unit.protocol}_{unit.labels}_{unit.part}_seed{unit.seed}_fold{unit.fold}_{recipe_digest}.csv.gz"


def _anywhere(features):
    """Folders of features as another process finds them: what ships is named by None, for each machine has its own."""
    if not isinstance(features, str | Path):
        return [_anywhere(one) for one in features]
    return None if Path(features) == store.SHIPPED else str(Path(features).resolve())


def _recipes(names, shown):
    data = store.load(shown)
    return [recipe(name, data) for name in names]


def _done(unit, shown):
    try:
        return unit, *run_unit(unit, store.load(shown))
    except Exception as error:
        raise UnitError(f"{unit} failed: {type(error).__name__}: {error}") from error


def _keep(rows, history, path):
    files.write(path.with_suffix(".json.gz"), gzip.compress(json.dumps(history).encode(), mtime=0))
    write(rows, path)


def _kept(path):
    """A unit's rows and history; None where it is not done, or damaged."""
    try:
        return pd.read_csv(path, **store.READ), json.loads(gzip.decompress(path.with_suffix(".json.gz").read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        warnings.warn(f"{path}: damaged ({error}); this unit is done again", stacklevel=2)
        return None


def write(rows, path):
    """A predictions table into its place, whole, and with a checksum that is looked at when it is read.

    >>> from tempfile import TemporaryDirectory
    >>> rows = pd.DataFrame({"clip": ["a"], "p_sad": [0.25]})
    >>> with TemporaryDirectory() as folder:
    ...     write(rows, Path(folder) / "predictions.csv.gz")
    ...     pd.read_csv(Path(folder) / "predictions.csv.gz").equals(rows)
    True
    """
    files.write(path, gzip.compress(store.as_csv(rows), mtime=0))  # no time inside: the same rows, the same file


def keep(folder, rows, histories, note=""):
    """Leave what `run` gave in a folder, for the report: predictions, a history a model, and a note of the corpus.

    >>> from tempfile import TemporaryDirectory
    >>> histories = {Unit("cnn", "nested", "emotion", seed=0, fold=0): {"loss": [2.1, 1.9]}}
    >>> with TemporaryDirectory() as folder:
    ...     keep(Path(folder), pd.DataFrame({"clip": ["a"]}), histories)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ...     (Path(folder) / "about.json").read_text()
    ['about.json', 'predictions.csv.gz']
    '{"note": "", "curves": {"cnn": {"loss": [2.1, 1.9]}}}'
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = {unit.model: history for unit, history in reversed(histories.items()) if "loss" in history}
    files.write(folder / "about.json", json.dumps({"note": note, "curves": curves}).encode())
    write(rows, folder / "predictions.csv.gz")
