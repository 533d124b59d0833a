"""`SequenceClassifier`: a Keras network over MFCC sequences of any length as a scikit-learn classifier."""

import os
import sys
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ser_utils.models.augment import Augment, normalize_level, pad_sequences, vtlp

THREAD_VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
WARMUP_EPOCHS = 3
PREDICT_BATCH_SIZE = 64


def use_single_thread():
    """Limit TensorFlow, OpenMP and BLAS to one thread in this process, so that a seed reproduces a trained network.

    More threads can change the order of floating-point sums and thereby, after some epochs, the predicted labels. Call
    this function before TensorFlow is imported.

    Warns
    -----
    RuntimeWarning
        If TensorFlow is already imported and was not limited to one thread.
    """
    if "tensorflow" in sys.modules and any(os.environ.get(name) != "1" for name in THREAD_VARIABLES[:2]):
        warnings.warn("TensorFlow is already imported with several threads, so results can differ between runs; "
                      "restart Python and call use_single_thread() before importing TensorFlow, or use n_jobs=2",
                      RuntimeWarning, stacklevel=2)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    threadpool_limits(1)


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """Classify sequences of MFCCs of any length with a Keras network.

    Standardization and augmentation are part of the classifier and fitted on the clips passed to `fit`, so that no
    statistic of a test clip can enter the training.

    Parameters
    ----------
    network : str or callable, default "cnn"
        A key of `ser_utils.models.networks.NETWORKS`, or any ``f(n_mfcc, n_classes, **network_kwargs) -> keras.Model``
        with two inputs: padded sequences and their mask.
    network_kwargs : dict, optional
        Further arguments of the network, such as ``{"width": 64}``.
    n_mfcc : int > 0, optional
        Number of leading coefficients the network uses; all by default. Augmentation always acts on all.
    crop_frames : int > 0, default 192
        Length of training examples, in frames: a multiple of 8 for the networks of `NETWORKS`. Each epoch takes a
        random crop of longer clips and pads shorter ones; prediction uses whole clips.
    epochs : int >= 0, default 40
        Fixed number of epochs; there is no early stopping. 0 keeps the random initial weights.
    max_steps : int, optional
        Upper limit on the number of training steps (batches), which reduces the number of epochs on a large corpus.
    batch_size : int > 0, default 32
        Number of clips per training step.
    label_smoothing : float in [0, 1), default 0.1
        Weight of the uniform distribution in the training labels.
    optimizer : {"adamw", "rmsprop"}, default "adamw"
        "adamw" [2]_: linear warm-up over three epochs, at most a quarter of the training, cosine decay, gradients
        clipped to norm 1. "rmsprop": the original project's schedule, ``learning_rate / (1 + 1e-6 * step)``.
    learning_rate : float > 0, default 1e-3
        Peak learning rate.
    weight_decay : float >= 0, default 1e-2
        Decoupled weight decay of "adamw".
    augment : Augment, default Augment()
        Augmentation of training clips; none by default.
    standardize : bool, default True
        Scale each coefficient to mean 0 and standard deviation 1 over the training frames.
    normalize_level : bool, default False
        Shift each clip so that its loudest frame is at 0 dB, which makes predictions independent of the recording gain.
    tta_warps : tuple of float, default (0.0,)
        Test-time augmentation: `vtlp` warps of a clip whose predicted probabilities are averaged.
    prior_correction : bool, default True
        Divide probabilities by the class frequencies of the training clips, then renormalize (post-hoc logit
        adjustment [1]_), because UAR weights all classes equally.
    random_state : int, default 0
        Seed of initial weights, dropout, batches and augmentation. `fit` sets the global seeds of Python, NumPy and
        TensorFlow to it (`keras.utils.set_random_seed`).
    progress : bool, default False
        Show a progress bar over the epochs.

    Attributes
    ----------
    classes_ : np.ndarray [shape=(n_classes,)]
        Sorted class labels.
    class_prior_ : np.ndarray [shape=(n_classes,)]
        Relative frequency of each class among the training clips.
    mean_, scale_ : np.ndarray [shape=(n_mfcc,)]
        Mean and standard deviation used for standardization; 0 and 1 without it.
    network_ : keras.Model
        Trained network.
    history_ : dict of str to list of float
        ``loss``, ``accuracy`` and, with validation data, ``val_loss``, ``val_accuracy`` of each epoch.
    n_features_in_ : int
        Number of coefficients of the training clips.

    References
    ----------
    .. [1] A. K. Menon et al., "Long-tail learning via logit adjustment", ICLR, 2021, arXiv:2007.07314.
    .. [2] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR, 2019, arXiv:1711.05101.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = [rng.normal(size=(n_frames, 13)) for n_frames in (40, 60, 50, 70)], ["calm", "sad", "calm", "sad"]
    >>> classifier = SequenceClassifier("mlp", {"units": 8}, epochs=1, crop_frames=64).fit(X, y)
    >>> classifier.classes_.tolist(), classifier.predict_proba(X[:3]).shape
    (['calm', 'sad'], (3, 2))
    """

    def __init__(self, network="cnn", network_kwargs=None, *, n_mfcc=None, crop_frames=192, epochs=40, max_steps=None,
                 batch_size=32, label_smoothing=0.1, optimizer="adamw", learning_rate=1e-3, weight_decay=1e-2,
                 augment=Augment(), standardize=True, normalize_level=False, tta_warps=(0.0,), prior_correction=True,
                 random_state=0, progress=False):
        self.network = network
        self.network_kwargs = network_kwargs
        self.n_mfcc = n_mfcc
        self.crop_frames = crop_frames
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augment = augment
        self.standardize = standardize
        self.normalize_level = normalize_level
        self.tta_warps = tta_warps
        self.prior_correction = prior_correction
        self.random_state = random_state
        self.progress = progress

    def fit(self, X, y, validation_data=None):
        """Train the network from random initial weights.

        Parameters
        ----------
        X : list of np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of each clip; lengths may differ.
        y : array-like [shape=(n_clips,)]
            Class labels.
        validation_data : tuple (X, y), optional
            Clips and labels whose loss and accuracy are recorded after each epoch. They do not affect the training.

        Returns
        -------
        SequenceClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If X is empty, a clip is not two-dimensional, has no frames, fewer coefficients than the parameter `n_mfcc`,
            another number of them than the first clip, NaN or infinity; if X and y differ in length; if y has fewer
            than two classes; if a validation label does not occur in y; or if a parameter is out of range or unknown.
        """
        self._check_parameters()
        X, y = _check_sequences(X), np.asarray(y)
        if self.n_mfcc is not None and self.n_mfcc > X[0].shape[1]:
            raise ValueError(f"n_mfcc={self.n_mfcc} exceeds the {X[0].shape[1]} coefficients of the clips; lower it, "
                             "or pass None for all")
        if len(X) != len(y):
            raise ValueError(f"X has {len(X)} clips and y has {len(y)} labels; pass one label per clip")
        classes, counts = np.unique(y, return_counts=True)
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class ({classes[0]}); pass clips of at least two classes")

        from ser_utils.models.networks import keras  # imports TensorFlow

        self.classes_ = classes
        self.class_prior_ = counts / len(y)
        self.n_features_in_ = X[0].shape[1]
        frames = np.concatenate([self._select(x) for x in X])
        self.mean_ = frames.mean(axis=0) if self.standardize else np.zeros(frames.shape[1], np.float32)
        self.scale_ = np.maximum(frames.std(axis=0), 1e-6) if self.standardize else np.ones_like(self.mean_)
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.random_state)
        with threadpool_limits(1):  # BLAS threads would compete with TensorFlow's for the same cores
            self.network_ = self._build_network()
            batches = _training_batches(self, X, self._one_hot(y))
            loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)
            self.network_.compile(self._build_optimizer(len(batches)), loss, metrics=["accuracy"], jit_compile=False)
            if validation_data is not None:
                validation_data = self.prepare(validation_data[0]), self._one_hot(validation_data[1])
            callbacks = [_progress_bar(self.network_.name)] if self.progress else []
            self.history_ = self.network_.fit(batches, epochs=self._count_epochs(len(batches)), verbose=0,
                                              callbacks=callbacks, validation_data=validation_data).history
        return self

    def predict_proba(self, X):
        """Predict class probabilities of whole clips, averaged over `tta_warps`.

        Parameters
        ----------
        X : list of np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of each clip.

        Returns
        -------
        np.ndarray [shape=(n_clips, n_classes)]
            Probabilities, columns in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X is empty, or a clip is not two-dimensional, has no frames, another number of coefficients, NaN or
            infinity.
        """
        check_is_fitted(self, "network_")
        X = _check_sequences(X, self.n_features_in_)
        views = ([vtlp(x, warp) for x in X] if warp else X for warp in self.tta_warps)
        proba = np.mean([self._predict_network(view) for view in views], axis=0)
        if self.prior_correction:
            proba /= self.class_prior_
            proba /= proba.sum(axis=1, keepdims=True)
        return proba

    def predict(self, X):
        """Predict the most probable class of each clip.

        Parameters
        ----------
        X : list of np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of each clip.

        Returns
        -------
        np.ndarray [shape=(n_clips,)]
            Class labels.

        Raises
        ------
        NotFittedError, ValueError
            As for `predict_proba`.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def prepare(self, X):
        """Compute the inputs of `network_`: standardized and padded sequences, and their mask.

        Parameters
        ----------
        X : list of np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of each clip.

        Returns
        -------
        x : np.ndarray [shape=(n_clips, n_frames, n_mfcc)], float32
            Standardized and padded sequences.
        mask : np.ndarray [shape=(n_clips, n_frames, 1)], float32
            1 on frames of the clip, 0 on padding.
        """
        check_is_fitted(self, "network_")
        X = self._standardize(_check_sequences(X, self.n_features_in_))
        return pad_sequences(X, self.network_.input_shape[0][1])  # None: of any length

    def _check_parameters(self):
        for name, low in (("n_mfcc", 1), ("crop_frames", 1), ("epochs", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if name == "n_mfcc" and value is None:  # all coefficients
                continue
            if not (isinstance(value, int | np.integer) and value >= low):
                raise ValueError(f"{name}={value!r} must be an integer of at least {low}")
        if isinstance(self.network, str) and self.crop_frames % 8:
            raise ValueError(f"crop_frames={self.crop_frames} must be a multiple of 8 for network={self.network!r}; "
                             f"pass {8 * -(-self.crop_frames // 8)}")
        rate = self.learning_rate
        if not (isinstance(rate, int | float | np.integer | np.floating) and 0 < rate < np.inf):
            raise ValueError(f"learning_rate={rate!r} must be a positive number, such as 1e-3")

    def _predict_network(self, X):
        order = np.argsort([len(x) for x in X], kind="stable")  # batches of similar length need little padding
        proba = np.empty((len(X), len(self.classes_)), np.float32)
        for rows in np.array_split(order, -(-len(order) // PREDICT_BATCH_SIZE)):
            proba[rows] = self.network_.predict_on_batch(self.prepare([X[row] for row in rows]))
        return proba

    def _select(self, x):
        x = x[:, :self.n_mfcc]
        return normalize_level(x) if self.normalize_level else x

    def _standardize(self, X):
        return [(self._select(x) - self.mean_) / self.scale_ for x in X]

    def _one_hot(self, y):
        if unknown := set(np.asarray(y).tolist()) - set(self.classes_.tolist()):
            raise ValueError(f"validation labels {sorted(unknown)} do not occur in y; omit these clips")
        return np.eye(len(self.classes_), dtype=np.float32)[np.searchsorted(self.classes_, y)]

    def _build_network(self):
        from ser_utils.models.networks import NETWORKS

        build = NETWORKS.get(self.network) if isinstance(self.network, str) else self.network
        if build is None:
            raise ValueError(f"network={self.network!r} is unknown; choose one of {', '.join(NETWORKS)} or a function")
        return build(len(self.mean_), len(self.classes_), **(self.network_kwargs or {}))

    def _count_epochs(self, steps_per_epoch):
        return min(self.epochs, max(1, (self.max_steps or self.epochs * steps_per_epoch) // steps_per_epoch))

    def _build_optimizer(self, steps_per_epoch):
        from ser_utils.models.networks import keras

        schedules = keras.optimizers.schedules
        if self.optimizer == "rmsprop":
            return keras.optimizers.RMSprop(schedules.InverseTimeDecay(self.learning_rate, 1, 1e-6))
        if self.optimizer == "adamw":
            n_steps = self._count_epochs(steps_per_epoch) * steps_per_epoch
            warmup_steps = max(1, min(WARMUP_EPOCHS * steps_per_epoch, n_steps // 4))
            decay_steps = max(1, n_steps - warmup_steps)
            schedule = schedules.CosineDecay(self.learning_rate / 20, decay_steps, alpha=0.01,
                                             warmup_target=self.learning_rate, warmup_steps=warmup_steps)
            return keras.optimizers.AdamW(schedule, weight_decay=self.weight_decay, clipnorm=1.0)
        raise ValueError(f"optimizer={self.optimizer!r} is unknown; choose one of adamw, rmsprop")

    def __getstate__(self):
        """Replace the network by its weights: the process that unpickles may not have registered its layers."""
        state = super().__getstate__()
        return {**state, "network_": self.network_.get_weights()} if "network_" in state else state

    def __setstate__(self, state):
        weights = state.pop("network_", None)
        super().__setstate__(state)
        if weights is not None:
            self.network_ = self._build_network()
            self.network_.set_weights(weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _check_sequences(X, n_mfcc=None):
    """Sequences as float32 arrays of one width; ValueError names the first that is not."""
    if not len(X):
        raise ValueError("X is empty; pass at least one clip")
    X = [np.asarray(x, np.float32) for x in X]
    for row, x in enumerate(X):
        if x.ndim != 2 or not x.size:
            raise ValueError(f"X[{row}] has shape {x.shape}, not (n_frames, n_mfcc) with at least one frame and "
                             "coefficient; pass one two-dimensional array per clip")
        n_mfcc = n_mfcc or x.shape[1]
        if x.shape[1] != n_mfcc:
            raise ValueError(f"X[{row}] has shape {x.shape}, not (n_frames, {n_mfcc}); pass clips with the same "
                             "coefficients")
        if not np.isfinite(x).all():
            raise ValueError(f"X[{row}] contains NaN or infinity; omit it")
    return X


def _training_batches(classifier, X, targets):
    """Shuffled, augmented, cropped and padded batches, all of one shape so that one graph is traced."""
    from ser_utils.models.networks import keras

    rng = np.random.default_rng(classifier.random_state)
    augment, batch_size, n_frames = classifier.augment, classifier.batch_size, classifier.crop_frames

    class TrainingBatches(keras.utils.PyDataset):
        order = rng.permutation(len(X))

        def __len__(self):
            return max(1, len(X) // batch_size)  # the remainder changes with each epoch's order

        def on_epoch_end(self):
            self.order = rng.permutation(len(X))

        def __getitem__(self, index):
            rows = self.order[index * batch_size:(index + 1) * batch_size]
            clips = classifier._standardize([augment.transform(X[row], rng) for row in rows])
            clips = [augment.time_mask(_random_crop(clip, n_frames, rng), rng) for clip in clips]
            x, mask, y = augment.mixup(*pad_sequences(clips, n_frames), targets[rows], rng)
            return (x, mask), y

    return TrainingBatches()


def _random_crop(clip, n_frames, rng):
    start = rng.integers(0, max(0, len(clip) - n_frames) + 1)
    return clip[start:start + n_frames]


def _progress_bar(description):
    from tqdm.keras import TqdmCallback

    # tqdm.notebook ignores the variable TQDM_DISABLE
    return TqdmCallback(verbose=0, desc=description, disable=os.environ.get("TQDM_DISABLE") == "1")
