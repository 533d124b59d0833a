"""Execute notebooks in place: outputs, numbers stated in the text, alternative texts of figures, roadmap.

    python scripts/execute_notebooks.py [NOTEBOOK ...]    by default the seven notebooks and their solutions

A result stated in Markdown is marked with the expression that computes it, an f-string without quotes:

    The CNN reaches <!-- {100 * uar["cnn"]:.1f} -->56.4<!-- / --> % UAR.

The expressions are evaluated in the kernel after the last cell. The alternative text of a figure is the metadata entry
"alt" of its code cell. Both are checked when nbval runs the notebooks (conftest.py) and by tests/test_notebooks.py.
"""

import argparse
import base64
import io
import json
import os
import re
import sys
from pathlib import Path

from ser_utils._utils.files import ROOT, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.features.descriptors import compile_pyin

NOTEBOOKS = ROOT / "notebooks"
MARKER = re.compile(r"<!-- (.*?) -->(.*?)<!-- / -->", re.DOTALL)
METADATA = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}  # the rest differs between Python versions
ROADMAP = ("Data\nexploration", "MFCC\nextraction", "Model\ncomparison", "Evaluation", "Live\nvoice",
           "Cross-corpus\nevaluation", "Attribution")


def list_notebooks():
    """List the notebooks, then their solutions, in order."""
    return sorted(NOTEBOOKS.glob("*.ipynb")) + sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


def list_numbers(notebook):
    """List expression and stated value of each marked number of a notebook."""
    return [(match[1], match[2]) for cell in notebook.cells if cell.cell_type == "markdown"
            for match in MARKER.finditer(cell.source)]


def evaluation_code(expressions):
    """Write code that prints value and error of each expression, one of them null, as one line of JSON."""
    return f"""
def _evaluate(expression):
    try:
        return eval('f\"\"\"' + expression + '\"\"\"', globals()), None
    except Exception as error:
        return None, f"{{type(error).__name__}}: {{error}}"

import json
print(json.dumps({{expression: _evaluate(expression) for expression in {sorted(expressions)!r}}}))
"""


def fill_numbers(source, values):
    """Replace the numbers stated in a Markdown text.

    Parameters
    ----------
    source : str
    values : dict of str to str
        Value of each expression.

    Returns
    -------
    str

    Examples
    --------
    >>> fill_numbers("UAR <!-- {uar:.1f} -->?<!-- / --> %", {"{uar:.1f}": "56.4"})
    'UAR <!-- {uar:.1f} -->56.4<!-- / --> %'
    """
    return MARKER.sub(lambda match: f"<!-- {match[1]} -->{values[match[1]]}<!-- / -->", source)


def draw_roadmap(current):
    """Draw the seven notebooks as boxes in a row, with one of them filled.

    Parameters
    ----------
    current : int
        Number of the notebook, from 1.

    Returns
    -------
    bytes
        PNG; JupyterLab shows no SVG attachments.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    figure = Figure(figsize=(7.7, 0.66))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 7.7), ylim=(0, 0.66))
    ax.axis("off")
    for number, title in enumerate(ROADMAP, 1):
        x, is_current = 1.1 * number - 1.02, number == current
        ax.add_patch(FancyBboxPatch((x, 0.06), 0.94, 0.54, boxstyle="round,pad=0,rounding_size=0.06",
                                    facecolor="#0072B2" if is_current else "#EEEEEE", edgecolor="#666666"))
        ax.text(x + 0.47, 0.33, f"{number:02}\n{title}", ha="center", va="center", fontsize=9, linespacing=1.1,
                color="white" if is_current else "#222222", fontweight="bold" if is_current else "normal")
        if number > 1:
            ax.plot(x - 0.08, 0.33, ">", color="#666666", markersize=5)
    figure.savefig(image := io.BytesIO(), format="png", dpi=200, metadata={"Software": None})
    return image.getvalue()


def add_roadmap(notebook, number):
    """Attach the roadmap to the cell that refers to it."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "(attachment:roadmap.png)" in cell.source:
            cell.attachments = {"roadmap.png": {"image/png": base64.b64encode(draw_roadmap(number)).decode()}}


def add_alternative_texts(notebook):
    """Copy the alternative text of each code cell to its figures, as `IPython.display.Image(alt=...)` stores it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}) and cell.metadata.get("alt"):
                output.metadata.setdefault("image/png", {})["alt"] = cell.metadata["alt"]


def strip_metadata(notebook):
    """Remove the metadata that differ between two executions."""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in ("tags", "alt") if cell.metadata.get(name)}


def execute_notebook(paths):
    """Execute one notebook in its own folder.

    Parameters
    ----------
    paths : tuple of Path
        The notebook, and where to write the executed one.

    Returns
    -------
    str or None
        Message of the first error. The outputs up to it are written.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    path, out = paths
    os.environ["TQDM_DISABLE"] = "1"  # progress bars would be stored in the notebook
    notebook, error = nbformat.read(path, 4), None
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True,
                            store_widget_state=False,  # without a kernel, the text of a widget is shown
                            extra_arguments=["--log-level=CRITICAL"],  # a kernel logs its own shutdown as an error
                            resources={"metadata": {"path": str(path.parent)}})
    with client.setup_kernel():
        try:
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
            error = _fill_all_numbers(notebook, client)
        except (CellExecutionError, DeadKernelError) as failure:
            error = str(failure)
    if path.stem[:2].isdigit():
        add_roadmap(notebook, int(path.stem[:2]))
    add_alternative_texts(notebook)
    if out == path:
        strip_metadata(notebook)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, nbformat.writes(notebook).encode() + b"\n")
    return error


def _fill_all_numbers(notebook, client):
    """Fill in the numbers stated in an executed notebook; return a message if some of them cannot be computed."""
    import nbformat

    cell = nbformat.v4.new_code_cell(evaluation_code({name for name, _ in list_numbers(notebook)}))
    notebook.cells.append(cell)
    try:
        client.execute_cell(cell, len(notebook.cells) - 1)
    finally:
        notebook.cells.pop()
    results = json.loads(next(output.text for output in cell.outputs if output.get("name") == "stdout"))
    if errors := [f"{{{name}}}: {error}" for name, (_, error) in results.items() if error]:
        return f"stated numbers cannot be computed; correct the expressions {'; '.join(errors)}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = fill_numbers(cell.source, {name: value for name, (value, _) in results.items()})
    return None


def execute_notebooks(notebooks, outputs):
    """Execute notebooks in two processes and print the errors.

    Parameters
    ----------
    notebooks, outputs : sequence of Path

    Returns
    -------
    bool
        Whether all of them ran.
    """
    compile_pyin()  # before two kernels do: concurrent compilation can corrupt numba's cache (numba #10128)
    errors = list(parallel_map(execute_notebook, list(zip(notebooks, outputs, strict=True)), desc="notebooks",
                               unit="notebook", n_jobs=2))
    print("".join(f"{path.stem} failed: {error}\n" for path, error in zip(notebooks, errors, strict=True) if error),
          end="", file=sys.stderr)
    return not any(errors)


def main(arguments=None):
    """Execute the notebooks; return 1 if one of them failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all notebooks and their solutions")
    notebooks = [path.resolve() for path in parser.parse_args(arguments).notebook] or list_notebooks()
    return int(not execute_notebooks(notebooks, notebooks))


if __name__ == "__main__":
    sys.exit(main())
