"""The report in a real Chromium: whole on a phone and on paper, open to everybody, silent towards other hosts."""

import sys

import pytest
from axe_playwright_python.sync_playwright import Axe

from ser_utils import corpora, publish

sys.path.insert(0, str(corpora.ROOT / "tools"))
import pages

import notebooks

CHOSEN = notebooks.notebooks()
NAMES = ["index.html", *(str(path.relative_to(notebooks.FOLDER).with_suffix(".html")) for path in CHOSEN)]
SIZES = {"phone": {"width": 390, "height": 800}, "desk": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The report from the committed notebooks, with a run on validation clips such as `compare` leaves it."""
    out = tmp_path_factory.mktemp("report")
    made = [notebooks.page_of(path, out) for path in CHOSEN]
    shown = [page for page in made if page.path.parent == out]
    for path, page in zip(CHOSEN, made, strict=True):
        notebooks.render(path, page, shown)
    rows = publish.load().query("model == 'cnn' and seed == 0 and fold == 0 and labels == 'emotion'")
    rows = rows[rows["protocol"] == "speaker-independent"]
    curves = {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}
    about = {"note": "Not a run: published rows.", "curves": {"cnn": curves}}
    pages.index(out, rows, about, pages=shown)
    return out


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium()


@pytest.fixture(params=NAMES)
def opened(request, site, browser):
    """A page, and the addresses it asked for."""
    page, asked = browser.new_page(viewport=SIZES["phone"]), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / request.param).as_uri())
    yield page, asked
    page.close()


def too_wide(page):
    """Pixels by which a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_a_page_is_whole_on_a_phone_on_a_desk_and_on_paper_and_asks_nobody(opened):
    page, asked = opened
    assert too_wide(page) <= 0
    page.set_viewport_size(SIZES["desk"])
    assert too_wide(page) <= 0
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 between its margins
    assert too_wide(page) <= 0
    hidden = page.evaluate("[...document.querySelectorAll('nav, audio')].every(e => e.offsetParent === null)")
    assert hidden
    cut = """[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 &&
             ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)).length"""
    assert page.evaluate(cut) == 0  # paper has no scroll bar
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_axe_finds_nothing_that_keeps_anybody_out(opened):
    page, _ = opened
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()[:3000]


def test_players_hold_sound(site, browser):
    page = browser.new_page()
    page.goto((site / "01_data_exploration.html").as_uri())
    lengths = """() => Promise.all([...document.querySelectorAll('audio')].map(player => new Promise(done => {
        const tell = () => done(player.error ? -1 : player.duration)
        for (const event of ['loadedmetadata', 'error']) player.addEventListener(event, tell)
        player.load() })))"""
    found = page.evaluate(lengths)
    page.close()
    assert len(found) >= 3
    assert all(0.5 < seconds < 60 for seconds in found)
