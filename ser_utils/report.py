"""The comparison to read: as text, as a table for the README, and as a page of its own."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ser_utils import plots, publish, scores, splits

LIVE = Path("build/compare")
PAGE = Path(__file__).with_suffix(".html")
HEADINGS = {
    ("speaker-independent", "emotion"): "Unseen speakers, 8 emotions",
    ("speaker-independent", "gender_emotion"): "Unseen speakers, ten classes (gender × 5 emotions)",
    ("nested", "emotion"): "For choosing: unseen speakers, 8 emotions, fewer to learn from",
    ("random-split", "emotion"): "Files split at random, 8 emotions",
    ("random-split", "gender_emotion"): "Files split at random, ten classes: the original's way",
}
RUNGS = dict(zip(splits.LEAK, ("files at random", "repetitions together", "unseen speakers",
                               "unseen speakers and statement"), strict=True))
ORIGINAL = 72.7  # per cent, accuracy: what the original project reported for its ten classes on files split at random


def percent(value, digits=1):
    """A share as per cent, or a dash where there is none."""
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"


def _pair(first, between, second):
    return percent(first) if pd.isna(second) else f"{percent(first)}{between}{percent(second)}"


def row(entry):
    """One line of the result table, as shown everywhere. dict of str to str"""
    shown = {"model": entry["model"], "UAR": percent(entry["uar"])}
    if entry["protocol"] in splits.UNSEEN:
        shown |= {"95 % interval": _pair(entry["low"], "–", entry["high"]),
                  "SD over seeds": percent(entry["sd_seeds"]),
                  "mean ± SD over folds": _pair(entry["uar_folds"], " ± ", entry["sd_folds"])}
    shown |= {"accuracy": percent(entry["accuracy"]), "macro-F1": percent(entry["macro_f1"])}
    if entry["labels"] == "gender_emotion":
        shown["gender"] = percent(entry["gender"])
    return shown | {"seeds": str(entry["seeds"])}


def tables(summary):
    """The summary as one table of text per protocol and labelling, best model last.

    Returns
    -------
    list of (heading str, pd.DataFrame of str)
    """
    made = []
    for (protocol, labels), heading in HEADINGS.items():
        part = summary[(summary["protocol"] == protocol) & (summary["labels"] == labels)].sort_values("uar")
        if len(part):
            clips, speakers = part.iloc[-1][["clips", "speakers"]]
            chance = percent(part.iloc[0]["chance"])
            made.append((f"{heading}: {clips} clips of {speakers} speakers tested, chance {chance} %",
                         pd.DataFrame([row(entry) for entry in part.to_dict("records")])))
    climbed = summary[summary["protocol"].isin(RUNGS) & (summary["labels"] == "emotion")]
    if len(climbed):
        made.append(("What the split hides: UAR (95 % interval) over 8 emotions, every model trained on equally many "
                     f"clips, chance {percent(climbed.iloc[0]['chance'])} %", rungs(climbed)))
    return made


def rungs(summary):
    """The leak's story: a row a model, a column a rung, each clip tested once on each.

    Returns
    -------
    pd.DataFrame of str
    """
    shown = summary.assign(rung=summary["protocol"].map(RUNGS), shown=[
        percent(one["uar"]) + ("" if pd.isna(one["low"]) else f" ({_pair(one['low'], '–', one['high'])})")
        for one in summary.to_dict("records")])
    order = summary.groupby("model")["uar"].mean().sort_values().index
    wide = shown.pivot_table("shown", "model", "rung", aggfunc="first", fill_value="–").loc[order]
    return wide.reindex(columns=RUNGS.values(), fill_value="–").rename_axis(columns=None).reset_index()


def markdown(summary):
    """The result tables as Markdown, every figure from the summary and so from the predictions.

    Returns
    -------
    str
    """
    blocks = []
    for heading, table in tables(summary):
        lines = ["| " + " | ".join(cells) + " |" for cells in [table.columns, *table.to_numpy().tolist()]]
        lines.insert(1, "|---" + "|---:" * (table.shape[1] - 1) + "|")
        blocks.append(f"**{heading}**\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def synthetic(clips):
    """A line that says so when clips are synthetic speech, or nothing."""
    marked = clips["corpus"].str.contains("synthetic").any()
    return "SYNTHETIC SPEECH: what follows says nothing about people.\n" if marked else ""


def beside(live, published=None):
    """Scores on validation speakers beside the published ones on test speakers, as one text table.

    Parameters
    ----------
    live, published : pd.DataFrame
        From `scores.summary`; without `published` the columns stay empty.

    Returns
    -------
    str
    """
    lines = []
    for entry in live.to_dict("records"):
        same = [] if published is None else published[
            (published[scores.KEYS] == [entry[key] for key in scores.KEYS]).all(axis=1)].to_dict("records")
        found = same[0] if same else None
        lines.append({
            "model": entry["model"], "protocol": entry["protocol"], "labels": entry["labels"],
            "clips": entry["clips"], "speakers": entry["speakers"], "UAR": percent(entry["uar"]),
            "accuracy": percent(entry["accuracy"]), "chance": percent(entry["chance"]),
            "published UAR": "–" if found is None else percent(found["uar"]),
            "of": "–" if found is None else f"{found['folds']} folds × {found['seeds']} seeds"})
    return pd.DataFrame(lines).to_string(index=False)


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
    title : str
    pages : sequence of Page
    **parts
        What `report.html` names: `body`, or `live` and `published`.
    """
    from jinja2 import Environment

    targets = {page.path.with_name("index.html"): "Results" for page in pages}
    targets |= {page.path: page.title for page in pages}
    links = [(os.path.relpath(target, path.parent), text) for target, text in targets.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    template = Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    path.write_text(template.render(title=title, links=links, here=path.name, pages=pages, original=ORIGINAL, **parts),
                    encoding="utf-8")


def page(folder, live=None, about=None, results=publish.PUBLISHED / "ravdess", pages=()):
    """Write `index.html` and its figures: the notebooks, the published comparison, and what was just trained here.

    Parameters
    ----------
    folder : str or Path
    live : pd.DataFrame, optional
        A predictions table on validation speakers.
    about : dict, optional
        `curves`, a training history per model, and `note`, of the live run, as `keep_live` leaves them.
    results : str or Path
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
        counts = scores.confusion(rows, labels)
        ax = plots.confusion(counts, splits.CLASSES[labels], f"{model}, UAR {percent(scores.uar(counts))} %")
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


def keep_live(folder, rows, histories, clips):
    """Leave a run on validation clips where `read_live` finds it.

    Parameters
    ----------
    folder : str or Path
    rows, histories
        From `compare.run`.
    clips : pd.DataFrame
        The clips table they are of.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "predictions.csv.gz", index=False)
    curves = {unit.model: history for unit, history in reversed(histories.items()) if "loss" in history}
    about = {"note": synthetic(clips).strip(), "curves": curves}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def read_live(folder=LIVE):
    """The last `compare` run's predictions, and its note and curves, or `(None, None)` when there was none."""
    folder = Path(folder)
    if not publish.exists(folder):
        return None, None
    return publish.load(folder), json.loads((folder / "about.json").read_text(encoding="utf-8"))
