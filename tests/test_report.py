"""The report: no request to another host, accessible index, links, escaping."""

import json
import re

import build_report
import execute_notebooks
import pytest
from axe_playwright_python.sync_playwright import Axe

from ser_utils.evaluation.results import load_predictions, save_predictions

NOTEBOOKS = execute_notebooks.list_notebooks()
RENDERED = [execute_notebooks.NOTEBOOKS / f"{name}.ipynb" for name in ("01_data_exploration", "05_live_voice")]
NAMES = ["index.html", *(path.with_suffix(".html").name for path in RENDERED)]


def save_experiment(folder, predictions):
    """Write an experiment like that of `ser evaluate`."""
    curves = {"cnn": {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}}
    save_predictions(folder, {"emotion": predictions})
    (folder / "experiment.json").write_text(json.dumps({"curves": curves}))


@pytest.fixture(scope="module")
def predictions():
    table = load_predictions("ravdess")
    return table.query("model == 'cnn_attention' and seed == 0 and fold == 0 and split == 'speaker-independent'")


@pytest.fixture(scope="module")
def report(tmp_path_factory, predictions):
    """The folder of a report on two committed notebooks and an experiment."""
    folder = tmp_path_factory.mktemp("report")
    save_experiment(folder, predictions)
    build_report.render_report(RENDERED, execute_notebooks.NOTEBOOKS, folder, folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_page_contacts_no_other_host_and_index_is_accessible(name, report, chromium):
    page, urls = chromium().new_page(), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto((report / name).as_uri())
    if name == "index.html":
        violations = Axe().run(page)
        assert violations.violations_count == 0, violations.generate_report()[:3000]
    page.close()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls)


def test_links_lead_to_pages_of_the_report(report):
    pages = {path.relative_to(execute_notebooks.NOTEBOOKS).with_suffix(".html").as_posix() for path in NOTEBOOKS}
    for name in NAMES:
        links = set(re.findall(r'<a [^>]*href="(?!http)([^"#]+)', (report / name).read_text(encoding="utf-8")))
        assert {link for link in links if not (report / link).is_file()} <= pages
        assert name != "index.html" or links >= set(NAMES[1:])


def test_index_escapes_table_content(tmp_path, predictions):
    script = "<script>alert(1)</script>"
    save_experiment(tmp_path, predictions.assign(model=script, speaker=script))
    text = build_report.render_index(tmp_path, experiment=tmp_path, results=tmp_path).read_text(encoding="utf-8")
    assert script not in text
    assert "&lt;script&gt;" in text
