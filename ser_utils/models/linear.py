"""Logistic regression on the statistics of the Whisper encoder."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted


def whisper_logreg(C=0.01):
    """Build logistic regression on the standardized statistics of the Whisper encoder.

    Parameters
    ----------
    C : float > 0, default 0.01
        Inverse strength of the L2 penalty.

    Returns
    -------
    sklearn.pipeline.Pipeline

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> classifier = whisper_logreg().fit(rng.normal(size=(20, 4096)), ["calm", "sad"] * 10)
    >>> classifier.predict_proba(rng.normal(size=(3, 4096))).shape
    (3, 2)
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=1000))


class CopiesLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression trained on several copies of each clip, such as a clean and a distorted one.

    Parameters
    ----------
    C : float > 0, default 0.0003
        Inverse strength of the L2 penalty.
    max_iter : int, default 400

    Attributes
    ----------
    classes_ : np.ndarray of str
    pipeline_ : sklearn.pipeline.Pipeline
        Standardization and classifier, fitted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean, distorted = rng.normal(size=(2, 20, 5))
    >>> classifier = CopiesLogisticRegression().fit(np.stack([clean, distorted], axis=1), ["calm", "sad"] * 10)
    >>> classifier.predict_proba(clean[:3, None]).shape
    (3, 2)
    """

    def __init__(self, C=0.0003, max_iter=400):
        self.C = C
        self.max_iter = max_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit on all copies.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]
        y : array-like of str [shape=(n_clips,)]
        sample_weight : array-like [shape=(n_clips,)], optional
            Such as `balance_corpora` returns; by default all clips weigh the same. The standardization does not use
            them.

        Returns
        -------
        CopiesLogisticRegression
        """
        X = np.asarray(X, np.float32)
        if X.ndim != 3:
            raise ValueError(f"X has the shape {X.shape}; pass [n_clips, n_copies, n_features], one copy at least")
        n_copies, weight = X.shape[1], np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        self.pipeline_ = make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=self.max_iter, tol=1e-3))
        self.pipeline_.fit(X.reshape(-1, X.shape[-1]), np.repeat(y, n_copies),
                           logisticregression__sample_weight=np.repeat(weight / weight.mean(), n_copies))
        self.classes_ = self.pipeline_.classes_
        return self

    def predict_proba(self, X):
        """Predict from the first copy of each clip.

        Parameters
        ----------
        X : array-like [shape=(n_clips, n_copies, n_features)]

        Returns
        -------
        np.ndarray [shape=(n_clips, n_classes)]
        """
        check_is_fitted(self)
        return self.pipeline_.predict_proba(np.asarray(X, np.float32)[:, 0])

    def predict(self, X):
        """Predict the most probable class of each clip (np.ndarray of str [shape=(n_clips,)])."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def balance_corpora(corpora, labels):
    """Compute weights of clips such that all corpora weigh the same, and so do the classes within each corpus.

    Parameters
    ----------
    corpora, labels : array-like of str [shape=(n_clips,)]

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        Their mean is 1.

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
