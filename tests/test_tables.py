"""Result tables of ablations and of experiments with several corpora, and paired comparison of models."""

import numpy as np
import pandas as pd
import pytest

from ser_utils.evaluation import metrics, tables
from ser_utils.models.registry import ABLATIONS

FOUR = list(tables.FOUR_EMOTIONS)


def make_predictions(model="m", accuracy=1.0, split="speaker-independent", train="a", test="a", seed=0, n_speakers=8):
    """Predictions of one clip per speaker and emotion; of each emotion, a share of the clips is correct."""
    rows = []
    for index, label in enumerate(FOUR):
        for speaker in range(n_speakers):
            predicted = label if speaker < accuracy * n_speakers else FOUR[(index + 1) % 4]
            rows.append({"model": model, "split": split, "train_corpus": train, "test_corpus": test,
                         "target": "emotion", "seed": seed, "fold": 0, "clip": f"{test}{speaker}{label}",
                         "speaker": f"{test}{speaker}", "label": label,
                         **{f"p_{name}": 0.7 if name == predicted else 0.1 for name in FOUR}})
    return pd.DataFrame(rows)


def test_compare_models_is_paired():
    better, worse = make_predictions("better", 1.0), make_predictions("worse", 0.75)
    both = pd.concat([better, worse])
    difference, low, high = metrics.compare_models(both, "better", "worse")
    assert difference == pytest.approx(0.25)
    assert 0 <= low <= difference <= high <= 1
    assert np.allclose(metrics.compare_models(both, "worse", "better"), [-difference, -high, -low])
    assert metrics.compare_models(both, "worse", "worse") == (0, 0, 0)  # unpaired resamples would differ
    with pytest.raises(ValueError, match="different speakers"):
        metrics.compare_models(pd.concat([better, worse[worse["speaker"] != "a0"]]), "better", "worse")


def test_restrict_classes_keeps_the_order_of_probabilities():
    rows = metrics.restrict_classes(make_predictions(accuracy=0.5), ["angry", "sad"])
    assert set(rows["label"]) == {"angry", "sad"}
    assert np.allclose(rows[["p_angry", "p_sad"]].sum(axis=1), 1)
    assert "p_happy" not in rows


def test_ablation_table_compares_each_step_with_the_previous_one():
    steps = ["cnn", *(name for name in ABLATIONS if name.startswith("cnn+")), "cnn_attention"]
    parts = [make_predictions(model, (index + 1) / len(steps), n_speakers=len(steps))
             for index, model in enumerate(steps)]
    parts.append(make_predictions("cnn", 1.0, seed=1, n_speakers=len(steps)))  # a seed that the other steps lack
    table = tables.ablation_table(pd.concat(parts), "cnn", "cnn_attention")
    assert table["model"].tolist() == steps
    assert table["seeds"].eq("1").all()  # the seeds of all steps
    assert table["difference"].iloc[0] == "–"
    assert {text.split()[0] for text in table["difference"].iloc[1:]} == {f"{100 / len(steps):+.1f}"}


def test_cross_corpus_tables_show_the_uar_of_each_pair():
    pairs = [make_predictions(split="cross-corpus", train=a, test=b, accuracy=accuracy)
             for a, b, accuracy in (("ravdess", "emodb", 0.5), ("emodb", "ravdess", 0.75))]
    held_out = [make_predictions(split="leave-one-corpus-out", train="multiple", test=name, accuracy=accuracy)
                for name, accuracy in (("ravdess", 0.5), ("emodb", 1.0))]
    curve = [make_predictions(split=f"train-{n}-speakers-multi-corpus", train="multiple", test="emodb",
                              accuracy=accuracy) for n, accuracy in ((5, 0.25), (10, 0.5))]
    summary = metrics.summarize(pd.concat([*pairs, *held_out, *curve]))
    matrix = tables.cross_corpus_matrix(summary, "m")
    assert matrix.loc["RAVDESS speech", "EMO-DB"] == 50
    assert matrix.loc["EMO-DB", "RAVDESS speech"] == 75
    assert np.isnan(matrix.loc["EMO-DB", "EMO-DB"])
    table = tables.leave_one_corpus_out_table(summary)
    assert table["m"].to_dict() == {"EMO-DB": 100, "RAVDESS speech": 50, "mean": 75}
    assert tables.learning_curve_table(summary, "m")["EMO-DB"].to_dict() == {5: 25, 10: 50}
    shown = dict(tables.result_tables(summary))
    table = shown["leave-one-corpus-out, emotion, classes that training and test corpus share"]
    assert table[["trained on", "tested on", "UAR"]].values.tolist() == [
        ["other corpora", "EMO-DB", "100.0"], ["other corpora", "RAVDESS speech", "50.0"]]
    assert len(shown) == 4  # two sizes of the training set
