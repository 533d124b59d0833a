"""Reading, resampling, framing and trimming of recordings."""

import stat
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ser_utils._utils.files import printable

MIN_DURATION, MAX_DURATION = 0.1, 60.0  # s, of one utterance
SILENCE_DB = -80.0  # dBFS; the quietest 16-bit recordings of the corpora peak near -70
MAX_VALID_AMPLITUDE = 10.0  # full scale is 1; floating-point files may exceed it
MIN_SR, MAX_SR = 4000, 384_000  # Hz
MAX_CHANNELS = 16
BLOCK_SIZE = 2 ** 20  # samples per read


class AudioError(ValueError):
    """A recording that cannot be used.

    Parameters
    ----------
    path : str or Path
        File of the recording.
    reason : str
        What is wrong with the file.
    remedy : str
        What the user can do about it.

    Examples
    --------
    >>> print(AudioError("a.wav", "the file is empty (0 bytes)", "record it again"))
    a.wav: the file is empty (0 bytes); record it again
    """

    def __init__(self, path, reason, remedy):
        self.path, self.reason, self.remedy = str(path), reason, remedy
        super().__init__(f"{printable(path)}: {reason}; {remedy}")

    def __reduce__(self):  # pickled between processes
        return type(self), (self.path, self.reason, self.remedy)


def load(path, sr=16000):
    """Load a recording as mono and resample it.

    Parameters
    ----------
    path : str or Path
        WAV, FLAC, OGG or MP3.
    sr : int > 0, default 16000
        Target sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(n,)], float32
        Mean of the channels; full scale is 1.

    Raises
    ------
    AudioError
        If `read` rejects the recording.
    ValueError
        If `sr` is not a positive number.

    See Also
    --------
    read : Read a recording at its own sampling rate.
    trim : Trim leading and trailing silence.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y = load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac", sr=16000)
    >>> y.shape, y.dtype
    ((61929,), dtype('float32'))
    """
    _check_sr(sr)
    y, orig_sr = read(path)
    return resample(y, orig_sr, sr)


def read(path):
    """Read a recording as mono at its own sampling rate.

    Parameters
    ----------
    path : str or Path
        WAV, FLAC, OGG or MP3.

    Returns
    -------
    y : np.ndarray [shape=(n,)], float32
        Mean of the channels; full scale is 1.
    sr : int
        Sampling rate in Hz.

    Raises
    ------
    AudioError
        If the file is unreadable, empty, truncated, silent, shorter than 0.1 s or longer than 60 s, contains NaN, or
        has an implausible amplitude, sampling rate or number of channels.

    See Also
    --------
    load : Read a recording and resample it.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y, sr = read(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> y.shape, sr
    ((61929,), 16000)
    """
    path = Path(path)
    with open_audio(path) as sound:
        sr, max_samples = sound.samplerate, int(MAX_DURATION * sound.samplerate) + 1
        blocks = [np.empty(0, np.float32)]
        while sum(map(len, blocks)) < max_samples and len(block := read_samples(path, sound, BLOCK_SIZE)):
            blocks.append(to_mono(block))
        y = np.concatenate(blocks)[:max_samples]
        check_not_truncated(path, min(sound.frames, max_samples), len(y), sr)
    _check_signal(path, y, sr)
    return y, sr


@contextmanager
def open_audio(path):
    """Open a recording, and raise every error of opening or reading it as AudioError.

    Parameters
    ----------
    path : str or Path
        File in a format that libsndfile reads.

    Yields
    ------
    soundfile.SoundFile
        The open file, positioned at its first sample.

    Raises
    ------
    AudioError
        If the file cannot be opened or decoded.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> with open_audio(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac") as sound:
    ...     sound.samplerate, sound.channels, sound.frames
    (16000, 1, 61929)
    """
    import soundfile

    path = Path(path)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # reading a pipe would block
            raise AudioError(path, "cannot be opened (it is not a regular file)", "name a recording")
        if info.st_size == 0:
            raise AudioError(path, "the file is empty (0 bytes)", "download or record it again")
        if path.suffix.lower() == ".raw":
            raise AudioError(path, "raw samples have no header with their format", "convert it to WAV or FLAC")
        with path.open("rb") as handle, soundfile.SoundFile(handle) as sound:
            if not MIN_SR <= sound.samplerate <= MAX_SR or sound.channels > MAX_CHANNELS:
                limits = f"{MIN_SR} to {MAX_SR} Hz and {MAX_CHANNELS} channels"
                raise AudioError(path, f"{sound.samplerate} Hz and {sound.channels} channels, outside {limits}",
                                 "convert it to 16 kHz mono")
            yield sound
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise AudioError(path, f"not a readable recording ({reason})", "convert it to WAV or FLAC") from error
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})", "check its path and permissions") from error


