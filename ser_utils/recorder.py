"""A microphone in the notebook: the browser records, the kernel gets the sound, and nothing is written or sent on."""

import io
from pathlib import Path

import anywidget
import traitlets

from ser_utils import audio

MOST_BYTES = 10 * 2 ** 20  # what Jupyter lets through


class RecorderError(ValueError):
    """There is no sound: why, and what would help. A notebook shows the sentence alone.

    >>> Recorder().samples()
    Traceback (most recent call last):
    ser_utils.recorder.RecorderError: nothing recorded yet: press Record, or upload a file, and run this cell again
    """

    def _render_traceback_(self):
        return [str(self)]


class Recorder(anywidget.AnyWidget):
    """Buttons to record and to upload; show it as a cell's last line, and read `samples()` in the next cell.

    The kernel may run on another machine: sound comes through the notebook's own connection, as 16-bit WAV at the
    browser's rate. `state` is idle, recording, ready or error; `error` says what went wrong, `info` how it was made.

    >>> from ser_utils import corpora
    >>> recorder = Recorder(prompt="Say something angry", max_seconds=4)
    >>> y, sr = recorder.samples(default=corpora.ROOT / "data" / "this_coffee_sucks.flac")
    >>> recorder, y.ndim, y.dtype.name, sr
    (Recorder(state='idle'), 1, 'float32', 16000)
    """

    _esm = Path(__file__).with_name("recorder.js")
    prompt = traitlets.Unicode("").tag(sync=True)
    max_seconds = traitlets.Float(10.0, min=0.5).tag(sync=True)
    # what the browser sends arrives as a memoryview, which Bytes would refuse without a word
    wav = traitlets.Bytes(b"").tag(sync=True, from_json=lambda value, _: bytes(value))
    state = traitlets.Unicode("idle").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    info = traitlets.Dict({}).tag(sync=True)

    def __repr__(self):
        return f"Recorder(state={self.state!r})"

    def samples(self, default=None):
        """What was recorded or uploaded: [shape=(samples,)], float32, and its rate in Hz.

        When nobody tried, the recording at the path `default` is read instead. Raises RecorderError when there is
        neither, a recording is going on, or the browser reported an error.
        """
        import soundfile

        if self.error or self.state == "recording":
            raise RecorderError(self.error or "still recording: press Stop, and run this cell again")
        if self.wav:
            if len(self.wav) > MOST_BYTES or self.wav[:4] != b"RIFF":
                raise RecorderError(f"{len(self.wav)} bytes that are no short WAV came from the browser: record again")
            try:
                y, sr = soundfile.read(io.BytesIO(self.wav), dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise RecorderError(f"no sound came from the browser ({error}): record again") from error
            return audio.mono(y), sr
        if default is not None:
            return audio.load(default), 16000
        raise RecorderError("nothing recorded yet: press Record, or upload a file, and run this cell again")
