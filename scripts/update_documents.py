"""Regenerate the result tables, sentences and figures of README.md, docs/ and the other documents.

    python scripts/update_documents.py

Replaces the text between <!-- name --> and <!-- /name --> markers, docs/results.md and the figures in docs/.
tests/test_documents.py fails while any of them is out of date.
"""

import argparse
import re

import document_parts as parts
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from ser_utils._utils.files import ROOT
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import (
    CORPUS_TITLES,
    format_percent,
    load_predictions,
    load_summary,
    render_results_page,
)
from ser_utils.plotting import get_style, plot_confusion_matrix, use_style

DPI = 150


def pages():
    """Compute the text of every marker.

    Returns
    -------
    dict of Path to dict of str to str
        File, marker, Markdown between the markers.
    """
    summaries = {corpus: load_summary(corpus) for corpus in CORPUS_TITLES}
    ravdess = summaries["ravdess"]
    texts = {
        "README.md": {
            "leakage": parts.leakage(ravdess), "results": parts.headline(ravdess),
            "setup_time": parts.step_duration("set up"), "run_time": parts.step_duration("full report")},
        "docs/methods.md": {
            "overview": parts.overview(summaries), "other_speakers": parts.other_speakers(),
            "test_access": parts.test_access()},
        "docs/commands.md": {"hours": parts.hours(), "first_run": parts.first_run()},
        "models/README.md": {
            "recall": parts.recall(), "calibration": parts.calibration(), "robustness": parts.channel_robustness(),
            "enrollment": parts.enrollment(), "emodb": parts.emodb(), "ood_detection": parts.ood_detection(),
            "ood_false_positives": parts.ood_false_positives()},
        "data/README.md": {"datasets": parts.datasets()},
        "benchmarks/README.md": {
            "benchmarks": parts.benchmarks(), "machine": parts.machine(), "equality": parts.equality()},
        "SECURITY.md": {"robustness": parts.robustness()},
    }
    return {ROOT / path: markers for path, markers in texts.items()}


def replace_markers(path, markers):
    """Insert texts between the markers of a file.

    Parameters
    ----------
    path : Path
        Markdown file.
    markers : dict of str to str
        Text between <!-- name --> and <!-- /name --> by name; several lines become a block of their own.

    Returns
    -------
    str
        New content of the file.

    Raises
    ------
    ValueError
        If the file lacks a marker.
    """
    content = path.read_text(encoding="utf-8")
    for name, text in markers.items():
        block = f"\n{text}\n" if "\n" in text else text
        content, n_replaced = re.subn(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", rf"\g<1>{_escape(block)}\g<2>",
                                      content, flags=re.DOTALL)
        if not n_replaced:
            raise ValueError(f"{path}: marker {name!r} is missing; add <!-- {name} --><!-- /{name} --> where the text "
                             "belongs")
    return content


def _escape(text):
    return text.replace("\\", r"\\")


def plot_random_vs_unseen(summary):
    """Plot the UAR of each model under a random split and on unseen speakers, with chance level.

    Parameters
    ----------
    summary : pd.DataFrame
        Summary of the predictions on RAVDESS.

    Returns
    -------
    matplotlib.axes.Axes
    """
    random, unseen = (parts.select(summary, split=f"size-matched-{name}", target="emotion").set_index("model")
                      for name in ("random", "speakers"))
    unseen = unseen.sort_values("uar")
    ax = plt.subplots(figsize=(8.4, 3.6), layout="constrained")[1]
    chance = 100 * unseen["chance"].iloc[0]
    ax.axvline(chance, color="0.4", linestyle="--", linewidth=1)
    ax.annotate(f"chance ({chance} %)", (chance, -0.55), (5, 0), textcoords="offset points", va="center", color="0.3")
    for y, (model, row) in enumerate(unseen.iterrows()):
        color, x_random, x_unseen = get_style(model)["color"], 100 * random.loc[model, "uar"], 100 * row["uar"]
        ax.plot([x_unseen, x_random], [y, y], color="0.75", linewidth=1, zorder=0)
        ax.errorbar(x_unseen, y, xerr=np.abs(100 * row[["ci_low", "ci_high"]].to_numpy(float)[:, None] - x_unseen),
                    color=color, marker="o", markersize=8, capsize=4, linewidth=2)
        ax.plot(x_random, y, "o", color=color, markerfacecolor="white", markeredgewidth=2, markersize=8)
        for x in (x_random, x_unseen):
            ax.annotate(f"{x:.1f}", (x, y), (0, 8), textcoords="offset points", ha="center", va="bottom")
    for label, face in (("random split", "white"), ("unseen speakers, 95 % CI", "0.3")):
        ax.plot([], [], "o", color="0.3", markerfacecolor=face, markersize=8, label=label)
    ax.legend(loc="center left", bbox_to_anchor=(0.17, 0.6))
    ax.set(yticks=range(len(unseen)), yticklabels=unseen.index, xlim=(0, 80), ylim=(-0.8, len(unseen) - 0.4),
           xlabel="UAR (%), equally many training clips",
           title="UAR under a random split and on unseen speakers (8 emotions)")
    return ax


def plot_cnn_confusion():
    """Plot the confusion matrix of the CNN on unseen speakers, all seeds pooled.

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows = parts.select(load_predictions("ravdess"), model="cnn", **parts.HEADLINE)
    cm = metrics.confusion_matrix(rows)
    title = (f"CNN on unseen speakers, {rows['seed'].nunique()} seeds pooled, "
             f"UAR {format_percent(metrics.unweighted_average_recall(cm))} %\n"
             "cells: % of the true class (number of predictions)")
    return plot_confusion_matrix(cm, metrics.get_class_names(rows), title)


def main():
    """Rewrite the documents and the figures."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    contents = {path: replace_markers(path, markers) for path, markers in pages().items()}
    contents[ROOT / "docs" / "results.md"] = render_results_page()
    for path, content in contents.items():
        path.write_text(content, encoding="utf-8")
    matplotlib.use("Agg")
    use_style()
    for name, ax in {"random_vs_unseen": plot_random_vs_unseen(load_summary("ravdess")),
                     "confusion_cnn": plot_cnn_confusion()}.items():
        ax.figure.savefig(ROOT / "docs" / f"{name}.png", dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
