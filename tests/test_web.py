"""The live page in Chromium: predictions as in Python, invalid input, no other host, offline use, accessibility."""

import functools
import http.server
import json
import threading

import build_web
import numpy as np
import pandas as pd
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe

from ser_utils import audio
from ser_utils.datasets.core import SAMPLES
from ser_utils.live import predict_stream

SAMPLE = SAMPLES / "Actor_03" / "03-01-05-01-01-01-03.flac"
TIMEOUT = 60_000  # ms, on a busy machine
# The int8 encoder amplifies differences of 1e-6 between the samples; the MFCC model has no quantized layer
ATOL = {"whisper": 0.02, "mfcc": 1e-3}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the page, and its address below a sub-path."""
    root = tmp_path_factory.mktemp("site")
    folder = build_web.build(root / "docs" / "live")
    handler = functools.partial(QuietHandler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/docs/live/"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):  # sends no headers, like most static hosts
    def log_message(self, *arguments):
        pass


@pytest.fixture
def open_page(site, chromium):
    """A function that opens the page in a new browser context, with Chromium's arguments."""
    contexts = []

    def start(*arguments, **options):
        contexts.append(chromium(*arguments).new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(site[1])
        page.wait_for_selector("body[data-ready]")
        return page

    yield start
    for context in contexts:
        context.close()


def classify_sample(page, model="mfcc", n=3):
    """Classify the sample and return its first windows."""
    page.check(f"input[value={model}]")
    page.evaluate("() => { window.ser.windows = [] }")
    page.select_option("#sample", label="angry")
    page.click("#play-sample")
    return wait_for_windows(page, n)


def wait_for_windows(page, n):
    page.wait_for_function("n => window.ser.windows.length >= n", arg=n)
    return page.evaluate("() => window.ser.windows")


def assert_equal_windows(windows, expected, atol):
    for window, reference in zip(windows, expected, strict=True):
        assert window["start"] == reference["start"]
        assert (window["class"], window["code"], window["abstention"]) == (
            reference["class"], reference["code"], reference["abstention"])
        np.testing.assert_allclose([window["probabilities"][name] for name in reference["probabilities"]],
                                   list(reference["probabilities"].values()), atol=atol)


@pytest.mark.parametrize("model", ["mfcc", "whisper"])
def test_predictions_of_sample_and_dropped_file_equal_python(model, open_page, tmp_path):
    page, expected, requests = open_page(), list(predict_stream(SAMPLE, model)), []
    page.on("request", lambda request: requests.append(request.url))
    assert_equal_windows(classify_sample(page, model), expected, ATOL[model])
    y = audio.load(SAMPLE)
    soundfile.write(tmp_path / "angry.wav", y, 16000)
    page.evaluate("() => { window.ser.windows = [] }")
    content = list((tmp_path / "angry.wav").read_bytes())
    page.evaluate("""content => {
        const transfer = new DataTransfer()
        transfer.items.add(new File([new Uint8Array(content)], 'angry.wav'))
        document.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true, bubbles: true})) }""",
                  content)
    assert_equal_windows(wait_for_windows(page, 3), expected, ATOL[model])
    assert page.inner_text("#code") == "5 male angry"
    assert requests
    assert all(url.startswith((page.url, "blob:")) for url in requests)


def test_microphone_predictions_equal_python(open_page, tmp_path):
    y = audio.resample(audio.trim(audio.load(SAMPLE)), 16000, 48000)
    silence = np.zeros(48000 * 3 // 2)
    soundfile.write(tmp_path / "speech.wav", np.concatenate([silence, y, silence]), 48000, subtype="FLOAT")
    page = open_page("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                     f"--use-file-for-fake-audio-capture={tmp_path / 'speech.wav'}", permissions=["microphone"])
    page.check("input[value=mfcc]")
    page.click("#microphone")
    windows = wait_for_windows(page, 14)
    page.click("#microphone")
    speech_windows = [window for window in windows if window["probabilities"]]
    soundfile.write(tmp_path / "trimmed.wav", y, 48000, subtype="FLOAT")
    (expected,) = predict_stream(tmp_path / "trimmed.wav", "mfcc")
    differences = [max(abs(window["probabilities"][name] - p) for name, p in expected["probabilities"].items())
                   for window in speech_windows]
    assert min(differences) < 0.02  # windows that contain the whole sentence
    assert page.inner_text("#level-text") == "no input"


def test_invalid_input_is_reported_and_the_page_stays_usable(open_page, site, tmp_path):
    page = open_page("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    page.check("input[value=mfcc]")
    for name, content, message in (("text.wav", b"no audio", "cannot decode"), ("empty.wav", b"", "file is empty")):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#file", tmp_path / name)
        wait_for_error(page, message)
    page.click("#microphone")
    wait_for_error(page, "denied")
    classify_sample(page)
    assert page.locator("#error").is_hidden()


def wait_for_error(page, text):
    page.wait_for_function("text => document.getElementById('error').innerText.includes(text)", arg=text)


def test_missing_microphone_is_reported(open_page):
    page = open_page()
    page.add_init_script("navigator.mediaDevices.getUserMedia = async () => { "
                         "throw new DOMException('no device', 'NotFoundError') }")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.check("input[value=mfcc]")
    page.click("#microphone")
    wait_for_error(page, "No microphone was found")


def test_missing_webassembly_is_reported(open_page):
    page = open_page()
    page.add_init_script("delete window.WebAssembly")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.click("#play-sample")
    wait_for_error(page, "no WebAssembly")


def test_recording_longer_than_one_hour_is_rejected(open_page, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 3601, np.int16), 8000, subtype="PCM_U8")
    page = open_page()
    page.set_input_files("#file", path)
    wait_for_error(page, "longer than one hour")


def test_altered_model_is_rejected(open_page):
    page = open_page(service_workers="block")
    page.route("**/models/mfcc_emotion.onnx", lambda route: route.fulfill(body=b"altered"))
    page.check("input[value=mfcc]")
    page.click("#play-sample")
    wait_for_error(page, "wrong checksum")
    page.unroute("**/models/mfcc_emotion.onnx")
    classify_sample(page)


def test_page_works_offline_after_the_first_use(open_page):
    page = open_page()
    page.wait_for_function("() => navigator.serviceWorker.controller")
    expected = classify_sample(page)
    page.reload()
    classify_sample(page)  # now through the service worker
    for name in ("models/mfcc_emotion.onnx", "models/mfcc_gender.onnx", build_web.RUNTIME):
        page.wait_for_function("async name => Boolean(await caches.match(name))", arg=name)
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert classify_sample(page) == expected


def test_confusion_matrix_counts_recordings_and_download_is_a_custom_corpus(open_page, tmp_path):
    y = audio.resample(audio.trim(audio.load(SAMPLE)), 16000, 48000)
    soundfile.write(tmp_path / "speech.wav", y, 48000, subtype="FLOAT")
    page = open_page("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                     f"--use-file-for-fake-audio-capture={tmp_path / 'speech.wav'}", permissions=["microphone"])
    page.check("input[value=mfcc]")
    page.click("#enroll")
    for number in (1, 2, 3):
        record_next(page, f"{number} of 3")
    wait_for_prompt(page, "adapted")
    page.click("#trials")
    for number in range(1, 9):
        record_next(page, f"{number} of 8")
    wait_for_prompt(page, "All eight")
    assert page.evaluate("() => document.activeElement.id") == "download"
    cells = page.locator("#counts tbody td").all_inner_texts()
    assert sum(int(text) for text in cells if text) == 8
    with page.expect_download() as download:
        page.click("#download")
    check_archive(download.value.path(), tmp_path)


def wait_for_prompt(page, text):
    page.wait_for_function("text => document.getElementById('prompt').innerText.includes(text)", arg=text)


def record_next(page, prompt):
    """Record a second after a prompt, with the keyboard; other controls are disabled meanwhile."""
    wait_for_prompt(page, prompt)
    page.keyboard.press("Enter")  # the button has the focus
    page.wait_for_function("() => document.getElementById('next').innerText === 'Stop'")
    assert page.is_disabled("#play-sample")
    start = page.evaluate("() => window.ser.nSamples()")
    page.wait_for_function("start => window.ser.nSamples() > start + 16000", arg=start)
    page.keyboard.press("Enter")


def check_archive(path, folder):
    import shutil
    import zipfile

    from ser_utils.datasets.core import EMOTIONS, load_clips

    assert zipfile.ZipFile(path).testzip() is None
    shutil.unpack_archive(path, folder / "extracted", "zip")
    clips = load_clips(folder / "extracted" / "recordings" / "clips.csv", "custom")
    assert sorted(clips["emotion"]) == sorted(EMOTIONS)
    assert set(clips["speaker"]) == {"me"}
    table = pd.read_csv(folder / "extracted" / "recordings" / "clips.csv")
    assert set(table["model"]) == {"mfcc"}
    assert table["is_adapted"].all()
    y, sr = audio.read(folder / "extracted" / "recordings" / clips["file"].iloc[0])
    assert sr == 16000
    assert 0.9 * sr < len(y) < 7 * sr


@pytest.mark.parametrize(("width", "scheme"), [
    (360, "light"), (768, "dark"), (1440, "light"),
    *(pytest.param(*values, marks=pytest.mark.slow) for values in ((360, "dark"), (768, "light"), (1440, "dark")))])
def test_page_is_accessible_and_fits(width, scheme, open_page):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    classify_sample(page)
    violations = Axe().run(page)
    assert violations.violations_count == 0, violations.generate_report()[:3000]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_build_does_not_overwrite_another_folder(tmp_path):
    (tmp_path / "photo.txt").write_text("text")
    with pytest.raises(ValueError, match="not a build of the live page"):
        build_web.build(tmp_path)
    assert (tmp_path / "photo.txt").is_file()


def test_microphone_is_released_after_two_clicks(open_page):
    page = open_page("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", permissions=["microphone"])
    page.check("input[value=mfcc]")
    page.evaluate("""() => {
        window.tracks = []
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
        navigator.mediaDevices.getUserMedia = async constraints => {
            const stream = await open(constraints)
            window.tracks.push(...stream.getTracks())
            return stream } }""")
    page.evaluate("() => { const button = document.getElementById('microphone'); button.click(); button.click() }")
    page.wait_for_function("() => document.getElementById('microphone').innerText === 'Stop microphone'")
    page.click("#microphone")
    page.wait_for_function("() => window.tracks.every(track => track.readyState === 'ended')")
    assert page.evaluate("() => window.tracks.length") == 1


def test_download_size_of_each_model_is_limited(site):
    info = json.loads((site[0] / "models.json").read_text(encoding="utf-8"))
    sizes = {name: info["runtime"]["size"] + sum(file["size"] for file in model["files"])
             for name, model in info["models"].items()}
    shell = sum(path.stat().st_size for path in site[0].rglob("*") if path.suffix in {".js", ".mjs", ".html", ".css"})
    assert sizes["whisper"] + shell < 45e6
    assert sizes["mfcc"] + shell < 15e6
