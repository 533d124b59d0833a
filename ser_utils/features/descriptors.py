"""Acoustic descriptors of a clip (duration, level, F0, spectral centroid) and the original project's MFCC contour."""

import numpy as np

from ser_utils import audio
from ser_utils.features import spectral

DESCRIPTORS = {
    "duration": "s, whole recording",
    "speech_duration": "s, without silence at both ends",
    "level_dbfs": "dBFS, RMS of the speech",
    "f0_median": "Hz, over voiced frames",
    "f0_range": "semitones, 10th to 90th percentile over voiced frames",
    "voiced_fraction": "fraction of frames that are voiced",
    "spectral_centroid": "Hz, power-weighted mean frequency of the speech",
}

# The original project's feature, the mean over 13 MFCCs in each frame, of 2.5 s starting at 0.5 s, at 44.1 kHz. In
# this mean the bands up to about 300 Hz have most of the weight.
CONTOUR_CONFIG = spectral.FeatureConfig(sr=44100, n_fft=2048, hop_length=512, n_mels=128, n_mfcc=13, fmin=0.0)
CONTOUR_FRAMES = 216


def compute_descriptors(y, speech, sr, f0=True):
    """Compute the acoustic descriptors of one clip.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of the whole recording.
    speech : np.ndarray [shape=(m,)]
        The same without silence at both ends.
    sr : int
        Sampling rate in Hz.
    f0 : bool, default True
        Estimate F0 with pYIN [1]_ (`librosa.pyin`), which takes most of the time. Without it the F0 statistics and
        `voiced_fraction` are NaN.

    Returns
    -------
    dict of float
        Keys and units as in `DESCRIPTORS`; F0 statistics are NaN if no frame is voiced.

    References
    ----------
    .. [1] M. Mauch and S. Dixon, "pYIN: A fundamental frequency estimator using probabilistic threshold
       distributions", ICASSP, 2014, doi:10.1109/ICASSP.2014.6853678.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> values = compute_descriptors(y, y, sr=16000, f0=False)
    >>> [round(float(values[name]), 1) for name in ("duration", "level_dbfs", "spectral_centroid")]
    [1.0, -3.0, 220.0]
    """
    voiced_f0, is_voiced = np.array([np.nan]), np.array(np.nan)
    if f0:
        import librosa

        # fmin and fmax, in Hz: from low male voices to shouting female voices
        estimates, is_voiced, _ = librosa.pyin(speech, fmin=65, fmax=700, sr=sr, frame_length=1024, hop_length=256)
        voiced_f0 = estimates[is_voiced] if is_voiced.any() else voiced_f0
    low, high = np.percentile(voiced_f0, [10, 90])
    power = np.abs(np.fft.rfft(speech)) ** 2
    return {
        "duration": len(y) / sr,
        "speech_duration": len(speech) / sr,
        "level_dbfs": 10 * np.log10(np.mean(np.square(speech, dtype=np.float64)) + 1e-12),
        "f0_median": float(np.median(voiced_f0)),
        "f0_range": float(12 * np.log2(high / low)),
        "voiced_fraction": float(is_voiced.mean()),
        "spectral_centroid": float(np.fft.rfftfreq(len(speech), 1 / sr) @ power / power.sum()),
    }


def compile_pyin():
    """Compile librosa's pYIN before worker processes start.

    Processes that compile it at the same time can corrupt Numba's cache (Numba issue 10128).
    """
    tone = np.sin(np.arange(4000, dtype=np.float32))
    compute_descriptors(tone, tone, 16000)


def mfcc_mean_contour(y, sr):
    """Compute the original project's feature, the mean over 13 MFCCs in each frame.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of the whole recording, as from `audio.read`.
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(216,)]
        Mean MFCC of each frame, padded with 0; float32.

    Examples
    --------
    >>> y = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    >>> int(np.count_nonzero(mfcc_mean_contour(y, sr=16000)))  # 0.5 s
    44
    """
    y = audio.resample(y[sr // 2:3 * sr], sr, CONTOUR_CONFIG.sr)
    values = spectral.mfcc(y, CONTOUR_CONFIG).mean(axis=1)[:CONTOUR_FRAMES] if y.size else np.empty(0)
    return np.pad(values, (0, CONTOUR_FRAMES - len(values))).astype(np.float32)
