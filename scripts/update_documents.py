"""Regenerate the result tables, sentences and figures of README.md, docs/ and the other documents.

    python scripts/update_documents.py

Replaces the text between <!-- name --> and <!-- /name --> markers, docs/results.md and the figures in docs/.
tests/test_documents.py fails while any of them is out of date.
"""

import argparse
import re
import tomllib

import document_parts as parts
import matplotlib
import matplotlib.pyplot as plt
import model_card_parts as card
import numpy as np

from ser_utils._utils.files import ROOT
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import MULTI_CORPUS
from ser_utils.evaluation.tables import format_percent, to_markdown
from ser_utils.plotting import get_style, plot_confusion_matrix, use_style

FIGURE_MODELS = {  # of the first figure: title, input
    "original_cnn": ("original CNN, rebuilt", "MFCC"), "lstm": ("LSTM", "MFCC"), "mlp": ("MLP", "MFCC"),
    "svm": ("SVM", "MFCC"), "cnn": ("CNN", "MFCC"), "svm_compare": ("SVM", "openSMILE functionals"),
    "cnn_attention": ("CNN with attention", "MFCC"),
    "whisper_logreg": ("logistic regression", "pretrained Whisper encoder")}


def compute_markers():
    """Compute the text of every marker.

    Returns
    -------
    dict of Path to dict of str to str
        File, marker, Markdown between the markers.
    """
    summaries = {corpus: parts.load_summary(corpus) for corpus in parts.CORPUS_TITLES}
    ravdess = summaries["ravdess"]
    texts = {
        "README.md": {
            "leakage": parts.leakage(ravdess), "results": parts.headline(ravdess),
            "original": parts.original_project(), "held_out_mean_mfcc": parts.held_out_mean_mfcc(),
            "held_out_mean": card.held_out_mean(), "held_out_range": card.held_out_range(),
            "setup_time": parts.step_duration("set up"),
            "run_time": parts.step_duration("training, notebooks and site")},
        "docs/methods.md": {
            "overview": parts.overview(summaries), "models": parts.models(), "ablations": parts.ablations(),
            "whisper_layers": parts.whisper_layers(), "deployed_selection": parts.deployed_selection(),
            "fusion_scores": parts.fusion_scores(), "original": parts.original_project(),
            "comparisons": parts.comparisons(), "frame_settings": parts.frame_settings(),
            "svm_calibration": parts.svm_calibration(), "f0_control": parts.f0_control(),
            "f0_finding": parts.f0_finding(), "f0_agreement": parts.f0_agreement(),
            "folds": parts.folds(), "feature_settings": parts.feature_settings(),
            "training_settings": parts.training_settings(), "augmentation_settings": parts.augmentation_settings(),
            "channel_settings": parts.channel_settings(),
            "test_access": parts.test_access(), "whisper_trials": parts.whisper_trials(),
            "interval_widths": parts.interval_widths()},
        "docs/guide/installation.md": {"first_run": parts.first_run()},
        "docs/guide/prediction.md": {"adaptation": card.adaptation(), "held_out_mean": card.held_out_mean(),
                                     "held_out_range": card.held_out_range()},
        "docs/guide/reproduction.md": {"hours": parts.hours()},
        "models/README.md": {
            "model_summary": card.model_summary(), "model_files": card.model_files(), "recall": card.recall(),
            "adaptation": card.adaptation().replace(" to ", " and "), "held_out_scores": card.held_out_scores(),
            "held_out_mean": card.held_out_mean(), "held_out_range": card.held_out_range(),
            "held_out_gender": card.held_out_gender(), "model_version": card.model_version(),
            "emodb_mfcc": card.emodb_mfcc(), "confusions": card.confusions(), "mfcc_gender": card.mfcc_gender(),
            "ravdess_adaptation": card.ravdess_adaptation(),
            "training_data": card.training_data(), "gender_recall": card.gender_recall(),
            "calibration": card.calibration("mfcc"), "robustness": card.channel_robustness(),
            "enrollment": card.enrollment(), "emodb": card.emodb(), "encoder": card.encoder(),
            "ood_detection": card.ood_detection(), "ood_false_positives": card.ood_false_positives(),
            "whisper_calibration": card.calibration("whisper"),
            "whisper_ood_false_positives": card.whisper_ood_false_positives()},
        "web/index.html": {
            "page_ravdess": card.headline_score(MULTI_CORPUS, parts.WHISPER_MODEL, parts.RAVDESS_SPLIT),
            "page_held_out": f"{card.held_out_mean()} % UAR on average, from {card.held_out_range()}",
            "page_adaptation": card.adaptation(), "page_mfcc_emodb": card.mfcc_emodb(),
            "page_mfcc": card.headline_score("ravdess", "cnn_robust", "speaker-independent")},
        "data/README.md": {"datasets": parts.datasets()},
        "benchmarks/README.md": {
            "benchmarks": parts.benchmarks(), "machine": parts.machine(), "equality": parts.equality()},
        "SECURITY.md": {"robustness": parts.robustness()},
    }
    return {ROOT / path: markers for path, markers in texts.items()}


def render_results_page():
    """Render the published result tables of all corpora as docs/results.md (str)."""
    sections = [f"## {title}\n\n{to_markdown(parts.load_summary(corpus))}"
                for corpus, title in parts.CORPUS_TITLES.items()]
    sections.append(f"## Several corpora\n\n{parts.several_corpora()}")
    return ("# Result tables\n\nGenerated by `scripts/update_documents.py` from the predictions in `results/`. The "
            "columns are explained in [Methods](methods.md#metrics-and-confidence-intervals).\n\n"
            + "\n\n".join(sections) + "\n")


