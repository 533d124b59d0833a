"""From samples to MFCCs, by librosa's definitions in plain NumPy, and back to the log-mel spectrogram.

NumPy and not librosa, because the first MFCC of a process then costs a tenth of a second and not four; the tests hold
the two equal to 1e-3.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_utils import audio


@dataclass(frozen=True)
class Settings:
    """How sound becomes coefficients. Everything downstream carries this with it.

    With `n_mfcc == n_mels` the DCT loses nothing, so the log-mel spectrogram comes back exactly (`log_mel`).

    >>> settings = Settings()
    >>> f"{1000 * settings.n_fft / settings.sr:.0f} ms every {1000 * settings.hop_length / settings.sr:.0f} ms"
    '64 ms every 16 ms'
    >>> Settings(n_mfcc=80)
    Traceback (most recent call last):
        ...
    ValueError: n_mfcc=80 must lie between 1 and n_mels=64; lower it
    """

    sr: int = 16000  # Hz
    n_fft: int = 1024  # samples: 64 ms, fine enough to separate the harmonics of a low voice
    hop_length: int = 256  # samples: 16 ms
    n_mels: int = 64
    n_mfcc: int = 64
    fmin: float = 20.0  # Hz; the highest band ends at sr / 2
    top_db: float = 80.0  # dynamic range kept under each clip's own loudest point
    trim_db: float = 35.0  # silence at the ends: this far below the loudest frame

    def __post_init__(self):
        if not 1 <= self.n_mfcc <= self.n_mels:
            raise ValueError(f"n_mfcc={self.n_mfcc} must lie between 1 and n_mels={self.n_mels}; lower it")
        if not 1 <= self.hop_length <= self.n_fft:
            raise ValueError(f"hop_length={self.hop_length} must lie between 1 and n_fft={self.n_fft}; lower it")


def _hz_to_mel(hz):
    """Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above; librosa's default."""
    hz = np.asarray(hz, dtype=float)
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4))


def _mel_to_hz(mel):
    mel = np.asarray(mel, dtype=float)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=8)
def mel_filters(sr, n_fft, n_mels, fmin):
    """Triangular mel filters of equal area, as `librosa.filters.mel`. [shape=(n_mels, 1 + n_fft // 2)], float32

    >>> filters = mel_filters(16000, 1024, 64, 20.0)
    >>> filters.shape, (filters[-3:].sum(axis=1) * 16000 / 1024).round(1).tolist()
    ((64, 513), [1.0, 1.0, 1.0])
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(fmin), _hz_to_mel(sr / 2), n_mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1 / sr)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


@lru_cache(maxsize=8)
def _window(n_fft):
    """Periodic Hann."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def mel_centres(settings=Settings()):
    """Centre frequency of each mel band, in Hz. [shape=(n_mels,)]

    >>> mel_centres()[[0, 31, 63]].round(-1).tolist()
    [70.0, 1670.0, 7630.0]
    """
    low, high = _hz_to_mel(settings.fmin), _hz_to_mel(settings.sr / 2)
    return _mel_to_hz(np.linspace(low, high, settings.n_mels + 2))[1:-1]


@lru_cache(maxsize=8)
def dct_matrix(n_mfcc, n_mels):
    """The orthonormal DCT-II that turns log-mel into cepstrum. [shape=(n_mfcc, n_mels)]

    >>> dct_matrix(13, 64).shape
    (13, 64)
    >>> np.allclose(dct_matrix(64, 64) @ dct_matrix(64, 64).T, np.eye(64))
    True
    """
    angles = np.pi / n_mels * (np.arange(n_mels) + 0.5) * np.arange(n_mfcc)[:, None]
    matrix = np.sqrt(2 / n_mels) * np.cos(angles)
    matrix[0] /= np.sqrt(2)
    return matrix  # float64: sums of a hundred decibel values lose a thousandth in float32


def mel_spectrogram(y, settings=Settings(), rfft=np.fft.rfft):
    """Mel spectrogram in dB re 1, floored `top_db` under the clip's own maximum.

    [shape=(samples,)] -> [shape=(frames, n_mels)], float32

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> mel = mel_spectrogram(tone)
    >>> mel.shape, round(float(mel.max() - mel.min()), 1)
    ((63, 64), 80.0)
    """
    frames = audio.frame(np.asarray(y, np.float32), settings.n_fft, settings.hop_length)
    spectrum = rfft(frames * _window(settings.n_fft))
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    mel = power @ mel_filters(settings.sr, settings.n_fft, settings.n_mels, settings.fmin).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    return np.maximum(decibels, decibels.max() - settings.top_db)


def mfcc(y, settings=Settings(), rfft=np.fft.rfft):
    """Mel-frequency cepstral coefficients of one clip (Davis & Mermelstein 1980; `librosa.feature.mfcc`, transposed).

    [shape=(samples,)] -> [shape=(frames, n_mfcc)], float32. `rfft` is NumPy's, or for many clips SciPy's, which takes
    0.15 s to import and half the time afterwards.

    >>> second = np.random.default_rng(0).normal(size=16000)
    >>> mfcc(second).shape, mfcc(second, Settings(n_mfcc=13)).shape
    ((63, 64), (63, 13))
    """
    return cepstrum(mel_spectrogram(y, settings, rfft), settings.n_mfcc)


