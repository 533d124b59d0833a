"""Scores of a predictions table.

A predictions table has one row per clip, model, split, seed and fold of one target. `KEYS` identify a result; the other
columns are seed, fold, clip, speaker, `label` (the true class) and `p_<class>`, one probability per class.
"""

import numpy as np
import pandas as pd

from ser_utils.evaluation.splits import UNSEEN_SPEAKER_SPLITS

KEYS = ["model", "split", "train_corpus", "test_corpus", "target"]
MIN_SPEAKERS = 6  # a bootstrap over fewer speakers gives no usable interval
MIN_PROBABILITY = 5e-6  # half of the last of five digits after the point


def get_class_names(predictions):
    """Return the classes of a predictions table: those whose probability no row lacks.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table.

    Returns
    -------
    list of str
        In the order of the columns.

    Examples
    --------
    >>> get_class_names(pd.DataFrame({"label": ["sad"], "p_calm": [0.25], "p_sad": [0.75], "p_bored": [float("nan")]}))
    ['calm', 'sad']
    """
    return [name[2:] for name in predictions if name.startswith("p_") and not predictions[name].isna().any()]


def _get_probabilities(predictions):
    """Return the probabilities [shape=(n_rows, n_classes)] in the order of get_class_names."""
    return predictions[[f"p_{name}" for name in get_class_names(predictions)]].to_numpy()


def get_predicted_labels(predictions):
    """Return the most probable class of each row.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table.

    Returns
    -------
    np.ndarray [shape=(n_rows,)], str
        Predicted classes.

    Examples
    --------
    >>> get_predicted_labels(pd.DataFrame({"p_calm": [0.25, 0.9], "p_sad": [0.75, 0.1]})).tolist()
    ['sad', 'calm']
    """
    return np.array(get_class_names(predictions))[_get_probabilities(predictions).argmax(axis=1)]


def _count(predictions, by=()):
    """Count a confusion matrix for each combination of values of the columns `by`, each column's values sorted."""
    names = get_class_names(predictions)
    true = pd.Index(names).get_indexer(predictions["label"])
    if (true < 0).any():
        label = predictions["label"].iloc[true.argmin()]
        raise ValueError(f"label {label!r} has no probability in some or all rows; add a column p_{label} without "
                         "missing values, or leave out these clips")
    groups = [np.unique(predictions[column], return_inverse=True)[1] for column in by]
    counts = np.zeros([group.max() + 1 for group in groups] + [len(names)] * 2, int)
    np.add.at(counts, (*groups, true, _get_probabilities(predictions).argmax(axis=1)), 1)
    return counts


def confusion_matrix(predictions):
    """Count the clips of each true class (rows) by predicted class (columns).

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one result. Its seeds and folds are pooled.

    Returns
    -------
    np.ndarray [shape=(n_classes, n_classes)], int
        In the order of `get_class_names`; zeros for a table without rows.

    Raises
    ------
    ValueError
        If the table has several models, splits, targets or test corpora, a label has no probability column, or its
        column has missing values.

    Examples
    --------
    >>> table = pd.DataFrame({"label": ["calm", "sad", "sad"], "p_calm": [0.8, 0.3, 0.9], "p_sad": [0.2, 0.7, 0.1]})
    >>> confusion_matrix(table).tolist()
    [[1, 0], [1, 1]]
    """
    _check_result(predictions)
    return _count(predictions)


def recall_per_class(cm):
    """Compute the recall of each class from confusion matrices.

    Parameters
    ----------
    cm : np.ndarray [shape=(..., n_classes, n_classes)]
        Counts, rows are true classes.

    Returns
    -------
    np.ndarray [shape=(..., n_classes)]
        Recall in [0, 1], NaN for a class without clips.

    Raises
    ------
    ValueError
        If the last two dimensions are not square.

    Examples
    --------
    >>> recall_per_class(np.array([[9, 1], [5, 5]])).tolist()
    [0.9, 0.5]
    """
    cm = np.asarray(cm)
    if cm.ndim < 2 or cm.shape[-2] != cm.shape[-1]:
        raise ValueError(f"cm has the shape {cm.shape}, not (..., n_classes, n_classes); pass square matrices, as "
                         "confusion_matrix returns them")
    n_true, n_correct = cm.sum(axis=-1), np.diagonal(cm, axis1=-2, axis2=-1)
    return np.divide(n_correct, n_true, out=np.full(n_true.shape, np.nan), where=n_true > 0)


