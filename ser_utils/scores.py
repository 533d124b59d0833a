"""Every published figure, computed from a predictions table.

A predictions table has one row per clip, model, protocol, labels, seed and fold: the true class in `emotion`, and a
column `p_<class>` for every class of its labels (empty for those of the other).
"""

import numpy as np
import pandas as pd

from ser_utils.splits import CLASSES, UNSEEN

KEYS = ["model", "protocol", "labels"]
DRAWS = 2000  # bootstrap resamples of the speakers
FEWEST = 6  # speakers; a bootstrap over fewer says nothing


def predicted(rows, labels):
    """The likeliest class of each row.

    Returns
    -------
    np.ndarray [shape=(rows,)] of str
    """
    return np.array(CLASSES[labels])[rows[[f"p_{name}" for name in CLASSES[labels]]].to_numpy().argmax(axis=1)]


def confusion(rows, labels):
    """Counts of actual (rows) against predicted (columns) in the one reading order of the classes.

    Returns
    -------
    np.ndarray [shape=(n_classes, n_classes)], int
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(rows["emotion"], predicted(rows, labels), labels=list(CLASSES[labels]))


def recalls(counts):
    """Recall of each class from confusion counts; NaN for a class that never occurs.

    Parameters
    ----------
    counts : np.ndarray [shape=(..., n_classes, n_classes)]

    Returns
    -------
    np.ndarray [shape=(..., n_classes)]
    """
    actual = counts.sum(axis=-1)
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.divide(correct, actual, out=np.full(actual.shape, np.nan), where=actual > 0)


def uar(counts):
    """Unweighted average recall: the mean recall of the classes that occur. Chance is 1 / n_classes.

    Parameters
    ----------
    counts : np.ndarray [shape=(..., n_classes, n_classes)]

    Returns
    -------
    np.ndarray [shape=(...)], 0 to 1
    """
    return np.nanmean(recalls(counts), axis=-1)


def interval(rows, labels, level=0.95, draws=DRAWS):
    """Bootstrap interval of the UAR for other speakers: speakers are drawn with replacement, all their clips together.

    Clips of one speaker stand or fall together, so resampling clips would promise too much (Efron & Tibshirani 1993).
    Each draw pools what was drawn within each seed and averages over seeds, as the headline does.

    Returns
    -------
    low, high : float
    """
    speakers, seeds = sorted(rows["speaker"].unique()), sorted(rows["seed"].unique())
    groups = dict(list(rows.groupby(["seed", "speaker"])))
    nothing = np.zeros((len(CLASSES[labels]),) * 2, int)
    counts = np.array([[confusion(groups[seed, speaker], labels) if (seed, speaker) in groups else nothing
                        for speaker in speakers] for seed in seeds])
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=draws)
    drawn = uar(np.einsum("ds,ksij->kdij", weights, counts)).mean(axis=0)
    tail = (1 - level) / 2
    return tuple(np.quantile(drawn, [tail, 1 - tail]).tolist())


def gender_accuracy(rows):
    """Share of clips whose speaker's gender is right, from the ten classes: the likelier half of the codes."""
    female = rows[[f"p_{name}" for name in CLASSES["gender_emotion"] if name.startswith("female")]].sum(axis=1)
    return float(((female > 0.5) == rows["emotion"].str.startswith("female")).mean())


def summary(predictions):
    """One row per model, protocol and labels: the result table.

    Out-of-fold predictions are pooled per seed, scored, and averaged over seeds; `uar_folds` is the mean over the folds
    instead. `sd_seeds` and `sd_folds` are standard deviations (NaN for a single one); `low` and `high` bound the
    speaker-bootstrap interval, given only where the speakers tested were never trained on and are at least six.

    Returns
    -------
    pd.DataFrame
    """
    return pd.DataFrame([_summary(key, rows) for key, rows in predictions.groupby(KEYS, sort=False)])


def _summary(key, rows):
    from sklearn.metrics import accuracy_score, f1_score

    model, protocol, labels = key
    seeds = [one for _, one in rows.groupby("seed")]
    by_seed = [float(uar(confusion(one, labels))) for one in seeds]
    by_fold = [np.mean([uar(confusion(part, labels)) for _, part in fold.groupby("seed")])
               for _, fold in rows.groupby("fold")]
    pairs = [(one["emotion"], predicted(one, labels)) for one in seeds]
    resampled = protocol in UNSEEN and rows["speaker"].nunique() >= FEWEST
    low, high = interval(rows, labels) if resampled else (np.nan, np.nan)
    return {
        "model": model, "protocol": protocol, "labels": labels, "seeds": len(seeds), "folds": len(by_fold),
        "clips": rows["clip"].nunique(), "speakers": rows["speaker"].nunique(),
        "uar": np.mean(by_seed), "low": low, "high": high,
        "sd_seeds": np.std(by_seed, ddof=1) if len(by_seed) > 1 else np.nan,
        "uar_folds": np.mean(by_fold), "sd_folds": np.std(by_fold, ddof=1) if len(by_fold) > 1 else np.nan,
        "accuracy": np.mean([accuracy_score(*pair) for pair in pairs]),
        "macro_f1": np.mean([f1_score(*pair, labels=list(CLASSES[labels]), average="macro", zero_division=0)
                             for pair in pairs]),
        "chance": 1 / len(CLASSES[labels]),
        "gender": np.mean([gender_accuracy(one) for one in seeds]) if labels == "gender_emotion" else np.nan,
    }


def samples(predictions, count=10, seed=0):
    """A few clips as they were and as they were heard, drawn at random, the same for the same seed.

    Returns
    -------
    pd.DataFrame
        clip, speaker, actual, predicted, p (of the predicted class)
    """
    labels = predictions["labels"].iloc[0]
    rows = predictions.sample(min(count, len(predictions)), random_state=seed)
    return pd.DataFrame({
        "clip": rows["clip"], "speaker": rows["speaker"], "actual": rows["emotion"],
        "predicted": predicted(rows, labels),
        "p": rows[[f"p_{name}" for name in CLASSES[labels]]].max(axis=1).round(2),
    }).sort_values("clip").reset_index(drop=True)