def cepstrum(mel, n_mfcc=None):
    """MFCCs of a log-mel spectrogram in dB, all of them by default; `log_mel` is the way back.

    [shape=(..., n_mels)] -> [shape=(..., n_mfcc)], float32

    >>> mel = np.linspace(-80, 0, 64)
    >>> cepstrum(mel, 13).shape, bool(np.allclose(log_mel(cepstrum(mel)[None])[0], mel, atol=1e-3))
    ((13,), True)
    """
    return (mel @ dct_matrix(n_mfcc or mel.shape[-1], mel.shape[-1]).T).astype(np.float32)


def log_mel(coefficients, n_mels=None):
    """The log-mel spectrogram in dB back from MFCCs: exact at full order, smoothed below it.

    [shape=(frames, n_mfcc)] -> [shape=(frames, n_mels)], float32; as many bands as coefficients by default

    >>> y = np.random.default_rng(0).normal(size=16000)
    >>> np.allclose(log_mel(mfcc(y)), mel_spectrogram(y), atol=0.001)
    True
    >>> log_mel(mfcc(y, Settings(n_mfcc=13)), n_mels=64).shape
    (63, 64)
    """
    n_mfcc = coefficients.shape[1]
    return (coefficients @ dct_matrix(n_mfcc, n_mels or n_mfcc)).astype(np.float32)


def deltas(coefficients, width=9):
    """Slope of each coefficient a frame, as `librosa.feature.delta` with the ends held. Same shape, float32.

    >>> rising = 3 * np.arange(20.0)[:, None]
    >>> deltas(rising).shape, deltas(rising)[4:-4].ravel().round(3).tolist()[:3]
    ((20, 1), [3.0, 3.0, 3.0])
    """
    steps = np.arange(width) - width // 2
    held = np.pad(coefficients, ((width // 2, width // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(held, width, axis=0)
    return (windows @ (steps / (steps @ steps))).astype(np.float32)


def pooled(sequences, n_mfcc=None):
    """Statistics of clips of any length: mean, SD, root mean square of the slope over nine frames, log of the length.

    list of [shape=(frames, coefficients)], of which `n_mfcc` are used -> [shape=(clips, 3 * n_mfcc + 1)], float32

    >>> x = pooled([np.ones((50, 64)), np.ones((80, 64))], n_mfcc=20)
    >>> x.shape, np.exp(x[:, -1]).round(1).tolist()
    ((2, 61), [50.0, 80.0])
    """
    return np.stack([np.concatenate([c.mean(axis=0), c.std(axis=0), _liveliness(c), [np.log(len(c))]])
                     for c in (sequence[:, :n_mfcc] for sequence in sequences)]).astype(np.float32)


def _liveliness(c):
    slopes = deltas(c)[4:-4]  # those of nine real frames
    return np.sqrt(np.square(slopes).sum(axis=0) / max(1, len(slopes)))


def by_speaker(sequences, speakers, known, learned):
    """Each speaker's coefficients brought from the mean and SD of clips of their own to those of the training speakers.

    list of [shape=(frames, n_mfcc)] -> the same, float32. `known` are the rows by which each speaker is measured, some
    of everybody's; `learned` the training rows, whose speakers' mean of means and of SDs is where everybody is brought.

    >>> sequences = [np.random.default_rng(row).normal(5 * row, 1 + row, (100, 20)) for row in range(4)]
    >>> speakers = np.array(["ann", "ann", "bob", "bob"])
    >>> alike = by_speaker(sequences, speakers, known=range(4), learned=[0, 1])
    >>> np.allclose(mean_and_sd(alike[2:]), mean_and_sd(sequences[:2]), atol=0.001)
    True
    """
    own = {speaker: mean_and_sd([sequences[row] for row in known if speakers[row] == speaker])
           for speaker in np.unique(speakers)}
    common = np.mean([own[speaker] for speaker in np.unique(speakers[learned])], axis=0)
    return [brought(sequence, own[speaker], common) for sequence, speaker in zip(sequences, speakers, strict=True)]


def mean_and_sd(sequences):
    """Mean and SD of each coefficient over all frames of clips. list of [shape=(frames, n_mfcc)] -> (2, n_mfcc)

    >>> mean_and_sd([np.array([[1.0], [3.0], [3.0]]), np.array([[1.0]])]).tolist()
    [[2.0], [1.0]]
    """
    frames = np.concatenate(sequences)
    return np.stack([frames.mean(axis=0), np.maximum(frames.std(axis=0), 1e-6)])


def brought(sequence, own, common):
    """A clip with each coefficient brought from one mean and SD to another. Same shape, float32

    >>> brought(np.array([[1.0], [3.0]]), own=([2.0], [1.0]), common=([10.0], [5.0])).tolist()
    [[5.0], [15.0]]
    """
    return ((sequence - own[0]) / own[1] * common[1] + common[0]).astype(np.float32)


def clip_features(path, settings=Settings()):
    """One recording as a model sees it: read, silence trimmed, MFCC. [shape=(frames, n_mfcc)], float32

    Raises AudioError when the recording cannot be used.

    >>> from ser_utils import corpora
    >>> clip_features(corpora.ROOT / "data" / "this_coffee_sucks.flac").shape
    (63, 64)
    """
    from scipy.fft import rfft

    return mfcc(audio.trim(audio.load(path, settings.sr), settings.trim_db), settings, rfft)
