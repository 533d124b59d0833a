"""The recorder widget in JupyterLab with a simulated microphone, uploads and denied permission, and in Python."""

import io

import nbformat
import numpy as np
import pytest
import soundfile

from ser_utils import audio
from ser_utils.datasets.core import GENDER_EMOTIONS, SAMPLES
from ser_utils.live.recorder import Recorder, RecorderError

SAMPLE = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"
TIMEOUT = 180_000  # ms, on a busy machine
SHOW = """import ser_utils
from ser_utils.live.recorder import Recorder
recorder = Recorder(prompt="sentence:", max_seconds=3, key="{key}")
recorder.on_recording(lambda y, sr: f"predicted: {{ser_utils.predict(y, sr)['class']}}")
recorder"""
READ = ("y, sr = recorder.samples()\nprediction = ser_utils.predict(y, sr)\n"
        "print('RECORDED', len(y) / sr, prediction['class'], prediction['warnings'], recorder.info)")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A WAV file of 1.5 s of speech at 48 kHz."""
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    soundfile.write(path, audio.resample(audio.trim(audio.load(SAMPLE)), 16000, 48000)[:72000], 48000)
    return path


@pytest.fixture
def open_notebook(lab, chromium, request):
    """A function that opens a notebook whose first cell shows a recorder and whose second reads it."""
    base, token, folder = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOW.format(key=request.node.name), READ)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "recorder.ipynb")

    def start(*arguments):
        page = chromium("--use-fake-device-for-media-stream", *arguments).new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(f"{base}/lab/tree/recorder.ipynb?token={token}&reset")
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
                               " === 'idle'")
        run_cell(page, 0)
        page.locator(".ser-record").wait_for()
        return page

    return start


def run_cell(page, index):
    page.evaluate("""async index => {
        window.jupyterapp.shell.currentWidget.content.activeCellIndex = index
        await window.jupyterapp.commands.execute('notebook:run-cell') }""", index)


def read_output(page):
    """What the second cell prints, or name and text of its error."""
    run_cell(page, 1)
    return page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.toJSON().outputs
        .map(output => output.text ?? `${output.ename}: ${output.evalue}`).join('')""")


def read_prediction(page):
    """Duration of the recording in s; asserts that a class is predicted."""
    label, seconds, predicted_class, *_ = read_output(page).split()
    assert (label, predicted_class in GENDER_EMOTIONS) == ("RECORDED", True)
    return float(seconds)


def wait_for_message(page, text):
    """Wait for a message and clear it, so that the next one is not confused with it."""
    message = page.locator(".ser-message", has_text=text)
    message.wait_for()
    message.evaluate("element => { element.textContent = '' }")


def test_recorder_sends_microphone_samples_to_the_kernel(open_notebook, speech):
    page = open_notebook("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={speech}")
    for is_stopped in (True, False):  # False: stopped by max_seconds
        page.locator(".ser-record").click()
        wait_for_message(page, "recording")
        page.locator(".ser-time", has_text="of 3 s").wait_for()
        page.wait_for_function("() => document.querySelector('.ser-level').value > -40")  # dBFS
        if is_stopped:
            page.wait_for_function("() => parseFloat(document.querySelector('.ser-time').textContent) >= 1")
            page.locator(".ser-record").click()
        wait_for_message(page, "s at ")
        assert page.locator(".ser-level").is_hidden()
        assert read_prediction(page) >= 1 if is_stopped else read_prediction(page) == pytest.approx(3, abs=0.05)
    assert "'processed': False" in read_output(page)


def test_recorder_shows_the_callback_result_and_keeps_the_recording_on_rerun(open_notebook, speech):
    page = open_notebook()
    answer = page.locator(".ser-callback-text", has_text="predicted: ")
    page.locator(".ser-upload").set_input_files(speech)
    answer.wait_for()  # without running a cell
    assert answer.inner_text().removeprefix("predicted: ") in GENDER_EMOTIONS
    run_cell(page, 0)
    wait_for_message(page, "stored from the previous run")
    answer.wait_for()
    assert read_prediction(page) == pytest.approx(1.5, abs=0.1)
    page.locator(".ser-discard").click()
    answer.wait_for(state="hidden")
    run_cell(page, 0)
    page.locator(".ser-time", has_text="at most 3 s").wait_for()
    assert read_output(page).startswith("RecorderError: no recording yet")


