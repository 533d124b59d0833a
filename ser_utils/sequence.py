"""A Keras network over sequences of any length, as a scikit-learn classifier.

Standardisation and augmentation live inside it and are fitted on the rows it is given, so that nothing of a test clip
can reach the training side by accident.
"""

import ctypes
import logging
import os
import platform
import sys
import warnings
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ser_utils.augment import Augment, levelled, pad, warped
from ser_utils.files import quiet

M_TOP_PAD, KEPT = -2, 2 ** 27  # of malloc.h; bytes


def quiet_keras():
    """Import Keras without its start-up noise, on one thread, so that a seed gives the same network every time.

    A second thread changes the order of sums, and after twenty epochs a third of the predicted labels.

    >>> keras = quiet_keras()
    >>> keras.backend.backend(), os.environ["TF_NUM_INTRAOP_THREADS"]
    ('tensorflow', '1')
    """
    threads = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    if "tensorflow" in sys.modules and any(os.environ.get(name) != "1" for name in threads[:2]):
        warnings.warn("TensorFlow was imported before ser_utils could set it to one thread: a seed may not give the "
                      "published network again; import ser_utils.sequence and call quiet_keras() first", stacklevel=3)
    os.environ.update(dict.fromkeys(threads, "1"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # results are a CPU's; set it to train on a GPU
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new length of clip
    if platform.libc_ver()[0] == "glibc":
        # what a step frees it needs again in the next; given back to Linux, it costs page faults in every step
        ctypes.CDLL(None).mallopt(M_TOP_PAD, KEPT)
    with quiet():  # absl writes there before any logging level is heeded
        import keras
    return keras


@contextmanager
def _alone(generator):
    """Seeds of layers and the order of batches from this generator; Keras would take Python's global one, from which
    any other thread of the process may draw too.
    """
    with patch("keras.src.random.seed_generator.python_random", generator), \
            patch("keras.src.trainers.data_adapters.py_dataset_adapter.random", generator):
        yield


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """A Keras network over sequences of MFCCs, as a scikit-learn classifier.

    Parameters
    ----------
    network : str or callable
        A function of `ser_utils.networks` by name, or any `f(n_mfcc, n_classes, **options) -> keras.Model` of two
        inputs, padded sequences and their mask.
    options : dict, optional
        Further arguments of the network, such as its width.
    n_mfcc : int, optional
        Leading coefficients the network sees; all by default. Augmentation always acts on all.
    crop : int
        Frames of a training example; longer clips give a random stretch each epoch. Prediction hears the whole clip.
    epochs, batch_size, label_smoothing
        The number of epochs is fixed: nothing stops early on data that would then be test data.
    optimizer : str
        "adamw" with warm-up and cosine decay, or "rmsprop" with the original's decay: rate / (1 + 1e-6 * step).
    learning_rate, weight_decay : float
    augment : Augment
    standardise : bool
        Bring each coefficient to mean 0 and SD 1 over the training frames.
    level : bool
        Keep each clip's level; else the loudest frame of every clip is alike, and nothing depends on a recorder's gain.
    views : tuple of float
        Frequency warps (`augment.warped`) under which a clip is heard when predicting; the probabilities are averaged.
    balanced : bool
        Give probabilities as if all classes were equally common, whatever their shares of the training clips, for UAR
        counts them alike (Menon et al. 2021, post-hoc logit adjustment).
    random_state : int
    progress : bool
        Show a bar over the epochs.

    Attributes
    ----------
    classes_ : np.ndarray [shape=(n_classes,)], sorted
    history_ : dict of str to list of float, one value an epoch: `loss`, `accuracy`, and `val_...` where asked for

    >>> from ser_utils import store
    >>> data = store.load()
    >>> model = SequenceClassifier("mlp", {"width": 8}, n_mfcc=13, epochs=1, optimizer="rmsprop")
    >>> model.fit(data.sequences[:8], data.clips["gender"][:8]).classes_.tolist()
    ['female', 'male']
    >>> model.predict_proba(data.sequences[8:11]).shape
    (3, 2)
    """

    def __init__(self, network="cnn", options=None, *, n_mfcc=None, crop=192, epochs=40, batch_size=32,
                 label_smoothing=0.1, optimizer="adamw", learning_rate=1e-3, weight_decay=1e-2, augment=Augment(),
                 standardise=True, level=True, views=(0.0,), balanced=True, random_state=0,
                 progress=False):
        self.network = network
        self.options = options
        self.n_mfcc = n_mfcc
        self.crop = crop
        self.epochs = epochs
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augment = augment
        self.standardise = standardise
        self.level = level
        self.views = views
        self.balanced = balanced
        self.random_state = random_state
        self.progress = progress

    def fit(self, X, y, validation=None):
        """Train from scratch on a list of [shape=(frames, n_mfcc)] and a label each. Returns self.

        Of `validation`, clips and labels too, loss and accuracy are recorded each epoch; nothing is decided on them.
        Raises ValueError when X holds no clips, clips of different widths, NaN, or not as many as y.
        """
        X, y = _check(X), np.asarray(y)
        if len(X) != len(y):
            raise ValueError(f"X has {len(X)} clips and y has {len(y)} labels; give one label a clip")
        keras = quiet_keras()
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.random_state)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares_ = counts / len(y)
        self.n_features_in_ = X[0].shape[1]
        frames = np.concatenate([self._cut(x) for x in X])
        self.mean_ = frames.mean(axis=0) if self.standardise else np.zeros(frames.shape[1], np.float32)
        self.scale_ = np.maximum(frames.std(axis=0), 1e-6) if self.standardise else np.ones_like(self.mean_)
        # NumPy's second thread would fight TensorFlow's one for a core
        with threadpool_limits(1), _alone(Random(self.random_state)):
            self.network_ = self._build()
            batches = _batches(keras, self, X, self._one_hot(y))
            self._compile(keras, len(batches))
            callbacks = [_bar(self.network_.name)] if self.progress else []
            held = validation and (self._padded(self._standardised(_check(validation[0]))),
                                   self._one_hot(validation[1]))
            self.history_ = self.network_.fit(batches, epochs=self.epochs, verbose=0, callbacks=callbacks,
                                              validation_data=held).history
        return self

    def predict_proba(self, X):
        """Probability of each class, from the whole of each clip, in every view.

        list of [shape=(frames, n_mfcc)] -> [shape=(clips, n_classes)], columns as `classes_`
        """
        check_is_fitted(self, "network_")
        X = _check(X, self.n_features_in_)
        heard = np.mean([self._heard([warped(x, by) for x in X] if by else X) for by in self.views], axis=0)
        if self.balanced:
            heard /= self.shares_
            heard /= heard.sum(axis=1, keepdims=True)
        return heard

    def _heard(self, X):
        X, order = self._standardised(X), np.argsort([len(x) for x in X], kind="stable")  # like lengths: less padding
        out = np.empty((len(X), len(self.classes_)), np.float32)
        for rows in np.array_split(order, -(-len(order) // 64)):
            out[rows] = self.network_.predict_on_batch(self._padded([X[row] for row in rows]))
        return out

    def predict(self, X):
        """The likeliest class of each clip. np.ndarray [shape=(clips,)]"""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _cut(self, x):
        return x[:, :self.n_mfcc] if self.level else levelled(x[:, :self.n_mfcc])

    def _standardised(self, X):
        return [(self._cut(x) - self.mean_) / self.scale_ for x in X]

    def _padded(self, X):
        return list(pad(X, self.network_.input_shape[0][1]))  # a network of fixed length says so itself

    def _one_hot(self, y):
        unknown = set(np.asarray(y)) - set(self.classes_)
        if unknown:
            raise ValueError(f"labels {sorted(unknown)} were never trained; train on them or leave them out")
        return np.eye(len(self.classes_), dtype=np.float32)[np.searchsorted(self.classes_, y)]

    def _build(self):
        from ser_utils import networks

        build = getattr(networks, self.network) if isinstance(self.network, str) else self.network
        return build(len(self.mean_), len(self.classes_), **(self.options or {}))

    def _compile(self, keras, steps):
        schedules = keras.optimizers.schedules
        if self.optimizer == "rmsprop":
            optimizer = keras.optimizers.RMSprop(schedules.InverseTimeDecay(self.learning_rate, 1, 1e-6))
        else:
            warm_up = 3 * steps
            rate = schedules.CosineDecay(
                self.learning_rate / 20, max(1, self.epochs * steps - warm_up), alpha=0.01,
                warmup_target=self.learning_rate, warmup_steps=warm_up)
            optimizer = keras.optimizers.AdamW(rate, weight_decay=self.weight_decay, clipnorm=1.0)
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)
        self.network_.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)

    def __getstate__(self):
        """Weights instead of the network: a process that opens a pickle has not met its layers yet."""
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = state["network_"].get_weights()
        return state

    def __setstate__(self, state):
        weights = state.pop("network_", None)
        super().__setstate__(state)
        if weights is not None:
            quiet_keras()
            self.network_ = self._build()
            self.network_.set_weights(weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a list of sequences, not one row a clip
        return tags


def _check(X, width=None):
    if not len(X):
        raise ValueError("X holds no clips; give at least one")
    X = [np.asarray(x, np.float32) for x in X]
    width = width or X[0].shape[-1]
    for row, x in enumerate(X):
        if x.ndim != 2 or x.shape[1] != width or not len(x):
            raise ValueError(f"X[{row}] has shape {x.shape}; expected (frames, {width}) with at least one frame")
        if not np.isfinite(x).all():
            raise ValueError(f"X[{row}] holds NaN or infinity; extract it again")
    return X


def _batches(keras, model, X, targets):
    """Shuffled, augmented, cropped and padded batches of one length: one shape to compile."""
    rng = np.random.default_rng(model.random_state)

    class Batches(keras.utils.PyDataset):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.on_epoch_end()

        def __len__(self):
            return max(1, len(X) // model.batch_size)  # the few left over come in another epoch

        def on_epoch_end(self):
            self.order = rng.permutation(len(X))

        def __getitem__(self, index):
            rows = self.order[index * model.batch_size:(index + 1) * model.batch_size]
            clips = model._standardised([model.augment.move(X[row], rng) for row in rows])
            x, mask = pad([model.augment.hide(_crop(clip, model.crop, rng), rng) for clip in clips], model.crop)
            x, mask, y = model.augment.blend(x, mask, targets[rows], rng)
            return (x, mask), y

    return Batches()


def _crop(clip, frames, rng):
    start = rng.integers(0, max(0, len(clip) - frames) + 1)
    return clip[start:start + frames]


def _bar(name):
    from tqdm.keras import TqdmCallback

    # in a notebook tqdm does not heed its own variable
    return TqdmCallback(verbose=0, desc=name, disable=os.environ.get("TQDM_DISABLE") == "1")
