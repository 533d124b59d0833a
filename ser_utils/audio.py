"""Recordings as arrays: read any file as mono at one rate, cut the silence at its ends, or say plainly why not."""

import stat
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ser_utils import files

SHORTEST = 0.1  # seconds; below this there is no syllable to hear
LONGEST = 60.0  # seconds; an utterance, not a broadcast
SILENCE_DB = -80.0  # dB re full scale: the quietest 16-bit recordings still reach -70
LOUDEST = 10.0  # full scale is 1; samples in floating point may go somewhat beyond
RATES, CHANNELS = (4000, 384_000), 16  # Hz, below which no speech is left; what a recorder may have
BLOCK = 2 ** 20  # frames read at a time
CHUNKS = 1000  # of a WAV that are looked through for its sound


class AudioError(ValueError):
    """A recording that cannot be used: which file, why, and what would help.

    >>> error = AudioError("a.wav", "the file is empty (0 bytes)", "record it again")
    >>> print(error)
    a.wav: the file is empty (0 bytes); record it again
    >>> error.remedy
    'record it again'
    """

    def __init__(self, path, reason, remedy):
        self.path, self.reason, self.remedy = str(path), reason, remedy
        super().__init__(f"{plain(path)}: {reason}; {remedy}")

    def __reduce__(self):  # an exception with its own arguments must say how to cross a process border
        return type(self), (self.path, self.reason, self.remedy)