def read_samples(path, sound, n):
    """Read the next samples of an open recording.

    Parameters
    ----------
    path : str or Path
        Named in errors.
    sound : soundfile.SoundFile
        Open recording.
    n : int
        Maximum number of samples.

    Returns
    -------
    np.ndarray [shape=(<= n, n_channels)], float32
        Samples; no rows at the end of the recording.

    Raises
    ------
    AudioError
        If samples are NaN, infinite or far beyond full scale.
    """
    y = sound.read(n, dtype="float32", always_2d=True)
    if not np.abs(y).max(initial=0) <= MAX_VALID_AMPLITUDE:
        peak = f"samples up to {np.abs(y).max():.0f}, beyond the full scale of 1"
        reason = peak if np.isfinite(y).all() else "NaN or infinite samples"
        raise AudioError(path, reason, "export it again as 16-bit PCM")
    return y


def to_mono(y):
    """Average the channels.

    Parameters
    ----------
    y : np.ndarray [shape=(n, n_channels) or (n,)]
        Samples.

    Returns
    -------
    np.ndarray [shape=(n,)]
        Mean of the channels; samples of shape (n,) as they are.

    Raises
    ------
    ValueError
        If the samples have another shape, or no channel.

    Examples
    --------
    >>> to_mono(np.array([[0.0, 1.0], [0.5, 0.5]])).tolist()
    [0.5, 0.5]
    """
    y = np.asarray(y)
    if y.ndim == 1:
        return y
    if y.ndim != 2 or not y.shape[1]:
        raise ValueError(f"y has the shape {y.shape}, not (n, n_channels) or (n,); pass one column per channel")
    return y[:, 0] if y.shape[1] == 1 else y.mean(axis=1)  # a mean over one channel is slow in NumPy


def resample(y, orig_sr, target_sr):
    """Resample with soxr in high quality.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one channel, float32 or float64.
    orig_sr : int > 0
        Sampling rate of `y` in Hz.
    target_sr : int > 0
        Target sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(n * target_sr / orig_sr,)]
        Resampled signal, or `y` itself if the rates are equal.

    Raises
    ------
    ValueError
        If a sampling rate is not a positive number, or the samples are integers or of another type.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 220 * np.arange(44100) / 44100)
    >>> resample(tone, orig_sr=44100, target_sr=16000).shape
    (16000,)
    """
    for sr in (orig_sr, target_sr):
        _check_sr(sr)
    y = np.asarray(y)
    if y.dtype not in (np.float32, np.float64):
        raise ValueError(f"y is of type {y.dtype}, not float32 or float64; scale integers to a full scale of 1, such "
                         "as int16 with y / 32768")
    if orig_sr == target_sr or not y.size:
        return y
    import soxr

    return soxr.resample(y, orig_sr, target_sr, quality="HQ")


def check_mono(y):
    """Check that samples are one channel of finite floating-point numbers.

    Parameters
    ----------
    y : array-like [shape=(n,)]
        Samples.

    Returns
    -------
    np.ndarray [shape=(n,)]
        The samples; an array is returned as it is.

    Raises
    ------
    ValueError
        If the samples are none, of several channels, integers, NaN or infinite.

    Examples
    --------
    >>> check_mono(np.zeros((100, 2)))
    Traceback (most recent call last):
    ValueError: y has the shape (100, 2), not (n,); pass one channel, such as the mean of the channels
    """
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"y has the shape {y.shape}, not (n,); pass one channel, such as the mean of the channels")
    if not y.size:
        raise ValueError("y is empty; pass at least one sample")
    if y.dtype.kind != "f":
        raise ValueError(f"y is of type {y.dtype}, not floating-point; scale integers to a full scale of 1, such as "
                         "int16 with y / 32768")
    if not np.isfinite(y).all():
        raise ValueError("y contains NaN or infinite samples; remove or replace them")
    return y


def stream_blocks(read_block, sr, block_seconds, hop_seconds):
    """Divide a signal of any length into overlapping blocks in bounded memory.

    A signal of at most two blocks is yielded whole.

    Parameters
    ----------
    read_block : callable
        `read_block(n)` returns the next samples, at most n, [shape=(n, n_channels)].
    sr : int > 0
        Sampling rate in Hz.
    block_seconds : float > 0
        Duration of a block in seconds.
    hop_seconds : float > 0
        Distance between the starts of consecutive blocks in seconds.

    Yields
    ------
    start : float
        Start of the block in seconds.
    block : np.ndarray [shape=(n, n_channels)]

    Examples
    --------
    >>> import io, soundfile
    >>> soundfile.write(file := io.BytesIO(), np.zeros(10), samplerate=4, format="WAV")
    >>> sound = soundfile.SoundFile(io.BytesIO(file.getvalue()))
    >>> blocks = stream_blocks(lambda n: sound.read(n, always_2d=True), sr=4, block_seconds=1, hop_seconds=0.5)
    >>> [(start, len(block)) for start, block in blocks]
    [(0.0, 4), (0.5, 4), (1.0, 4), (1.5, 4)]
    """
    size, hop, start = round(block_seconds * sr), round(hop_seconds * sr), 0
    buffer = read_block(2 * size + 1)
    if len(buffer) <= 2 * size:
        yield 0.0, buffer
        return
    while len(buffer) > size - hop:
        yield start / sr, buffer[:size]
        buffer, start = buffer[hop:], start + hop
        if len(buffer) < size:
            buffer = np.concatenate([buffer, read_block(size - len(buffer))])


