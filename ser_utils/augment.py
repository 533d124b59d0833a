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

    >>> clip, rng = np.ones((100, 64), np.float32), np.random.default_rng(0)
    >>> Augment().move(clip, rng) is clip
    True
    >>> 82 <= len(Augment(tempo=0.2).move(clip, rng)) <= 122
    True
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


@dataclass(frozen=True)
class Microphones(Augment):
    """The same, with a `share` of the clips heard through somebody's microphone.

    >>> clip = features.mfcc(np.random.default_rng(0).normal(size=16000))
    >>> Microphones(share=0).move(clip, np.random.default_rng(0)) is clip
    True
    >>> Microphones(share=1).move(clip, np.random.default_rng(0)).shape[1]
    64
    """

    share: float = 0.8

    def move(self, coefficients, rng):
        """A clip of another tempo, vocal tract, level and microphone. Other length."""
        coefficients = super().move(coefficients, rng)
        return through_microphone(coefficients, rng) if rng.random() < self.share else coefficients


def warped(coefficients, by):
    """One clip with all frequencies scaled by exp(by), to half a per cent. Same shape.

    >>> tone = features.mfcc(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000))
    >>> loudest = [features.log_mel(clip).mean(axis=0).argmax() for clip in (tone, warped(tone, 0.5))]
    >>> features.mel_centres()[loudest].round(-2).tolist()
    [1000.0, 1700.0]
    """
    return coefficients @ _warp(round(by * STEPS), coefficients.shape[1])


def levelled(coefficients):
    """A clip whose loudest frame, by the mean of its bands in dB, is at 0. Same shape.

    >>> y = np.random.default_rng(0).normal(size=16000)
    >>> loud, soft = (levelled(features.mfcc(level * y)) for level in (1, 0.1))
    >>> float(loud[:, 0].max()), np.allclose(loud, soft, atol=0.01)
    (0.0, True)
    """
    return coefficients - coefficients[:, :1].max() * np.eye(1, coefficients.shape[1], dtype=np.float32)


@lru_cache(maxsize=512)
def _warp(steps, bands):
    """What warps frequency, in terms of MFCCs of so many bands at the default band edges. [shape=(bands, bands)]"""
    centres = features.mel_centres(features.Settings(n_mels=bands, n_mfcc=bands))
    heard = np.interp(centres * np.exp(-steps / STEPS), centres, np.arange(bands))
    mel_of_each = features.dct_matrix(bands, bands)
    return (_resample(mel_of_each.T, heard).T @ mel_of_each.T).astype(np.float32)


def through_microphone(coefficients, rng, settings=features.Settings()):
    """A clip as a stranger's microphone might give it, by what that does to the power in each mel band. Other length.

    Pauses around the speech, a room whose sound lingers (power falls by 60 dB in 0.1 to 0.5 s), a coloured response, a
    missing low or high band, steady noise 0 to 40 dB below the speech, a codec, each in some; then cut as clips are.

    >>> clip = features.mfcc(np.random.default_rng(0).normal(size=16000))
    >>> heard, again = (through_microphone(clip, np.random.default_rng(1)) for _ in range(2))
    >>> clip.shape, heard.shape[1], np.array_equal(heard, again)
    ((63, 64), 64, True)
    """
    around = ((*rng.integers(0, 60, 2),), (0, 0))
    power = 10 ** (np.pad(features.log_mel(coefficients), around, constant_values=-100) / 10)
    centres = features.mel_centres(settings)
    widths, place = np.gradient(centres), np.linspace(0, np.pi, len(centres))
    if rng.random() < 0.4:
        keep, wet = 10 ** (-6 * settings.hop_length / settings.sr / rng.uniform(0.1, 0.5)), rng.uniform(0, 1.5)
        late = np.zeros(len(centres))
        for frame in power:
            late = keep * late + frame
            frame += wet * (1 - keep) * late
    colour = np.cos(np.outer([1, 2, 3], place))  # smooth over the bands
    heard = power * 10 ** (rng.normal(0, 3, 3) @ colour / 10)
    telephone = rng.random() < 0.25  # both ends of the band are gone
    for cut in (centres < rng.uniform(80, 500), centres > rng.uniform(2500, 4000 if telephone else 7500)):
        if telephone or rng.random() < 0.5:
            heard[:, cut] *= 10 ** -rng.uniform(2, 7)
    if rng.random() < 0.7:
        spectrum = 10 ** ((rng.normal(0, 3, 3) @ colour - rng.uniform(0, 30) * place / np.pi) / 10)
        spectrum *= (heard.mean(axis=0) @ widths) / (spectrum @ widths) / 10 ** rng.uniform(0, 4)
        bins = np.maximum(1, widths * settings.n_fft / settings.sr)  # of the spectrum in a band: their mean varies less
        heard = heard + spectrum * rng.gamma(bins, 1 / bins, heard.shape)
    if rng.random() < 0.3:  # a codec drops what the loudest band of the moment hides
        hidden = heard < heard.max(axis=1, keepdims=True) * 10 ** -rng.uniform(2, 4)
        heard = np.where(hidden & (rng.random(heard.shape) < rng.uniform(0, 1)), 1e-10, heard)
    loudness = heard @ widths
    spoken = np.flatnonzero(loudness > loudness.max() * 10 ** (-settings.trim_db / 10))
    decibels = 10 * np.log10(np.maximum(heard[spoken[0]:spoken[-1] + 1], 1e-10))
    decibels = np.maximum(decibels, decibels.max() - settings.top_db)
    return features.cepstrum(decibels)


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

    >>> x, mask = pad([np.ones((40, 20)), np.ones((3, 20))])
    >>> x.shape, mask.shape
    ((2, 64, 20), (2, 64, 1))
    >>> mask.sum(axis=(1, 2)).tolist()
    [40.0, 3.0]
    """
    frames = frames or -(-max(map(len, sequences)) // multiple) * multiple
    x = np.zeros((len(sequences), frames, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, :len(sequence)], mask[row, :len(sequence)] = sequence, 1
    return x, mask
