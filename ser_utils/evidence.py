"""What an answer rests on: parts of a clip are covered, in frequency or in time, and the same is asked again."""

from itertools import pairwise

import numpy as np

from ser_utils import features

BANDS, PARTS = 16, 12  # of four mel bands each; about a tenth of a second in a sentence


def occlusion(predict_proba, sequence, target, usual, bands=BANDS, parts=PARTS):
    """By how much the log-odds of a class fall when a band, or a part of the time, is covered (Zeiler & Fergus 2014).

    Parameters
    ----------
    predict_proba : callable
        list of [shape=(frames, n_mfcc)] -> [shape=(clips, n_classes)], as a classifier's.
    sequence : np.ndarray [shape=(frames, n_mfcc)]
        MFCCs of full order; their log-mel spectrogram is what is covered.
    target : int
        Column of the class that is asked for.
    usual : np.ndarray [shape=(n_mels,)]
        What covers: a log-mel spectrum in dB, such as the mean over all frames of the training clips.
    bands, parts : int
        Into how many the mel bands and the frames are cut.

    Returns the falls by band [shape=(bands,)], lowest first, and by part [shape=(parts,)], in nats.

    >>> clip = features.cepstrum(np.ones((48, 64)))
    >>> low = lambda clips: 1 / (1 + np.exp([[-features.log_mel(clip)[:, :4].mean()] for clip in clips]))
    >>> by_band, by_part = occlusion(low, clip, target=0, usual=np.zeros(64))
    >>> int(by_band.argmax()), round(float(by_band.max()), 2), by_part.round(2).tolist()[:4]
    (0, 1.0, [0.08, 0.08, 0.08, 0.08])
    """
    mel = features.log_mel(sequence)
    covers = [np.s_[:, cut] for cut in cuts(mel.shape[1], bands)] + [np.s_[cut, :] for cut in cuts(len(mel), parts)]
    asked = [sequence]
    for cover in covers:
        covered = mel.copy()
        covered[cover] = np.broadcast_to(usual, mel.shape)[cover]
        asked.append(features.cepstrum(covered))
    odds = log_odds(predict_proba(asked)[:, target])
    return odds[0] - odds[1:bands + 1], odds[0] - odds[bands + 1:]


def cuts(length, count):
    """A range cut into so many parts of nearly one size. list of slice

    >>> [list(range(10))[cut] for cut in cuts(10, 3)]
    [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
    """
    edges = np.linspace(0, length, count + 1).round().astype(int)
    return [slice(*pair) for pair in pairwise(edges)]


def log_odds(p):
    """Of probabilities, in nats; those of a float32 that is full or empty stay finite. Same shape

    >>> log_odds([0.1, 0.5, 0.9, 1.0]).round(1).tolist()
    [-2.2, 0.0, 2.2, 16.1]
    """
    p = np.clip(np.asarray(p, float), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def pooled(values, bands=BANDS, parts=PARTS):
    """Sums over bands and parts. [shape=(frames, n_mels)] -> [shape=(bands, parts)]

    >>> sums = pooled(np.ones((24, 64)))
    >>> sums.shape, float(sums.min()), float(sums.max())
    ((16, 12), 8.0, 8.0)
    """
    by_part = np.stack([values[cut].sum(axis=0) for cut in cuts(len(values), parts)])
    return np.stack([by_part[:, cut].sum(axis=1) for cut in cuts(values.shape[1], bands)])