def unweighted_average_recall(cm):
    """Compute the unweighted average recall (UAR), the mean recall of the classes that occur.

    The INTERSPEECH 2009 Emotion Challenge introduced this score [1]_.

    Parameters
    ----------
    cm : np.ndarray [shape=(..., n_classes, n_classes)]
        Counts, rows are true classes.

    Returns
    -------
    np.ndarray [shape=(...)]
        UAR in [0, 1], NaN without clips. Labels drawn uniformly from all classes have an expected UAR of 1 / n_classes,
        also if some classes have no clips.

    Raises
    ------
    ValueError
        If the last two dimensions are not square.

    See Also
    --------
    sklearn.metrics.balanced_accuracy_score : The same score from labels.

    References
    ----------
    .. [1] B. Schuller, S. Steidl and A. Batliner, "The INTERSPEECH 2009 Emotion Challenge", Interspeech, 2009,
       doi:10.21437/Interspeech.2009-103.

    Examples
    --------
    >>> float(unweighted_average_recall(np.array([[90, 0], [10, 0]])))  # accuracy is 0.9
    0.5
    """
    recall = recall_per_class(cm)
    n_occurring, total = np.isfinite(recall).sum(axis=-1), np.nansum(recall, axis=-1)
    return np.divide(total, n_occurring, out=np.full(total.shape, np.nan), where=n_occurring > 0)[()]


def has_unseen_speakers(predictions):
    """Check whether a bootstrap over speakers is meaningful.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one result.

    Returns
    -------
    bool
        True if the split has unseen test speakers, six at least.
    """
    return (predictions["split"].isin(UNSEEN_SPEAKER_SPLITS).all()
            and predictions["speaker"].nunique() >= MIN_SPEAKERS)


def resample_speakers(predictions, n_resamples=2000):
    """Draw bootstrap samples of speakers with all their clips.

    Clips of one speaker are not independent, so the units of the bootstrap [1]_ are the speakers.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one result.
    n_resamples : int > 0, default 2000
        Number of bootstrap samples.

    Returns
    -------
    np.ndarray [shape=(n_seeds, n_resamples, n_classes, n_classes)]
        Confusion matrix of each seed and resample.

    Raises
    ------
    ValueError
        If there are no rows, a row has no speaker, a label has no probability, or `n_resamples` is not positive.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993,
       doi:10.1201/9780429246593.
    """
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples} must be positive; pass the number of resamples, such as 2000")
    if predictions.empty:
        raise ValueError("the predictions table has no rows; select a result that it contains")
    if n_missing := predictions["speaker"].isna().sum():
        raise ValueError(f"{n_missing} of {len(predictions)} rows have no speaker, which a bootstrap over speakers "
                         "needs; add the speakers or leave out these rows")
    counts = _count(predictions, ["seed", "speaker"])
    n_speakers = counts.shape[1]
    weights = np.random.default_rng(0).multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n_resamples)
    # sums of small integers are exact as float, whose matrix product is the faster
    return np.moveaxis(np.tensordot(counts.astype(float), weights.astype(float), axes=(1, 1)), -1, 1)


def bootstrap_ci(predictions, level=0.95, n_resamples=2000):
    """Compute a percentile bootstrap confidence interval of the UAR over speakers.

    The speakers are resampled with all their clips [1]_. The UAR of a resample is that of its clips pooled within each
    seed, averaged over seeds.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one result: one model, one split and one target.
    level : float in (0, 1), default 0.95
        Confidence level.
    n_resamples : int > 0, default 2000
        Number of bootstrap samples.

    Returns
    -------
    tuple of float
        Lower and upper bound.

    Raises
    ------
    ValueError
        If the table has several models, splits, targets or test corpora, `level` does not lie between 0 and 1, or
        `resample_speakers` rejects the table or `n_resamples`.

    See Also
    --------
    resample_speakers : Draw the bootstrap samples.
    compare_models : Compute an interval of the difference between two models.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993,
       doi:10.1201/9780429246593.

    Examples
    --------
    >>> from ser_utils.evaluation.results import load_predictions
    >>> predictions = load_predictions("emodb")
    >>> svm = predictions[(predictions["model"] == "svm") & (predictions["split"] == "leave-one-speaker-out")]
    >>> low, high = bootstrap_ci(svm)
    >>> bool(low < unweighted_average_recall(confusion_matrix(svm)) < high)
    True
    """
    _check_result(predictions)
    tail = _get_tail(level)
    uar = unweighted_average_recall(resample_speakers(predictions, n_resamples)).mean(axis=0)
    return tuple(np.quantile(uar, [tail, 1 - tail]).tolist())


