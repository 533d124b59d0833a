"""Execute the notebooks and render them, with an index of results, as HTML pages in build/report.

    python scripts/build_report.py [NOTEBOOK ...]              all notebooks by default
    python scripts/build_report.py --in-place [NOTEBOOK ...]   store the outputs in the notebooks themselves
    python scripts/build_report.py --index-only                without the notebooks

The index shows the published results and the last run of `ser evaluate`.
"""

import argparse
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import TARGETS
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import (
    ORIGINAL_ACCURACY,
    format_percent,
    has_predictions,
    load_predictions,
    load_summary,
    result_tables,
)

NOTEBOOKS = ROOT / "notebooks"
EXPERIMENT = Path("build/experiment")  # last run of `ser evaluate`
TEMPLATE = Path(__file__).with_name("report.html")
DEFAULT_ALT = "Figure, described in the text below it"
KEPT_METADATA = ("tags", "alt")


class Page(NamedTuple):
    """A notebook's page: its file, title and research question."""

    path: Path
    title: str
    question: str


def list_notebooks():
    """List the notebooks, then their solutions, in order."""
    return sorted(NOTEBOOKS.glob("*.ipynb")) + sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


def execute_notebook(path, out):
    """Execute a notebook in its own folder and write it with its outputs.

    Parameters
    ----------
    path : Path
        Notebook.
    out : Path
        Executed notebook; after an error it contains the outputs up to the failing cell.

    Raises
    ------
    papermill.PapermillExecutionError
        If a cell fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside papermill
        import papermill

        out.parent.mkdir(parents=True, exist_ok=True)
        # the kernel logs its own shutdown as an error, hence the log level
        papermill.execute_notebook(path, out, cwd=path.parent, progress_bar={"desc": path.stem, "disable": False},
                                   extra_arguments=["--log-level=CRITICAL"])


def strip_metadata(path):
    """Remove from a notebook the metadata that differ between two executions."""
    import nbformat

    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in KEPT_METADATA if cell.metadata.get(name)}
    nbformat.write(notebook, path)


def get_page(path, folder):
    """Return the page of a notebook in a report folder."""
    import nbformat

    source = nbformat.read(path, nbformat.NO_CONVERT).cells[0].source
    question = re.search(r"\*\*Question\W+(.+)", source)
    return Page(folder / path.relative_to(NOTEBOOKS).with_suffix(".html"), re.search(r"^# (.+)", source).group(1),
                question.group(1) if question else "")


def render_notebook(path, page, pages):
    """Render an executed notebook as an HTML page without external resources.

    Parameters
    ----------
    path : Path
        Executed notebook. The metadata entry "alt" of a cell becomes the alternative text of its figures.
    page : Page
        Page to write.
    pages : sequence of Page
        Pages to link to.
    """
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body = exporter.from_filename(str(path))[0]
    body = re.sub(r'(href="(?:\.\./|solutions/)?\d\d_\w+)\.ipynb', r"\1.html", body)
    style = HtmlFormatter(style="default").get_style_defs(".highlight")
    write_page(page.path, page.title, pages, body=f"<style>{style}</style>{add_accessible_names(body)}")


def add_accessible_names(body):
    """Add accessible names and keyboard focus that nbconvert omits to the HTML of a notebook."""
    replacements = {
        'alt="No description has been provided for this image"': f'alt="{DEFAULT_ALT}"', "<th></th>": "<td></td>",
        '<div class="input_area"': '<div tabindex="0" role="group" aria-label="Code" class="input_area"',
        "<audio ": '<audio aria-label="Recording" '}
    for old, new in replacements.items():
        body = body.replace(old, new)
    return re.sub(r'<div (class="[^"]*output_subarea)', r'<div tabindex="0" role="group" aria-label="Output" \1', body)


def write_page(path, title, pages, **content):
    """Write a page with links to the index and all other pages.

    Parameters
    ----------
    path : Path
        File of the page.
    title : str
        Title of the page.
    pages : sequence of Page
        Pages to link to, without the index.
    **content
        Variables of report.html: `body` of a notebook, or `published` and `experiment` of the index.
    """
    from jinja2 import Environment

    targets = {page.path.with_name("index.html"): "Results" for page in pages}
    targets |= {page.path: page.title for page in pages}
    links = [(os.path.relpath(target, path.parent), text) for target, text in targets.items()]
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template.render(title=title, links=links, current=path.name, pages=pages, **content),
                    encoding="utf-8")


def render_index(folder, pages=(), experiment=EXPERIMENT, results="ravdess"):
    """Write index.html: links to the notebooks, the published results, and the last experiment on this machine.

    Parameters
    ----------
    folder : Path
        Folder of the report.
    pages : sequence of Page
        Notebooks to link to.
    experiment : Path
        Folder written by `ser evaluate`; left out if it has no predictions.
    results : str or Path
        Corpus or folder of published results; left out if it has none.

    Returns
    -------
    Path
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    published = result_tables(load_summary(results)) if has_predictions(results) else []
    write_page(folder / "index.html", "Speech emotion recognition: results", pages, published=published,
               original_accuracy=ORIGINAL_ACCURACY,
               experiment=summarize_experiment(folder, Path(experiment)) if has_predictions(experiment) else None)
    return folder / "index.html"


