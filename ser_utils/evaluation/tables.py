"""Result tables: scores as tables of text, as Markdown, and beside the published results."""

from itertools import pairwise

import pandas as pd

from ser_utils.datasets.core import DATASETS, TARGETS
from ser_utils.evaluation.metrics import KEYS, MIN_SPEAKERS, compare_models, summarize
from ser_utils.evaluation.splits import MULTI_CORPUS_SPLITS, TRAIN_SPEAKERS, UNSEEN_SPEAKER_SPLITS
from ser_utils.models.registry import ABLATIONS, PRETRAINED

HUMAN_ACCURACY = (60, 67)  # %, human listeners on audio-only RAVDESS speech
FOUR_EMOTIONS = ("angry", "happy", "neutral", "sad")  # the usual set of cross-corpus studies; every corpus has them
CUSTOM_TITLES = {"casia": "CASIA"}  # evaluated as a table of custom recordings
SPLIT_TITLES = {  # in the order of the tables
    "speaker-independent": "Unseen speakers ({folds})",
    "speaker-normalized":
        "Unseen speakers, features standardized by all unlabelled clips of each speaker (transductive)",
    "enrollment-normalized": "Unseen speakers, features standardized by five neutral and calm enrollment clips of each "
                             "speaker, which are not tested",
    "leave-one-speaker-out": "Leave-one-speaker-out cross-validation",
    "selection-cv": "Nested cross-validation for model selection",
    "random-split": "Random split"}
TARGET_TITLES = {"emotion": "{n_classes} emotions", "gender_emotion": "ten classes (gender × 5 emotions)",
                 "gender": "gender"}
SIZE_MATCHED_TITLES = {
    "size-matched-random": "random split", "size-matched-repetitions": "repetitions grouped",
    "size-matched-speakers": "unseen speakers", "size-matched-speakers-statements": "unseen speakers and statements"}
TRAIN_SUBSET_TITLES = {
    "train-5-speakers": "5 speakers", "train-10-speakers": "10 speakers", "train-15-speakers": "15 speakers",
    "train-half-clips": "19–20 speakers, half of the clips", "speaker-independent": "19–20 speakers"}
PIVOT_TITLES = {  # tables with a column per split
    "Size-matched data leakage ablation: UAR (95 % CI) over {n_classes} emotions, equally many training clips":
        SIZE_MATCHED_TITLES,
    "Learning curve over training speakers: UAR (95 % CI) over {n_classes} emotions, unseen speakers":
        TRAIN_SUBSET_TITLES}


def format_percent(value, digits=1):
    """Format a fraction in per cent, without the sign.

    Parameters
    ----------
    value : float
        Fraction, or NaN.
    digits : int, default 1
        Decimal places.

    Returns
    -------
    str
        Number in per cent, or an en dash for NaN.

    Examples
    --------
    >>> format_percent(0.6087), format_percent(0.6087, 0), format_percent(float("nan"))
    ('60.9', '61', '–')
    """
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}"


def _format_pair(first, separator, second):
    return format_percent(first) if pd.isna(second) else f"{format_percent(first)}{separator}{format_percent(second)}"


def _table_row(result):
    """Format one row of a summary (dict) as the cells of a table row."""
    cells = {"model": result["model"], "UAR": format_percent(result["uar"])}
    if result["split"] in UNSEEN_SPEAKER_SPLITS:
        cells |= {"95 % CI": _format_pair(result["ci_low"], "–", result["ci_high"]),
                  "SD over seeds": format_percent(result["sd_seeds"]),
                  "mean ± SD over folds": _format_pair(result["uar_folds"], " ± ", result["sd_folds"])}
    cells |= {"accuracy": format_percent(result["accuracy"]), "macro-F1": format_percent(result["macro_f1"])}
    if result["target"] == "gender_emotion":
        cells["gender accuracy"] = format_percent(result["gender_accuracy"])
    return cells | {"seeds": str(result["n_seeds"])}


