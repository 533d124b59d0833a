"""Logistic regression on the statistics of the Whisper encoder."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

NEUTRAL_EMOTIONS = ("neutral", "calm")  # labels of clips from which a speaker's neutral mean is computed


def whisper_logreg(C=0.01):
    """Build logistic regression on the standardized statistics of the Whisper encoder.

    Parameters
    ----------
    C : float > 0, default 0.01
        Inverse strength of the L2 penalty.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted standardization and classifier.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> classifier = whisper_logreg().fit(rng.normal(size=(20, 4096)), ["calm", "sad"] * 10)
    >>> classifier.predict_proba(rng.normal(size=(3, 4096))).shape
    (3, 2)
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=1000))


class AdaptiveLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression with optional speaker adaptation, trained on several copies of each clip.

    A speaker is adapted by shifting the features by `adaptation_weight` times the difference between the neutral mean
    of the training speakers and the mean of the speaker's own neutral clips. Training uses all copies of a clip, such
    as a clean and a distorted one, and its first copy with adaptation.

    Parameters
    ----------
    C : float > 0, default 0.0003
        Inverse strength of the L2 penalty.
    adaptation_weight : float in [0, 1], default 0.5
        0 for no adaptation, 1 to shift a speaker's neutral mean onto that of the training speakers.
    max_iter : int, default 400
        Maximum number of iterations of the solver.

    Attributes
    ----------
    classes_ : np.ndarray [shape=(n_classes,)], str
        Sorted class labels.
    neutral_mean_ : np.ndarray [shape=(n_features,)] or None
        Mean over the training speakers of the means of their neutral and calm clips; None if `fit` got no speakers or
        no such clips.
    pipeline_ : sklearn.pipeline.Pipeline
        Standardization and classifier, fitted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean, distorted = rng.normal(size=(2, 20, 5))
    >>> classifier = AdaptiveLogisticRegression().fit(np.stack([clean, distorted], axis=1), ["calm", "sad"] * 10)
    >>> classifier.predict_proba(clean[:3, None]).shape
    (3, 2)
    """

    def __init__(self, C=0.0003, adaptation_weight=0.5, max_iter=400):
        self.C = C
        self.adaptation_weight = adaptation_weight
        self.max_iter = max_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def fit(self, X, y, sample_weight=None, speakers=None):
        """Fit on all copies and, if speakers are given, on adapted clips.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]
            Features of all copies of each clip.
        y : array-like [shape=(n_clips,)], str
            Class labels.
        sample_weight : array-like [shape=(n_clips,)], optional
            Weights of the clips, such as `balance_corpora` returns; by default all are equal. The standardization does
            not use them.
        speakers : array-like [shape=(n_clips,)], str, optional
            Speaker of each clip; without them no adapted clips are used for training.

        Returns
        -------
        AdaptiveLogisticRegression
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If X does not have three dimensions.
        """
        X, y = np.asarray(X, np.float32), np.asarray(y)
        if X.ndim != 3:
            raise ValueError(f"X has the shape {X.shape}; pass [n_clips, n_copies, n_features], one copy at least")
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight) / np.mean(sample_weight)
        parts = [(X[:, copy], y, weight) for copy in range(X.shape[1])]
        is_neutral = np.isin(y, NEUTRAL_EMOTIONS)
        self.neutral_mean_ = None
        if speakers is not None and is_neutral.any():
            speakers = np.asarray(speakers)
            means = _speaker_means(X[is_neutral, 0], speakers[is_neutral])
            self.neutral_mean_ = means.mean(axis=0).to_numpy()
            has_mean = np.isin(speakers, means.index)
            adapted = self.adapt(X[has_mean], speakers[has_mean], X[is_neutral], speakers[is_neutral])
            parts.append((adapted[:, 0], y[has_mean], weight[has_mean]))
        features, labels, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self.pipeline_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=self.max_iter, tol=1e-3))
        self.pipeline_.fit(features, labels, logisticregression__sample_weight=weights)
        self.classes_ = self.pipeline_.classes_
        return self

    def adapt(self, X, speakers, neutral_X, neutral_speakers):
        """Shift the clips of each speaker towards the neutral mean of the training speakers.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]
            Features of all copies of each clip.
        speakers : array-like [shape=(n_clips,)], str
            Speaker of each clip.
        neutral_X : array-like [shape=(n_neutral, n_copies, n_features)]
            Neutral clips of the same speakers; their first copies are used.
        neutral_speakers : array-like [shape=(n_neutral,)], str
            Speaker of each neutral clip.

        Returns
        -------
        np.ndarray [shape=(n_clips, n_copies, n_features)], float32
            Shifted features.

        Raises
        ------
        ValueError
            If a speaker has no neutral clip, or `fit` got no speakers with neutral clips.
        """
        check_is_fitted(self, "neutral_mean_")
        if self.neutral_mean_ is None:
            raise ValueError("no neutral or calm clip of a known speaker in the training set, which speaker "
                             "adaptation needs; pass fit(speakers=...) with such clips")
        means = _speaker_means(np.asarray(neutral_X, np.float32)[:, 0], neutral_speakers)
        if missing := set(speakers) - set(means.index):
            raise ValueError(f"speaker {min(missing)} has no neutral clip; add one at least")
        shift = self.adaptation_weight * (self.neutral_mean_ - means.loc[list(speakers)].to_numpy())
        return np.asarray(X, np.float32) + shift[:, None].astype(np.float32)

    def predict_proba(self, X):
        """Predict class probabilities from the first copy of each clip.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]
            Features of all copies of each clip; the first copy is used.

        Returns
        -------
        np.ndarray [shape=(n_clips, n_classes)]
            Probabilities, columns in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.pipeline_.predict_proba(np.asarray(X, np.float32)[:, 0])

    def predict(self, X):
        """Predict the most probable class of each clip.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]
            Features of all copies of each clip; the first copy is used.

        Returns
        -------
        np.ndarray [shape=(n_clips,)], str
            Class labels.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _speaker_means(X, speakers):
    """Mean features of each speaker, a row per speaker."""
    return pd.DataFrame(X).groupby(np.asarray(speakers)).mean()


def balance_corpora(corpora, labels):
    """Compute weights of clips such that all corpora weigh the same, and so do the classes within each corpus.

    Parameters
    ----------
    corpora : array-like [shape=(n_clips,)], str
        Corpus of each clip.
    labels : array-like [shape=(n_clips,)], str
        Class of each clip.

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        Weights with a mean of 1.

    Examples
    --------
    >>> weights = balance_corpora(["a"] * 4 + ["b"], ["sad", "sad", "sad", "calm", "sad"])
    >>> (weights / weights[0]).round(2).tolist()
    [1.0, 1.0, 1.0, 3.0, 6.0]
    """
    corpora, labels = np.asarray(corpora, str), np.asarray(labels, str)
    weights = np.empty(len(labels))
    for corpus in np.unique(corpora):
        is_corpus = corpora == corpus
        classes, index, counts = np.unique(labels[is_corpus], return_inverse=True, return_counts=True)
        weights[is_corpus] = 1 / len(classes) / counts[index]
    return weights / weights.mean()
