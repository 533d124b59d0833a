"""Training clips made different without changing what they say: each epoch hears every clip anew."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_utils import features

STEPS = 200  # to a factor of e: frequency warps come in steps, each computed once


@dataclass(frozen=True)
class Augment:
    """How far a training clip may be moved. Zero everywhere leaves it as it is.

    Tempo, frequency (a longer or shorter vocal tract: Jaitly & Hinton 2013) and level act on the log-mel spectrogram
    that the MFCCs give back (exact at full order); the mask (Park et al. 2019) on standardised coefficients, where zero
    is the mean; mixup (Zhang et al. 2018) on whole clips.
    """

    tempo: float = 0.0  # log of the largest factor
    warp: float = 0.0  # of frequency: log of the largest factor
    gain: float = 0.0  # dB
    mask: int = 0  # frames, twice a clip
    mixup: float = 0.0  # the beta distribution's parameter

    def move(self, coefficients, rng):
        """A clip of another tempo, vocal tract and level. [shape=(frames, n_mfcc)] to [shape=(other frames, n_mfcc)]"""
        if self.tempo:
            frames = max(2, round(len(coefficients) * np.exp(rng.uniform(-self.tempo, self.tempo))))
            coefficients = _resample(coefficients, np.linspace(0, len(coefficients) - 1, frames))
        if self.warp:
            coefficients = warped(coefficients, rng.uniform(-self.warp, self.warp))
        if self.gain:
            louder = rng.uniform(-self.gain, self.gain) * np.sqrt(coefficients.shape[1])  # all bands, so c0 alone
            coefficients = coefficients + np.eye(1, coefficients.shape[1], dtype=np.float32) * np.float32(louder)
        return coefficients

    def hide(self, standardised, rng):
        """Two stretches of a standardised clip set to the mean. Same shape."""
        if self.mask:
            standardised = standardised.copy()
            for _ in range(2):
                width = rng.integers(0, self.mask + 1)
                start = rng.integers(0, max(1, len(standardised) - width))
                standardised[start:start + width] = 0
        return standardised

    def blend(self, x, mask, y, rng):
        """A batch in which every clip carries some of another, and of its label. Same shapes."""
        if not self.mixup:
            return x, mask, y
        share = rng.beta(self.mixup, self.mixup, len(x)).astype(np.float32)
        share, other = np.maximum(share, 1 - share), rng.permutation(len(x))
        mixed = x * share[:, None, None] + x[other] * (1 - share)[:, None, None]
        return mixed, np.maximum(mask, mask[other]), y * share[:, None] + y[other] * (1 - share)[:, None]


def warped(coefficients, by):
    """One clip with all frequencies scaled by exp(by), to half a per cent. Same shape."""
    return coefficients @ _warp(round(by * STEPS), coefficients.shape[1])


@lru_cache(maxsize=512)
def _warp(steps, bands):
    """What warps frequency, in terms of MFCCs of so many bands at the default band edges. [shape=(bands, bands)]"""
    centres = features.mel_centres(features.Settings(n_mels=bands, n_mfcc=bands))
    heard = np.interp(centres * np.exp(-steps / STEPS), centres, np.arange(bands))
    mel_of_each = features.dct_matrix(bands, bands)
    return (_resample(mel_of_each.T, heard).T @ mel_of_each.T).astype(np.float32)


def _resample(rows, positions):
    """Rows at fractional positions, linearly between neighbours."""
    below = np.minimum(positions.astype(int), max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    weight = (positions - below).astype(np.float32)[:, None]
    return rows[below] * (1 - weight) + rows[above] * weight


def pad(sequences, frames=None, multiple=32):
    """Sequences of any length as one array, zeros after their ends, and where they are real.

    list of [shape=(frames, n_mfcc)] -> x [shape=(clips, frames, n_mfcc)], mask [shape=(clips, frames, 1)], float32; the
    length is `frames`, or by default the longest, rounded up to a `multiple`, so that few shapes are compiled.
    """
    frames = frames or -(-max(map(len, sequences)) // multiple) * multiple
    x = np.zeros((len(sequences), frames, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, :len(sequence)], mask[row, :len(sequence)] = sequence, 1
    return x, mask
