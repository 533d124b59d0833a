"""Training clips made different without changing what they say: each epoch hears every clip anew."""

from dataclasses import dataclass

import numpy as np

from ser_utils import features


@dataclass(frozen=True)
class Augment:
    """How far a training clip may be moved. Zero everywhere leaves it as it is.

    Tempo, pitch and level act on the log-mel spectrogram that the MFCCs give back (exact at full order); the mask
    (Park et al. 2019) on standardised coefficients, where zero is the mean; mixup (Zhang et al. 2018) on whole clips.
    """

    tempo: float = 0.0  # log of the largest factor
    shift: float = 0.0  # mel bands up or down
    gain: float = 0.0  # dB
    mask: int = 0  # frames, twice a clip
    mixup: float = 0.0  # the beta distribution's parameter

    def warp(self, coefficients, rng):
        """One clip at another tempo, pitch and level. [shape=(frames, n_mfcc)] to [shape=(other frames, n_mfcc)]"""
        if not (self.tempo or self.shift or self.gain):
            return coefficients
        if self.tempo:
            frames = max(2, round(len(coefficients) * np.exp(rng.uniform(-self.tempo, self.tempo))))
            coefficients = _resample(coefficients, np.linspace(0, len(coefficients) - 1, frames))
        if self.shift:
            mel = features.log_mel(coefficients)
            bands = mel.shape[1]
            moved = np.clip(np.arange(bands) + rng.uniform(-self.shift, self.shift), 0, bands - 1)
            coefficients = (_resample(mel.T, moved).T @ features.dct_matrix(bands, bands).T).astype(np.float32)
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


def _resample(rows, positions):
    """Rows at fractional positions, linearly between neighbours."""
    below = np.minimum(positions.astype(int), max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    weight = (positions - below).astype(np.float32)[:, None]
    return rows[below] * (1 - weight) + rows[above] * weight


def pad(sequences, frames=None, multiple=32):
    """Sequences of any length as one array, zeros after their ends, and where they are real.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(frames, n_mfcc)]
    frames : int, optional
        Length to pad to; by default the longest, rounded up to a `multiple`, so that few shapes are compiled.

    Returns
    -------
    x, mask : np.ndarray [shape=(clips, frames, n_mfcc)], [shape=(clips, frames, 1)], float32
    """
    frames = frames or -(-max(map(len, sequences)) // multiple) * multiple
    x = np.zeros((len(sequences), frames, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, :len(sequence)], mask[row, :len(sequence)] = sequence, 1
    return x, mask
