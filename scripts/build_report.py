"""Execute the notebooks and write them, with an index of results, as HTML pages to build/report.

    python scripts/build_report.py [NOTEBOOK ...]    by default the numbered notebooks
    python scripts/build_report.py --index-only      without the notebooks

Two notebooks are executed at a time. The pages of the solutions show their stored outputs. The index shows the
published results and the last run of `ser evaluate`.
"""

import argparse
import json
import re
import sys
from html import escape
from pathlib import Path

from execute_notebooks import NOTEBOOKS, execute_notebooks, list_notebooks

from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import has_predictions, load_predictions, load_summary
from ser_utils.evaluation.tables import result_tables

EXPERIMENT = Path("build/experiment")  # last run of `ser evaluate`
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Speech emotion recognition: results</title>
<style>body { font-family: sans-serif; margin: 1rem } td, th { padding: 0 .5rem; text-align: right }</style>
<main><h1>Speech emotion recognition: results</h1>
"""


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
    parser.add_argument("--index-only", action="store_true", help="write the index without the notebooks")
    options = parser.parse_args(arguments)
    report, executed = Path("build/report"), Path("build/notebooks")
    if options.index_only:
        print(f"report: {render_index(report)}")
        return 0
    chosen = [path.resolve() for path in options.notebook]
    notebooks = chosen or sorted(NOTEBOOKS.glob("*.ipynb"))
    succeeded = execute_notebooks(notebooks, [(executed / path.relative_to(NOTEBOOKS)).resolve() for path in notebooks])
    print(f"report: {render_report(chosen or list_notebooks(), executed, report)}")
    return int(not succeeded)


if __name__ == "__main__":
    sys.exit(main())
