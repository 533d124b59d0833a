"""Distortions of a recording for robustness evaluation: gain, noise, telephone, codec and reverberation.

Each function takes samples [shape=(n,)] and returns as many, float32. They are not used in training.
"""

import io

import numpy as np

from ser_utils import audio

TELEPHONE_BAND_HZ = 300, 3400  # ITU-T G.712
TELEPHONE_SR = 8000  # Hz
MP3_COMPRESSION = 0.99  # of libsndfile's scale from 0 to 1: about 20 kbit/s


def change_gain(y, gain_db):
    """Change the level, clipping at full scale.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    gain_db : float
        In dB.

    Returns
    -------
    np.ndarray [shape=(n,)]

    Examples
    --------
    >>> change_gain(np.array([0.05, 0.5], np.float32), gain_db=20).round(2).tolist()
    [0.5, 1.0]
    """
    return np.clip(y * np.float32(10 ** (gain_db / 20)), -1, 1)


def add_pink_noise(y, snr_db, seed=0):
    """Add pink noise.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    snr_db : float
        Ratio of the clip's mean power to that of the noise, in dB.
    seed : int, default 0

    Returns
    -------
    np.ndarray [shape=(n,)]

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> noise = add_pink_noise(y, snr_db=10) - y
    >>> round(float(10 * np.log10(np.mean(y ** 2) / np.mean(noise ** 2))), 1)
    10.0
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=len(y)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(y))
    gain = np.sqrt(_mean_power(y) / _mean_power(noise) / 10 ** (snr_db / 10))
    return (y + gain * noise).astype(np.float32)


def simulate_telephone(y, sr):
    """Limit the band to 300 to 3400 Hz and encode as 8-bit mu-law at 8 kHz (ITU-T G.712 and G.711).

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int
        Sampling rate, in Hz.

    Returns
    -------
    np.ndarray [shape=(n,)]

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> power = np.abs(np.fft.rfft(simulate_telephone(y, 16000))) ** 2
    >>> bool(power[300:3400].sum() > 0.99 * power.sum())
    True
    """
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
    sr : int
        Sampling rate, in Hz.

    Returns
    -------
    np.ndarray [shape=(n,)]

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> encode_mp3(0.5 * y, 16000).shape
    (16000,)
    """
    return _encode(y, sr, format="MP3", subtype="MPEG_LAYER_III", compression_level=MP3_COMPRESSION)


def simulate_room(y, sr, rt60=0.3, seed=0):
    """Convolve with an exponentially decaying noise impulse response [1]_ that has as much energy as the direct sound.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int
        Sampling rate, in Hz.
    rt60 : float, default 0.3
        Reverberation time, in s.
    seed : int, default 0

    Returns
    -------
    np.ndarray [shape=(n,)]
        With the power of `y`.

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
    time = np.arange(int(rt60 * sr)) / sr
    response = np.random.default_rng(seed).normal(size=len(time)) * 10 ** (-3 * time / rt60)
    response /= np.sqrt(np.sum(response ** 2))
    response[0] += 1  # direct sound
    size = len(y) + len(response) - 1
    reverberant = np.fft.irfft(np.fft.rfft(y, size) * np.fft.rfft(response, size), size)[:len(y)]
    return (reverberant * np.sqrt(_mean_power(y) / _mean_power(reverberant))).astype(np.float32)


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