def get_headings(summary):
    """Name the results of a summary that have a table of their own, in the order of the tables.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.

    Returns
    -------
    dict of tuple to str
        Heading of each (split, test corpus, target).

    Examples
    --------
    >>> summary = pd.DataFrame({"split": ["random-split", "leave-one-speaker-out"], "target": "emotion",
    ...                         "test_corpus": "emodb", "n_folds": 1, "chance": 1 / 7})
    >>> list(get_headings(summary).values())
    ['Leave-one-speaker-out cross-validation, 7 emotions', 'Random split, 7 emotions']
    """
    pivoted = (SIZE_MATCHED_TITLES | TRAIN_SUBSET_TITLES).keys() - SPLIT_TITLES.keys()
    results = summary[["split", "test_corpus", "target"]].drop_duplicates().itertuples(index=False, name=None)
    shown = [key for key in results
             if key[0] not in MULTI_CORPUS_SPLITS and not (key[2] == "emotion" and key[0] in pivoted)]
    shown.sort(key=lambda key: (TARGETS.index(key[2]), (*SPLIT_TITLES, key[0]).index(key[0]), *key))
    return {key: _heading(summary, *key) for key in shown}


def _heading(summary, split, test_corpus, target):
    if (split, target) == ("random-split", "gender_emotion"):
        return "Random split, ten classes (the original project's protocol)"
    result = summary[(summary[["split", "test_corpus", "target"]] == [split, test_corpus, target]).all(axis=1)].iloc[0]
    n_folds, n_classes = int(result["n_folds"]), round(1 / result["chance"])
    return f"{SPLIT_TITLES.get(split, split)}, {TARGET_TITLES[target]}".format(
        folds=f"{n_folds} fold{'s' * (n_folds > 1)}", n_classes=n_classes)


def result_tables(summary):
    """Format a summary as tables of text, one per split, test corpus and target, sorted by UAR.

    Models with a pretrained encoder have tables of their own. The size-matched splits and the training subsets are
    columns of one table each, and so are the corpora of splits of several corpora. Models of `ABLATIONS` are left out;
    they have a table of another shape.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.

    Returns
    -------
    list of tuple (str, pd.DataFrame)
        Heading and table of each result.
    """
    tables, summary = [], summary[~summary["model"].isin(ABLATIONS)]
    for key, heading in get_headings(summary).items():
        rows = summary[(summary[["split", "test_corpus", "target"]] == list(key)).all(axis=1)].sort_values("uar")
        for is_pretrained, group in rows.groupby(rows["model"].isin(PRETRAINED)):
            best, suffix = group.iloc[-1], ", with a pretrained encoder" * is_pretrained
            tables.append((f"{heading}{suffix}: {best['n_clips']:,} clips of {best['n_speakers']} speakers, chance "
                           f"{format_percent(best['chance'])} %",
                           pd.DataFrame(map(_table_row, group.to_dict("records")))))
    for heading, titles in PIVOT_TITLES.items():
        pivot = pivot_splits(summary, titles)
        if len(pivot):
            rows = summary[summary["split"].isin(titles) & (summary["target"] == "emotion")]
            tables.append((heading.format(n_classes=round(1 / rows["chance"].iloc[0])), pivot))
    several = summary[summary["split"].isin(MULTI_CORPUS_SPLITS)]
    for (split, target), rows in several.sort_values("test_corpus").groupby(["split", "target"]):
        tables.append((f"{split}, {target}, classes that training and test corpus share", pd.DataFrame([
            {"trained on": corpus_title(row["train_corpus"]) if split.startswith("cross-corpus") else "other corpora",
             "tested on": corpus_title(row["test_corpus"]), **_table_row(row), "chance": format_percent(row["chance"])}
            for row in rows.to_dict("records")])))
    return tables


def pivot_splits(summary, titles):
    """Arrange UAR and confidence interval of the target "emotion": a row per model, a column per split.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.
    titles : dict of str to str
        Column titles by split, such as `SIZE_MATCHED_TITLES`.

    Returns
    -------
    pd.DataFrame
        Text, sorted by mean UAR; models evaluated on "speaker-independent" alone are left out.

    Examples
    --------
    >>> summary = pd.DataFrame({"model": "svm", "split": ["size-matched-random", "size-matched-speakers"],
    ...                         "target": "emotion", "uar": [0.65, 0.5], "ci_low": [None, 0.44],
    ...                         "ci_high": [None, 0.56]})
    >>> print(format_markdown_table(pivot_splits(summary, SIZE_MATCHED_TITLES)))
    | model | random split | repetitions grouped | unseen speakers | unseen speakers and statements |
    |---|---:|---:|---:|---:|
    | svm | 65.0 | – | 50.0 (44.0–56.0) | – |
    """
    rows = summary[summary["split"].isin(titles) & (summary["target"] == "emotion")]
    rows = rows[rows["model"].isin(rows.loc[rows["split"] != "speaker-independent", "model"])]
    texts = [format_percent(row.uar) + ("" if pd.isna(row.ci_low) else
             f" ({_format_pair(row.ci_low, '–', row.ci_high)})") for row in rows.itertuples()]
    order = rows.groupby("model")["uar"].mean().sort_values().index
    pivot = rows.assign(title=rows["split"].map(titles), text=texts).pivot_table(
        "text", "model", "title", aggfunc="first", fill_value="–").reindex(order)
    return pivot.reindex(columns=titles.values(), fill_value="–").rename_axis(columns=None).reset_index()


