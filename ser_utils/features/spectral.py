"""MFCCs with librosa, their inverse, and statistics of MFCC sequences."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ser_utils import audio

# Offset of the logarithm in `mfcc_dynamics`: 0.3 in one of 64 orthonormal coefficients is 0.04 dB per mel band (RMS),
# far below the just noticeable difference in level of about 1 dB
DYNAMICS_OFFSET = 0.3


@dataclass(frozen=True)
class FeatureConfig:
    """Parameters of the MFCC extraction.

    With ``n_mfcc == n_mels`` the DCT is invertible, and `mfcc_to_mel` restores the log-mel spectrogram exactly.

    Parameters
    ----------
    sr : int > 0, default 16000
        Sampling rate in Hz.
    n_fft : int > 0, default 1024
        Length of the Hann window, in samples: 64 ms, which resolves the harmonics of a low voice.
    hop_length : int in [1, n_fft], default 256
        Samples between frames: 16 ms.
    n_mels : int > 0, default 64
        Number of mel bands.
    n_mfcc : int in [1, n_mels], default 64
        Number of coefficients.
    fmin : float in [0, sr / 2), default 20
        Lower edge of the lowest mel band, in Hz; the highest band ends at ``sr / 2``.
    top_db : float > 0, default 80
        Dynamic range below the maximum of each clip, in dB.
    trim_db : float > 0, default 35
        Threshold below the loudest frame under which silence at both ends is trimmed, in dB.

    Raises
    ------
    ValueError
        If `n_fft`, `hop_length`, `n_mels` or `n_mfcc` is not an integer, or a value is out of range.

    Examples
    --------
    >>> FeatureConfig(n_mfcc=80)
    Traceback (most recent call last):
        ...
    ValueError: n_mfcc=80 must lie between 1 and n_mels=64; change one of them
    """

    sr: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 64
    n_mfcc: int = 64
    fmin: float = 20.0
    top_db: float = 80.0
    trim_db: float = 35.0

    def __post_init__(self):
        for name in ("n_fft", "hop_length", "n_mels", "n_mfcc"):
            if not isinstance(getattr(self, name), int | np.integer):
                raise ValueError(f"{name}={getattr(self, name)!r} must be an integer; round it")
        for name in ("sr", "top_db", "trim_db"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive; change it")
        if not 0 <= self.fmin < self.sr / 2:
            raise ValueError(f"fmin={self.fmin} must lie between 0 and sr / 2 = {self.sr / 2}; change one of them")
        for name, limit in (("n_mfcc", "n_mels"), ("hop_length", "n_fft")):
            value, highest = getattr(self, name), getattr(self, limit)
            if not 1 <= value <= highest:
                raise ValueError(f"{name}={value} must lie between 1 and {limit}={highest}; change one of them")


def mel_frequencies(config=FeatureConfig()):
    """Compute the center frequencies of the mel bands.

    Parameters
    ----------
    config : FeatureConfig, default FeatureConfig()
        Configuration of the extraction.

    Returns
    -------
    np.ndarray [shape=(n_mels,)]
        Frequencies in Hz.

    Examples
    --------
    >>> mel_frequencies()[[0, 31, 63]].round(-1).tolist()
    [70.0, 1670.0, 7630.0]
    """
    # librosa.mel_frequencies differs in the last bit, which changes float32 values of augmented training clips
    mel = np.linspace(_hz_to_mel(config.fmin), _hz_to_mel(config.sr / 2), config.n_mels + 2)[1:-1]
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _hz_to_mel(hz):
    """Slaney's mel scale, librosa's default: linear below 1 kHz, logarithmic above."""
    return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)


@lru_cache(maxsize=8)
def mel_filterbank(config=FeatureConfig()):
    """Compute the triangular mel filters of equal area (`librosa.filters.mel`).

    Parameters
    ----------
    config : FeatureConfig, default FeatureConfig()
        Configuration of the extraction.

    Returns
    -------
    np.ndarray [shape=(n_mels, 1 + n_fft // 2)], float32
        One filter per row.

    Examples
    --------
    >>> mel_filterbank().shape
    (64, 513)
    """
    import librosa

    return librosa.filters.mel(sr=config.sr, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.fmin)


@lru_cache(maxsize=8)
def dct_matrix(n_mfcc, n_mels):
    """Compute the orthonormal DCT-II matrix that maps a log-mel spectrum to MFCCs.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients.
    n_mels : int
        Number of mel bands.

    Returns
    -------
    np.ndarray [shape=(n_mfcc, n_mels)]
        float64: in float32 the sum over 64 bands of up to 100 dB has an error of about 0.001.

    Raises
    ------
    ValueError
        If `n_mfcc` does not lie between 1 and `n_mels`.

    Examples
    --------
    >>> np.allclose(dct_matrix(64, 64) @ dct_matrix(64, 64).T, np.eye(64))
    True
    """
    if not 1 <= n_mfcc <= n_mels:
        raise ValueError(f"n_mfcc={n_mfcc} must lie between 1 and n_mels={n_mels}; change one of them")
    angles = np.pi / n_mels * (np.arange(n_mels) + 0.5) * np.arange(n_mfcc)[:, None]
    matrix = np.sqrt(2 / n_mels) * np.cos(angles)
    matrix[0] /= np.sqrt(2)
    return matrix


def log_mel_spectrogram(y, config=FeatureConfig()):
    """Compute the log-mel spectrogram of one clip, limited to `top_db` below its maximum.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one clip, floating-point; full scale is 1.
    config : FeatureConfig, default FeatureConfig()
        Configuration of the extraction.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mels)], float32
        Power in dB re 1; ``n_frames = 1 + n // hop_length``.

    Raises
    ------
    ValueError
        If the samples are none, of several channels, integers, NaN or infinite (`ser_utils.audio.check_mono`).

    See Also
    --------
    mfcc : Compute MFCCs.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> mel = log_mel_spectrogram(tone)
    >>> mel.shape, round(float(mel.max() - mel.min()), 1)
    ((63, 64), 80.0)
    """
    import librosa

    y = np.asarray(audio.check_mono(y), np.float32)
    padded = np.pad(y, config.n_fft // 2)  # as center=True, without its warning for short clips
    stft = librosa.stft(padded, n_fft=config.n_fft, hop_length=config.hop_length, center=False)
    return librosa.power_to_db(mel_filterbank(config) @ np.abs(stft) ** 2, top_db=config.top_db).T


def mfcc(y, config=FeatureConfig()):
    """Compute the MFCCs of one clip.

    MFCCs [1]_ are the DCT of the log-mel spectrogram.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one clip, floating-point; full scale is 1.
    config : FeatureConfig, default FeatureConfig()
        Configuration of the extraction.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)]
        Coefficients, float32; the transpose of `librosa.feature.mfcc`. ``n_frames = 1 + n // hop_length``.

    Raises
    ------
    ValueError
        If the samples are none, of several channels, integers, NaN or infinite (`ser_utils.audio.check_mono`).

    See Also
    --------
    extract_mfcc : Compute the MFCCs of a recording.
    mfcc_to_mel : Compute the log-mel spectrogram from MFCCs.

    References
    ----------
    .. [1] S. Davis and P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in
       continuously spoken sentences", IEEE Transactions on Acoustics, Speech, and Signal Processing 28(4), 1980,
       doi:10.1109/TASSP.1980.1163420.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=16000)
    >>> mfcc(noise).shape, mfcc(noise, FeatureConfig(n_mfcc=13)).shape
    ((63, 64), (63, 13))
    >>> mfcc(np.zeros((2, 16000)))
    Traceback (most recent call last):
    ValueError: y has the shape (2, 16000), not (n,); pass one channel, such as the mean of the channels
    """
    import librosa

    return librosa.feature.mfcc(S=log_mel_spectrogram(y, config).T, n_mfcc=config.n_mfcc).T


def mel_to_mfcc(mel, n_mfcc=None):
    """Compute MFCCs from a log-mel spectrogram; the inverse of `mfcc_to_mel`.

    Parameters
    ----------
    mel : np.ndarray [shape=(..., n_mels)]
        Log-mel spectrogram in dB.
    n_mfcc : int, optional
        Number of coefficients, by default `n_mels`.

    Returns
    -------
    np.ndarray [shape=(..., n_mfcc)], float32
        Coefficients.

    Raises
    ------
    ValueError
        If `n_mfcc` does not lie between 1 and `n_mels`.

    Examples
    --------
    >>> mel = np.linspace(-80, 0, 64)
    >>> mel_to_mfcc(mel, 13).shape, bool(np.allclose(mfcc_to_mel(mel_to_mfcc(mel)), mel, atol=1e-3))
    ((13,), True)
    """
    n_mels = mel.shape[-1]
    return (mel @ dct_matrix(n_mels if n_mfcc is None else n_mfcc, n_mels).T).astype(np.float32)


def mfcc_to_mel(coefficients, n_mels=None):
    """Compute the log-mel spectrogram from MFCCs: exact with all coefficients, smoothed over frequency with fewer.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(..., n_mfcc)]
        MFCCs.
    n_mels : int, optional
        Number of mel bands, by default `n_mfcc`.

    Returns
    -------
    np.ndarray [shape=(..., n_mels)], float32
        Power in dB.

    Raises
    ------
    ValueError
        If `n_mels` is less than `n_mfcc`.

    Examples
    --------
    >>> coefficients = mfcc(np.random.default_rng(0).normal(size=16000))
    >>> mfcc_to_mel(coefficients).shape, mfcc_to_mel(coefficients[:, :13], n_mels=64).shape
    ((63, 64), (63, 64))
    """
    n_mfcc = coefficients.shape[-1]
    return (coefficients @ dct_matrix(n_mfcc, n_mfcc if n_mels is None else n_mels)).astype(np.float32)


def delta(coefficients, width=9):
    """Compute the local slope of each coefficient over time (`librosa.feature.delta` with ``mode="nearest"``).

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip, of at least one frame.
    width : int, default 9
        Frames of the linear regression, odd and at least 3.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)]
        Change per frame, float32; NaN within ``width // 2`` frames of a NaN.

    Raises
    ------
    ValueError
        If the coefficients do not have two dimensions or have no frames, or `width` is even or less than 3.

    Examples
    --------
    >>> ramp = 3 * np.arange(20.0)[:, None]
    >>> delta(ramp)[4:7].ravel().round(3).tolist()
    [3.0, 3.0, 3.0]
    """
    if width < 3 or width % 2 == 0:
        raise ValueError(f"width={width} must be odd and at least 3; change it, for example to 9")
    if np.ndim(coefficients) != 2 or not len(coefficients):
        raise ValueError(f"coefficients have the shape {np.shape(coefficients)}, not (n_frames, n_mfcc) with at least "
                         "one frame; pass those of one clip")
    # NumPy, because librosa differs in the last bit (0.08 % of the values), and because training needs no librosa
    steps = np.arange(width) - width // 2
    padded = np.pad(coefficients, ((width // 2, width // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    return (windows @ (steps / (steps @ steps))).astype(np.float32)


def delta_rms(coefficients):
    """Compute the root mean square of the delta of each coefficient, a measure of its rate of change.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip.

    Returns
    -------
    np.ndarray [shape=(n_mfcc,)]
        RMS of the change per frame; 0 for clips of fewer than 9 frames.

    Examples
    --------
    >>> ramp = 3 * np.arange(20.0)[:, None]
    >>> delta_rms(ramp).round(3).tolist()
    [3.0]
    """
    slopes = delta(coefficients)[4:-4]  # without the padded ends
    return np.sqrt(np.square(slopes).sum(axis=0) / max(1, len(slopes)))


def functionals(sequences, n_mfcc=None):
    """Compute statistics of clips of any length: mean, SD and RMS delta of each coefficient, and the log of the length.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(n_frames, n_coefficients)]
        MFCCs of each clip; NaN values give NaN.
    n_mfcc : int > 0, optional
        Number of leading coefficients to use; all by default, or if there are fewer.

    Returns
    -------
    np.ndarray [shape=(n_clips, 3 * n_mfcc + 1)], float32
        Means, standard deviations, RMS of the deltas and log number of frames of each clip.

    Raises
    ------
    ValueError
        If there are no clips, a clip has no frames or another number of coefficients than the first, or `n_mfcc` is not
        positive.

    Examples
    --------
    >>> x = functionals([np.ones((50, 64)), np.ones((80, 64))], n_mfcc=20)
    >>> x.shape, np.exp(x[:, -1]).round(1).tolist()
    ((2, 61), [50.0, 80.0])
    """
    if n_mfcc is not None and n_mfcc < 1:
        raise ValueError(f"n_mfcc={n_mfcc} must be positive; pass the number of leading coefficients, or None for all")
    if not len(sequences):
        raise ValueError("sequences is empty; pass the MFCCs of at least one clip")
    n_coefficients = np.shape(sequences[0])[-1:]
    for row, sequence in enumerate(sequences):
        if np.ndim(sequence) != 2 or np.shape(sequence)[1:] != n_coefficients or not len(sequence):
            raise ValueError(f"sequences[{row}] has the shape {np.shape(sequence)}; pass arrays (n_frames, n_mfcc) of "
                             "at least one frame, all with the same number of coefficients")
    return np.stack([np.concatenate([c.mean(axis=0), c.std(axis=0), delta_rms(c), [np.log(len(c))]])
                     for c in (sequence[:, :n_mfcc] for sequence in sequences)]).astype(np.float32)


def mfcc_dynamics(coefficients, n_mfcc=20):
    """Compute the log SD and log RMS delta of the leading coefficients, which do not depend on level or channel.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_coefficients)]
        MFCCs of one clip.
    n_mfcc : int, default 20
        Number of leading coefficients to use.

    Returns
    -------
    np.ndarray [shape=(2 * n_mfcc,)], float32
        Log standard deviations, then log RMS of the deltas.

    Examples
    --------
    >>> clip = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    >>> bool(np.allclose(mfcc_dynamics(clip), mfcc_dynamics(clip + 10), atol=1e-3))
    True
    """
    return np.log(functionals([coefficients], n_mfcc)[0, n_mfcc:-1] + DYNAMICS_OFFSET)


def mean_std(sequences):
    """Compute mean and SD of each coefficient over all frames of several clips.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of each clip.

    Returns
    -------
    np.ndarray [shape=(2, n_mfcc)]
        Mean and SD; the SD is at least 1e-6.

    Examples
    --------
    >>> mean_std([np.array([[1.0], [3.0], [3.0]]), np.array([[1.0]])]).tolist()
    [[2.0], [1.0]]
    """
    frames = np.concatenate([np.atleast_2d(sequence) for sequence in sequences])
    return np.stack([frames.mean(axis=0), np.maximum(frames.std(axis=0), 1e-6)])


def match_mean_std(sequence, source, target):
    """Map each coefficient linearly from one mean and SD to another.

    Parameters
    ----------
    sequence : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip.
    source, target : array-like [shape=(2, n_mfcc)]
        Mean and SD, as from `mean_std`.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)], float32
        Mapped coefficients.

    Examples
    --------
    >>> match_mean_std(np.array([[1.0], [3.0]]), source=([2.0], [1.0]), target=([10.0], [5.0])).tolist()
    [[5.0], [15.0]]
    """
    return ((sequence - source[0]) / source[1] * target[1] + target[0]).astype(np.float32)


def speaker_normalize(sequences, speakers, norm_index, train_index):
    """Normalize each speaker's clips to the mean and SD of the training speakers.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(n_frames, n_features)] or np.ndarray [shape=(n_clips, n_features)]
        Sequences, or one vector per clip.
    speakers : np.ndarray [shape=(n_clips,)], str
        Speaker of each clip.
    norm_index : array-like [shape=(n_rows,)], int
        Clips from which each speaker's statistics are computed; at least one per speaker.
    train_index : array-like [shape=(n_rows,)], int
        Training clips; the target is the mean of their speakers' statistics.

    Returns
    -------
    list of np.ndarray or np.ndarray, float32
        Normalized features in the form of `sequences`.

    Raises
    ------
    ValueError
        If a speaker has no clip in `norm_index`.

    See Also
    --------
    ser_utils.evaluation.splits.speaker_normalized : Split for speaker-normalized evaluation.

    Examples
    --------
    >>> sequences = [np.random.default_rng(row).normal(5 * row, 1 + row, (100, 20)) for row in range(4)]
    >>> speakers = np.array(["01", "01", "02", "02"])
    >>> normalized = speaker_normalize(sequences, speakers, norm_index=range(4), train_index=[0, 1])
    >>> np.allclose(mean_std(normalized[2:]), mean_std(sequences[:2]), atol=0.001)
    True
    """
    if isinstance(sequences, np.ndarray):
        return np.concatenate(speaker_normalize(list(sequences[:, None]), speakers, norm_index, train_index))
    if missing := set(speakers) - set(speakers[norm_index]):
        raise ValueError(f"speaker {min(missing)} has no clip in norm_index; add at least one")
    statistics = {speaker: mean_std([sequences[row] for row in norm_index if speakers[row] == speaker])
                  for speaker in np.unique(speakers)}
    target = np.mean([statistics[speaker] for speaker in np.unique(speakers[train_index])], axis=0)
    return [match_mean_std(sequence, statistics[speaker], target)
            for sequence, speaker in zip(sequences, speakers, strict=True)]


def extract_mfcc(path, config=FeatureConfig()):
    """Compute the MFCCs of a recording without leading and trailing silence.

    Parameters
    ----------
    path : str or Path
        Recording.
    config : FeatureConfig, default FeatureConfig()
        Configuration of the extraction.

    Returns
    -------
    np.ndarray [shape=(n_frames, n_mfcc)], float32
        Coefficients.

    Raises
    ------
    AudioError
        If the recording cannot be used (`ser_utils.audio.read`).

    See Also
    --------
    mfcc : Compute the MFCCs of samples.
    ser_utils.features.extract_features : Extract the features of a whole corpus.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> extract_mfcc(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac").shape
    (123, 64)
    """
    return mfcc(audio.trim(audio.load(path, config.sr), config.trim_db), config)
