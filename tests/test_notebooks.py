"""The committed notebooks: executed once from top to bottom, in the measures that keep them readable, and as pages."""

import ast
import re
import statistics
import sys

import nbformat
import pytest

from ser_utils import corpora

sys.path.insert(0, str(corpora.ROOT / "tools"))
import notebooks

NUMBERED = sorted(notebooks.FOLDER.glob("*.ipynb"))
ALL = notebooks.notebooks()
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
EXEMPT = {"nbval-ignore-output", "nbval-skip", "raises-exception"}


def cells(path, kind=None):
    return [cell for cell in nbformat.read(path, nbformat.NO_CONVERT).cells if kind in (None, cell.cell_type)]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(notebooks.FOLDER)))


def test_they_are_numbered_and_each_has_worked_solutions():
    names = [path.name for path in NUMBERED]
    assert [name[:2] for name in names] == [f"{number:02d}" for number in range(1, len(names) + 1)]
    assert len(names) >= 6
    assert [path.name for path in ALL[len(names):]] == names


@each(ALL)
def test_committed_as_one_run_from_top_to_bottom(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 2
    for cell in code:
        assert cell.source.strip()
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            text = str({kind: data for kind, data in output.get("data", {}).items() if "image" not in kind})
            shown = output.get("text", "") + re.sub(r"base64,[\w+/=]+", "", text)
            assert not re.search(r"/(home|root|tmp|work|usr|opt|Users)/|[A-Z]:\\| at 0x[0-9a-f]", shown), shown


@each(ALL)
def test_prose_leads_and_cells_are_short(path):
    code, prose = cells(path, "code"), cells(path, "markdown")
    assert len(prose) >= len(code)
    lengths = [len(cell.source.splitlines()) for cell in code]
    assert max(lengths) <= 15
    assert statistics.median(lengths) <= (4 if path in NUMBERED else 6)
    importing = [number for number, cell in enumerate(code)
                 if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(cell.source)))]
    assert importing == [0]
    assert cells(path)[0].cell_type == cells(path)[-1].cell_type == "markdown"


@each(NUMBERED)
def test_a_numbered_notebook_asks_a_question_and_answers_it(path):
    everything = cells(path)
    assert 25 <= len(everything) <= 45
    assert [tags(cell) & {"parameters"} != set() for cell in cells(path, "code")].index(True) == 1
    assert sum("parameters" in tags(cell) for cell in everything) == 1
    assert re.match(rf"# {path.name[:2]} \w", everything[0].source)
    for part in ("**Question**", "**You will learn**", "**Time and needs**"):
        assert part in everything[0].source
    ending = everything[-1].source + everything[-2].source + everything[-3].source
    for part in ("## Limits", "## Exercises", f"(solutions/{path.name})"):
        assert part in ending
    number = NUMBERED.index(path)
    if number + 1 < len(NUMBERED):
        assert f"({NUMBERED[number + 1].name})" in everything[-1].source


@each(ALL)
def test_every_figure_is_followed_by_what_it_shows(path):
    everything = cells(path)
    figures = 0
    for number, cell in enumerate(everything):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            figures += 1
            assert everything[number + 1].cell_type == "markdown", cell.source
            assert len(everything[number + 1].source.split()) >= 15, everything[number + 1].source
    assert figures or path not in NUMBERED


@each(ALL)
def test_links_between_notebooks_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source):
            assert (path.parent / target).exists(), target


def test_few_cells_are_exempt_from_checking():
    exempt = {path: sum(bool(tags(cell) & EXEMPT) for cell in cells(path, "code")) for path in ALL}
    assert max(exempt.values()) <= 2
    assert sum(exempt.values()) <= 0.05 * sum(len(cells(path, "code")) for path in ALL)
    for path in ALL:
        for cell in cells(path, "code"):
            assert not re.search("NBVAL_(IGNORE|SKIP|RAISES)", cell.source)  # by tag, where it can be counted


@each(ALL)
def test_no_score_is_typed_into_prose(path):
    """Shares and scores are printed by code; prose has only what the corpus, the settings and the convention fix."""
    for cell in cells(path, "markdown"):
        prose, score = cell.source.replace("95 % interval", ""), r"\d\s?(%|per cent|points?\b)"
        assert not re.search(score + r"|(UAR|accuracy|recall)\W{1,4}(of )?\d", prose), prose


def test_notebooks_become_pages_that_ask_nobody_for_anything(tmp_path):
    pages = [notebooks.page_of(path, tmp_path) for path in NUMBERED]
    for path, page in zip(NUMBERED, pages, strict=True):
        notebooks.render(path, page, pages)
    for page in pages:
        text = page.path.read_text(encoding="utf-8")
        assert f"<title>{page.title}</title>" in text
        assert page.question
        assert not re.search(r"""(src|<link[^>]*href)=["'](?!data:)|@import|url\(["']?http""", text)
        for other in re.findall(r'href="(?!https?:|#)([^"]+)"', text):
            assert other == "index.html" or "solutions/" in other or (tmp_path / other).is_file(), other
        assert 'aria-current="page"' in text
    players = [path.stem for path in NUMBERED if "<audio" in (tmp_path / f"{path.stem}.html").read_text()]
    assert "01_data_exploration" in players


def test_a_notebook_that_fails_is_named_and_kept_as_far_as_it_came(tmp_path, capsys, monkeypatch):
    broken = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("# 99 Broken"), nbformat.v4.new_code_cell("print('so far')"),
        nbformat.v4.new_code_cell("1 / 0")], metadata=KERNEL)
    nbformat.write(broken, tmp_path / "99_broken.ipynb")
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    assert notebooks.main(["--out", str(tmp_path / "pages"), "--kept", str(tmp_path / "kept")]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    page = (tmp_path / "pages" / "99_broken.html").read_text(encoding="utf-8")
    assert "so far" in page
    assert "ZeroDivisionError" in page
    assert (tmp_path / "pages" / "index.html").is_file()


def test_running_a_notebook_again_gives_the_same_file(tmp_path, monkeypatch):
    path = tmp_path / "01_small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01 Small", id="a"),
                                                   nbformat.v4.new_code_cell("2 + 2", id="b")], metadata=KERNEL), path)
    made = []
    for _ in range(2):
        assert notebooks.main(["--in-place", str(path)]) == 0
        made.append(path.read_bytes())
    assert made[0] == made[1]
