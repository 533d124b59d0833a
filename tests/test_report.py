"""The report in Chromium: layout on phone, desktop and paper, accessibility, no request to another host."""

import json

import build_report
import pytest
from axe_playwright_python.sync_playwright import Axe

from ser_utils.evaluation.results import load_predictions, save_predictions

NOTEBOOKS = build_report.list_notebooks()
SOLUTIONS = [path for path in NOTEBOOKS if path.parent != build_report.NOTEBOOKS]
NAMES = ["index.html", *(path.with_suffix(".html").name for path in NOTEBOOKS if path not in SOLUTIONS)]
VIEWPORTS = {"phone": {"width": 390, "height": 800}, "desktop": {"width": 1280, "height": 900},
             "paper": {"width": 720, "height": 1000}}  # A4 between its margins
# scrolling is impossible on paper
CLIPPED = """[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 &&
             ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)).length"""
DURATIONS = """() => Promise.all([...document.querySelectorAll('audio')].map(player => new Promise(resolve => {
    const report = () => resolve(player.error ? -1 : player.duration)
    for (const event of ['loadedmetadata', 'error']) player.addEventListener(event, report)
    player.load() })))"""


def save_experiment(folder, predictions):
    """Write an experiment like that of `ser evaluate`."""
    curves = {"cnn": {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}}
    save_predictions(folder, {"emotion": predictions})
    (folder / "experiment.json").write_text(json.dumps({"curves": curves}))
    return folder


@pytest.fixture(scope="module")
def predictions():
    table = load_predictions("ravdess")
    return table.query("model == 'cnn' and seed == 0 and fold == 0 and split == 'speaker-independent'")


@pytest.fixture(scope="module")
def report(tmp_path_factory, predictions):
    """The folder of a report on the committed notebooks and an experiment."""
    folder = tmp_path_factory.mktemp("report")
    experiment = save_experiment(tmp_path_factory.mktemp("experiment"), predictions)
    build_report.render_report(NOTEBOOKS, build_report.NOTEBOOKS, folder, experiment)
    return folder


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium()


@pytest.mark.parametrize("name", NAMES)
def test_page_fits_is_accessible_and_contacts_no_host(name, report, browser):
    page, urls = browser.new_page(), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto((report / name).as_uri())
    for viewport, size in VIEWPORTS.items():
        page.emulate_media(media="print" if viewport == "paper" else "screen")
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), viewport
    assert page.evaluate(CLIPPED) == 0
    page.emulate_media(media="screen")
    violations = Axe().run(page)
    assert violations.violations_count == 0, violations.generate_report()[:3000]
    page.close()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls)


def test_links_between_pages_resolve(report, browser):
    page = browser.new_page()
    for name in [*NAMES, *(f"solutions/{path.stem}.html" for path in SOLUTIONS)]:
        page.goto((report / name).as_uri())
        for href in page.evaluate("[...document.links].map(link => link.getAttribute('href'))"):
            if not href.startswith(("http", "#")):
                assert ((report / name).parent / href.split("#")[0]).is_file(), (name, href)
    page.close()


def test_audio_players_contain_sound(report, browser):
    page = browser.new_page()
    page.goto((report / "01_data_exploration.html").as_uri())
    durations = page.evaluate(DURATIONS)
    page.close()
    assert len(durations) >= 3
    assert all(0.5 < seconds < 60 for seconds in durations)


def test_index_escapes_table_content(tmp_path, predictions):
    script = "<script>alert(1)</script>"
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    save_experiment(experiment, predictions.assign(model=script, speaker=script))
    text = build_report.render_index(tmp_path, experiment=experiment, results=tmp_path).read_text(encoding="utf-8")
    assert script not in text
    assert "&lt;script&gt;" in text
