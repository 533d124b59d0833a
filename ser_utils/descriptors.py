"""One line of numbers a clip: how long, how loud, how high and how lively the voice is."""

import numpy as np

from ser_utils import audio, features

F0_MIN, F0_MAX = 65.0, 700.0  # Hz: a low male voice to a shout of a high female one

COLUMNS = {
    "duration": "s, the whole recording",
    "speech_duration": "s, without the silence at its ends",
    "level": "dB re full scale, RMS of the speech",
    "f0_median": "Hz, of the voiced frames",
    "f0_range": "semitones, 10th to 90th percentile of the voiced frames",
    "voiced": "share of frames that are voiced",
    "centroid": "Hz, mean spectral centroid weighted by power: brightness",
}


def compile_pitch():
    """Have librosa's code for pitch compiled, which it keeps on disk; returns None.

    To be done before workers begin: processes that compile it at once can spoil what is kept (numba #10128).

    >>> compile_pitch()
    """
    tone = np.sin(np.arange(4000, dtype=np.float32))
    describe(tone, tone, 16000)


def describe(y, speech, sr, pitch=True):
    """Duration, level, pitch and brightness of one clip, as recorded and with the silence at its ends cut off.

    Pitch is pYIN's (Mauch & Dixon 2014, `librosa.pyin`); its statistics are NaN where nothing is voiced, and without
    `pitch`, which takes far longer than all the rest. Returns a dict of float, keyed as `COLUMNS`.

    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> found = describe(y, y, sr=16000, pitch=False)
    >>> [round(float(found[name]), 1) for name in ("duration", "level", "centroid")]
    [1.0, -3.0, 220.0]
    """
    f0, voiced = np.array([np.nan]), np.array(np.nan)
    if pitch:
        import librosa

        heard, voiced, _ = librosa.pyin(speech, fmin=F0_MIN, fmax=F0_MAX, sr=sr, frame_length=1024, hop_length=256)
        f0 = heard[voiced] if voiced.any() else f0
    low, high = np.percentile(f0, [10, 90])
    power = np.abs(np.fft.rfft(speech)) ** 2
    return {
        "duration": len(y) / sr,
        "speech_duration": len(speech) / sr,
        "level": 10 * np.log10(np.mean(np.square(speech, dtype=np.float64)) + 1e-12),
        "f0_median": float(np.median(f0)),
        "f0_range": float(12 * np.log2(high / low)),
        "voiced": float(voiced.mean()),
        "centroid": float(np.fft.rfftfreq(len(speech), 1 / sr) @ power / power.sum()),
    }


# The original project's feature: 13 MFCCs of 2.5 s from 0.5 s at 44.1 kHz, averaged over the coefficients, which leaves
# one number a frame: nearly the level of the bands up to about 300 Hz, where that average has most of its weight
CONTOUR_SETTINGS = features.Settings(sr=44100, n_fft=2048, hop_length=512, n_mels=128, n_mfcc=13, fmin=0.0)
CONTOUR_FRAMES = 216


def contour(y, sr, rfft=np.fft.rfft):
    """The original project's 216 numbers for one recording as `audio.read` gives it, missing frames 0.

    [shape=(samples,)] -> [shape=(216,)], float32

    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> values = contour(y, sr=16000)
    >>> values.shape, np.flatnonzero(values).size
    ((216,), 44)
    """
    y = audio.resampled(y[sr // 2:3 * sr], sr, CONTOUR_SETTINGS.sr)
    values = features.mfcc(y, CONTOUR_SETTINGS, rfft).mean(axis=1)[:CONTOUR_FRAMES] if y.size else np.empty(0)
    return np.pad(values, (0, CONTOUR_FRAMES - len(values))).astype(np.float32)