def _check_result(predictions):
    """Raise a ValueError if rows of several results would be pooled."""
    for column in ("model", "split", "target", "test_corpus"):
        names = list(predictions[column].unique()) if column in predictions else []
        if len(names) > 1:
            raise ValueError(f"the rows have {len(names)} values of {column} ({', '.join(map(str, names))}), which "
                             "would be pooled; select the rows of one")


def _get_tail(level):
    """Compute the probability beyond each bound of an interval."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1; pass 0.95 for an interval of 95 %")
    return (1 - level) / 2


def compare_models(predictions, model, baseline, level=0.95, n_resamples=2000):
    """Compute the difference in UAR between two models, with a paired bootstrap confidence interval over speakers.

    Both models are scored on the same resamples of speakers, so differences between speakers cancel.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table with rows of both models on the same clips, of one split and one target each.
    model : str
        Name of the model.
    baseline : str
        Name of the model that it is compared with.
    level : float in (0, 1), default 0.95
        Confidence level.
    n_resamples : int > 0, default 2000
        Number of bootstrap samples.

    Returns
    -------
    tuple of float
        Difference (model minus baseline), lower and upper bound.

    Raises
    ------
    ValueError
        If a model has no predictions, or several splits, targets or test corpora, the models were tested on different
        speakers, `level` does not lie between 0 and 1, or `resample_speakers` rejects the table or `n_resamples`.

    See Also
    --------
    bootstrap_ci : Compute an interval of the UAR of one model.

    Examples
    --------
    >>> from ser_utils.evaluation.results import load_predictions
    >>> predictions = load_predictions("emodb")
    >>> rows = predictions[predictions["split"] == "leave-one-speaker-out"]
    >>> difference, low, high = compare_models(rows, "svm", "chance")
    >>> bool(0 < low < difference < high)
    True
    """
    tail = _get_tail(level)
    first, second = (predictions[predictions["model"] == name] for name in (model, baseline))
    for name, rows in ((model, first), (baseline, second)):
        if rows.empty:
            names = ", ".join(predictions["model"].unique()) or "no model"
            raise ValueError(f"there are no predictions of {name}, only of {names}; evaluate both models in one run, "
                             "and select the rows of both")
        _check_result(rows)
    if set(first["speaker"]) != set(second["speaker"]):
        raise ValueError(f"{model} and {baseline} were tested on different speakers; select rows of one split")
    uar = [unweighted_average_recall(_count(rows, ["seed"])).mean() for rows in (first, second)]
    resampled = [unweighted_average_recall(resample_speakers(rows, n_resamples)).mean(axis=0)
                 for rows in (first, second)]
    low, high = np.quantile(resampled[0] - resampled[1], [tail, 1 - tail])
    return float(uar[0] - uar[1]), float(low), float(high)


def gender_accuracy(predictions):
    """Compute the accuracy of the gender that ten classes of gender and emotion imply.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of the target "gender_emotion".

    Returns
    -------
    float
        Accuracy in [0, 1]; the predicted gender is that of the most probable class.

    Examples
    --------
    >>> table = pd.DataFrame({"label": ["female_sad", "male_sad"], "p_female_sad": [0.2, 0.1],
    ...                       "p_female_calm": [0.7, 0.6], "p_male_sad": [0.1, 0.3]})
    >>> gender_accuracy(table)
    0.5
    """
    predicted = pd.Series(get_predicted_labels(predictions), predictions.index).str.startswith("female")
    return float((predicted == predictions["label"].str.startswith("female")).mean())


def summarize(predictions):
    """Compute the scores of each result, and of the ensemble of `tdnn`, `crnn` and `cnn_attention`.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one target.

    Returns
    -------
    pd.DataFrame
        A row per model, split, test corpus and target. `uar`, `accuracy`, `macro_f1` and `gender_accuracy` are computed
        on the pooled folds of each seed and averaged over seeds; `uar_folds` is the mean over folds. `sd_seeds` and
        `sd_folds` are sample standard deviations. `ci_low` and `ci_high` are given for splits with unseen test
        speakers, of six speakers at least. No rows or columns if the predictions have no rows.

    Raises
    ------
    ValueError
        If a column is missing, a label has no probability column, or its column has missing values.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "model": "m", "split": "random-split", "train_corpus": "c", "test_corpus": "c", "target": "emotion",
    ...     "seed": 0, "fold": 0, "clip": ["a", "b"], "speaker": "s", "label": ["calm", "sad"], "p_calm": 0.6,
    ...     "p_sad": 0.4})
    >>> summarize(table)[["model", "n_clips", "uar", "chance"]].to_dict("records")
    [{'model': 'm', 'n_clips': 2, 'uar': 0.5, 'chance': 0.5}]
    """
    if missing := {*KEYS, "seed", "fold", "clip", "speaker", "label"}.difference(predictions.columns):
        raise ValueError(f"the predictions table lacks the columns {', '.join(sorted(missing))}; pass one as "
                         "run_experiment or load_predictions returns it")
    return pd.DataFrame([{**dict(zip(KEYS, key, strict=True)), **_score(rows)} for key, rows in
                         add_ensemble(predictions).groupby(KEYS, sort=False)])


def _score(rows):
    """Compute the scores of one result."""
    counts = _count(rows, ["seed", "fold"])
    evaluated = counts.any(axis=(2, 3))  # not every seed has every fold
    uar_folds = [unweighted_average_recall(counts[seeds, fold]).mean() for fold, seeds in enumerate(evaluated.T)]
    by_seed = counts.sum(axis=1)
    uar = unweighted_average_recall(by_seed)
    ci_low, ci_high = bootstrap_ci(rows) if has_unseen_speakers(rows) else (np.nan, np.nan)
    return {
        "n_seeds": len(uar), "n_folds": len(uar_folds), "n_clips": rows["clip"].nunique(),
        "n_speakers": rows["speaker"].nunique(),
        "uar": np.mean(uar), "ci_low": ci_low, "ci_high": ci_high, "sd_seeds": pd.Series(uar).std(),
        "uar_folds": np.mean(uar_folds), "sd_folds": pd.Series(uar_folds).std(),
        "accuracy": np.mean([np.trace(cm) / cm.sum() for cm in by_seed]),
        "macro_f1": np.mean([_macro_f1(cm) for cm in by_seed]), "chance": 1 / counts.shape[-1],
        "gender_accuracy": np.mean([gender_accuracy(part) for _, part in rows.groupby("seed")])
        if (rows["target"] == "gender_emotion").all() else np.nan}


def _macro_f1(cm):
    size = cm.sum(axis=0) + cm.sum(axis=1)
    return np.mean(np.divide(2 * np.diagonal(cm), size, out=np.zeros(len(cm)), where=size > 0))


def add_ensemble(predictions, models=("tdnn", "crnn", "cnn_attention"), name="ensemble"):
    """Append the mean probabilities of several models, for each seed and clip that all of them predict.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one target.
    models : sequence of str, default ("tdnn", "crnn", "cnn_attention")
        Members of the ensemble.
    name : str, default "ensemble"
        Value of the new rows in the column `model`.

    Returns
    -------
    pd.DataFrame
        The predictions and the rows of the ensemble.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["mlp", "cnn"], "clip": "a", "p_sad": [0.5, 0.75]})
    >>> add_ensemble(table, models=["mlp", "cnn"]).to_dict("records")[-1]
    {'model': 'ensemble', 'clip': 'a', 'p_sad': 0.625}
    """
    keys = [column for column in predictions if not column.startswith("p_") and column != "model"]
    groups = predictions[predictions["model"].isin(models)].groupby(keys, sort=False, dropna=False)
    mean = groups.mean(numeric_only=True)[groups.size() == len(models)].reset_index().assign(model=name)
    return pd.concat([predictions, mean[predictions.columns]], ignore_index=True)


def restrict_classes(predictions, names):
    """Keep the clips of some classes, and renormalize their probabilities over these classes.

    Classes that the model of a row cannot predict stay missing.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one target.
    names : sequence of str
        Classes to keep.

    Returns
    -------
    pd.DataFrame
        Predictions table of the clips whose true class is one of `names`.

    Examples
    --------
    >>> table = pd.DataFrame({"label": ["calm", "sad"], "p_calm": [0.6, 0.6], "p_sad": [0.2, 0.2], "p_angry": 0.2})
    >>> restrict_classes(table, ["sad", "angry"]).to_dict("records")
    [{'label': 'sad', 'p_sad': 0.5, 'p_angry': 0.5}]
    """
    columns = [f"p_{name}" for name in names if f"p_{name}" in predictions]
    rows = predictions[predictions["label"].isin(names)]
    probabilities = rows[columns].div(rows[columns].sum(axis=1).clip(lower=1e-9), axis=0)
    return rows[[name for name in rows if not name.startswith("p_")]].join(probabilities).reset_index(drop=True)


def apply_temperature(p, temperature):
    """Rescale probabilities by temperature scaling.

    A temperature above 1 lowers the confidence, below 1 raises it [1]_.

    Parameters
    ----------
    p : np.ndarray [shape=(n_clips, n_classes)]
        Probabilities.
    temperature : float > 0
        Divisor of the log probabilities.

    Returns
    -------
    np.ndarray [shape=(n_clips, n_classes)]
        Probabilities ``softmax(log(p) / temperature)``.

    Raises
    ------
    ValueError
        If the temperature is not positive.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML, 2017,
       arXiv:1706.04599.

    Examples
    --------
    >>> apply_temperature(np.array([[0.8, 0.2]]), 2).round(3).tolist()
    [[0.667, 0.333]]
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be positive; pass 1 to leave the probabilities unchanged")
    p = np.maximum(p, MIN_PROBABILITY) ** (1 / temperature)
    return p / p.sum(axis=1, keepdims=True)


