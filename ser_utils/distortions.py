"""Distortions of a recording: gain, noise, telephone, codec and reverberation.

`CONDITIONS` are those of the robustness evaluation. `simulate_random_channel` combines the same kinds of distortion at
random for the training of `whisper_robust`; `cnn_robust` and `cnn_robust_gender` are trained with
`ser_utils.models.augment.simulate_channel` instead.
"""

import io
import zlib

import numpy as np

from ser_utils import audio

TELEPHONE_BAND_HZ = 300, 3400  # ITU-T G.712
TELEPHONE_SR = 8000  # Hz
MP3_SR = 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000  # Hz, of MPEG-1, 2 and 2.5
MP3_COMPRESSION = 0.99  # of libsndfile's scale from 0 to 1: about 20 kbit/s

# Ranges of the random channel
MAX_SILENCE_S = 0.3
REVERBERATION_PROBABILITY, RT60_RANGE_S, DIRECT_TO_REVERBERANT_RANGE_DB = 0.4, (0.1, 0.8), (-3, 12)
N_RESPONSE_POINTS, MAX_RESPONSE_DB = 8, 6  # spectral envelope of a microphone: points on the logarithmic frequency axis
BAND_LIMIT_PROBABILITY, LOW_CUT_RANGE_HZ, HIGH_CUT_RANGE_HZ = 0.2, (50, 400), (3000, 7500)
NOISE_PROBABILITY, SNR_RANGE_DB, MAX_NOISE_SLOPE = 0.5, (0, 40), 2  # power spectrum 1 / f ** slope: white to red
CODEC_PROBABILITY = 0.25  # telephone or MP3
GAIN_RANGE_DB = (-20, 6)


def change_gain(y, gain_db):
    """Change the level, clipping at full scale.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, floating-point; full scale is 1.
    gain_db : float
        Gain in dB.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Samples in [-1, 1].

    Raises
    ------
    ValueError
        If the samples are not valid: none, of several channels, integers, NaN, infinite or beyond 10.

    Examples
    --------
    >>> change_gain(np.array([0.05, 0.5], np.float32), gain_db=20).round(2).tolist()
    [0.5, 1.0]
    """
    y = _check_samples(y)
    return np.clip(y * np.float32(10 ** (gain_db / 20)), -1, 1)


def add_pink_noise(y, snr_db, seed=0):
    """Add pink noise.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, floating-point; full scale is 1.
    snr_db : float
        Ratio of the clip's mean power to that of the noise, in dB.
    seed : int, default 0
        Seed of the noise.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Samples with noise; they can exceed full scale.

    Raises
    ------
    ValueError
        If the samples are not valid, as for `change_gain`.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> noise = add_pink_noise(y, snr_db=10) - y
    >>> round(float(10 * np.log10(np.mean(y ** 2) / np.mean(noise ** 2))), 1)
    10.0
    """
    return _add_noise(_check_samples(y), snr_db, np.random.default_rng(seed), slope=1)


def simulate_telephone(y, sr):
    """Limit the band to 300 to 3400 Hz and encode as 8-bit mu-law at 8 kHz (ITU-T G.712 and G.711).

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, floating-point; full scale is 1.
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Samples at the original sampling rate.

    Raises
    ------
    ValueError
        If the samples are not valid, as for `change_gain`, or the sampling rate is not positive.

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> power = np.abs(np.fft.rfft(simulate_telephone(y, 16000))) ** 2
    >>> bool(power[300:3400].sum() > 0.99 * power.sum())
    True
    """
    y = _check_samples(y, sr)
    spectrum, frequencies = np.fft.rfft(y), np.fft.rfftfreq(len(y), 1 / sr)
    low, high = TELEPHONE_BAND_HZ
    band_limited = np.fft.irfft(np.where((frequencies < low) | (frequencies > high), 0, spectrum), len(y))
    encoded = _encode(audio.resample(band_limited, sr, TELEPHONE_SR), TELEPHONE_SR, format="WAV", subtype="ULAW")
    return audio.resample(encoded, TELEPHONE_SR, sr)[:len(y)]


