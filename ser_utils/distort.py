"""What happens to a voice on its way to us: level, noise, telephone, codec, room. For measuring, not for training.

Each function takes samples [shape=(samples,)] and their rate in Hz, and returns as many, float32.
"""

import io

import numpy as np


def louder(y, sr, decibels):
    """The same at another level, clipped at full scale as a recorder would.

    >>> louder(np.array([0.05, 0.5], np.float32), 16000, decibels=20).round(2).tolist()
    [0.5, 1.0]
    """
    return np.clip(y * np.float32(10 ** (decibels / 20)), -1, 1)


def _energy(y):
    return np.mean(np.square(y)) + 1e-20


def noisy(y, sr, snr, seed=0):
    """With pink noise at so many dB below the clip's own power.

    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> noise = noisy(y, 16000, snr=10) - y
    >>> round(float(10 * np.log10(np.mean(y ** 2) / np.mean(noise ** 2))), 1)
    10.0
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=len(y)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(y))
    return (y + np.sqrt(_energy(y) / _energy(noise) / 10 ** (snr / 10)) * noise).astype(np.float32)


def _coded(y, sr, **how):
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, y, sr, **how)
    memory.seek(0)
    return soundfile.read(memory, dtype="float32")[0]


def telephone(y, sr):
    """300 to 3400 Hz (ITU-T G.712), and through eight-bit mu-law at 8 kHz (ITU-T G.711).

    >>> y = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> heard = telephone(y, 16000)
    >>> power = np.abs(np.fft.rfft(heard)) ** 2
    >>> len(heard), bool(power[300:3400].sum() > 0.99 * power.sum())
    (16000, True)
    """
    import soxr

    spectrum, hz = np.fft.rfft(y), np.fft.rfftfreq(len(y), 1 / sr)
    narrow = np.fft.irfft(np.where((hz < 300) | (hz > 3400), 0, spectrum), len(y))
    coded = _coded(soxr.resample(narrow, sr, 8000), 8000, format="WAV", subtype="ULAW")
    return soxr.resample(coded, 8000, sr)[:len(y)]


def codec(y, sr):
    """Through a lossy codec at the lowest quality libsndfile has, MP3 at about 20 kbit/s.

    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> heard = codec(0.5 * y, 16000)
    >>> heard.shape, heard.dtype
    ((16000,), dtype('float32'))
    """
    return _coded(y, sr, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.99)


def room(y, sr, rt60=0.3, seed=0):
    """In a room: convolved with noise that decays by 60 dB in `rt60` seconds, direct sound first (Polack 1988).

    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> wet = room(y, 16000, rt60=0.5)
    >>> wet.shape, round(float(np.sum(wet ** 2) / np.sum(y ** 2)), 3)
    ((16000,), 1.0)
    """
    time = np.arange(int(rt60 * sr)) / sr
    response = np.random.default_rng(seed).normal(size=len(time)) * 10 ** (-3 * time / rt60)
    response /= np.sqrt(np.sum(response ** 2))  # as much energy as the direct sound
    response[0] += 1
    size = len(y) + len(response) - 1
    wet = np.fft.irfft(np.fft.rfft(y, size) * np.fft.rfft(response, size), size)[:len(y)]
    return (wet * np.sqrt(_energy(y) / _energy(wet))).astype(np.float32)


CONDITIONS = {  # name: f(y, sr, seed)
    "clean": lambda y, sr, seed: y,
    "12 dB louder": lambda y, sr, seed: louder(y, sr, 12), "12 dB softer": lambda y, sr, seed: louder(y, sr, -12),
    "noise at 20 dB": lambda y, sr, seed: noisy(y, sr, 20, seed),
    "noise at 10 dB": lambda y, sr, seed: noisy(y, sr, 10, seed),
    "noise at 5 dB": lambda y, sr, seed: noisy(y, sr, 5, seed),
    "telephone": lambda y, sr, seed: telephone(y, sr), "codec": lambda y, sr, seed: codec(y, sr),
    "room, 0.3 s": lambda y, sr, seed: room(y, sr, seed=seed)}