def replace_markers(path, markers):
    """Insert texts between the markers of a file.

    Parameters
    ----------
    path : Path
        Markdown or HTML file.
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
        pattern = re.compile(rf"(?<=<!-- {name} -->).*?(?=<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(content):
            raise ValueError(f"{path}: marker {name!r} is missing; add <!-- {name} --><!-- /{name} -->")
        content = pattern.sub(lambda _, block=block: block, content)
    return content


def mark_chance(ax, chance):
    """Draw the chance level, a fraction, as a vertical line below the first row."""
    ax.axvline(100 * chance, color="0.4", linestyle="--", linewidth=1)
    ax.annotate(f"chance ({format_percent(chance)} %)", (100 * chance, -0.55), (5, 0), textcoords="offset points",
                va="center", color="0.3")


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
    mark_chance(ax, unseen["chance"].iloc[0])
    for y, (model, row) in enumerate(unseen.iterrows()):
        color, x_random, x_unseen = get_style(model)["color"], 100 * random.loc[model, "uar"], 100 * row["uar"]
        error = np.abs(100 * row[["ci_low", "ci_high"]].to_numpy(float)[:, None] - x_unseen)
        ax.plot([x_unseen, x_random], [y, y], color="0.75", linewidth=1, zorder=0)
        ax.errorbar(x_unseen, y, xerr=error, color=color, marker="o", markersize=8, capsize=4, linewidth=2)
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


def plot_unseen_speakers(summary):
    """Plot UAR and confidence interval of the main models on unseen speakers, with chance level, colored by input.

    Parameters
    ----------
    summary : pd.DataFrame
        Summary of the predictions on RAVDESS.

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows = parts.select(summary, **parts.HEADLINE).set_index("model").loc[list(FIGURE_MODELS)].sort_values("uar")
    colors = {"MFCC": "#0072B2", "openSMILE functionals": "#BB7700", "pretrained Whisper encoder": "#AA3311"}
    ax = plt.subplots(figsize=(8.4, 4), layout="constrained")[1]
    mark_chance(ax, rows["chance"].iloc[0])
    for y, (model, row) in enumerate(rows.iterrows()):
        uar, low, high = 100 * row[["uar", "ci_low", "ci_high"]].to_numpy(float)
        ax.errorbar(uar, y, xerr=[[uar - low], [high - uar]], color=colors[FIGURE_MODELS[model][1]], marker="o",
                    markersize=7, capsize=4, linewidth=2)
        ax.annotate(f"{uar:.1f}", (uar, y), (0, 6), textcoords="offset points", ha="center", va="bottom")
    for label, color in colors.items():
        ax.plot([], [], "o-", color=color, label=label)
    ax.legend(loc="upper left", bbox_to_anchor=(0.15, 1))
    ax.set(yticks=range(len(rows)), yticklabels=[f"{FIGURE_MODELS[model][0]}: {model}" for model in rows.index],
           xlim=(0, 90), ylim=(-0.8, len(rows) - 0.3),
           xlabel="UAR (%), 95 % confidence interval over 24 speakers",
           title="Unseen speakers: UAR over the eight emotions of RAVDESS")
    return ax


def plot_cnn_confusion():
    """Plot the confusion matrix of the CNN on unseen speakers, all seeds pooled.

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows = parts.select(parts.load_predictions("ravdess"), model="cnn_attention", **parts.HEADLINE)
    cm = metrics.confusion_matrix(rows)
    title = (f"CNN with attention on unseen speakers, {rows['seed'].nunique()} seeds pooled, "
             f"UAR {format_percent(metrics.unweighted_average_recall(cm))} %\n"
             "cells: % of the true class (number of predictions)")
    return plot_confusion_matrix(cm, metrics.get_class_names(rows), title)


def draw_badge(label, value):
    """Draw a badge as SVG (str); the width of a character of 11 px is taken as 7 px."""
    left, width = 7 * len(label) + 12, 7 * len(label + value) + 24
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
            f'aria-label="{label}: {value}"><rect width="{width}" height="20" rx="3" fill="#555"/>'
            f'<rect x="{left}" width="{width - left}" height="20" rx="3" fill="#0072B2"/>'
            f'<g fill="#fff" font-family="DejaVu Sans Mono,monospace" font-size="11" text-anchor="middle">'
            f'<text x="{left / 2}" y="14">{label}</text><text x="{(left + width) / 2}" y="14">{value}</text></g>'
            "</svg>\n")


def draw_badges():
    """Draw the badges of the README, from the package metadata (dict of Path to str)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    values = {"python": ("Python", project["requires-python"].replace(">=", "≥ ")),
              "code": ("code", project["license"]), "models": ("models and features", "CC BY-NC-SA 4.0"),
              "version": ("version", project["version"])}
    return {ROOT / "docs" / "badges" / f"{name}.svg": draw_badge(*texts) for name, texts in values.items()}


def main():
    """Rewrite the documents, the badges and the figures."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    contents = {path: replace_markers(path, markers) for path, markers in compute_markers().items()}
    contents[ROOT / "docs" / "results.md"] = render_results_page()
    contents |= draw_badges()
    for path, content in contents.items():
        path.write_text(content, encoding="utf-8")
    matplotlib.use("Agg")
    use_style()
    summary = parts.load_summary("ravdess")
    for name, ax in (("unseen_speakers", plot_unseen_speakers(summary)),
                     ("random_vs_unseen", plot_random_vs_unseen(summary)), ("confusion_cnn", plot_cnn_confusion())):
        ax.figure.savefig(ROOT / "docs" / f"{name}.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