def encode_mp3(y, sr):
    """Encode and decode as MP3 at the lowest quality of libsndfile, about 20 kbit/s.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, floating-point; full scale is 1.
    sr : int
        Sampling rate in Hz, one of `MP3_SR`.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Decoded samples.

    Raises
    ------
    ValueError
        If the samples are not valid, as for `change_gain`, or MP3 does not support the sampling rate.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> encode_mp3(0.5 * y, 16000).shape
    (16000,)
    """
    if sr not in MP3_SR:
        raise ValueError(f"MP3 does not support sr={sr} Hz; resample to one of {', '.join(map(str, MP3_SR))} Hz")
    return _encode(_check_samples(y), sr, format="MP3", subtype="MPEG_LAYER_III", compression_level=MP3_COMPRESSION)


def simulate_room(y, sr, rt60=0.3, seed=0):
    """Simulate the reverberation of a room.

    The signal is convolved with exponentially decaying noise [1]_ that has as much energy as the direct sound.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, floating-point; full scale is 1.
    sr : int
        Sampling rate in Hz.
    rt60 : float > 0, default 0.3
        Reverberation time in s, of one sample at least.
    seed : int, default 0
        Seed of the noise.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Reverberant samples with the power of `y`.

    Raises
    ------
    ValueError
        If the samples are not valid, as for `change_gain`, the sampling rate is not positive, or `rt60` is shorter than
        one sample.

    References
    ----------
    .. [1] J.-D. Polack, "La transmission de l'énergie sonore dans les salles", dissertation, Université du Maine, 1988.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> reverberant = simulate_room(y, 16000, rt60=0.5)
    >>> reverberant.shape, round(float(np.sum(reverberant ** 2) / np.sum(y ** 2)), 3)
    ((16000,), 1.0)
    """
    y = _check_samples(y, sr)
    if not 1 <= rt60 * sr < np.inf:
        raise ValueError(f"rt60={rt60} s must last one sample at least, {1 / sr:.2g} s; pass a reverberation time such "
                         "as 0.3, or leave out this step for no reverberation")
    return _reverberate(y, sr, rt60, np.random.default_rng(seed), direct_db=0)


def simulate_random_channel(y, sr, seed=None):
    """Simulate the recording of a clip in another room, with another microphone, noise, codec and level.

    Silence, spectral envelope and level are drawn for every clip, each of the other steps for some. Except for the gain
    of 12 dB, the ranges include gain, SNR, coding and reverberation of `CONDITIONS`. Leading and trailing silence is
    trimmed afterwards.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Speech of one channel without silence at both ends, floating-point; full scale is 1.
    sr : int
        Sampling rate in Hz.
    seed : int, optional
        Seed of all random draws. By default it is computed from the samples, so that a clip is always distorted in
        the same way.

    Returns
    -------
    np.ndarray [shape=(new_n,)], float32
        Distorted samples in [-1, 1].

    Raises
    ------
    ValueError
        If the samples are not valid, as for `change_gain`, the sampling rate is not positive, or MP3 does not support
        it and the clip is drawn for this codec.

    See Also
    --------
    ser_utils.models.augment.simulate_channel : Simulate a channel on MFCCs.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000).astype(np.float32)
    >>> first, second, third = (simulate_random_channel(y, 16000, seed) for seed in (1, 1, 2))
    >>> np.array_equal(first, second), np.array_equal(first, third)
    (True, False)
    """
    y = np.asarray(_check_samples(y, sr), np.float32)
    rng = np.random.default_rng(zlib.crc32(y.tobytes()) if seed is None else seed)
    y = np.pad(y, tuple(rng.integers(0, int(MAX_SILENCE_S * sr), 2)))
    if rng.random() < REVERBERATION_PROBABILITY:
        y = _reverberate(y, sr, rng.uniform(*RT60_RANGE_S), rng, rng.uniform(*DIRECT_TO_REVERBERANT_RANGE_DB))
    y = _filter_at_random(y, sr, rng)
    if rng.random() < NOISE_PROBABILITY:
        y = _add_noise(y, rng.uniform(*SNR_RANGE_DB), rng, rng.uniform(0, MAX_NOISE_SLOPE))
    if rng.random() < CODEC_PROBABILITY:
        y = simulate_telephone(_limit_peak(y), sr) if rng.random() < 0.5 else encode_mp3(_limit_peak(y), sr)
    return audio.trim(change_gain(_limit_peak(y), rng.uniform(*GAIN_RANGE_DB)))