def ablation_table(predictions, base, last):
    """Compute the UAR of each step from a plain to a strong network, and its difference from the step before.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one split and target.
    base : str
        First model, such as "cnn".
    last : str
        Last model, such as "cnn_attention"; the models between are those of `ABLATIONS`.

    Returns
    -------
    pd.DataFrame
        Text; differences with a paired bootstrap confidence interval over speakers. All rows use the seeds that all
        steps have; steps without predictions are left out.
    """
    steps = [base, *(name for name in ABLATIONS if name.startswith(f"{base}+")), last]
    predictions = predictions[predictions["model"].isin(steps)]
    steps = [name for name in steps if name in set(predictions["model"])]
    seeds = set.intersection(*(set(rows["seed"]) for _, rows in predictions.groupby("model")))
    predictions = predictions[predictions["seed"].isin(seeds)]
    summary = summarize(predictions).set_index("model").loc[steps]
    table = pd.DataFrame({"UAR": summary["uar"].map(format_percent), "95 % CI": [
        _format_pair(low, "–", high) for low, high in zip(summary["ci_low"], summary["ci_high"], strict=True)]})
    differences = [compare_models(predictions, model, before) for before, model in pairwise(steps)]
    table["difference"] = ["–", *("{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in difference))
                                  for difference in differences)]
    return table.assign(seeds=str(len(seeds))).reset_index(names="model")


def corpus_title(name):
    """Return the title of a corpus.

    Parameters
    ----------
    name : str
        Name of the corpus.

    Returns
    -------
    str
        Title; the name itself for custom recordings other than those of `CUSTOM_TITLES`.

    Examples
    --------
    >>> corpus_title("emodb"), corpus_title("my_voice")
    ('EMO-DB', 'my_voice')
    """
    return DATASETS[name].title if name in DATASETS else CUSTOM_TITLES.get(name, name)


def cross_corpus_matrix(summary, model, target="emotion", split="cross-corpus"):
    """Arrange the UAR of one model as a matrix: a row per training corpus, a column per test corpus.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.
    model : str
        Name of the model.
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Target of the results.
    split : str, default "cross-corpus"
        Split of the results.

    Returns
    -------
    pd.DataFrame
        UAR in %, NaN where a corpus was not tested, indexed by corpus titles.

    Examples
    --------
    >>> summary = pd.DataFrame({"model": "svm", "split": "cross-corpus", "target": "emotion", "uar": [0.3, 0.4],
    ...                         "train_corpus": ["emodb", "savee"], "test_corpus": ["savee", "emodb"]})
    >>> cross_corpus_matrix(summary, "svm").loc["EMO-DB", "SAVEE"].round(1).item()
    30.0
    """
    rows = summary[(summary[["split", "target", "model"]] == [split, target, model]).all(axis=1)]
    matrix = rows.pivot_table("uar", "train_corpus", "test_corpus") * 100
    return matrix.rename(index=corpus_title, columns=corpus_title).rename_axis("trained on", columns="tested on")


def leave_one_corpus_out_table(summary, column="uar", target="emotion", split="leave-one-corpus-out"):
    """Arrange the scores of leave-one-corpus-out evaluation: a row per test corpus, a column per model.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.
    column : str, default "uar"
        Score, such as "uar" or "accuracy".
    target : {"emotion", "gender_emotion", "gender"}, default "emotion"
        Target of the results.
    split : str, default "leave-one-corpus-out"
        Split of the results.

    Returns
    -------
    pd.DataFrame
        Score in %, indexed by corpus titles, sorted by name; the last row is the mean.

    Examples
    --------
    >>> summary = pd.DataFrame({"model": "svm", "split": "leave-one-corpus-out", "target": "emotion",
    ...                         "test_corpus": ["savee", "emodb"], "uar": [0.3, 0.4]})
    >>> leave_one_corpus_out_table(summary)["svm"].round(1).to_dict()
    {'EMO-DB': 40.0, 'SAVEE': 30.0, 'mean': 35.0}
    """
    rows = summary[(summary[["split", "target"]] == [split, target]).all(axis=1)]
    table = rows.pivot_table(column, "test_corpus", "model") * 100
    table = table[table.mean().sort_values().index].rename(index=corpus_title).rename_axis("tested on")
    return pd.concat([table, table.mean().to_frame("mean").T.rename_axis("tested on")])


