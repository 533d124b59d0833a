"""The committed notebooks: executed once from top to bottom, without errors or traces of a machine."""

import re

import build_report
import nbformat
import pytest

NOTEBOOKS = build_report.list_notebooks()
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
EXEMPT = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
MACHINE_TRACES = re.compile(r"/(home|root|tmp|work|usr|opt|Users)/|[A-Z]:\\| at 0x[0-9a-f]")

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: str(path.relative_to(build_report.NOTEBOOKS)))


def get_cells(path, cell_type):
    return [cell for cell in nbformat.read(path, nbformat.NO_CONVERT).cells if cell.cell_type == cell_type]


@each_notebook
def test_notebook_is_executed_in_order_without_errors(path):
    code = get_cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            data = {kind: data for kind, data in output.get("data", {}).items() if "image" not in kind}
            text = output.get("text", "") + re.sub(r"base64,[\w+/=]+", "", str(data))
            assert not MACHINE_TRACES.search(text), text


@each_notebook
def test_links_resolve(path):
    for cell in get_cells(path, "markdown"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source):
            assert (path.parent / target).exists(), target


def test_few_cells_are_exempt_from_output_checks():
    cells = [cell for path in NOTEBOOKS for cell in get_cells(path, "code")]
    assert not any(re.search("NBVAL_(IGNORE|SKIP|RAISES)", cell.source) for cell in cells)  # tags can be counted
    assert sum(bool(EXEMPT & set(cell.metadata.get("tags", []))) for cell in cells) <= 0.05 * len(cells)


def test_build_report_keeps_going_after_a_failing_notebook(tmp_path, capsys, monkeypatch):
    cells = [nbformat.v4.new_markdown_cell("# 99 Broken"), nbformat.v4.new_code_cell("print('before')"),
             nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), tmp_path / "99_broken.ipynb")
    monkeypatch.setattr(build_report, "NOTEBOOKS", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert build_report.main([]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    page = (tmp_path / "build" / "report" / "99_broken.html").read_text(encoding="utf-8")
    assert "before" in page
    assert "ZeroDivisionError" in page
    assert (tmp_path / "build" / "report" / "index.html").is_file()


def test_in_place_execution_is_reproducible(tmp_path):
    path = tmp_path / "01_small.ipynb"
    cells = [nbformat.v4.new_markdown_cell("# 01 Small", id="a"),
             nbformat.v4.new_code_cell("2 + 2", id="b", metadata={"alt": "four", "collapsed": True})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), path)
    contents = []
    for _ in range(2):
        assert build_report.main(["--in-place", str(path)]) == 0
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert get_cells(path, "code")[0].metadata == {"alt": "four"}
