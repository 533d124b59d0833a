"""The recorder as a reader uses it, in JupyterLab: a microphone that plays a file, no permission, uploads."""

import io

import nbformat
import numpy as np
import pytest
import soundfile

from ser_utils import audio, corpora
from ser_utils.recorder import Recorder, RecorderError

COFFEE = corpora.ROOT / "data" / "this_coffee_sucks.flac"
WAIT = 60_000  # ms, on a busy machine
SHOW = "import ser_utils\nfrom ser_utils.recorder import Recorder\nrecorder = Recorder(max_seconds=4)\nrecorder"
READ = ("y, sr = recorder.samples()\nanswer = ser_utils.predict(y, sr)\n"
        "print('HEARD', len(y) / sr, answer['class'], answer['warnings'], recorder.info)")


def wav(path, y, sr=48000):
    soundfile.write(path, y, sr, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return wav(tmp_path_factory.mktemp("sound") / "voice.wav", audio.resampled(audio.load(COFFEE), 16000, 48000))


def opened(lab, browser):
    """The page of a notebook that shows a recorder and reads it, the first cell run."""
    base, token, folder = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOW, READ)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "recorder.ipynb")
    page = browser.new_page()
    page.goto(f"{base}/lab/tree/recorder.ipynb?token={token}&reset")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
                           " === 'idle'", timeout=WAIT)
    run(page, 0)
    page.locator(".ser-record").wait_for(timeout=WAIT)
    return page


def run(page, cell):
    page.evaluate("""async cell => {
        window.jupyterapp.shell.currentWidget.content.activeCellIndex = cell
        await window.jupyterapp.commands.execute('notebook:run-cell') }""", cell)


def read(page):
    """What the second cell prints, or the name and the text of its error."""
    run(page, 1)
    return page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.toJSON().outputs
        .map(output => output.text ?? `${output.ename}: ${output.evalue}`).join('')""")


def says(page, text):
    page.locator(".ser-message", has_text=text).wait_for(timeout=WAIT)


def recorded(lab, chromium, sound, milliseconds):
    """The page after so long a recording with a microphone that plays a file."""
    page = opened(lab, chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                                f"--use-file-for-fake-audio-capture={sound}"))
    page.locator(".ser-record").click()
    says(page, "recording")
    page.wait_for_timeout(milliseconds)
    page.locator(".ser-record").click()
    return page


def test_what_is_said_into_the_microphone_is_heard_by_the_next_cell(lab, chromium, voice):
    page = recorded(lab, chromium, voice, 2000)
    says(page, "s at ")
    word, seconds, answer, *_ = read(page).split()
    assert word == "HEARD"
    assert 1.5 < float(seconds) < 3
    assert answer in corpora.TEN
    assert "'processed': False" in read(page)
    page.locator(".ser-record").click()  # and once more, until it stops by itself
    says(page, "recording")
    says(page, "s at ")
    assert 3.5 < float(read(page).split()[1]) < 4.8
    page.close()


def test_a_file_is_as_good_as_a_microphone(lab, chromium, voice, tmp_path):
    page = opened(lab, chromium())
    y = audio.resampled(audio.load(COFFEE), 16000, 44100)
    soundfile.write(tmp_path / "voice.mp3", y, 44100)
    for path in (voice, tmp_path / "voice.mp3"):
        page.locator(".ser-upload").set_input_files(path)
        says(page, "s at ")
        page.wait_for_function("() => document.querySelector('.ser-record').closest('div') !== null")
        word, seconds, answer, *_ = read(page).split()
        assert (word, answer in corpora.TEN) == ("HEARD", True)
        assert float(seconds) == pytest.approx(len(y) / 44100, abs=0.1)
    (tmp_path / "text.wav").write_text("no sound")
    page.locator(".ser-upload").set_input_files(tmp_path / "text.wav")
    says(page, "no recording that the browser can read")
    page.locator(".ser-upload").set_input_files(wav(tmp_path / "long.wav", np.resize(y, 130 * 44100), 44100))
    says(page, "too long for the notebook's connection")
    page.close()


def test_without_permission_there_is_a_sentence_and_no_traceback_but_ours(lab, chromium):
    page = opened(lab, chromium("--use-fake-device-for-media-stream", "--deny-permission-prompts"))
    page.locator(".ser-record").click()
    says(page, "not allowed to use the microphone")
    assert read(page).startswith("RecorderError: the browser was not allowed to use the microphone")
    shown = page.locator(".jp-OutputArea-output", has_text="not allowed").last.inner_text()
    assert "Traceback" not in shown
    page.close()


def test_a_silent_microphone_is_noticed_on_both_sides(lab, chromium, tmp_path):
    quiet = wav(tmp_path / "quiet.wav", np.zeros(48000 * 3, np.float32))
    page = recorded(lab, chromium, quiet, 1500)
    says(page, "silent?")
    assert "None ['silent" in read(page)
    page.close()


def test_the_kernel_side_alone(tmp_path):
    recorder = Recorder()
    with pytest.raises(RecorderError, match="nothing recorded yet"):
        recorder.samples()
    stand_in, sr = recorder.samples(default=COFFEE)
    assert sr == 16000
    np.testing.assert_array_equal(stand_in, audio.load(COFFEE))
    memory = io.BytesIO()
    soundfile.write(memory, np.stack([stand_in, stand_in], axis=1), 16000, format="WAV", subtype="PCM_16")
    recorder.wav = memory.getvalue()
    np.testing.assert_allclose(recorder.samples()[0], stand_in, atol=1e-4)
    recorder.error = "the browser was not allowed to"
    with pytest.raises(RecorderError, match="not allowed"):  # and not the stand-in, as if it were the reader
        recorder.samples(default=COFFEE)
    assert repr(recorder) == "Recorder(state='idle')"
