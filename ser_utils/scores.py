"""Every published figure, computed from a predictions table.

A predictions table has one row per clip, model, protocol, labels, seed and fold: the true class in `emotion`, and a
column `p_<class>` for every class of its labels, in reading order (empty for those of other labels).
"""

import numpy as np
import pandas as pd

from ser_utils.splits import UNSEEN

KEYS = ["model", "protocol", "labels"]
DRAWS = 2000  # bootstrap resamples of the speakers
FEWEST = 6  # speakers; a bootstrap over fewer says nothing


def classes(rows):
    """The classes that rows of one labelling choose between, in reading order. list of str

    >>> classes(pd.DataFrame({"clip": ["a", "b"], "p_calm": [0.25, 0.5], "p_sad": [0.75, 0.5], "p_bored": None}))
    ['calm', 'sad']
    """
    return [name[2:] for name in rows.columns if name.startswith("p_") and not rows[name].isna().any()]


def predicted(rows):
    """The likeliest class of each row. [shape=(rows,)] of str

    >>> predicted(pd.DataFrame({"emotion": ["sad", "sad"], "p_calm": [0.25, 0.9], "p_sad": [0.75, 0.1]})).tolist()
    ['sad', 'calm']
    """
    names = classes(rows)
    return np.array(names)[rows[[f"p_{name}" for name in names]].to_numpy().argmax(axis=1)]