def test_recorder_is_operated_by_keyboard(open_notebook, speech):
    page = open_notebook("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={speech}")
    page.get_by_role("button", name="record sentence", exact=True).focus()
    page.keyboard.press("Enter")
    wait_for_message(page, "recording")
    page.get_by_role("meter", name="input level").wait_for()
    page.wait_for_function("() => parseFloat(document.querySelector('.ser-time').textContent) >= 0.5")
    page.keyboard.press("Space")
    wait_for_message(page, "s at ")
    page.get_by_role("button", name="discard the recording sentence").focus()
    page.keyboard.press("Enter")
    page.locator(".ser-player").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.className") == "ser-record"


def test_recorder_accepts_and_rejects_uploads(open_notebook, speech, tmp_path):
    y, sr = soundfile.read(speech, dtype="float32")
    soundfile.write(tmp_path / "speech.mp3", y, sr)
    soundfile.write(tmp_path / "silence.wav", 0 * y, sr)
    soundfile.write(tmp_path / "long.wav", np.resize(y, 110 * sr), sr)
    (tmp_path / "text.wav").write_text("no audio")
    page = open_notebook()
    for path, message in ((speech, "s at "), (tmp_path / "speech.mp3", "s at "), (tmp_path / "silence.wav", "silent"),
                          (tmp_path / "text.wav", "decode"), (tmp_path / "long.wav", "too long")):
        page.locator(".ser-upload").set_input_files(path)
        wait_for_message(page, message)
        if message == "s at ":
            assert read_prediction(page) == pytest.approx(1.5, abs=0.1)
    assert read_output(page).startswith("RecorderError: ")  # not the previous recording


def test_recorder_explains_denied_permission_without_traceback(open_notebook):
    page = open_notebook("--deny-permission-prompts")
    page.locator(".ser-record").click()
    wait_for_message(page, "denied access")
    assert read_output(page).startswith("RecorderError: the browser denied access")
    assert "Traceback" not in page.locator(".jp-OutputArea-output", has_text="denied access").last.inner_text()


@pytest.fixture
def wav():
    """A WAV file of 1 s, as bytes."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000, np.float32), 16000, format="WAV")
    return file.getvalue()


def test_recording_is_stored_under_its_key(wav):
    first = Recorder(key="stored")
    first.info, first.wav = {"seconds": 1.0}, wav
    again = Recorder(key="stored")
    assert (again.wav, again.state, again.info) == (wav, "ready", {"seconds": 1.0, "stored": True})
    assert repr(again) == "Recorder: 1.0 s recorded."
    assert (Recorder(key="other").wav, Recorder().wav) == (b"", b"")
    again.wav = b""  # the button Discard
    assert Recorder(key="stored").wav == b""


def test_callback_is_called_for_earlier_and_later_recordings(wav):
    recorder = Recorder(prompt="sad:")
    recorder.on_recording(lambda y, sr: f"{len(y) / sr:.1f} s")
    assert recorder.callback_text == ""
    recorder.wav = wav
    assert recorder.callback_text == "1.0 s"
    recorder.on_recording(lambda y, sr: 1 / 0)
    assert recorder.callback_text == "ZeroDivisionError: division by zero"
    recorder.wav = b""
    assert (recorder.callback_text, repr(recorder)) == (
        "", 'Recorder "sad": no recording. Run this cell in Jupyter to show the Record button.')


def test_samples_uses_the_default_only_without_recording_and_error():
    recorder = Recorder()
    default, sr = recorder.samples(default=SAMPLE)
    assert sr == 16000
    np.testing.assert_array_equal(default, audio.load(SAMPLE))
    file = io.BytesIO()
    soundfile.write(file, np.stack([default, default], axis=1), 16000, format="WAV")
    recorder.wav = file.getvalue()
    np.testing.assert_allclose(recorder.samples(default="missing.wav")[0], default, atol=1e-4)
    recorder.error = "denied"
    with pytest.raises(RecorderError, match="denied"):
        recorder.samples(default=SAMPLE)


@pytest.mark.parametrize(("trait", "value"), [
    ("wav", b"text"), ("wav", b"RIFF" + b"0" * 100), ("wav", b"RIFF" + b"0" * (11 * 2 ** 20)), ("state", "recording")])
def test_samples_rejects_unusable_recordings_despite_a_default(trait, value):
    recorder = Recorder()
    setattr(recorder, trait, value)
    with pytest.raises(RecorderError):
        recorder.samples(default=SAMPLE)