def check_not_truncated(path, n_expected, n_read, sr):
    """Check that a file contains as many samples, and a WAV file as many bytes, as its header states.

    Parameters
    ----------
    path : Path
        File of the recording.
    n_expected : int
        Number of samples according to the header.
    n_read : int
        Number of samples in the file.
    sr : int > 0
        Sampling rate in Hz.

    Raises
    ------
    AudioError
        If the file is truncated.
    """
    if n_read < n_expected:
        raise AudioError(path, f"truncated after {n_read / sr:.2f} of {n_expected / sr:.2f} s", "download it again")
    n_stated, n_found = _wav_data_bytes(path)
    if n_found < n_stated < 0xFFFFFF00:  # the largest values mark a stream of unknown length
        raise AudioError(path, f"truncated after {n_found} of {n_stated} bytes of audio", "download it again")


def frame(y, frame_length, hop_length):
    """Divide a signal into overlapping frames centred on multiples of `hop_length`, with zero-padded ends.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Signal of one channel.
    frame_length : int > 0
        Length of a frame in samples, even.
    hop_length : int > 0
        Samples between the centers of consecutive frames.

    Returns
    -------
    np.ndarray [shape=(1 + n // hop_length, frame_length)]
        Read-only view of the padded signal.

    Raises
    ------
    ValueError
        If the signal has several channels, `frame_length` is odd, or one of the two lengths is not positive.

    Examples
    --------
    >>> frame(np.array([1, 2, 3, 4]), frame_length=4, hop_length=2).tolist()
    [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 0, 0]]
    """
    if frame_length < 2 or frame_length % 2 or hop_length < 1:
        raise ValueError(f"frame_length={frame_length} must be positive and even, hop_length={hop_length} positive; "
                         "change them, for example to 2048 and 512")
    if np.ndim(y) != 1:
        raise ValueError(f"y has the shape {np.shape(y)}, not (n,); pass one channel, such as to_mono(y)")
    padded = np.pad(y, frame_length // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, frame_length)[::hop_length]


def trim(y, top_db=35.0, *, frame_length=2048, hop_length=512):
    """Trim leading and trailing silence.

    The result equals that of `librosa.effects.trim`, whose import takes seconds.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Signal of one channel, floating-point; full scale is 1.
    top_db : float > 0, default 35
        Threshold in dB below the loudest frame.
    frame_length : int > 0, default 2048
        Length of a frame in samples, even.
    hop_length : int > 0, default 512
        Samples between frames.

    Returns
    -------
    np.ndarray [shape=(m,)]
        View of `y` from the first to the last frame above the threshold. Frames below -100 dBFS count as frames of
        -100 dBFS, so that a signal of zeros is returned whole.

    Raises
    ------
    ValueError
        If `check_mono` rejects the samples, `top_db` is not positive, or `frame` rejects the lengths.

    Examples
    --------
    >>> y = np.concatenate([np.zeros(16000), np.ones(16000), np.zeros(16000)])
    >>> trim(y).shape
    (17920,)
    """
    if not top_db > 0:
        raise ValueError(f"top_db={top_db} must be positive; pass the threshold in dB below the loudest frame, such as "
                         "35")
    y = check_mono(y)
    frames = frame(y, frame_length, hop_length)
    power = np.maximum(np.vecdot(frames, frames) / frame_length, 1e-10)  # librosa's floor
    speech = np.flatnonzero(power > power.max() * 10 ** (-top_db / 10))
    return y[speech[0] * hop_length:min(len(y), (speech[-1] + 1) * hop_length)]


def _check_sr(sr):
    if not (isinstance(sr, int | float | np.number) and 0 < sr < np.inf):
        raise ValueError(f"{sr!r} is not a sampling rate; pass a positive number of Hz (read returns that of a "
                         "recording)")


def _wav_data_bytes(path):
    """Bytes of audio stated in a WAV header and found in the file; libsndfile reads a truncated WAV without error."""
    with path.open("rb") as handle:
        if handle.read(12)[:4] != b"RIFF":
            return 0, 0
        for _ in range(1000):  # chunks
            if len(chunk := handle.read(8)) < 8:
                break
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return size, path.stat().st_size - handle.tell()
            handle.seek(size + size % 2, 1)
    return 0, 0


def _check_signal(path, y, sr):
    if not len(y):
        raise AudioError(path, "it contains no samples", "record it again")
    duration = len(y) / sr
    if duration > MAX_DURATION:
        raise AudioError(path, f"lasts more than {MAX_DURATION:.0f} s", "cut it to one utterance")
    if duration < MIN_DURATION:
        raise AudioError(path, f"lasts {duration:.2f} s, less than {MIN_DURATION} s", "record a whole utterance")
    peak = float(y.max() - y.min()) / 2  # without DC offset
    if peak < 10 ** (SILENCE_DB / 20):
        raise AudioError(path, f"silent (peak {20 * np.log10(peak + 1e-12):.0f} dBFS)", "check the microphone")
