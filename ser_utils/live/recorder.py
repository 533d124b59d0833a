"""Widget that records from the microphone in a notebook. The samples stay in the kernel's memory."""

import io
from pathlib import Path

import anywidget
import traitlets

from ser_utils import audio

MAX_BYTES = 10 * 2 ** 20  # Jupyter's limit for a message
DEFAULT_SR = 16000  # Hz
_RECORDINGS: dict[str, tuple[bytes, dict]] = {}  # key: WAV and info of the last recording, until the kernel stops


class RecorderError(ValueError):
    """No usable recording; a notebook shows the message without traceback.

    Examples
    --------
    >>> Recorder().samples()
    Traceback (most recent call last):
    ser_utils.live.recorder.RecorderError: no recording yet: press Record or upload a file, then run this cell again
    """

    def _render_traceback_(self):
        return [str(self)]


class Recorder(anywidget.AnyWidget):
    """Buttons to record, to upload a file and to discard the recording, with a level meter; `samples` returns it.

    The kernel may run on another machine: the browser sends the recording through the notebook's connection as 16-bit
    WAV at its own sampling rate.

    Parameters
    ----------
    prompt : str, default ""
        Text beside the buttons.
    max_seconds : float >= 0.5, default 10
        The recording stops after this time.
    key : str, default ""
        A recorder created with the key of an earlier one in the same kernel starts with its recording, so that running
        a notebook again keeps the recording. Without a key nothing is stored.

    Attributes
    ----------
    state : {"idle", "recording", "ready", "error"}
        State of the recorder.
    error : str
        Error message of the browser.
    info : dict
        Device, sampling rate, duration and peak of the recording.
    callback_text : str
        Text that the function passed to `on_recording` returned.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> recorder = Recorder(prompt="angry", max_seconds=4)
    >>> y, sr = recorder.samples(default=SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> y.dtype.name, sr
    ('float32', 16000)
    >>> recorder
    Recorder "angry": no recording. Run this cell in Jupyter to show the Record button.
    """

    _esm = Path(__file__).with_name("recorder.js")
    prompt = traitlets.Unicode("").tag(sync=True)
    max_seconds = traitlets.Float(10.0, min=0.5).tag(sync=True)
    key = traitlets.Unicode("")
    # The browser's bytes arrive as a memoryview, which Bytes would reject without a message
    wav = traitlets.Bytes(b"").tag(sync=True, from_json=lambda value, _: bytes(value))
    state = traitlets.Unicode("idle").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    info = traitlets.Dict({}).tag(sync=True)
    callback_text = traitlets.Unicode("").tag(sync=True)
    _callback = None

    def __init__(self, prompt="", max_seconds=10.0, key=""):
        stored = {}
        if key in _RECORDINGS:
            wav, info = _RECORDINGS[key]
            stored = {"wav": wav, "info": info | {"stored": True}, "state": "ready"}
        super().__init__(prompt=prompt, max_seconds=max_seconds, key=key, **stored)

    def __repr__(self):
        name = f'Recorder "{self.prompt.rstrip(":")}"' if self.prompt else "Recorder"
        if self.wav:
            return f"{name}: {self.info.get('seconds', 0):.1f} s recorded."
        return f"{name}: no recording. Run this cell in Jupyter to show the Record button."

    def samples(self, default=None):
        """Return the recorded or uploaded samples.

        Parameters
        ----------
        default : str or Path, optional
            Recording that is read instead if nothing was recorded or uploaded.

        Returns
        -------
        y : np.ndarray [shape=(n,)], float32
            Mono samples; full scale is 1.
        sr : int
            Sampling rate in Hz.

        Raises
        ------
        RecorderError
            If there is no recording and no default, recording is still in progress, or the browser reported an error.
        """
        if self.error or self.state == "recording":
            raise RecorderError(self.error or "still recording: press Stop, then run this cell again")
        if self.wav:
            return self._decode_wav()
        if default is not None:
            return audio.load(default, DEFAULT_SR), DEFAULT_SR
        raise RecorderError("no recording yet: press Record or upload a file, then run this cell again")

    def on_recording(self, callback):
        """Call a function after each recording and show the text that it returns below the buttons.

        Parameters
        ----------
        callback : callable
            Takes samples and sampling rate, returns str. It replaces an earlier callback, is also called for the
            present recording, and may run in another thread than the cells, so it must not plot.

        Examples
        --------
        >>> recorder = Recorder()
        >>> recorder.on_recording(lambda y, sr: f"{len(y) / sr:.1f} s")
        """
        self._callback = callback
        self._run_callback()

    @traitlets.observe("wav")
    def _store_recording(self, _):
        if self.key and self.wav:
            _RECORDINGS[self.key] = self.wav, dict(self.info)
        else:
            _RECORDINGS.pop(self.key, None)
        self._run_callback()

    def _run_callback(self):
        self.callback_text = ""
        if self._callback is not None and self.wav:
            try:
                self.callback_text = str(self._callback(*self._decode_wav()))
            except Exception as error:  # nothing else would show it
                self.callback_text = f"{type(error).__name__}: {error}"

    def _decode_wav(self):
        import soundfile

        if len(self.wav) > MAX_BYTES or self.wav[:4] != b"RIFF":
            raise RecorderError(f"the browser sent {len(self.wav)} bytes that are no WAV file of at most {MAX_BYTES} "
                                "bytes: record again")
        try:
            y, sr = soundfile.read(io.BytesIO(self.wav), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise RecorderError(f"the browser sent an unreadable recording ({error}): record again") from error
        return audio.to_mono(y), sr