def fit_temperature(p, y_index):
    """Find the temperature that minimizes the negative log-likelihood.

    Parameters
    ----------
    p : np.ndarray [shape=(n_clips, n_classes)]
        Probabilities.
    y_index : np.ndarray [shape=(n_clips,)], int
        Column of the true class.

    Returns
    -------
    float
        Temperature in [0.2, 5].

    Raises
    ------
    ValueError
        If `p` is not two-dimensional, or `y_index` does not have one entry per row of it.

    See Also
    --------
    apply_temperature : Rescale probabilities.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1]] * 4)  # confidence 0.9, accuracy 0.75
    >>> temperature = fit_temperature(p, np.array([0, 0, 0, 1]))
    >>> apply_temperature(p, temperature)[0].round(2).tolist()
    [0.75, 0.25]
    """
    from scipy.optimize import minimize_scalar

    _check_true_index(p, y_index)

    def loss(temperature):
        return -np.log(apply_temperature(p, temperature)[np.arange(len(p)), y_index]).mean()

    return float(minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x)


def _check_true_index(p, y_index):
    if np.ndim(p) != 2 or np.shape(y_index) != np.shape(p)[:1]:
        raise ValueError(f"p has the shape {np.shape(p)} and y_index {np.shape(y_index)}, not (n_clips, n_classes) and "
                         "(n_clips,); pass the column of the true class of each row")


def expected_calibration_error(p, y_index, n_bins=10):
    """Compute the expected calibration error over bins of equal width.

    The definition is that of [1]_.

    Parameters
    ----------
    p : np.ndarray [shape=(n_clips, n_classes)]
        Probabilities.
    y_index : np.ndarray [shape=(n_clips,)], int
        Column of the true class.
    n_bins : int > 0, default 10
        Number of bins of the confidence, the highest probability.

    Returns
    -------
    float
        Mean absolute difference of confidence and accuracy, weighted by the number of clips in a bin.

    Raises
    ------
    ValueError
        If `p` is not two-dimensional, `y_index` does not have one entry per row of it, or `n_bins` is not positive.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML, 2017,
       arXiv:1706.04599.

    Examples
    --------
    >>> expected_calibration_error(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 0]))
    0.25
    """
    _check_true_index(p, y_index)
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins} must be positive; pass the number of bins, such as 10")
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y_index
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return float(sum(abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean()
                     for b in np.unique(bins)))
