"""Data augmentation of MFCC sequences: tempo, vocal tract length, gain, time masks, mixup and recording channels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_utils.features.spectral import FeatureConfig, dct_matrix, mel_frequencies, mel_to_mfcc, mfcc_to_mel

VTLP_STEPS = 200  # per unit of log frequency; few different warps, so that their matrices are cached
MIN_POWER = 1e-10

# Parameters of `simulate_channel`. Pairs are the limits of a uniform distribution.
MAX_PADDING_FRAMES = 60  # upper limit, exclusive, of the silence added at each end of a clip
REVERBERATION_PROBABILITY = 0.4  # that a clip is reverberated
NOISE_PROBABILITY = 0.7  # that noise is added
CODEC_PROBABILITY = 0.3  # that a codec is simulated
RT60_SECONDS = (0.1, 0.5)  # reverberation time, in s
REVERBERANT_TO_DIRECT = (0, 1.5)  # ratio of the steady-state powers of reverberation and direct sound
N_COSINES = 3  # of which a random spectral envelope is the sum
ENVELOPE_SD_DB = 3  # SD of the amplitude of each cosine
CUTOFF_PROBABILITY = 0.5  # that the low end is limited, and the same for the high end
TELEPHONE_PROBABILITY = 0.25  # that both ends are limited to a telephone band
LOW_CUTOFF_HZ = (80, 500)  # lower limit of the band
HIGH_CUTOFF_HZ = (2500, 7500)  # upper limit of the band
TELEPHONE_HIGH_CUTOFF_HZ = (2500, 4000)  # upper limit of a telephone band
STOPBAND_DB = (20, 70)  # attenuation outside the band
NOISE_SLOPE_DB = (0, 30)  # decrease of the noise from the lowest to the highest mel band
SNR_RANGE_DB = (0, 40)  # ratio of the clip's mean power to that of the noise
MASKING_DB = (20, 40)  # bands this far below the strongest band of their frame can be dropped by a codec
DROP_PROBABILITY = (0, 1)  # that such a band is dropped


@dataclass(frozen=True)
class Augment:
    """Random transformations of a training clip. All zero: no augmentation.

    Tempo, vocal tract length and gain act on the log-mel spectrogram, which MFCCs of full order represent without
    loss. Time masks act on standardized coefficients, whose mean is 0; mixup acts on batches.

    Parameters
    ----------
    max_log_tempo : float >= 0, default 0
        Tempo factor drawn log-uniformly from exp(±max_log_tempo).
    max_log_warp : float >= 0, default 0
        Factor of the frequency axis drawn log-uniformly from exp(±max_log_warp) (VTLP [1]_).
    max_gain_db : float >= 0, default 0
        Largest gain, in dB.
    max_mask_frames : int >= 0, default 0
        Maximum width of each of the two time masks, in frames (SpecAugment [2]_).
    mixup_alpha : float >= 0, default 0
        Parameter of mixup's beta distribution [3]_.

    References
    ----------
    .. [1] N. Jaitly and G. Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition", ICML
       Workshop on Deep Learning for Audio, Speech and Language, 2013.
    .. [2] D. Park et al., "SpecAugment: A simple data augmentation method for automatic speech recognition",
       Interspeech, 2019, doi:10.21437/Interspeech.2019-2680.
    .. [3] H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR, 2018, arXiv:1710.09412.

    Examples
    --------
    >>> clip, rng = np.ones((100, 64), np.float32), np.random.default_rng(0)
    >>> Augment().transform(clip, rng) is clip
    True
    >>> 82 <= len(Augment(max_log_tempo=0.2).transform(clip, rng)) <= 122
    True
    """

    max_log_tempo: float = 0.0
    max_log_warp: float = 0.0
    max_gain_db: float = 0.0
    max_mask_frames: int = 0
    mixup_alpha: float = 0.0

    def transform(self, coefficients, rng):
        """Change tempo, vocal tract length and gain of one clip.

        Parameters
        ----------
        coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of full order (``n_mfcc == n_mels``).
        rng : np.random.Generator
            Random number generator.

        Returns
        -------
        np.ndarray [shape=(new_n_frames, n_mfcc)]
            Transformed coefficients.
        """
        if self.max_log_tempo:
            n_frames = max(2, round(len(coefficients) * np.exp(rng.uniform(-self.max_log_tempo, self.max_log_tempo))))
            coefficients = _interpolate_rows(coefficients, np.linspace(0, len(coefficients) - 1, n_frames))
        if self.max_log_warp:
            coefficients = vtlp(coefficients, rng.uniform(-self.max_log_warp, self.max_log_warp))
        if self.max_gain_db:  # the same in all bands, so it changes c0 alone
            c0 = np.float32(rng.uniform(-self.max_gain_db, self.max_gain_db) * np.sqrt(coefficients.shape[1]))
            coefficients = coefficients + np.eye(1, coefficients.shape[1], dtype=np.float32) * c0
        return coefficients

    def time_mask(self, x, rng):
        """Set two random time intervals of one clip to zero.

        Parameters
        ----------
        x : np.ndarray [shape=(n_frames, n_mfcc)]
            Standardized MFCCs.
        rng : np.random.Generator
            Random number generator.

        Returns
        -------
        np.ndarray [shape=(n_frames, n_mfcc)]
            Coefficients with two masked intervals.

        Examples
        --------
        >>> masked = Augment(max_mask_frames=15).time_mask(np.ones((100, 40)), np.random.default_rng(0))
        >>> 70 <= int(masked.any(axis=1).sum()) <= 100
        True
        """
        if self.max_mask_frames:
            x = x.copy()
            for _ in range(2):
                width = rng.integers(0, self.max_mask_frames + 1)
                start = rng.integers(0, max(1, len(x) - width))
                x[start:start + width] = 0
        return x

    def mixup(self, x, mask, y, rng):
        """Replace each clip of a batch, and its label, by a weighted mean of itself and another clip.

        Parameters
        ----------
        x : np.ndarray [shape=(n_clips, n_frames, n_mfcc)]
            Standardized and padded clips.
        mask : np.ndarray [shape=(n_clips, n_frames, 1)]
            1 on frames of the clip, 0 on padding.
        y : np.ndarray [shape=(n_clips, n_classes)]
            One-hot labels.
        rng : np.random.Generator
            Random number generator.

        Returns
        -------
        x : np.ndarray [shape=(n_clips, n_frames, n_mfcc)]
            Mixed clips; a clip has at least the weight of the clip that it is mixed with.
        mask : np.ndarray [shape=(n_clips, n_frames, 1)]
            1 on frames of either clip.
        y : np.ndarray [shape=(n_clips, n_classes)]
            Mixed labels.

        Examples
        --------
        >>> x, mask, y = np.ones((2, 50, 40)), np.ones((2, 50, 1)), np.eye(2)
        >>> _, _, mixed = Augment(mixup_alpha=0.2).mixup(x, mask, y, np.random.default_rng(0))
        >>> mixed.argmax(axis=1).tolist(), np.allclose(mixed.sum(axis=1), 1)
        ([0, 1], True)
        """
        if not self.mixup_alpha:
            return x, mask, y
        weight = rng.beta(self.mixup_alpha, self.mixup_alpha, len(x)).astype(np.float32)
        weight, other = np.maximum(weight, 1 - weight), rng.permutation(len(x))
        mixed = x * weight[:, None, None] + x[other] * (1 - weight)[:, None, None]
        return mixed, np.maximum(mask, mask[other]), y * weight[:, None] + y[other] * (1 - weight)[:, None]


@dataclass(frozen=True)
class ChannelAugment(Augment):
    """`Augment` followed by `simulate_channel` for a random subset of the clips.

    Parameters
    ----------
    max_log_tempo : float >= 0, default 0
        As in `Augment`.
    max_log_warp : float >= 0, default 0
        As in `Augment`.
    max_gain_db : float >= 0, default 0
        As in `Augment`.
    max_mask_frames : int >= 0, default 0
        As in `Augment`.
    mixup_alpha : float >= 0, default 0
        As in `Augment`.
    channel_probability : float in [0, 1], default 0.8
        Probability that a clip passes through a simulated channel.

    Examples
    --------
    >>> clip = np.zeros((63, 64), np.float32)
    >>> ChannelAugment(channel_probability=0).transform(clip, np.random.default_rng(0)) is clip
    True
    >>> ChannelAugment(channel_probability=1).transform(clip, np.random.default_rng(0)).shape[1]
    64
    """

    channel_probability: float = 0.8

    def transform(self, coefficients, rng):
        """Change tempo, vocal tract length, gain and recording channel of one clip.

        Parameters
        ----------
        coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
            MFCCs of full order (``n_mfcc == n_mels``).
        rng : np.random.Generator
            Random number generator.

        Returns
        -------
        np.ndarray [shape=(new_n_frames, n_mfcc)]
            Transformed coefficients.
        """
        coefficients = super().transform(coefficients, rng)
        return simulate_channel(coefficients, rng) if rng.random() < self.channel_probability else coefficients


def vtlp(coefficients, warp):
    """Perturb the vocal tract length: scale all frequencies of a clip by ``exp(warp)``.

    Vocal tract length perturbation (VTLP) was introduced for speech recognition [1]_.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of full order, with the mel bands of ``FeatureConfig()``.
    warp : float
        Log of the factor, rounded to 1 / 200.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)]
        Warped coefficients.

    References
    ----------
    .. [1] N. Jaitly and G. Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition", ICML
       Workshop on Deep Learning for Audio, Speech and Language, 2013.

    Examples
    --------
    >>> from ser_utils.features.spectral import mfcc
    >>> tone = mfcc(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000))
    >>> bands = [mfcc_to_mel(clip).mean(axis=0).argmax() for clip in (tone, vtlp(tone, 0.5))]
    >>> mel_frequencies(FeatureConfig())[bands].round(-2).tolist()
    [1000.0, 1700.0]
    """
    return coefficients @ _warp_matrix(round(warp * VTLP_STEPS), coefficients.shape[1])


def normalize_level(coefficients):
    """Normalize the level of a clip: subtract the maximum over frames of the mean log-mel level, so that c0 peaks at 0.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)]
        Coefficients relative to the loudest frame.

    Examples
    --------
    >>> from ser_utils.features.spectral import mfcc
    >>> y = np.random.default_rng(0).normal(size=16000)
    >>> loud, soft = (normalize_level(mfcc(gain * y)) for gain in (1, 0.1))
    >>> float(loud[:, 0].max()), np.allclose(loud, soft, atol=0.01)
    (0.0, True)
    """
    return coefficients - coefficients[:, :1].max() * np.eye(1, coefficients.shape[1], dtype=np.float32)


def simulate_channel(coefficients, rng, config=FeatureConfig()):
    """Simulate the recording of a clip in another room, with another microphone, band limits, noise and codec.

    Acts on the power in each mel band: silence before and after the speech, reverberation, spectral envelope of the
    microphone, band limits, stationary noise at 0 to 40 dB SNR, and a codec. Silence and envelope apply to all clips,
    the other steps to random subsets. Leading and trailing silence is trimmed afterwards.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of full order (``n_mfcc == n_mels``).
    rng : np.random.Generator
        Random number generator.
    config : FeatureConfig, default FeatureConfig()
        Configuration the coefficients were extracted with.

    Returns
    -------
    np.ndarray [shape=(new_n_frames, n_mfcc)], float32
        Coefficients of the simulated recording.

    See Also
    --------
    ser_utils.distortions.simulate_random_channel : Simulate a channel on samples.

    Examples
    --------
    >>> from ser_utils.features.spectral import mfcc
    >>> clip = mfcc(np.random.default_rng(0).normal(size=16000))
    >>> first, second = (simulate_channel(clip, np.random.default_rng(1)) for _ in range(2))
    >>> clip.shape, first.shape[1], np.array_equal(first, second)
    ((63, 64), 64, True)
    """
    frequencies = mel_frequencies(config)
    n_padding = tuple(rng.integers(0, MAX_PADDING_FRAMES, 2))
    power = 10 ** (np.pad(mfcc_to_mel(coefficients), (n_padding, (0, 0)), constant_values=-100) / 10)
    if rng.random() < REVERBERATION_PROBABILITY:
        power = _reverberate(power, rng, config)
    power = power * 10 ** (_random_envelope_db(config.n_mels, rng) / 10)
    power = _limit_band(power, frequencies, rng)
    if rng.random() < NOISE_PROBABILITY:
        power = _add_noise(power, frequencies, rng, config)
    if rng.random() < CODEC_PROBABILITY:
        power = _simulate_codec(power, rng)
    return mel_to_mfcc(_to_trimmed_db(power, frequencies, config))


def pad_sequences(sequences, n_frames=None, multiple=32):
    """Stack sequences of different lengths, zero-padded at the end.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(n_frames, n_mfcc)]
        Features of each clip.
    n_frames : int, optional
        Common length; by default that of the longest sequence, rounded up to a multiple of `multiple`.
    multiple : int, default 32
        The default length is a multiple of it; few different lengths mean few graphs for TensorFlow to trace.

    Returns
    -------
    x : np.ndarray [shape=(n_clips, n_frames, n_mfcc)], float32
        Padded sequences.
    mask : np.ndarray [shape=(n_clips, n_frames, 1)], float32
        1 on frames of the sequence, 0 on padding.

    Examples
    --------
    >>> x, mask = pad_sequences([np.ones((40, 20)), np.ones((3, 20))])
    >>> x.shape, mask.shape
    ((2, 64, 20), (2, 64, 1))
    >>> mask.sum(axis=(1, 2)).tolist()
    [40.0, 3.0]
    """
    n_frames = n_frames or -(-max(map(len, sequences)) // multiple) * multiple
    x = np.zeros((len(sequences), n_frames, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), n_frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, :len(sequence)], mask[row, :len(sequence)] = sequence, 1
    return x, mask


@lru_cache(maxsize=512)
def _warp_matrix(steps, n_mels):
    """Frequency warp as a linear map of MFCCs [shape=(n_mels, n_mels)]."""
    frequencies = mel_frequencies(FeatureConfig(n_mels=n_mels, n_mfcc=n_mels))
    bands = np.interp(frequencies * np.exp(-steps / VTLP_STEPS), frequencies, np.arange(n_mels))
    dct = dct_matrix(n_mels, n_mels)
    return (_interpolate_rows(dct.T, bands).T @ dct.T).astype(np.float32)


def _interpolate_rows(rows, positions):
    """Interpolate linearly between rows at fractional positions."""
    below = np.minimum(positions.astype(int), max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    weight = (positions - below).astype(np.float32)[:, None]
    return rows[below] * (1 - weight) + rows[above] * weight


def _reverberate(power, rng, config):
    """Add an exponentially decaying tail: -60 dB after RT60 (Polack's model of the energy decay)."""
    decay = 10 ** (-6 * config.hop_length / config.sr / rng.uniform(*RT60_SECONDS))
    gain = rng.uniform(*REVERBERANT_TO_DIRECT)
    output, tail = power.copy(), np.zeros(power.shape[1])
    for frame, out in zip(power, output, strict=True):
        tail = decay * tail + frame
        out += gain * (1 - decay) * tail
    return output


def _draw_log_ratio(limits_db, rng):
    """Draw a power ratio, uniformly in dB, and return its decimal logarithm."""
    low, high = limits_db
    return rng.uniform(low / 10, high / 10)


def _random_envelope_db(n_mels, rng):
    """Smooth random frequency response: a sum of low-order cosines over the bands, in dB."""
    cosines = np.cos(np.outer(np.arange(1, N_COSINES + 1), np.linspace(0, np.pi, n_mels)))
    return rng.normal(0, ENVELOPE_SD_DB, N_COSINES) @ cosines


def _limit_band(power, frequencies, rng):
    """Attenuate the bands below and above random cutoff frequencies, always both for a telephone band."""
    is_telephone = rng.random() < TELEPHONE_PROBABILITY
    low = rng.uniform(*LOW_CUTOFF_HZ)
    high = rng.uniform(*(TELEPHONE_HIGH_CUTOFF_HZ if is_telephone else HIGH_CUTOFF_HZ))
    for stopband in (frequencies < low, frequencies > high):
        if is_telephone or rng.random() < CUTOFF_PROBABILITY:
            power[:, stopband] *= 10 ** -_draw_log_ratio(STOPBAND_DB, rng)
    return power


def _add_noise(power, frequencies, rng, config):
    """Add stationary noise with a random sloping spectrum."""
    bandwidths, angles = np.gradient(frequencies), np.linspace(0, np.pi, len(frequencies))
    envelope = _random_envelope_db(len(frequencies), rng)
    spectrum = 10 ** ((envelope - rng.uniform(*NOISE_SLOPE_DB) * angles / np.pi) / 10)
    spectrum *= (power.mean(axis=0) @ bandwidths) / (spectrum @ bandwidths) / 10 ** _draw_log_ratio(SNR_RANGE_DB, rng)
    n_bins = np.maximum(1, bandwidths * config.n_fft / config.sr)  # the power of a band is a mean over its FFT bins
    return power + spectrum * rng.gamma(n_bins, 1 / n_bins, power.shape)


def _simulate_codec(power, rng):
    """Drop bands far below the strongest band of their frame, as a perceptual codec does."""
    is_masked = power < power.max(axis=1, keepdims=True) * 10 ** -_draw_log_ratio(MASKING_DB, rng)
    is_dropped = is_masked & (rng.random(power.shape) < rng.uniform(*DROP_PROBABILITY))
    return np.where(is_dropped, MIN_POWER, power)


def _to_trimmed_db(power, frequencies, config):
    """Log-mel spectrogram without silence at its ends, with the dynamic range of `log_mel_spectrogram`."""
    loudness = power @ np.gradient(frequencies)
    speech = np.flatnonzero(loudness > loudness.max() * 10 ** (-config.trim_db / 10))
    mel = 10 * np.log10(np.maximum(power[speech[0]:speech[-1] + 1], MIN_POWER))
    return np.maximum(mel, mel.max() - config.top_db)
