"""The report's pages: an index with the published comparison and the last run on this machine, and one a notebook.

python tools/pages.py [--out build/report]    the index alone; tools/notebooks.py makes all
"""

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

from ser_utils import plots, publish, scores
from ser_utils.report import ORIGINAL, percent, tables

LIVE = Path("build/compare")  # where `compare` leaves a run
TEMPLATE = Path(__file__).with_name("report.html")


class Page(NamedTuple):
    """A page of the report beside its index: a notebook, rendered."""

    path: Path
    title: str
    question: str = ""


def render(path, title, pages=(), **parts):
    """Write one page: links to the index and to every other page, then a notebook's `body`, or what the index shows.

    Parameters
    ----------
    path : Path
        Of the page.
    title : str
        Of the page.
    pages : sequence of Page
        All others but the index, to link to.
    **parts
        What `report.html` names: `body`, or `live` and `published`.
    """
    from jinja2 import Environment

    targets = {page.path.with_name("index.html"): "Results" for page in pages}
    targets |= {page.path: page.title for page in pages}
    links = [(os.path.relpath(target, path.parent), text) for target, text in targets.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    path.write_text(template.render(title=title, links=links, here=path.name, pages=pages, original=ORIGINAL, **parts),
                    encoding="utf-8")


def index(folder, live=None, about=None, results=publish.PUBLISHED / "ravdess", pages=()):
    """Write `index.html` and its figures: the notebooks, the published comparison, and what was just trained here.

    Parameters
    ----------
    folder : str or Path
        Where pages and figures go.
    live : pd.DataFrame, optional
        A predictions table on validation speakers.
    about : dict, optional
        `curves`, a training history per model, and `note`, of the live run, as `read_live` finds them.
    results : str or Path
        A folder of published predictions.
    pages : sequence of Page
        To link to.

    Returns
    -------
    Path of the page
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    render(folder / "index.html", "Speech emotion, compared honestly", pages,
           live=None if live is None else _live(folder, live, about),
           published=tables(scores.summary(publish.load(results))) if publish.exists(results) else None)
    return folder / "index.html"


def _live(folder, live, about):
    """What the template shows of a run on validation clips; its figures are written to the folder."""
    matrices = []
    for (model, protocol, labels), rows in live.groupby(scores.KEYS, sort=False):
        counts = scores.confusion(rows)
        ax = plots.confusion(counts, scores.classes(rows), f"{model}, UAR {percent(scores.uar(counts))} %")
        matrices.append((_figure(folder, f"{model}_{protocol}_{labels}", ax.figure), f"{model}, {protocol}: actual in "
                         "rows, predicted in columns, each row adds up to 100 %."))
    curves = about["curves"] and _figure(folder, "curves", plots.training_curves(about["curves"])[0].figure)
    return {"note": about["note"], "speakers": sorted(live["speaker"].unique()), "curves": curves, "matrices": matrices,
            "tables": tables(scores.summary(live)),
            "samples": [(f"Some clips: {', '.join(key)}", scores.samples(rows))
                        for key, rows in live.groupby(scores.KEYS, sort=False)]}


def _figure(folder, name, figure):
    import matplotlib.pyplot as plt

    file = name.replace(":", ".") + ".png"
    figure.savefig(folder / file, dpi=110)
    plt.close(figure)
    return file


def read_live(folder=LIVE):
    """The last `compare` run's predictions, and its note and curves, or `(None, None)` when there was none."""
    folder = Path(folder)
    if not publish.exists(folder):
        return None, None
    return publish.load(folder), json.loads((folder / "about.json").read_text(encoding="utf-8"))


def main():
    """Write the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/report"))
    print(f"report: {index(parser.parse_args().out, *read_live())}")


if __name__ == "__main__":
    main()
