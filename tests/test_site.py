"""The documentation site: no warning, no request to another host, accessible pages, links, escaping, live page."""

import json
import re
from html import unescape
from urllib.parse import unquote

import api_pages
import build_site
import execute_notebooks
import pytest
from axe_playwright_python.sync_playwright import Axe

from ser_utils._utils.files import ROOT
from ser_utils.evaluation.results import load_predictions, save_predictions

SCRIPT = "<script>alert(1)</script>"
REPOSITORY = "https://github.com/me/ser"
ACCESSIBLE_PAGES = ["index.html", "docs/guide/installation.html", "docs/api/index.html",
                    "docs/api/ser_utils.evaluation.html", "models/index.html", "last_run/index.html",
                    *(pytest.param(f"{name}.html", marks=pytest.mark.slow) for name in (
                        "docs/guide/own_model", "docs/glossary", "docs/results", "notebooks/02_mfcc_extraction",
                        "notebooks/05_live_voice"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site with the committed notebooks and an experiment whose model has a name that needs escaping."""
    folder = tmp_path_factory.mktemp("site")
    rows = load_predictions("ravdess").query(
        "model == 'cnn_attention' and seed == 0 and fold == 0 and split == 'speaker-independent'")
    (folder / "experiment").mkdir()
    save_predictions(folder / "experiment", {"emotion": rows.assign(model=f"my_model|{SCRIPT}")})
    curves = {"cnn": {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}}
    (folder / "experiment" / "experiment.json").write_text(json.dumps({"curves": curves}))
    build_site.write_sources(folder / "source", experiment=folder / "experiment", repository_url=REPOSITORY)
    assert build_site.build(folder / "site", folder / "source", REPOSITORY), "warnings of Sphinx, see above"
    return folder / "site"


def open_page(browser, site, name, **settings):
    """Open a page; returns it and the addresses that it requested."""
    page, urls = browser.new_page(**settings), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto((site / name).as_uri())
    return page, urls


@pytest.mark.parametrize("name", ACCESSIBLE_PAGES)
def test_page_is_accessible_and_contacts_no_other_host(name, site, chromium):
    page, urls = open_page(chromium(), site, name)
    violations = Axe().run(page)
    page.close()
    assert violations.violations_count == 0, violations.generate_report()[:3000]
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls)


def test_formulas_are_typeset(site, chromium):
    page, _ = open_page(chromium(), site, "notebooks/02_mfcc_extraction.html")
    page.wait_for_selector("mjx-container svg")
    assert not page.locator("mjx-merror").count()
    page.close()


@pytest.mark.slow
def test_no_page_is_wider_than_a_narrow_screen(site, chromium):
    page, _ = open_page(chromium(), site, "index.html", viewport={"width": 390, "height": 800})
    widths = {}
    for path in (path for path in site.rglob("*.html") if path.parent.name not in ("live", "_modules")):
        page.goto(path.as_uri())
        widths[path.relative_to(site)] = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert not {name: width for name, width in widths.items() if width > 390}


def test_links_and_images_resolve(site):
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")
             if not any(path.is_relative_to(site / name) for name in ("live", "_modules"))}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    assert len(pages) > 30
    for path, text in pages.items():
        for link in set(re.findall(r'<(?:a|img)\b[^>]*?\b(?:href|src)="(?!https?:|data:|mailto:)([^"]+)"', text)):
            target, _, anchor = unquote(unescape(link)).partition("#")
            file = (path.parent / target).resolve() if target else path
            assert file.exists(), f"{path.relative_to(site)}: {link}"
            assert not anchor or file not in names or anchor in names[file], f"{path.relative_to(site)}: {link}"


def test_every_figure_of_a_notebook_has_its_alternative_text(site):
    for path in execute_notebooks.list_notebooks():
        page = (site / path.relative_to(ROOT)).with_suffix(".html").read_text(encoding="utf-8")
        images = re.findall(r'<img\b[^>]*src="[^"]*_images/[^>]*>', page)
        texts = [re.search(r'alt="([^"]*)"', image)[1] for image in images]
        assert all(len(text) > 20 and "_images" not in text for text in texts), path.name


def test_last_experiment_is_shown_and_escaped(site):
    page = (site / "last_run" / "index.html").read_text(encoding="utf-8")
    assert SCRIPT not in page
    assert "my_model|&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<img") >= 2  # training curves, confusion matrix


def test_api_reference_documents_every_public_function_once(site):
    pages = {path: path.read_text(encoding="utf-8") for path in (site / "docs" / "api").glob("*.html")}
    names = [name for module in api_pages.MODULES for name in
             (api_pages.get_public_name(module, name) for name in api_pages.list_defined(module))]
    assert "ser_utils.features.load_features" in names  # as users import it
    for name in names:
        assert sum(f'id="{name}"' in page for page in pages.values()) == 1, name
    assert not any("[R" in re.sub("<pre>.*?</pre>", "", page, flags=re.DOTALL) for page in pages.values())  # citations


def test_live_page_is_part_of_the_site(site):
    assert (site / "live" / "models.json").is_file()
    assert '../../live/index.html"' in (site / "docs" / "guide" / "prediction.html").read_text(encoding="utf-8")
    assert 'href="../index.html"' in (site / "live" / "index.html").read_text(encoding="utf-8")


def test_launch_buttons_and_links_to_files_name_the_repository(site):
    page = (site / "notebooks" / "01_data_exploration.html").read_text(encoding="utf-8")
    assert "https://mybinder.org/v2/gh/me/ser/main?urlpath=lab/tree/notebooks/01_data_exploration.ipynb" in page
    assert "https://colab.research.google.com/github/me/ser/blob/main/notebooks/01_data_exploration.ipynb" in page
    assert f"{REPOSITORY}/blob/main/CITATION.cff" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("remote", "url"), [
    ("git@github.com:me/ser.git", "https://github.com/me/ser"),
    ("https://github.com/me/ser/", "https://github.com/me/ser"),
    ("/home/me/ser", ""),
    ("https://github.com.example.org/me/ser", "")])
def test_repository_address_is_that_of_a_remote_on_github(remote, url, monkeypatch):
    monkeypatch.delenv("SER_REPOSITORY_URL", raising=False)
    monkeypatch.setattr(build_site, "read_remote", lambda: remote)
    assert build_site.get_repository_url() == url


def test_binder_installs_the_requirements_and_the_package():
    folder = ROOT / ".binder"
    assert (folder / "requirements.txt").read_text().split() == ["-r", "../requirements.txt"]
    assert "pip install --no-deps -e ." in (folder / "postBuild").read_text()
    assert (folder / "postBuild").stat().st_mode & 0o100


def test_every_notebook_can_be_installed_in_colab():
    for path in execute_notebooks.list_notebooks():
        cell = next(cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
        source, up = "".join(cell["source"]), "../.." if path.parent.name == "solutions" else ".."
        assert '"google.colab" in str(get_ipython())' in source
        assert f"%cd -q /content/workbook/{path.parent.relative_to(ROOT)}\n" in source
        assert f"%pip install -q -e {up}\n" in source
        assert (path.parent / up / "pyproject.toml").is_file()