def confusion(rows):
    """Counts of actual (rows) against predicted (columns), as `classes`. [shape=(n_classes, n_classes)], int

    >>> rows = pd.DataFrame({"emotion": ["calm", "sad", "sad"], "p_calm": [0.8, 0.3, 0.9], "p_sad": [0.2, 0.7, 0.1]})
    >>> confusion(rows).tolist()  # calm as calm; of two sad clips one as calm
    [[1, 0], [1, 1]]
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(rows["emotion"], predicted(rows), labels=classes(rows))


def recalls(counts):
    """Recall of each class from confusion counts; NaN for a class that never occurs.

    [shape=(..., n_classes, n_classes)] -> [shape=(..., n_classes)]

    >>> recalls(np.array([[3, 1], [0, 0]])).tolist()
    [0.75, nan]
    """
    actual = counts.sum(axis=-1)
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.divide(correct, actual, out=np.full(actual.shape, np.nan), where=actual > 0)


def uar(counts):
    """Unweighted average recall: the mean recall of the classes that occur. Chance is 1 / n_classes.

    [shape=(..., n_classes, n_classes)] -> [shape=(...)], 0 to 1

    >>> float(uar(np.array([[3, 1], [2, 2]])))  # recalls of 3 / 4 and 2 / 4
    0.625
    >>> float(uar(np.array([[90, 0], [10, 0]])))  # the commoner of two classes, always: an accuracy of 90 %
    0.5
    """
    return np.nanmean(recalls(counts), axis=-1)


def interval(rows, level=0.95, draws=DRAWS):
    """Bootstrap interval of the UAR for other speakers: speakers are drawn with replacement, all their clips together.

    Clips of one speaker stand or fall together, so resampling clips would promise too much (Efron & Tibshirani 1993).
    Each draw pools what was drawn within each seed and averages over seeds, as the headline does. Returns low and high.

    >>> from ser_utils import publish
    >>> rows = publish.load().query("model == 'svm' and protocol == 'speaker-independent' and labels == 'emotion'")
    >>> low, high = interval(rows)
    >>> bool(low < uar(confusion(rows)) < high), high - low < interval(rows, level=0.99)[1] - low
    (True, True)
    """
    speakers, seeds = sorted(rows["speaker"].unique()), sorted(rows["seed"].unique())
    groups = dict(list(rows.groupby(["seed", "speaker"])))
    nothing = np.zeros((len(classes(rows)),) * 2, int)
    counts = np.array([[confusion(groups[seed, speaker]) if (seed, speaker) in groups else nothing
                        for speaker in speakers] for seed in seeds])
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=draws)
    drawn = uar(np.einsum("ds,ksij->kdij", weights, counts)).mean(axis=0)
    tail = (1 - level) / 2
    return tuple(np.quantile(drawn, [tail, 1 - tail]).tolist())


def gender_accuracy(rows):
    """Share of clips whose speaker's gender is right, from the ten classes: the likelier half of the codes.

    >>> p = {"p_female_calm": [0.4, 0.1], "p_female_sad": [0.3, 0.2], "p_male_sad": [0.3, 0.7]}
    >>> gender_accuracy(pd.DataFrame({"emotion": ["female_sad", "male_sad"], **p}))  # the first is not taken for sad
    1.0
    """
    female = rows[[f"p_{name}" for name in classes(rows) if name.startswith("female")]].sum(axis=1)
    return float(((female > 0.5) == rows["emotion"].str.startswith("female")).mean())


def summary(predictions):
    """One row per model, protocol and labels, the average of MLP, LSTM and CNN among them: the result table.

    Out-of-fold predictions are pooled per seed, scored, and averaged over seeds; `uar_folds` is the mean over the folds
    instead. `sd_seeds` and `sd_folds` are standard deviations (NaN for a single one); `low` and `high` bound the
    speaker-bootstrap interval, given only where the speakers tested were never trained on and are at least six. Of
    `across` every tested corpus has a row, as "across to emodb".

    >>> from ser_utils import publish
    >>> rows = publish.load().query("model == 'chance' and protocol == 'speaker-independent' and labels == 'emotion'")
    >>> summary(rows)[["model", "folds", "clips", "speakers", "uar", "chance"]].to_dict("records")
    [{'model': 'chance', 'folds': 5, 'clips': 1440, 'speakers': 24, 'uar': 0.125, 'chance': 0.125}]
    """
    table = with_average(predictions)
    tested = " to " + table["clip"].str.split("/").str[0]
    table["protocol"] += tested.where(table["protocol"].str.startswith("across"), "")
    return pd.DataFrame([_summary(key, rows) for key, rows in table.groupby(KEYS, sort=False)])


def _summary(key, rows):
    from sklearn.metrics import accuracy_score, f1_score

    model, protocol, labels = key
    seeds = [one for _, one in rows.groupby("seed")]
    by_seed = [float(uar(confusion(one))) for one in seeds]
    by_fold = [np.mean([uar(confusion(part)) for _, part in fold.groupby("seed")])
               for _, fold in rows.groupby("fold")]
    pairs = [(one["emotion"], predicted(one)) for one in seeds]
    resampled = protocol.split(" to ")[0] in UNSEEN and rows["speaker"].nunique() >= FEWEST
    low, high = interval(rows) if resampled else (np.nan, np.nan)
    return {
        "model": model, "protocol": protocol, "labels": labels, "seeds": len(seeds), "folds": len(by_fold),
        "clips": rows["clip"].nunique(), "speakers": rows["speaker"].nunique(),
        "uar": np.mean(by_seed), "low": low, "high": high,
        "sd_seeds": np.std(by_seed, ddof=1) if len(by_seed) > 1 else np.nan,
        "uar_folds": np.mean(by_fold), "sd_folds": np.std(by_fold, ddof=1) if len(by_fold) > 1 else np.nan,
        "accuracy": np.mean([accuracy_score(*pair) for pair in pairs]),
        "macro_f1": np.mean([f1_score(*pair, labels=classes(rows), average="macro", zero_division=0)
                             for pair in pairs]),
        "chance": 1 / len(classes(rows)),
        "gender": np.mean([gender_accuracy(one) for one in seeds]) if labels == "gender_emotion" else np.nan,
    }


def with_average(predictions, models=("mlp", "lstm", "cnn"), name="average"):
    """The table and, where all these models answered, the mean of their probabilities as one more, seed by seed.

    >>> rows = pd.DataFrame({"model": ["mlp", "lstm", "cnn"], "clip": "a", "p_sad": [0.5, 1, 0.75]})
    >>> with_average(rows).to_dict("records")[-1]
    {'model': 'average', 'clip': 'a', 'p_sad': 0.75}
    """
    same = [column for column in predictions.columns if not column.startswith("p_") and column != "model"]
    groups = predictions[predictions["model"].isin(models)].groupby(same, sort=False, dropna=False)
    mean = groups.mean(numeric_only=True)[groups.size() == len(models)].reset_index().assign(model=name)
    return pd.concat([predictions, mean[predictions.columns]], ignore_index=True)


def samples(predictions, count=10, seed=0):
    """A few clips, the same for the same seed: clip, speaker, actual, predicted, and p of the predicted class.

    >>> rows = pd.DataFrame({"clip": ["b", "a"], "speaker": ["s1", "s2"], "emotion": ["sad", "calm"],
    ...                      "p_calm": [0.25, 0.9], "p_sad": [0.75, 0.1]})
    >>> print(samples(rows))
      clip speaker actual predicted     p
    0    a      s2   calm      calm  0.90
    1    b      s1    sad       sad  0.75
    """
    rows = predictions.sample(min(count, len(predictions)), random_state=seed)
    return pd.DataFrame({
        "clip": rows["clip"], "speaker": rows["speaker"], "actual": rows["emotion"],
        "predicted": predicted(rows),
        "p": rows[[f"p_{name}" for name in classes(rows)]].max(axis=1).round(2),
    }).sort_values("clip").reset_index(drop=True)
