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
PEOPLE = (60, 67)  # per cent, accuracy: people who hear these clips and do not see them, as others quote it
ORIGINAL = 72.7  # per cent, accuracy: what the original project reported for its ten classes on files split at random


def percent(value, digits=1):
    """A share as per cent, or a dash where there is none.

    >>> percent(0.6087), percent(0.6087, 0), percent(float("nan"))
    ('60.9', '61', '–')
    """
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"


def _pair(first, between, second):
    return percent(first) if pd.isna(second) else f"{percent(first)}{between}{percent(second)}"


def row(entry):
    """One line of the result table, as shown everywhere. dict of str to str

    >>> row({"model": "svm", "protocol": "random-split", "labels": "emotion", "uar": 0.5, "accuracy": 0.52,
    ...      "macro_f1": 0.49, "seeds": 1})
    {'model': 'svm', 'UAR': '50.0', 'accuracy': '52.0', 'macro-F1': '49.0', 'seeds': '1'}
    """
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
    """What each protocol and labelling of a summary is called, in reading order. dict of (protocol, labels) to str

    >>> summary = pd.DataFrame({"protocol": ["across to emodb", "random-split"], "labels": "emotion"})
    >>> list(headings(summary).values())
    ['Files split at random, 8 emotions', 'Taught by another corpus, tested on emodb, as recorded']
    """
    there = list(summary[["protocol", "labels"]].drop_duplicates().itertuples(index=False, name=None))
    ways = ((key, *key[0].split(" to ")) for key in sorted(there) if " to " in key[0])
    return {key: name for key, name in HEADINGS.items() if key in there} | {
        key: f"Taught by another corpus, tested on {tested}, {ACROSS[way]}" for key, way, tested in ways}


def tables(summary):
    """The summary as (heading, table of text) pairs, one per protocol and labelling, best model last.

    >>> from ser_utils import publish
    >>> rows = publish.load().query("protocol == 'random-split' and model in ['svm', 'chance']")
    >>> [(heading, table)] = tables(scores.summary(rows))
    >>> print(heading)
    Files split at random, ten classes: the original's way: 192 clips of 24 speakers tested, chance 10.0 %
    >>> table["model"].tolist()
    ['chance', 'svm']
    """
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
    """UAR with its interval from a summary: a row a model, a column a protocol, named and ordered as in `names`.

    >>> summary = pd.DataFrame({"model": "svm", "protocol": ["leak-random", "leak-speakers"], "labels": "emotion",
    ...                         "uar": [0.65, 0.5], "low": [float("nan"), 0.44], "high": [float("nan"), 0.56]})
    >>> print(lined(ladder(summary, {name: RUNGS[name] for name in summary["protocol"]})))
    | model | files at random | unseen speakers |
    |---|---:|---:|
    | svm | 65.0 | 50.0 (44.0–56.0) |
    """
    part = summary[summary["protocol"].isin(names) & (summary["labels"] == "emotion")]
    part = part[part["model"].isin(part.loc[part["protocol"] != "speaker-independent", "model"])]
    shown = part.assign(column=part["protocol"].map(names), shown=[
        percent(one["uar"]) + ("" if pd.isna(one["low"]) else f" ({_pair(one['low'], '–', one['high'])})")
        for one in part.to_dict("records")])
    order = part.groupby("model")["uar"].mean().sort_values().index
    wide = shown.pivot_table("shown", "model", "column", aggfunc="first", fill_value="–").reindex(order)
    return wide.reindex(columns=names.values(), fill_value="–").rename_axis(columns=None).reset_index()


def markdown(summary):
    """The result tables as Markdown, every figure from the summary and so from the predictions.

    >>> from ser_utils import publish
    >>> unseen = "model == 'chance' and protocol == 'speaker-independent' and labels == 'emotion'"
    >>> print(markdown(scores.summary(publish.load().query(unseen))))
    **Unseen speakers, 8 emotions: 1440 clips of 24 speakers tested, chance 12.5 %**
    <BLANKLINE>
    | model | UAR | 95 % interval | SD over seeds | mean ± SD over folds | accuracy | macro-F1 | seeds |
    |---|---:|---:|---:|---:|---:|---:|---:|
    | chance | 12.5 | 12.5–12.5 | – | 12.5 ± 0.0 | 13.3 | 2.9 | 1 |
    """
    return "\n\n".join(f"**{heading}**\n\n{lined(table)}" for heading, table in tables(summary))


def lined(table):
    """A table of text as Markdown, all but its first column to the right.

    >>> print(lined(pd.DataFrame({"model": ["chance", "svm"], "UAR": ["12.5", "50.0"]})))
    | model | UAR |
    |---|---:|
    | chance | 12.5 |
    | svm | 50.0 |
    """
    lines = ["| " + " | ".join(cells) + " |" for cells in [table.columns, *table.to_numpy().tolist()]]
    lines.insert(1, "|---" + "|---:" * (table.shape[1] - 1) + "|")
    return "\n".join(lines)


def synthetic(clips):
    """A line that says so when clips are synthetic speech, or nothing.

    >>> from ser_utils import corpora, store
    >>> synthetic(store.load().clips)
    ''
    >>> print(synthetic(corpora.read(corpora.ROOT / "data" / "miniature")), end="")
    SYNTHETIC SPEECH: what follows says nothing about people.
    """
    marked = clips["corpus"].str.contains("synthetic").any()
    return "SYNTHETIC SPEECH: what follows says nothing about people.\n" if marked else ""


def beside(live, published=None):
    """Scores on validation speakers beside the published ones on test speakers, as one text table.

    Both from `scores.summary`; without `published`, as for a corpus of one's own, the first alone.

    >>> live = pd.DataFrame([{"model": "svm", "protocol": "nested", "labels": "emotion", "clips": 120, "speakers": 2,
    ...                       "uar": 0.52, "accuracy": 0.54, "chance": 1 / 8, "folds": 5, "seeds": 1}])
    >>> print(beside(live))
    model protocol  labels  clips  speakers  UAR accuracy chance
      svm   nested emotion    120         2 52.0     54.0   12.5
    <BLANKLINE>
    UAR and accuracy in %, on validation clips.
    """
    made = live[[*scores.KEYS, "clips", "speakers"]].assign(
        UAR=live["uar"].map(percent), accuracy=live["accuracy"].map(percent), chance=live["chance"].map(percent))
    if published is None:
        return f"{made.to_string(index=False)}\n\nUAR and accuracy in %, on validation clips."
    known = published.set_index(scores.KEYS)[["uar", "folds", "seeds"]].add_suffix(" there")
    both = live.join(known, on=scores.KEYS)
    made["published UAR"] = both["uar there"].map(percent)
    made["of"] = [f"{there:.0f} folds × {seeds:.0f} seeds" if there > 0 else "–"
                  for there, seeds in zip(both["folds there"], both["seeds there"], strict=True)]
    return (f"{made.to_string(index=False)}\n\nUAR and accuracy in %, on validation clips; published: on test clips, "
            "having learned the validation ones.")