def learning_curve_table(summary, model, train_speakers=TRAIN_SPEAKERS):
    """Arrange the UAR of one model by number of training speakers and test corpus.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.
    model : str
        Name of the model.
    train_speakers : sequence of int, default TRAIN_SPEAKERS
        Numbers of training speakers.

    Returns
    -------
    pd.DataFrame
        UAR in %, a row per number of speakers, a column per test corpus.
    """
    names = {f"train-{n}-speakers-multi-corpus": n for n in train_speakers}
    rows = summary[summary["split"].isin(names) & (summary["model"] == model) & (summary["target"] == "emotion")]
    table = rows.assign(speakers=rows["split"].map(names)).pivot_table("uar", "speakers", "test_corpus") * 100
    return table.rename(columns=corpus_title).rename_axis("training speakers", columns="tested on")


def to_markdown(summary):
    """Format a summary as Markdown: heading and table of each result.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores as `metrics.summarize` returns them.

    Returns
    -------
    str
        Markdown text.
    """
    return "\n\n".join(f"**{heading}**\n\n{format_markdown_table(table)}" for heading, table in result_tables(summary))


def format_markdown_table(table):
    """Format a table of text as Markdown, all columns but the first right-aligned.

    Parameters
    ----------
    table : pd.DataFrame
        Table of text.

    Returns
    -------
    str
        Markdown text.

    Examples
    --------
    >>> print(format_markdown_table(pd.DataFrame({"model": ["chance", "svm"], "UAR": ["12.5", "50.0"]})))
    | model | UAR |
    |---|---:|
    | chance | 12.5 |
    | svm | 50.0 |
    """
    lines = ["| " + " | ".join(cells) + " |" for cells in [table.columns, *table.to_numpy().tolist()]]
    lines.insert(1, "|---" + "|---:" * (table.shape[1] - 1) + "|")
    return "\n".join(lines)


def format_comparison(summary, published=None):
    """Format validation scores beside the published test scores of the same models, splits and targets.

    Parameters
    ----------
    summary : pd.DataFrame
        Scores on the validation sets, as `metrics.summarize` returns them.
    published : pd.DataFrame, optional
        Published scores on the test sets, in the same form.

    Returns
    -------
    table : pd.DataFrame
        Table of text.
    note : str
        Common properties of the rows, and how to read the scores.
    """
    table = summary[[*KEYS, "n_clips", "n_speakers"]].rename(columns={"n_clips": "clips", "n_speakers": "speakers"})
    common = [name for name in table if name != "model" and (table[name] == table[name].iloc[0]).all()]
    note = ", ".join(f"{name.replace('_', ' ')} {table[name].iloc[0]}" for name in common)
    table = table.drop(columns=common)
    table["UAR"] = summary["uar"].map(format_percent)
    if summary["ci_low"].notna().any():
        table["95 % CI"] = [_format_pair(low, "–", high)
                            for low, high in summary[["ci_low", "ci_high"]].itertuples(index=False)]
    for title in ("accuracy", "chance"):
        table[title] = summary[title].map(format_percent)
    note = f"Validation set: {note}.\nUAR, accuracy and chance in %."
    if published is not None:
        joined = summary[KEYS].join(published.set_index(KEYS)[["uar", "n_folds", "n_seeds"]], on=KEYS)
        if joined["uar"].notna().any():
            table["published UAR"] = [
                f"{format_percent(row.uar)} ({row.n_folds:.0f} folds, {row.n_seeds:.0f} seed{'s' * (row.n_seeds > 1)})"
                if row.n_folds > 0 else "–" for row in joined.itertuples()]
            note += " Published UAR: on the test sets, trained on the training and validation sets."
    if (summary["n_speakers"] < MIN_SPEAKERS).any():
        note += f"\nFewer than {MIN_SPEAKERS} speakers: no confidence interval; do not rank models by these scores."
    return table, note
