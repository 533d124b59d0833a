"""Metrics against scikit-learn, a plain bootstrap and values computed by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn import metrics as sklearn_metrics

from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS, GENDERS
from ser_utils.evaluation import metrics


def make_predictions(n_clips=96, n_seeds=2, target="emotion", seed=0, model="m", split="speaker-independent"):
    """A predictions table of seven speakers and five folds with probabilities better than chance."""
    rng = np.random.default_rng(seed)
    classes = np.array({"emotion": EMOTIONS, "gender_emotion": GENDER_EMOTIONS, "gender": GENDERS}[target])
    label = classes[np.arange(n_clips) % len(classes)]
    tables = []
    for model_seed in range(n_seeds):
        p = rng.random((n_clips, len(classes))) + 0.8 * (label[:, None] == classes)
        tables.append(pd.DataFrame({
            "model": model, "split": split, "train_corpus": "ravdess", "test_corpus": "ravdess", "target": target,
            "seed": model_seed, "fold": np.arange(n_clips) % 5, "clip": [f"c{i}" for i in range(n_clips)],
            "speaker": [f"s{i % 7}" for i in range(n_clips)], "label": label,
        }).join(pd.DataFrame(p / p.sum(axis=1, keepdims=True), columns=[f"p_{name}" for name in classes])))
    return pd.concat(tables, ignore_index=True)


@settings(max_examples=30, deadline=None)
@given(n_clips=st.integers(1, 200), seed=st.integers(0, 999))
def test_confusion_matrix_and_recalls_equal_scikit_learn(n_clips, seed):
    table = make_predictions(n_clips, n_seeds=1, seed=seed)
    predicted = metrics.get_predicted_labels(table)
    assert (predicted == table.filter(like="p_").idxmax(axis=1).str.removeprefix("p_")).all()
    cm = metrics.confusion_matrix(table)
    np.testing.assert_array_equal(cm, sklearn_metrics.confusion_matrix(table["label"], predicted, labels=EMOTIONS))
    occurring = sorted(set(table["label"]))
    recalls = sklearn_metrics.recall_score(table["label"], predicted, labels=occurring, average=None)
    assert dict(zip(EMOTIONS, metrics.recall_per_class(cm), strict=True)) == pytest.approx(
        dict.fromkeys(EMOTIONS, np.nan) | dict(zip(occurring, recalls, strict=True)), nan_ok=True)
    assert metrics.unweighted_average_recall(cm) == pytest.approx(np.mean(recalls))


def test_confusion_matrix_rejects_label_without_probability():
    with pytest.raises(ValueError, match="'bored'"):
        metrics.confusion_matrix(make_predictions().replace({"label": {"sad": "bored"}}))


def test_get_class_names_leaves_out_incomplete_columns():
    table = pd.DataFrame({"clip": ["a", "b"], "p_calm": [0.25, 0.5], "p_sad": [0.75, 0.5], "p_bored": [None, 1]})
    assert metrics.get_class_names(table) == ["calm", "sad"]


@pytest.mark.parametrize("missing_folds", [False, True])  # True: the second seed has the first fold only
def test_summarize_equals_scikit_learn(missing_folds):
    table = make_predictions()
    table = table[(table["seed"] == 0) | (table["fold"] == 0) | (not missing_folds)]
    [summary] = metrics.summarize(table.sample(frac=1, random_state=0)).to_dict("records")
    table = table.assign(predicted=metrics.get_predicted_labels(table))
    by_seed = [(part["label"], part["predicted"]) for _, part in table.groupby("seed")]
    uar = [sklearn_metrics.recall_score(*pair, average="macro") for pair in by_seed]
    by_fold = pd.Series({key: sklearn_metrics.balanced_accuracy_score(part["label"], part["predicted"])
                         for key, part in table.groupby(["fold", "seed"])}).groupby(level=0).mean()
    expected = {
        "n_seeds": 2, "n_folds": 5, "n_clips": 96, "n_speakers": 7, "uar": np.mean(uar),
        "sd_seeds": np.std(uar, ddof=1), "uar_folds": by_fold.mean(), "sd_folds": by_fold.std(),
        "accuracy": np.mean([sklearn_metrics.accuracy_score(*pair) for pair in by_seed]),
        "macro_f1": np.mean([sklearn_metrics.f1_score(*pair, average="macro") for pair in by_seed]),
        "chance": 1 / 8, "gender_accuracy": np.nan}
    assert {name: summary[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert summary["ci_low"] < summary["uar"] < summary["ci_high"]


def test_bootstrap_ci_resamples_speakers():
    table = make_predictions(160)
    weights = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=100)
    by_speaker = [part for _, part in table.groupby("speaker")]
    uar = []
    for counts in weights:
        resample = pd.concat([part for part, n in zip(by_speaker, counts, strict=True) for _ in range(n)])
        uar.append(np.mean([metrics.unweighted_average_recall(metrics.confusion_matrix(part))
                            for _, part in resample.groupby("seed")]))
    for level, quantiles in ((0.95, [0.025, 0.975]), (0.8, [0.1, 0.9])):
        np.testing.assert_allclose(metrics.bootstrap_ci(table, level, n_resamples=100), np.quantile(uar, quantiles))


@pytest.mark.parametrize(("change", "arguments", "message"), [
    ({}, {"level": 95}, "level=95"), ({}, {"n_resamples": 0}, "n_resamples=0"), ({"speaker": None}, {}, "no speaker"),
    *(({column: ["a", "b"] * 96}, {}, f"2 values of {column}") for column in ("model", "split", "target"))])
def test_bootstrap_ci_rejects_invalid_arguments_and_several_results(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap_ci(make_predictions().assign(**change), **arguments)


def test_comparisons_and_summaries_reject_incomplete_tables():
    table = make_predictions()
    for call, message in ((lambda: metrics.bootstrap_ci(table[:0]), "no rows"),
                          (lambda: metrics.compare_models(table, "m", "cnn"), "no predictions of cnn, only of m"),
                          (lambda: metrics.compare_models(table.assign(split=["a", "b"] * 96), "m", "m"), "2 values"),
                          (lambda: metrics.summarize(table.drop(columns=["fold", "clip"])), "columns clip, fold")):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(("split", "n_speakers", "has_interval"), [
    ("speaker-independent", 6, True), ("random-split", 6, False), ("speaker-independent", 5, False)])
def test_summarize_gives_intervals_for_unseen_speakers_only(split, n_speakers, has_interval):
    table = make_predictions(split=split)
    table["speaker"] = "s" + (table.index % n_speakers).astype(str)
    assert metrics.summarize(table)["ci_low"].notna().item() == has_interval


def test_gender_accuracy_uses_the_most_probable_class():
    table = make_predictions(target="gender_emotion", n_seeds=1)
    is_female = table.filter(like="p_").to_numpy().argmax(axis=1) < 5
    expected = is_female == table["label"].str.startswith("female")
    assert metrics.summarize(table)["gender_accuracy"].item() == pytest.approx(expected.mean())


def test_add_ensemble_averages_the_probabilities_that_all_members_have():
    models = ["tdnn", "crnn", "cnn_attention", "cnn"]  # the last is no member
    table = pd.concat([make_predictions(seed=seed, model=name) for seed, name in enumerate(models)])
    table = table[(table["model"] != "crnn") | (table["seed"] == 0)].reset_index(drop=True)
    result = metrics.add_ensemble(table)
    pd.testing.assert_frame_equal(result.iloc[:len(table)], table)
    ensemble = result.iloc[len(table):].set_index(["seed", "clip"])
    members = table[(table["seed"] == 0) & (table["model"] != "cnn")]
    expected = members.groupby(["seed", "clip"])[[f"p_{name}" for name in EMOTIONS]].mean()
    pd.testing.assert_frame_equal(ensemble[expected.columns].sort_index(), expected)
    assert metrics.summarize(table)["model"].tolist() == [*models, "ensemble"]
    pd.testing.assert_frame_equal(metrics.add_ensemble(table[:100]), table[:100])  # one model only


def test_fit_temperature_matches_confidence_to_accuracy():
    # confidence 0.9 at an accuracy of 0.8: the optimal temperature maps 0.9 to 0.8
    p, y_index = np.tile([0.9, 0.1], (100, 1)), (np.arange(100) >= 80).astype(int)
    assert metrics.fit_temperature(p, y_index) == pytest.approx(logit(0.9) / logit(0.8), abs=1e-4)


@pytest.mark.parametrize(("n_bins", "expected"), [
    (10, 3 / 4 * abs(0.65 - 1 / 3)),  # 0.6-0.7: confidence 0.65, one of three correct; 0.9-1.0: one of one
    (1, abs((0.62 + 0.65 + 0.68 + 1) / 4 - 1 / 2))])
def test_expected_calibration_error_equals_values_computed_by_hand(n_bins, expected):
    p = np.array([[0.62, 0.38], [0.65, 0.35], [0.32, 0.68], [1.0, 0.0]])
    assert metrics.expected_calibration_error(p, np.array([0, 1, 0, 0]), n_bins) == pytest.approx(expected)


P = np.array([[0.75, 0.25], [0.25, 0.75]])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: metrics.fit_temperature(P, [0]), r"y_index \(1,\)"),
    (lambda: metrics.fit_temperature(P, 0), r"y_index \(\)"),
    (lambda: metrics.fit_temperature(P[0], [0, 1]), r"p has the shape \(2,\)"),
    (lambda: metrics.expected_calibration_error(P, np.array([0])), r"y_index \(1,\)"),
    (lambda: metrics.expected_calibration_error(P, np.array([[0], [1]])), r"y_index \(2, 1\)"),
    (lambda: metrics.expected_calibration_error(P, np.array([0, 1]), 0), "n_bins=0"),
    *((lambda temperature=temperature: metrics.apply_temperature(P, temperature), f"temperature={temperature}")
      for temperature in (0, -1, float("nan"))),
    *((lambda shape=shape: metrics.unweighted_average_recall(np.ones(shape)), "cm has the shape")
      for shape in ((), (2,), (2, 3), (2, 2, 3))),
    *((lambda column=column: metrics.confusion_matrix(make_predictions().assign(**{column: ["a", "b"] * 96})),
       rf"2 values of {column} \(a, b\)") for column in ("model", "split", "target", "test_corpus"))])
def test_metrics_reject_invalid_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("error")
def test_uar_averages_over_the_classes_that_occur():
    cm = np.array([[[0, 0], [0, 0]], [[3, 1], [0, 0]], [[1, 3], [0, 4]]])
    np.testing.assert_array_equal(metrics.unweighted_average_recall(cm), [np.nan, 0.75, 0.625])
    assert isinstance(metrics.unweighted_average_recall(cm[0]), float)
