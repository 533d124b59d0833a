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


def row(entry):
    """One line of the result table, as shown everywhere. dict of str to str"""
    shown = {"model": entry["model"], "UAR": percent(entry["uar"])}
    if entry["protocol"] == "speaker-independent":
        shown |= {"95 % interval": f"{percent(entry['low'])}–{percent(entry['high'])}",
                  "SD over seeds": percent(entry["sd_seeds"]),
                  "mean ± SD over folds": f"{percent(entry['uar_folds'])} ± {percent(entry['sd_folds'])}"}
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


def beside(live, published):
    """Scores on validation speakers beside the published ones on test speakers, as one text table.

    Parameters
    ----------
    live, published : pd.DataFrame
        From `scores.summary`; `published` may be empty.

    Returns
    -------
    str
    """
    lines = []
    for entry in live.to_dict("records"):
        same = published[(published[scores.KEYS] == [entry[key] for key in scores.KEYS]).all(axis=1)
                         ] if len(published) else published
        found = same.iloc[0] if len(same) else None
        lines.append({
            "model": entry["model"], "protocol": entry["protocol"], "labels": entry["labels"],
            "clips": entry["clips"], "speakers": entry["speakers"], "UAR": percent(entry["uar"]),
            "accuracy": percent(entry["accuracy"]), "chance": percent(entry["chance"]),
            "published UAR": "–" if found is None else percent(found["uar"]),
            "of": "–" if found is None else f"{found['folds']} folds × {found['seeds']} seeds"})
    return pd.DataFrame(lines).to_string(index=False)


def page(folder, live=None, histories=None, results=publish.PUBLISHED / "ravdess"):
    """Write `index.html` and its figures: the published comparison, and what has just been trained here.

    Parameters
    ----------
    folder : str or Path
    live : pd.DataFrame, optional
        A predictions table on validation speakers.
    histories : dict, optional
        Name to training history.
    results : str or Path

    Returns
    -------
    Path of the page
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    if live is not None:
        parts.append(_live(folder, live, histories or {}))
    if (Path(results) / "predictions.csv.gz").is_file():
        parts.append(_published(folder, publish.load(results)))
    path = folder / "index.html"
    path.write_text(PAGE.read_text().replace("<!--body-->", "\n".join(parts)))
    return path


def _live(folder, live, histories):
    text = ["<h2>Just trained here</h2>", "<p>One fold. The speakers scored are validation speakers that no model "
            f"heard in training: {', '.join(sorted(live['speaker'].unique()))}. With so few, "
            "expect figures several points away from the published ones.</p>", _table(scores.summary(live))]
    if histories:
        text.append(_figure(folder, "curves", plots.training_curves(histories)[0].figure,
                            "Loss and accuracy while training. Augmentation and dropout act on the solid lines only, "
                            "so the dashed ones may lie on the better side early on; where they part for good, the "
                            "model learns its speakers."))
    text += [_matrices(folder, live, "live"), "<h3>Some clips</h3>",
             *(f"<h4>{html.escape(model)}</h4>" + _html(scores.samples(rows)) for model, rows in live.groupby("model"))]
    return "\n".join(text)


def _published(folder, predictions):
    text = ["<h2>Published: every clip heard by models that never met its speaker</h2>",
            "<p>UAR is the mean recall of the classes. Out-of-fold predictions are pooled per seed and averaged over "
            "seeds; the interval resamples speakers.</p>"]
    summary = scores.summary(predictions)
    text.append(_table(summary))
    if (summary["protocol"] == "random-split").any():
        text.append(f"<p>The original project reported {ORIGINAL} % accuracy on ten classes, files split at random. "
                    "There, clips of one voice sit on both sides: it says little about the next stranger.</p>")
    strict = predictions[(predictions["protocol"] == "speaker-independent") & (predictions["labels"] == "emotion")]
    if len(strict):
        text.append(_figure(folder, "recall", plots.recall_by_class(strict).figure, "Which emotions are heard."))
        text.append(_matrices(folder, strict[strict["model"] != "chance"], "published"))
    return "\n".join(text)


def _matrices(folder, predictions, name):
    text = ["<h3>Who is taken for what</h3>", '<div class="row">']
    for (model, labels), rows in predictions.groupby(["model", "labels"], sort=False):
        counts = scores.confusion(rows, labels)
        ax = plots.confusion(counts, splits.CLASSES[labels], f"{model}, UAR {percent(scores.uar(counts))} %")
        text.append(_figure(folder, f"{name}_{model}_{labels}".replace(":", "."), ax.figure,
                            f"{model}: actual in rows, predicted in columns, each row shared out to 100 %."))
    return "\n".join([*text, "</div>"])


def _figure(folder, name, figure, caption):
    import matplotlib.pyplot as plt

    figure.savefig(folder / f"{name}.png", dpi=110)
    plt.close(figure)
    caption = html.escape(caption)
    return f'<figure><img src="{html.escape(name)}.png" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _table(summary):
    return "\n".join(f"<h3>{html.escape(heading)}</h3>{_html(table)}" for heading, table in tables(summary))


def _html(table):
    return f'<div class="wide">{table.to_html(index=False, border=0)}</div>'


def read_live(folder=LIVE):
    """The last `compare` run's predictions and histories, or `(None, None)` when there was none."""
    folder = Path(folder)
    if not (folder / "predictions.csv.gz").is_file():
        return None, None
    return publish.load(folder), json.loads((folder / "histories.json").read_text())