def _check_samples(y, sr=None):
    """Check samples and sampling rate; libsndfile ends the process on NaN or values far beyond full scale."""
    if sr is not None and not 0 < sr < np.inf:
        raise ValueError(f"sr={sr} is not a sampling rate; pass a positive number of Hz")
    y = audio.check_mono(y)
    if (peak := float(np.abs(y).max())) > audio.MAX_VALID_AMPLITUDE:
        raise ValueError(f"samples up to {peak:.0f} are far beyond the full scale of 1; divide them by their full "
                         "scale, which is 32768 for int16")
    return y


def _limit_peak(y):
    return y / max(1.0, float(np.abs(y).max(initial=0)))


def _add_noise(y, snr_db, rng, slope):
    """Add noise with the power spectrum 1 / f ** slope."""
    spectrum = np.fft.rfft(rng.normal(size=len(y)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2), len(y))
    gain = np.sqrt(_mean_power(y) / _mean_power(noise) / 10 ** (snr_db / 10))
    return (y + gain * noise).astype(np.float32)


def _reverberate(y, sr, rt60, rng, direct_db):
    """Convolve with decaying noise; direct_db is the energy of the direct sound relative to it."""
    time = np.arange(int(rt60 * sr)) / sr
    response = rng.normal(size=len(time)) * 10 ** (-3 * time / rt60)
    response /= np.sqrt(np.sum(response ** 2))
    response[0] += 10 ** (direct_db / 20)
    size = len(y) + len(response) - 1
    reverberant = np.fft.irfft(np.fft.rfft(y, size) * np.fft.rfft(response, size), size)[:len(y)]
    return (reverberant * np.sqrt(_mean_power(y) / _mean_power(reverberant))).astype(np.float32)


def _filter_at_random(y, sr, rng):
    """Apply a random smooth frequency response and, to some clips, band limits."""
    spectrum, frequencies = np.fft.rfft(y), np.fft.rfftfreq(len(y), 1 / sr)
    points = np.geomspace(50, sr / 2, N_RESPONSE_POINTS)
    gain_db = np.interp(np.log(np.maximum(frequencies, 1)), np.log(points),
                        rng.uniform(-MAX_RESPONSE_DB, MAX_RESPONSE_DB, N_RESPONSE_POINTS))
    if rng.random() < BAND_LIMIT_PROBABILITY:
        low, high = rng.uniform(*LOW_CUT_RANGE_HZ), rng.uniform(*HIGH_CUT_RANGE_HZ)
        gain_db = np.where((frequencies < low) | (frequencies > high), -100, gain_db)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(y)).astype(np.float32)


def _mean_power(y):
    return np.mean(np.square(y)) + 1e-20  # no division by zero for silence


def _encode(y, sr, **options):
    """Encode samples in a file format and decode them."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, y, sr, **options)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


CONDITIONS = {  # name: f(y, sr, seed)
    "clean": lambda y, sr, seed: y,
    "+12 dB": lambda y, sr, seed: change_gain(y, 12),
    "-12 dB": lambda y, sr, seed: change_gain(y, -12),
    "noise, 20 dB SNR": lambda y, sr, seed: add_pink_noise(y, 20, seed),
    "noise, 10 dB SNR": lambda y, sr, seed: add_pink_noise(y, 10, seed),
    "noise, 5 dB SNR": lambda y, sr, seed: add_pink_noise(y, 5, seed),
    "telephone": lambda y, sr, seed: simulate_telephone(y, sr),
    "MP3": lambda y, sr, seed: encode_mp3(y, sr),
    "room, RT60 0.3 s": lambda y, sr, seed: simulate_room(y, sr, seed=seed),
}
