"""The committed notebooks: executed once from top to bottom, without errors or traces of a machine; figures described.

Their outputs and the numbers stated in their text are compared when pytest runs them (nbval, conftest.py).
"""

import base64
import io
import re

import execute_notebooks
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

NOTEBOOKS = execute_notebooks.list_notebooks()
# chance, limits of an interval, a cited result, rounding
CONSTANTS = {"12.5 %", "2.5 %", "97.5 %", "40.9 %", "0.1 points"}
EXEMPT = {"nbval-ignore-output", "nbval-skip", "raises-exception"}
MACHINE_TRACES = re.compile(r"/(home|root|tmp|work|usr|opt|Users)/|[A-Z]:\\| at 0x[0-9a-f]")


def get_code_cells(path):
    return [cell for cell in nbformat.read(path, nbformat.NO_CONVERT).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(execute_notebooks.NOTEBOOKS).as_posix())
def test_notebook_is_executed_in_order_without_errors(path):
    code = get_code_cells(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
            data = {kind: data for kind, data in output.get("data", {}).items() if "image" not in kind}
            text = output.get("text", "") + re.sub(r"base64,[\w+/=]+", "", str(data))
            assert not MACHINE_TRACES.search(text), text


def test_few_cells_are_exempt_from_output_checks():
    cells = [cell for path in NOTEBOOKS for cell in get_code_cells(path)]
    assert not any(re.search("NBVAL_(IGNORE|SKIP|RAISES)", cell.source) for cell in cells)  # tags can be counted
    assert sum(bool(EXEMPT & set(cell.metadata.get("tags", []))) for cell in cells) <= 0.05 * len(cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_an_alternative_text_of_its_own(path):
    outputs = [output for cell in get_code_cells(path) for output in cell.outputs
               if "image/png" in output.get("data", {})]
    texts = [output.metadata.get("image/png", {}).get("alt", "") for output in outputs]
    assert all(len(text) >= 40 for text in texts), texts
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("path", sorted(execute_notebooks.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_starts_with_the_roadmap_and_states_numbers(path):
    notebook = nbformat.read(path, 4)
    images = [base64.b64decode(notebook.cells[0].attachments["roadmap.png"]["image/png"]),
              execute_notebooks.draw_roadmap(int(path.stem[:2]))]
    stored, drawn = (plt.imread(io.BytesIO(image)) for image in images)
    assert stored.shape == drawn.shape
    assert np.abs(stored - drawn).mean() < 0.01  # of full scale; fonts are rendered slightly differently elsewhere
    assert len(execute_notebooks.list_numbers(notebook)) >= 10
    stated = re.compile(r"\b\d+\.\d %|\b\d+\.\d points")  # results have a decimal place; constants have no unit
    assert not [match for cell in notebook.cells if cell.cell_type == "markdown"
                for match in stated.findall(execute_notebooks.MARKER.sub("", cell.source)) if match not in CONSTANTS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_line_of_text_starts_with_a_marker(path):
    # a line that starts with <!-- opens an HTML block (CommonMark) and splits the paragraph
    lines = [line for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"
             for line in cell.source.splitlines()]
    assert not [line for line in lines if re.match(r"\s*([-*] |\d+\. )?<!-- ", line)]


def write_notebook(path, *sources, **metadata):
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}", metadata=metadata) for i, source in enumerate(sources)]
    title = nbformat.v4.new_markdown_cell("# 99 Title", id="title")
    nbformat.write(nbformat.v4.new_notebook(cells=[title, *cells], metadata=execute_notebooks.METADATA), path)
    return path


def test_a_failing_notebook_is_written_up_to_the_error(tmp_path, capsys):
    path, out = write_notebook(tmp_path / "99_broken.ipynb", "print('before')", "1 / 0"), tmp_path / "out.ipynb"
    assert not execute_notebooks.execute_notebooks([path], [out])
    assert "ZeroDivisionError" in capsys.readouterr().err
    first, second = get_code_cells(out)
    assert first.outputs[0].text == "before\n"
    assert second.outputs[0].ename == "ZeroDivisionError"


def test_execution_is_reproducible_and_fills_in_alternative_texts(tmp_path):
    path = write_notebook(tmp_path / "01_small.ipynb", "2 + 2", alt="four", collapsed=True)
    contents = []
    for _ in range(2):
        assert execute_notebooks.main([str(path)]) == 0
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert get_code_cells(path)[0].metadata == {"alt": "four"}


def test_execution_fills_in_stated_numbers_and_reports_those_that_fail(tmp_path, capsys):
    path = write_notebook(tmp_path / "01_small.ipynb", "uar = {'cnn': 0.5644}")
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = "The CNN reaches <!-- {100 * uar['cnn']:.1f} -->?<!-- / --> %."
    nbformat.write(notebook, path)
    assert execute_notebooks.main([str(path)]) == 0
    assert "-->56.4<!-- / --> %" in nbformat.read(path, 4).cells[0].source
    notebook.cells[0].source = "The LSTM reaches <!-- {uar['lstm']:.1f} -->?<!-- / --> %."
    nbformat.write(notebook, path)
    assert execute_notebooks.main([str(path)]) == 1
    assert "KeyError: 'lstm'" in capsys.readouterr().err