def summarize_experiment(folder, experiment):
    """Draw the figures of an experiment and collect its tables.

    Parameters
    ----------
    folder : Path
        Folder of the report, for the figures.
    experiment : Path
        Folder written by `ser evaluate`.

    Returns
    -------
    dict
        Variables of report.html.
    """
    import matplotlib

    from ser_utils.plotting import plot_confusion_matrix, plot_training_curves, use_style

    matplotlib.use("Agg")
    use_style()
    tables = [load_predictions(experiment, target) for target in TARGETS if has_predictions(experiment, target)]
    figures, samples = [], []
    for key, rows in ((key, rows) for table in tables for key, rows in table.groupby(metrics.KEYS, sort=False)):
        cm = metrics.confusion_matrix(rows)
        title = f"{key[0]}, UAR {format_percent(metrics.unweighted_average_recall(cm))} %"
        ax = plot_confusion_matrix(cm, metrics.get_class_names(rows), title)
        caption = f"Confusion matrix of {', '.join(key)}: % of the true class (number of clips)"
        figures.append((save_figure(ax.figure, folder, "_".join(key)), caption))
        samples.append((f"Sample of predictions: {', '.join(key)}", metrics.sample_predictions(rows)))
    curves = json.loads((experiment / "experiment.json").read_text(encoding="utf-8"))["curves"]
    return {"tables": result_tables(load_summary(experiment)), "figures": figures, "samples": samples,
            "speakers": sorted({speaker for table in tables for speaker in table["speaker"]}),
            "curves": curves and save_figure(plot_training_curves(curves)[0].figure, folder, "training_curves")}


def save_figure(figure, folder, name):
    """Save and close a figure and return the name of its file."""
    import matplotlib.pyplot as plt

    file = re.sub(r"[^\w.-]", "_", name) + ".png"
    figure.savefig(folder / file, dpi=110)
    plt.close(figure)
    return file


def render_report(notebooks, executed, folder, experiment=EXPERIMENT):
    """Render executed notebooks and the index.

    Parameters
    ----------
    notebooks : sequence of Path
    executed, folder, experiment : Path
        Folders of the executed notebooks, of the report, and of `ser evaluate`.

    Returns
    -------
    Path
        The index.
    """
    pages = {path: get_page(path, folder) for path in notebooks}
    linked = [page for page in pages.values() if page.path.parent == folder]  # solutions are linked by their notebooks
    for path, page in pages.items():
        render_notebook(executed / path.relative_to(NOTEBOOKS), page, linked)
    return render_index(folder, linked, experiment)


def main(arguments=None):
    """Run the command line; returns 1 if a notebook failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="*", type=Path)
    parser.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks, without report")
    parser.add_argument("--index-only", action="store_true", help="write the index without the notebooks")
    parser.add_argument("--out", type=Path, default=Path("build/report"), help="default: %(default)s")
    parser.add_argument("--executed", type=Path, default=Path("build/notebooks"),
                        help="folder of the executed notebooks, default: %(default)s")
    options = parser.parse_args(arguments)
    if options.index_only:
        print(f"report: {render_index(options.out)}")
        return 0
    notebooks = [path.resolve() for path in options.notebook] or list_notebooks()
    failed = execute_notebooks(notebooks, None if options.in_place else options.executed)
    if not options.in_place:
        print(f"report: {render_report(notebooks, options.executed, options.out)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def execute_notebooks(notebooks, folder=None):
    """Execute notebooks one after another and go on after errors.

    Parameters
    ----------
    notebooks : sequence of Path
        Notebooks.
    folder : Path, optional
        Folder of the executed notebooks; None to execute in place and strip their metadata.

    Returns
    -------
    list of str
        Names of the notebooks that failed.
    """
    import papermill

    os.environ["TQDM_DISABLE"] = "1"  # in the kernels; the bar of each notebook stays
    failed = []
    for path in notebooks:
        out = folder / path.relative_to(NOTEBOOKS) if folder else path
        try:
            execute_notebook(path, out)
        except papermill.PapermillExecutionError as error:
            failed.append(path.stem)
            print(error, file=sys.stderr)
        if folder is None:
            strip_metadata(out)
    return failed


if __name__ == "__main__":
    sys.exit(main())
