"""The recorder in JupyterLab with a simulated microphone, denied permission and uploads, and its Python side."""

import io

import nbformat
import numpy as np
import pytest
import soundfile

from ser_utils import audio
from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import GENDER_EMOTIONS
from ser_utils.live.recorder import Recorder, RecorderError

SAMPLE = ROOT / "data" / "samples" / "ravdess" / "Actor_01" / "03-01-05-01-01-01-01.flac"
TIMEOUT = 180_000  # ms, on a busy machine
SHOW = "import ser_utils\nfrom ser_utils.live.recorder import Recorder\nrecorder = Recorder(max_seconds=4)\nrecorder"
READ = ("y, sr = recorder.samples()\nanswer = ser_utils.predict(y, sr)\n"
        "print('RECORDED', len(y) / sr, answer['class'], answer['warnings'], recorder.info)")


def write_wav(path, y, sr=48000):
    soundfile.write(path, y, sr, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A WAV file of 1.5 s of speech."""
    y = audio.resample(audio.trim(audio.load(SAMPLE)), 16000, 48000)[:72000]
    return write_wav(tmp_path_factory.mktemp("audio") / "speech.wav", y)


def open_notebook(lab, browser):
    """A page with a notebook whose first cell shows a recorder and whose second reads it."""
    base, token, folder = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOW, READ)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "recorder.ipynb")
    page = browser.new_page()
    page.goto(f"{base}/lab/tree/recorder.ipynb?token={token}&reset")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
                           " === 'idle'", timeout=TIMEOUT)
    run_cell(page, 0)
    page.locator(".ser-record").wait_for(timeout=TIMEOUT)
    return page


def run_cell(page, index):
    page.evaluate("""async index => {
        window.jupyterapp.shell.currentWidget.content.activeCellIndex = index
        await window.jupyterapp.commands.execute('notebook:run-cell') }""", index)


def read_output(page):
    """What the second cell prints, or name and text of its error."""
    run_cell(page, 1)
    return page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.toJSON().outputs
        .map(output => output.text ?? `${output.ename}: ${output.evalue}`).join('')""")


def wait_for_message(page, text):
    page.locator(".ser-message", has_text=text).wait_for(timeout=TIMEOUT)


def record(lab, chromium, path, milliseconds):
    """The page after a recording with a microphone that plays a file."""
    page = open_notebook(lab, chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                                       f"--use-file-for-fake-audio-capture={path}"))
    page.locator(".ser-record").click()
    wait_for_message(page, "recording")
    page.wait_for_timeout(milliseconds)
    page.locator(".ser-record").click()
    return page


def test_recorder_sends_microphone_samples_to_the_kernel(lab, chromium, speech):
    page = record(lab, chromium, speech, 2000)
    wait_for_message(page, "s at ")
    output = read_output(page)
    label, seconds, answer, *_ = output.split()
    assert label == "RECORDED"
    assert 1.5 < float(seconds) < 4.8
    assert answer in GENDER_EMOTIONS
    assert "'processed': False" in output
    page.locator(".ser-record").click()
    wait_for_message(page, "recording")
    wait_for_message(page, "s at ")  # it stops after max_seconds
    assert 3.5 < float(read_output(page).split()[1]) < 4.8
    page.close()


def test_recorder_accepts_and_rejects_uploads(lab, chromium, speech, tmp_path):
    page = open_notebook(lab, chromium())
    y = audio.resample(audio.to_mono(soundfile.read(speech, always_2d=True)[0]), 48000, 44100)
    soundfile.write(tmp_path / "speech.mp3", y, 44100)
    for path in (speech, tmp_path / "speech.mp3"):
        page.locator(".ser-upload").set_input_files(path)
        wait_for_message(page, "s at ")
        label, seconds, answer, *_ = read_output(page).split()
        assert (label, answer in GENDER_EMOTIONS) == ("RECORDED", True)
        assert float(seconds) == pytest.approx(len(y) / 44100, abs=0.1)
    (tmp_path / "text.wav").write_text("no audio")
    page.locator(".ser-upload").set_input_files(tmp_path / "text.wav")
    wait_for_message(page, "cannot decode this file")
    page.locator(".ser-upload").set_input_files(write_wav(tmp_path / "long.wav", np.resize(y, 130 * 44100), 44100))
    wait_for_message(page, "too long for the notebook's connection")
    page.close()


def test_recorder_explains_denied_permission_without_traceback(lab, chromium):
    page = open_notebook(lab, chromium("--use-fake-device-for-media-stream", "--deny-permission-prompts"))
    page.locator(".ser-record").click()
    wait_for_message(page, "denied access to the microphone")
    assert read_output(page).startswith("RecorderError: the browser denied access to the microphone")
    assert "Traceback" not in page.locator(".jp-OutputArea-output", has_text="denied access").last.inner_text()
    page.close()


def test_recorder_and_predict_warn_of_a_silent_microphone(lab, chromium, tmp_path):
    page = record(lab, chromium, write_wav(tmp_path / "silence.wav", np.zeros(48000 * 3, np.float32)), 1500)
    wait_for_message(page, "silent")
    assert "None ['silent" in read_output(page)
    page.close()


def test_samples_reads_the_default_only_without_recording_and_error():
    recorder = Recorder()
    with pytest.raises(RecorderError, match="no recording yet"):
        recorder.samples()
    default, sr = recorder.samples(default=SAMPLE)
    assert sr == 16000
    np.testing.assert_array_equal(default, audio.load(SAMPLE))
    file = io.BytesIO()
    soundfile.write(file, np.stack([default, default], axis=1), 16000, format="WAV", subtype="PCM_16")
    recorder.wav = file.getvalue()
    np.testing.assert_allclose(recorder.samples(default="missing.wav")[0], default, atol=1e-4)
    recorder.error = "denied"
    with pytest.raises(RecorderError, match="denied"):
        recorder.samples(default=SAMPLE)


@pytest.mark.parametrize("content", [b"text", b"RIFF" + b"0" * 100, b"RIFF" + b"0" * (11 * 2 ** 20)])
def test_samples_rejects_bytes_that_are_no_short_wav(content):
    recorder = Recorder()
    recorder.wav = content
    with pytest.raises(RecorderError, match="record again"):
        recorder.samples(default=SAMPLE)


def test_samples_while_recording_is_an_error():
    recorder = Recorder()
    recorder.state = "recording"
    with pytest.raises(RecorderError, match="press Stop"):
        recorder.samples(default=SAMPLE)
