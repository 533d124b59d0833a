"""The trained CNN in NumPy alone: what Keras computes, to a millionth, without the seconds it takes to import it."""

import numpy as np

from ser_utils.augment import levelled, pad, warped
from ser_utils.features import pooled

EPSILON = 1e-4  # as in `networks`
RESTLESS = 20  # leading coefficients by whose liveliness speech is told from other sound
NEAREST = 30  # clips it is compared with; among fewer, one that drowned in noise would excuse all noise
STEPS = (2, 1, 1, 1)  # of the four convolutions of `networks.cnn`; after the first two, time is halved


class Network:
    """A network that tools/train_live.py wrote. `arrays` holds all of it, `classes` the names of the columns.

    >>> from ser_utils import corpora, features
    >>> network = Network(corpora.ROOT / "models" / "live_emotion.npz")
    >>> coefficients = features.clip_features(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> p = network.predict_proba(coefficients)
    >>> p.shape, round(float(p.sum()), 3), network.classes[p.argmax()]
    ((8,), 1.0, 'angry')
    >>> network.strange(coefficients) > 1  # none of the voices it learned
    True
    """

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = dict(archive)
        self.classes = self.arrays["classes"].tolist()

    def predict_proba(self, coefficients):
        """Probabilities of one clip, as the classifier's. [shape=(frames, n_mfcc)] -> [shape=(n_classes,)]"""
        mean, scale = self.arrays["mean"], self.arrays["scale"]
        views = [(warped(coefficients, by) if by else coefficients)[:, :len(mean)] for by in self.arrays["views"]]
        views = views if self.arrays["level"] else [levelled(view) for view in views]
        heard = self._heard(*pad([(view - mean) / scale for view in views])).mean(axis=0)
        heard = (heard / self.arrays["shares"]) ** (1 / self.arrays.get("temperature", 1.0))
        return heard / heard.sum()

    def strange(self, coefficients):
        """How unlike the speech it learned a clip is, 1 at the limit. float"""
        return distance(coefficients, self.arrays["usual"], self.arrays["spread"]) / float(self.arrays["limit"])

    def _heard(self, x, mask):
        a = self.arrays
        for number, step in enumerate(STEPS):
            mask = _halve(mask) if step == 2 else mask
            x = np.maximum(_convolve(x, a[f"kernel_{number}"], step) + a[f"bias_{number}"], 0) * mask
            if number < 2:
                x, mask = _halve(x), _halve(mask)
        score = np.tanh(x @ a["attend"] + a["attend_bias"]) @ a["score"] + a["score_bias"] - 1e4 * (1 - mask)
        weights = _softmax(score)
        mean = (weights * x).sum(axis=1)
        sd = np.sqrt((weights * (x - mean[:, None]) ** 2).sum(axis=1) + EPSILON)
        return _softmax(np.concatenate([mean, sd], axis=1) @ a["dense"] + a["dense_bias"])


def distance(coefficients, usual, spread):
    """Mean distance of a clip to its nearest ones. `usual` [shape=(clips, 40)] are `restless` in units of `spread`.

    >>> clip = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    >>> usual = restless(clip)[None]
    >>> distance(clip, usual, spread=1.0), distance(3 * clip, usual, spread=1.0) > 1
    (0.0, True)
    """
    away = np.linalg.norm(restless(coefficients) / spread - usual, axis=1)
    return float(np.sort(away)[:NEAREST].mean())


def restless(coefficients):
    """How much the leading coefficients move, whatever the level and colour: log of SD and slope. [shape=(40,)]

    >>> clip = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    >>> restless(clip).shape
    (40,)
    >>> bool(np.allclose(restless(clip), restless(clip + 10), atol=1e-3))  # louder, and as restless
    True
    """
    return np.log(pooled([coefficients], RESTLESS)[0, RESTLESS:-1] + 0.3)  # 0.3: a change that nobody hears


def _convolve(x, kernel, step):
    """`Conv1D(padding="same")`. [shape=(clips, frames, channels)] -> [shape=(clips, frames // step, filters)]"""
    width, channels, filters = kernel.shape
    around = width - step  # zeros on both sides together, where step divides the number of frames
    padded = np.pad(x, ((0, 0), (around // 2, around - around // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)[:, ::step]
    rows = windows.reshape(-1, channels * width)  # channels first, as the view has them
    return (rows @ kernel.transpose(1, 0, 2).reshape(-1, filters)).reshape(len(x), -1, filters)


def _halve(x):
    return x.reshape(len(x), -1, 2, x.shape[2]).max(axis=2)


def _softmax(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)