def plain(name):
    r"""A file's name on one line that any terminal can show. str

    >>> print(plain("two\nlines.wav"))
    two\nlines.wav
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(name))


def load(path, sr=16000):
    """A recording as mono at `sr` Hz (soxr). [shape=(samples,)], float32. AudioError as `read`.

    >>> from ser_utils import corpora
    >>> path = corpora.ROOT / "data" / "this_coffee_sucks.flac"
    >>> y = load(path)
    >>> y.shape, y.dtype, load(path, sr=8000).shape
    ((21730,), dtype('float32'), (10865,))
    """
    y, native = read(path)
    return resampled(y, native, sr)


def read(path):
    """A recording as mono, channels averaged, [shape=(samples,)], float32 in [-1, 1], and its rate in Hz.

    WAV, FLAC, OGG or MP3: whatever libsndfile reads. Raises AudioError when the file is unreadable, empty, truncated,
    shorter than 0.1 s, longer than 60 s, silent, holds NaN, or has levels, rates or channels that no recorder gives.

    >>> from ser_utils import corpora
    >>> y, sr = read(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> f"{len(y) / sr:.2f} s at {sr} Hz"
    '1.36 s at 16000 Hz'
    """
    path = Path(path)
    with opened(path) as sound:
        native, most = sound.samplerate, int(LONGEST * sound.samplerate) + 1
        blocks = [np.empty(0, np.float32)]
        while sum(map(len, blocks)) < most and len(block := samples(path, sound, min(BLOCK, most))):
            blocks.append(mono(block))
        y = np.concatenate(blocks)[:most]
        check_complete(path, min(sound.frames, most), len(y), native)
    _check_sound(path, y, native)
    return y, native


def mono(y):
    """The mean of the channels. [shape=(samples, channels)] -> [shape=(samples,)]

    >>> mono(np.array([[0.25, 0.75], [1.0, 0.0]])).tolist()
    [0.5, 0.5]
    """
    return y[:, 0] if y.shape[1] == 1 else y.mean(axis=1)  # NumPy is slow at the mean of one


@contextmanager
def opened(path):
    """A recording as an open soundfile.SoundFile; whatever goes wrong while it is read is an AudioError.

    >>> from ser_utils import corpora
    >>> with opened(corpora.ROOT / "data" / "this_coffee_sucks.flac") as sound:
    ...     sound.samplerate, sound.channels, sound.subtype
    (16000, 1, 'PCM_16')
    """
    import soundfile

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise AudioError(path, "cannot be opened (it is no file)", "name a recording")
        if path.stat().st_size == 0:
            raise AudioError(path, "the file is empty (0 bytes)", "fetch or record it again")
        if path.suffix.lower() == ".raw":
            raise AudioError(path, "raw samples have no header that says how to read them", "convert it to WAV or FLAC")
        with path.open("rb") as handle:
            with files.quiet():
                sound = soundfile.SoundFile(handle)
            with sound:
                if not RATES[0] <= sound.samplerate <= RATES[1] or sound.channels > CHANNELS:
                    raise AudioError(path, f"{sound.samplerate} Hz in {sound.channels} channels, outside {RATES[0]} to "
                                     f"{RATES[1]} Hz in {CHANNELS}", "convert it to 16 kHz mono")
                yield sound
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise AudioError(path, f"not a readable recording ({reason})", "convert it to WAV or FLAC, or remove it"
                         ) from error
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})", "check that it is there and readable") from error


def resampled(y, native, sr):
    """Samples at another rate (soxr, high quality). [shape=(samples,)] -> [shape=(other samples,)]

    >>> second = np.zeros(44100, np.float32)
    >>> resampled(second, 44100, 16000).shape
    (16000,)
    """
    import soxr

    return y if native == sr or not y.size else soxr.resample(y, native, sr, quality="HQ")


def stretches(read, sr, length, hop):
    """Overlapping stretches of a sound of any length, in bounded memory: (start in s, [shape=(samples, channels)]).

    `read(count)` gives the next samples, at `sr` Hz; `length` and `hop` are in seconds. What is no longer than two
    stretches comes whole.

    >>> from ser_utils import corpora
    >>> with opened(corpora.ROOT / "data" / "this_coffee_sucks.flac") as sound:
    ...     for start, y in stretches(lambda count: sound.read(count, always_2d=True), 16000, length=0.5, hop=0.25):
    ...         print(f"{start} s: {y.shape}")
    0.0 s: (8000, 1)
    0.25 s: (8000, 1)
    0.5 s: (8000, 1)
    0.75 s: (8000, 1)
    1.0 s: (5730, 1)
    """
    size, step, start = round(length * sr), round(hop * sr), 0
    held = read(2 * size + 1)
    if len(held) <= 2 * size:
        yield 0.0, held
        return
    while len(held) > size - step:
        yield start / sr, held[:size]
        held, start = held[step:], start + step
        if len(held) < size:
            held = np.concatenate([held, read(size - len(held))])


def check_complete(path, expected, read, sr):
    """Raise AudioError when a file held fewer samples than its header says, or a WAV fewer bytes.

    >>> check_complete(Path("a.wav"), expected=32000, read=16000, sr=16000)
    Traceback (most recent call last):
        ...
    ser_utils.audio.AudioError: a.wav: truncated: its header promises 2.00 s, it holds 1.00 s; fetch it again
    """
    if read < expected:
        raise AudioError(path, f"truncated: its header promises {expected / sr:.2f} s, it holds {read / sr:.2f} s",
                         "fetch it again")
    promised, held = _wav_bytes(path)
    if held < promised < 0xFFFFFF00:  # the largest values mark a stream of unknown length
        raise AudioError(path, f"truncated: its header promises {promised} bytes of sound, it holds {held}",
                         "fetch it again")


def samples(path, sound, count):
    """The next samples of an open recording, at most so many. [shape=(samples, channels)], float32

    Raises AudioError where they are no sound: NaN, infinite, or far beyond full scale.

    >>> from ser_utils import corpora
    >>> path = corpora.ROOT / "data" / "this_coffee_sucks.flac"
    >>> with opened(path) as sound:
    ...     samples(path, sound, 20000).shape, samples(path, sound, 20000).shape, samples(path, sound, 20000).shape
    ((20000, 1), (1730, 1), (0, 1))
    """
    with files.quiet():
        y = sound.read(count, dtype="float32", always_2d=True)
    if not np.abs(y).max(initial=0) <= LOUDEST:
        what = f"samples of {np.abs(y).max():.0f}, where full scale is 1" if np.isfinite(y).all() else \
            "NaN or infinite samples"
        raise AudioError(path, f"it holds {what}", "export it again as 16-bit PCM")
    return y


def _wav_bytes(path):
    """Bytes of sound that a WAV's header promises, and those in the file: libsndfile reads a cut WAV uncomplaining."""
    with path.open("rb") as handle:
        if handle.read(12)[:4] != b"RIFF":
            return 0, 0
        for _ in range(CHUNKS):
            if len(chunk := handle.read(8)) < 8:
                break
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return size, path.stat().st_size - handle.tell()
            handle.seek(size + size % 2, 1)
    return 0, 0


def _check_sound(path, y, sr):
    seconds = len(y) / sr
    if not len(y):
        raise AudioError(path, "it holds no samples", "record it again")
    if not SHORTEST <= seconds <= LONGEST:
        lasts = f"{seconds:.2f} s" if seconds <= LONGEST else f"more than {LONGEST:.0f} s"
        raise AudioError(path, f"lasts {lasts}, outside {SHORTEST} to {LONGEST:.0f} s",
                         "cut it to one utterance" if seconds > LONGEST else "record a whole utterance")
    peak = float(y.max() - y.min()) / 2  # a constant is no sound
    if peak < 10 ** (SILENCE_DB / 20):
        raise AudioError(path, f"silent (peak {20 * np.log10(peak + 1e-12):.0f} dB re full scale)",
                         "check the microphone or the export")


def frame(y, n_fft, hop_length):
    """Overlapping frames centred on multiples of `hop_length`, the ends padded with zeros, as a view.

    [shape=(samples,)] -> [shape=(1 + samples // hop_length, n_fft)]

    >>> frame(np.array([1, 2, 3, 4]), n_fft=4, hop_length=2).tolist()
    [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 0, 0]]
    """
    padded = np.pad(y, n_fft // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]


def trim(y, top_db=35.0, *, frame_length=2048, hop_length=512):
    """Cut the ends that stay more than `top_db` below the loudest frame, as `librosa.effects.trim`. A view of `y`.

    >>> y = np.concatenate([np.zeros(16000), np.ones(16000), np.zeros(16000)])
    >>> f"{len(y) / 16000} s, of which {len(trim(y)) / 16000} s are left"
    '3.0 s, of which 1.12 s are left'
    >>> np.shares_memory(y, trim(y))
    True
    """
    frames = frame(y, frame_length, hop_length)
    power = np.maximum(np.vecdot(frames, frames) / frame_length, 1e-10)  # librosa's floor
    loud = np.flatnonzero(power > power.max() * 10 ** (-top_db / 10))
    return y[loud[0] * hop_length:min(len(y), (loud[-1] + 1) * hop_length)] if loud.size else y[:0]
