"""The comparison to read: as text, as a table for the README, and as a page of its own."""

import html
import json
from pathlib import Path

import pandas as pd

from ser_utils import plots, publish, scores, splits

LIVE = Path("build/compare")
PAGE = Path(__file__).with_suffix(".html")
HEADINGS = {
    ("speaker-independent", "emotion"): "Unseen speakers, 8 emotions",
    ("speaker-independent", "gender_emotion"): "Unseen speakers, ten classes (gender × 5 emotions)",
    ("random-split", "emotion"): "Files split at random, 8 emotions",
    ("random-split", "gender_emotion"): "Files split at random, ten classes: the original's way",
}
ORIGINAL = 72.7  # per cent, accuracy: what the original project reported for its ten classes on files split at random


def percent(value, digits=1):
    """A share as per cent, or a dash where there is none."""
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"


def _pair(first, between, second):
    return percent(first) if pd.isna(second) else f"{percent(first)}{between}{percent(second)}"


def row(entry):
    """One line of the result table, as shown everywhere. dict of str to str"""
    shown = {"model": entry["model"], "UAR": percent(entry["uar"])}
    if entry["protocol"] == "speaker-independent":
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
    return made


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


def page(folder, live=None, about=None, results=publish.PUBLISHED / "ravdess"):
    """Write `index.html` and its figures: the published comparison, and what has just been trained here.

    Parameters
    ----------
    folder : str or Path
    live : pd.DataFrame, optional
        A predictions table on validation speakers.
    about : dict, optional
        `curves`, a training history per model, and `note`, of the live run, as `keep_live` leaves them.
    results : str or Path

    Returns
    -------
    Path of the page
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [] if live is None else [_live(folder, live, about)]
    if publish.exists(results):
        parts.append(_published(folder, publish.load(results)))
    path = folder / "index.html"
    page = PAGE.read_text(encoding="utf-8").replace("<!--body-->", "\n".join(parts))
    path.write_text(page, encoding="utf-8")
    return path


def _live(folder, live, about):
    text = ["<h2>Just trained here</h2>", f"<p><strong>{html.escape(about['note'])}</strong></p>" * bool(about["note"]),
            "<p>Scored on validation clips, which no model was trained on; under speaker-independent, of speakers that "
            f"no model heard ({', '.join(sorted(live['speaker'].unique()))} in all). With few speakers, expect figures "
            "several points away from the published ones.</p>", _table(scores.summary(live))]
    if about["curves"]:
        text.append(_figure(folder, "curves", plots.training_curves(about["curves"])[0].figure,
                            "Loss and accuracy while training, of each model's first unit. Augmentation and dropout "
                            "act on the solid lines only, so the dashed ones may lie on the better side early on; "
                            "where they part for good, the model learns its speakers."))
    text += [_matrices(folder, live, "live"), "<h3>Some clips</h3>"]
    for key, rows in live.groupby(scores.KEYS, sort=False):
        text.append(f"<h4>{html.escape(', '.join(key))}</h4>{_html(scores.samples(rows))}")
    return "\n".join(text)


def _published(folder, predictions):
    text = ["<h2>Published</h2>",
            "<p>On unseen speakers, every clip was heard by models that never met its speaker. UAR is the mean recall "
            "of the classes; out-of-fold predictions are pooled per seed and averaged over seeds; the interval "
            "resamples speakers.</p>"]
    summary = scores.summary(predictions)
    text.append(_table(summary))
    if (summary["protocol"] == "random-split").any():
        text.append(f"<p>The original project reported {ORIGINAL} % accuracy on ten classes, files split at random. "
                    "There, clips of one voice sit on both sides: it says little about the next stranger.</p>")
    strict = predictions[(predictions["protocol"] == "speaker-independent") & (predictions["labels"] == "emotion")
                         & (predictions["model"] != "chance")]
    if len(strict):
        text.append(_figure(folder, "recall", plots.recall_by_class(strict).figure, "Which emotions are heard."))
        text.append(_matrices(folder, strict, "published"))
    return "\n".join(text)


def _matrices(folder, predictions, name):
    text = ["<h3>Who is taken for what</h3>", '<div class="row">']
    for (model, protocol, labels), rows in predictions.groupby(scores.KEYS, sort=False):
        counts = scores.confusion(rows, labels)
        ax = plots.confusion(counts, splits.CLASSES[labels], f"{model}, UAR {percent(scores.uar(counts))} %")
        text.append(_figure(folder, f"{name}_{model}_{protocol}_{labels}".replace(":", "."), ax.figure,
                            f"{model}, {protocol}: actual in rows, predicted in columns, each row adds up to 100 %."))
    return "\n".join([*text, "</div>"])


def _figure(folder, name, figure, caption):
    import matplotlib.pyplot as plt

    figure.savefig(folder / f"{name}.png", dpi=110)
    plt.close(figure)
    caption = html.escape(caption)
    file = html.escape(f"{name}.png")
    return (f'<figure><a href="{file}"><img src="{file}" alt="{caption}"></a>'
            f"<figcaption>{caption}</figcaption></figure>")


def _table(summary):
    return "\n".join(f"<h3>{html.escape(heading)}</h3>{_html(table)}" for heading, table in tables(summary))


def _html(table):
    return f'<div class="wide">{table.to_html(index=False, border=0)}</div>'


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
