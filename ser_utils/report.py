"""The comparison to read, as text and as tables for the README and the report's pages."""

import pandas as pd

from ser_utils import scores, splits

HEADINGS = {
    ("speaker-independent", "emotion"): "Unseen speakers, 8 emotions",
    ("speaker-adapted", "emotion"): "Unseen speakers, features standardised by each one's own unlabelled clips "
                                    "(transductive), 8 emotions",
    ("few-shot", "emotion"): "Unseen speakers, features standardised by five of each one's neutral and calm clips, "
                             "which are not tested, 8 emotions",
    ("leave-one-speaker-out", "emotion"): "One unseen speaker at a time, 7 emotions",
    ("speaker-independent", "gender_emotion"): "Unseen speakers, ten classes (gender × 5 emotions)",
    ("speaker-independent", "gender"): "Unseen speakers, their gender",
    ("nested", "emotion"): "For choosing: unseen speakers, 8 emotions, fewer to learn from",
    ("random-split", "emotion"): "Files split at random, 8 emotions",
    ("random-split", "gender_emotion"): "Files split at random, ten classes: the original's way",
}
ACROSS = {"across": "as recorded",
          "across-by-corpus": "each corpus standardised by its own unlabelled clips (transductive)",
          "across-by-speaker": "each speaker standardised by their own unlabelled clips (transductive)"}
RUNGS = dict(zip(splits.LEAK, ("files at random", "repetitions together", "unseen speakers",
                               "unseen speakers and statement"), strict=True))
LEARNED_FROM = dict(zip((*splits.LEARN, "speaker-independent"), (
    "5 speakers", "10 speakers", "15 speakers", "19–20 speakers, half of each one's clips", "19–20 speakers"),
    strict=True))
LADDERS = {"What the split hides: UAR (95 % interval) over 8 emotions, all models trained on equally many clips": RUNGS,
           "What more voices bring: UAR (95 % interval) over 8 emotions, unseen speakers, by what was learned from":
               LEARNED_FROM}
ORIGINAL = 72.7  # per cent, accuracy: what the original project reported for its ten classes on files split at random


def percent(value, digits=1):
    """A share as per cent, or a dash where there is none."""
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"


def _pair(first, between, second):
    return percent(first) if pd.isna(second) else f"{percent(first)}{between}{percent(second)}"


def row(entry):
    """One line of the result table, as shown everywhere. dict of str to str"""
    shown = {"model": entry["model"], "UAR": percent(entry["uar"])}
    if entry["protocol"].split(" to ")[0] in splits.UNSEEN:
        shown |= {"95 % interval": _pair(entry["low"], "–", entry["high"]),
                  "SD over seeds": percent(entry["sd_seeds"]),
                  "mean ± SD over folds": _pair(entry["uar_folds"], " ± ", entry["sd_folds"])}
    shown |= {"accuracy": percent(entry["accuracy"]), "macro-F1": percent(entry["macro_f1"])}
    if entry["labels"] == "gender_emotion":
        shown["gender"] = percent(entry["gender"])
    return shown | {"seeds": str(entry["seeds"])}


def headings(summary):
    """What each protocol and labelling of a summary is called, in reading order. dict of (protocol, labels) to str"""
    there = list(summary[["protocol", "labels"]].drop_duplicates().itertuples(index=False, name=None))
    ways = ((key, *key[0].split(" to ")) for key in sorted(there) if " to " in key[0])
    return {key: name for key, name in HEADINGS.items() if key in there} | {
        key: f"Taught by another corpus, tested on {tested}, {ACROSS[way]}" for key, way, tested in ways}


def tables(summary):
    """The summary as (heading, table of text) pairs, one per protocol and labelling, best model last."""
    made = []
    for (protocol, labels), heading in headings(summary).items():
        part = summary[(summary["protocol"] == protocol) & (summary["labels"] == labels)].sort_values("uar")
        clips, speakers = part.iloc[-1][["clips", "speakers"]]
        chance = percent(part.iloc[0]["chance"])
        made.append((f"{heading}: {clips} clips of {speakers} speakers tested, chance {chance} %",
                     pd.DataFrame([row(entry) for entry in part.to_dict("records")])))
    for heading, names in LADDERS.items():
        climbed = ladder(summary, names)
        if len(climbed):
            made.append((heading, climbed))
    return made


def ladder(summary, names):
    """UAR with its interval from a summary: a row a model, a column a protocol, named and ordered as in `names`."""
    part = summary[summary["protocol"].isin(names) & (summary["labels"] == "emotion")]
    part = part[part["model"].isin(part.loc[part["protocol"] != "speaker-independent", "model"])]
    shown = part.assign(column=part["protocol"].map(names), shown=[
        percent(one["uar"]) + ("" if pd.isna(one["low"]) else f" ({_pair(one['low'], '–', one['high'])})")
        for one in part.to_dict("records")])
    order = part.groupby("model")["uar"].mean().sort_values().index
    wide = shown.pivot_table("shown", "model", "column", aggfunc="first", fill_value="–").reindex(order)
    return wide.reindex(columns=names.values(), fill_value="–").rename_axis(columns=None).reset_index()


def markdown(summary):
    """The result tables as Markdown, every figure from the summary and so from the predictions."""
    return "\n\n".join(f"**{heading}**\n\n{lined(table)}" for heading, table in tables(summary))


def lined(table):
    """A table of text as Markdown, all but its first column to the right."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [table.columns, *table.to_numpy().tolist()]]
    lines.insert(1, "|---" + "|---:" * (table.shape[1] - 1) + "|")
    return "\n".join(lines)


def synthetic(clips):
    """A line that says so when clips are synthetic speech, or nothing."""
    marked = clips["corpus"].str.contains("synthetic").any()
    return "SYNTHETIC SPEECH: what follows says nothing about people.\n" if marked else ""


def beside(live, published=None):
    """Scores on validation speakers beside the published ones on test speakers, as one text table.

    Both from `scores.summary`; without `published` its columns stay empty.
    """
    known = (live.iloc[:0] if published is None else published).set_index(scores.KEYS)
    both = live.join(known[["uar", "folds", "seeds"]], on=scores.KEYS, rsuffix=" there")
    made = both[[*scores.KEYS, "clips", "speakers"]].assign(
        UAR=both["uar"].map(percent), accuracy=both["accuracy"].map(percent), chance=both["chance"].map(percent))
    made["published UAR"] = both["uar there"].map(percent)
    made["of"] = [f"{there:.0f} folds × {seeds:.0f} seeds" if there > 0 else "–"
                  for there, seeds in zip(both["folds there"], both["seeds there"], strict=True)]
    return made.to_string(index=False)
