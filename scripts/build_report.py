"""Execute the notebooks and write them, with an index of results, as HTML pages to build/report.

    python scripts/build_report.py [NOTEBOOK ...]              by default the numbered notebooks
    python scripts/build_report.py --in-place [NOTEBOOK ...]   store the outputs in the notebooks themselves
    python scripts/build_report.py --index-only                without the notebooks

Two notebooks are executed at a time. The pages of the solutions show their stored outputs. The index shows the
published results and the last run of `ser evaluate`.
"""

import argparse
import json
import os
import re
import sys
import warnings
from html import escape
from pathlib import Path

from ser_utils._utils.files import ROOT
from ser_utils._utils.parallel import parallel_map
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import has_predictions, load_predictions, load_summary
from ser_utils.evaluation.tables import result_tables

NOTEBOOKS = ROOT / "notebooks"
EXPERIMENT = Path("build/experiment")  # last run of `ser evaluate`
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Speech emotion recognition: results</title>
<style>body { font-family: sans-serif; margin: 1rem } td, th { padding: 0 .5rem; text-align: right }</style>
<main><h1>Speech emotion recognition: results</h1>
"""


def list_notebooks():
    """List the notebooks, then their solutions, in order."""
    return sorted(NOTEBOOKS.glob("*.ipynb")) + sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


def execute_notebook(paths):
    """Execute one notebook, given its path and that of the result, in its own folder; return its error, if any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside papermill
        import papermill

    path, out = paths
    os.environ["TQDM_DISABLE"] = "1"  # progress bars would be stored in the notebook
    out.parent.mkdir(parents=True, exist_ok=True)
    error = None
    try:  # the kernel logs its own shutdown as an error, hence the log level
        papermill.execute_notebook(path, out, cwd=path.parent, progress_bar=False,
                                   extra_arguments=["--log-level=CRITICAL"])
    except papermill.PapermillExecutionError as failure:
        error = str(failure)
    if out == path:
        strip_metadata(out)
    return error


def strip_metadata(path):
    """Remove from a notebook the metadata that differ between two executions."""
    import nbformat

    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in ("tags", "alt") if cell.metadata.get(name)}
    nbformat.write(notebook, path)


def render_index(folder, pages=(), experiment=EXPERIMENT, results="ravdess"):
    """Write index.html: links to pages, published results and, if they exist, those of the last experiment."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [HEAD, *(f'<p><a href="{page.name}">{page.stem.replace("_", " ")}</a></p>\n' for page in pages)]
    for title, source in (("Published results on RAVDESS, on the test sets", results),
                          ("Last experiment on this machine, on the validation sets", experiment)):
        if has_predictions(source):
            parts += [f"<h2>{title}</h2>\n", *(f"<h3>{escape(heading)}</h3>\n{table.to_html(index=False, border=0)}\n"
                                               for heading, table in result_tables(load_summary(source)))]
    if has_predictions(experiment, "emotion"):
        parts += [f'<img src="{file}" alt="{escape(text)}">\n' for file, text in plot_experiment(folder, experiment)]
    (folder / "index.html").write_text("".join([*parts, "</main></html>\n"]), encoding="utf-8")
    return folder / "index.html"


def plot_experiment(folder, experiment):
    """Yield file and title of each confusion matrix over the emotions, and of the training curves."""
    import matplotlib

    from ser_utils.plotting import plot_confusion_matrix, plot_training_curves, use_style

    matplotlib.use("Agg")
    use_style()
    figures = {}
    for key, rows in load_predictions(experiment).groupby(metrics.KEYS, sort=False):
        cm, title = metrics.confusion_matrix(rows), f"Confusion matrix: {', '.join(key)}"
        figures[title] = plot_confusion_matrix(cm, metrics.get_class_names(rows), title).figure
    if curves := json.loads((Path(experiment) / "experiment.json").read_text(encoding="utf-8"))["curves"]:
        figures["Training curves"] = plot_training_curves(curves)[0].figure
    for number, (title, figure) in enumerate(figures.items()):
        figure.savefig(folder / f"figure_{number}.png", dpi=110)
        yield f"figure_{number}.png", title
    matplotlib.pyplot.close("all")


def render_report(notebooks, executed, folder, experiment=EXPERIMENT):
    """Render notebooks, from `executed` where present, and the index with links to those that are no solutions."""
    from nbconvert import HTMLExporter

    pages = [folder / path.relative_to(NOTEBOOKS).with_suffix(".html") for path in notebooks]
    exporter = HTMLExporter(mathjax_url="", require_js_url="")  # no request to another host
    for path, page in zip(notebooks, pages, strict=True):
        source = executed / path.relative_to(NOTEBOOKS)
        body = exporter.from_filename(str(source if source.is_file() else path))[0]
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(re.sub(r'(href="(?:\.\./|solutions/)?\d\d_\w+)\.ipynb', r"\1.html", body), encoding="utf-8")
    return render_index(folder, [page for page in pages if page.parent == folder], experiment)


def main(arguments=None):
    """Run the command line; returns 1 if a notebook failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="*", type=Path)
    parser.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks, without report")
    parser.add_argument("--index-only", action="store_true", help="write the index without the notebooks")
    options = parser.parse_args(arguments)
    report, executed = Path("build/report"), Path("build/notebooks")
    if options.index_only:
        print(f"report: {render_index(report)}")
        return 0
    chosen = [path.resolve() for path in options.notebook]
    notebooks = chosen or sorted(NOTEBOOKS.glob("*.ipynb"))
    outputs = [path if options.in_place else (executed / path.relative_to(NOTEBOOKS)).resolve() for path in notebooks]
    errors = list(parallel_map(execute_notebook, list(zip(notebooks, outputs, strict=True)), desc="notebooks",
                               unit="notebook", n_jobs=2))
    if not options.in_place:
        print(f"report: {render_report(chosen or list_notebooks(), executed, report)}")
    print("".join(f"{path.stem} failed: {error}\n" for path, error in zip(notebooks, errors, strict=True) if error),
          end="", file=sys.stderr)
    return int(any(errors))


if __name__ == "__main__":
    sys.exit(main())
