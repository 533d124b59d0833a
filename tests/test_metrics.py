"""Metrics against scikit-learn, a plain bootstrap and values computed by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit, softmax
from sklearn import metrics as sklearn_metrics

from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS
from ser_utils.evaluation import metrics


def make_predictions(n_clips=96, n_seeds=2, target="emotion", seed=0, split="speaker-independent"):
    """A predictions table of seven speakers and five folds with better than chance probabilities."""
    rng = np.random.default_rng(seed)
    classes = np.array({"emotion": EMOTIONS, "gender_emotion": GENDER_EMOTIONS}[target])
    label = classes[np.arange(n_clips) % len(classes)]
    tables = []
    for model_seed in range(n_seeds):
        p = rng.random((n_clips, len(classes))) + 0.8 * (label[:, None] == classes)
        tables.append(pd.DataFrame({
            "model": "m", "split": split, "test_corpus": "ravdess", "target": target, "seed": model_seed,
            "fold": np.arange(n_clips) % 5, "clip": [f"c{i}" for i in range(n_clips)],
            "speaker": [f"s{i % 7}" for i in range(n_clips)], "label": label,
        }).join(pd.DataFrame(p / p.sum(axis=1, keepdims=True), columns=[f"p_{name}" for name in classes])))
    return pd.concat(tables, ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(n_clips=st.integers(1, 200), seed=st.integers(0, 999))
def test_confusion_matrix_and_recalls_are_those_of_scikit_learn(n_clips, seed):
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


def test_unweighted_average_recall_is_balanced_accuracy():
    table = make_predictions(n_seeds=1)
    assert metrics.unweighted_average_recall(metrics.confusion_matrix(table)) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(table["label"], metrics.get_predicted_labels(table)))


def test_unweighted_average_recall_of_perfect_constant_and_wrong_predictions():
    perfect = np.diag([3, 5, 2])
    assert metrics.unweighted_average_recall(perfect) == 1
    assert metrics.unweighted_average_recall(np.array([[3, 0], [9, 0]])) == 0.5
    assert metrics.unweighted_average_recall(perfect[:, [1, 2, 0]]) == 0
    np.testing.assert_array_equal(metrics.recall_per_class(np.array([[1, 1], [0, 0]])), [0.5, np.nan])


def test_confusion_matrix_rejects_label_without_probability():
    with pytest.raises(ValueError, match=r"label 'bored' has no probability column.*neutral"):
        metrics.confusion_matrix(make_predictions().replace({"label": {"sad": "bored"}}))


def test_get_class_names_leaves_out_incomplete_columns():
    table = pd.DataFrame({"clip": ["a", "b"], "p_calm": [0.25, 0.5], "p_sad": [0.75, 0.5], "p_bored": [None, 1]})
    assert metrics.get_class_names(table) == ["calm", "sad"]


def test_summarize_agrees_with_scikit_learn():
    table = make_predictions()
    [summary] = metrics.summarize(table).to_dict("records")
    table["predicted"] = metrics.get_predicted_labels(table)
    by_seed = [(part["label"], part["predicted"]) for _, part in table.groupby("seed")]
    uar = [sklearn_metrics.recall_score(*pair, average="macro") for pair in by_seed]
    by_fold = table.groupby(["fold", "seed"])[["label", "predicted"]].apply(
        lambda part: sklearn_metrics.recall_score(part["label"], part["predicted"], average="macro",
                                                  labels=part["label"].unique())).groupby("fold").mean()
    expected = {
        "n_seeds": 2, "n_folds": 5, "n_clips": 96, "n_speakers": 7, "uar": np.mean(uar),
        "sd_seeds": np.std(uar, ddof=1), "uar_folds": by_fold.mean(), "sd_folds": by_fold.std(),
        "accuracy": np.mean([sklearn_metrics.accuracy_score(*pair) for pair in by_seed]),
        "macro_f1": np.mean([sklearn_metrics.f1_score(*pair, average="macro") for pair in by_seed]),
        "chance": 1 / 8, "gender_accuracy": np.nan}
    assert {name: summary[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert summary["ci_low"] < summary["uar"] < summary["ci_high"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_summarize_ignores_the_order_of_rows(seed):
    table = make_predictions()
    pd.testing.assert_frame_equal(metrics.summarize(table.sample(frac=1, random_state=seed)), metrics.summarize(table),
                                  check_exact=False, rtol=1e-12)


def test_summarize_averages_over_the_seeds_that_have_a_fold():
    table = make_predictions()
    table = table[(table["seed"] == 0) | (table["fold"] == 0)]
    uar = {key: metrics.unweighted_average_recall(metrics.confusion_matrix(part))
           for key, part in table.groupby(["fold", "seed"])}
    expected = np.mean([(uar[0, 0] + uar[0, 1]) / 2, *(uar[fold, 0] for fold in range(1, 5))])
    assert metrics.summarize(table)["uar_folds"].item() == pytest.approx(expected)


def test_summarize_has_a_row_per_test_corpus():
    table = make_predictions(split="cross-corpus")
    summary = metrics.summarize(pd.concat([table.assign(test_corpus="emodb"), table], ignore_index=True))
    assert summary["test_corpus"].tolist() == ["emodb", "ravdess"]
    assert summary["uar"].iloc[0] == summary["uar"].iloc[1]


def test_bootstrap_ci_is_that_of_resampled_speakers():
    table = make_predictions(160)
    weights = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=100)
    by_speaker = dict(list(table.groupby("speaker")))
    uar = []
    for counts in weights:
        resample = pd.concat([part for part, n in zip(by_speaker.values(), counts, strict=True) for _ in range(n)])
        uar.append(np.mean([metrics.unweighted_average_recall(sklearn_metrics.confusion_matrix(
            part["label"], metrics.get_predicted_labels(part), labels=EMOTIONS))
            for _, part in resample.groupby("seed")]))
    np.testing.assert_allclose(metrics.bootstrap_ci(table, n_resamples=100), np.quantile(uar, [0.025, 0.975]))
    assert np.ptp(metrics.bootstrap_ci(table, level=0.99)) > np.ptp(metrics.bootstrap_ci(table))


@pytest.mark.parametrize(("split", "n_speakers", "has_interval"), [
    ("speaker-independent", 7, True), ("random-split", 7, False), ("speaker-independent", 5, False)])
def test_summarize_gives_intervals_for_unseen_speakers_only(split, n_speakers, has_interval):
    table = make_predictions(split=split)
    table["speaker"] = "s" + (table.index % n_speakers).astype(str)
    assert metrics.summarize(table)["ci_low"].notna().item() == has_interval


def test_gender_accuracy_compares_sums_of_probabilities():
    table = make_predictions(target="gender_emotion", n_seeds=1)
    p = table.filter(like="p_").to_numpy()
    is_female = p[:, :5].sum(axis=1) > p[:, 5:].sum(axis=1)
    expected = (is_female == table["label"].str.startswith("female")).mean()
    assert metrics.gender_accuracy(table) == pytest.approx(expected)
    assert metrics.summarize(table)["gender_accuracy"].item() == pytest.approx(expected)


def test_add_ensemble_averages_probabilities_of_each_seed():
    names = ("a", "b", "c")
    table = pd.concat([make_predictions(seed=seed).assign(model=name) for seed, name in enumerate(names)],
                      ignore_index=True)
    result = metrics.add_ensemble(table, names, "mean")
    pd.testing.assert_frame_equal(result.iloc[:len(table)], table)
    ensemble = result[result["model"] == "mean"].set_index(["seed", "clip"])
    assert len(result) == len(table) + len(ensemble) == len(table) * 4 / 3
    expected = table.groupby(["seed", "clip"])[[f"p_{name}" for name in EMOTIONS]].mean()
    pd.testing.assert_frame_equal(ensemble[expected.columns], expected.loc[ensemble.index])


def test_add_ensemble_needs_all_models():
    table = pd.concat([make_predictions(seed=seed).assign(model=name)
                       for seed, name in enumerate(("mlp", "lstm", "cnn"))], ignore_index=True)
    incomplete = table[(table["model"] != "cnn") | (table["seed"] == 0)]
    assert set(metrics.add_ensemble(incomplete).query("model == 'ensemble'")["seed"]) == {0}
    assert set(metrics.summarize(table)["model"]) == {"mlp", "lstm", "cnn", "ensemble"}
    alone = table[table["model"] == "cnn"].reset_index(drop=True)
    pd.testing.assert_frame_equal(metrics.add_ensemble(alone), alone)


def test_sample_predictions_draws_rows_of_the_table():
    table = make_predictions(n_seeds=1)
    sample = metrics.sample_predictions(table, n=10, seed=1)
    assert len(sample) == 10
    assert sample["clip"].is_monotonic_increasing
    rows = table.set_index("clip").loc[sample["clip"]]
    assert sample["label"].tolist() == rows["label"].tolist()
    assert sample["predicted"].tolist() == metrics.get_predicted_labels(rows).tolist()
    np.testing.assert_array_equal(sample["probability"], rows.filter(like="p_").max(axis=1).round(2))
    pd.testing.assert_frame_equal(sample, metrics.sample_predictions(table, n=10, seed=1))


@settings(max_examples=30, deadline=None)
@given(temperature=st.floats(0.3, 4), seed=st.integers(0, 99))
def test_apply_temperature_divides_the_logits(temperature, seed):
    logits = np.random.default_rng(seed).normal(size=(20, 8))
    np.testing.assert_allclose(metrics.apply_temperature(softmax(logits, axis=1), temperature),
                               softmax(logits / temperature, axis=1), atol=1e-4)


def test_fit_temperature_matches_confidence_to_accuracy():
    # confidence 0.9 at an accuracy of 0.8: the best temperature maps the one to the other
    p, y_index = np.tile([0.9, 0.1], (100, 1)), (np.arange(100) >= 80).astype(int)
    temperature = metrics.fit_temperature(p, y_index)
    assert temperature == pytest.approx(logit(0.9) / logit(0.8), abs=1e-4)
    assert metrics.apply_temperature(p, temperature)[0, 0] == pytest.approx(0.8, abs=1e-4)


def test_expected_calibration_error_by_hand():
    # bin 0.6-0.7: three clips, mean confidence 0.65, one correct; bin 0.9-1.0: one clip of confidence 1, correct
    p = np.array([[0.62, 0.38], [0.65, 0.35], [0.32, 0.68], [1.0, 0.0]])
    expected = 3 / 4 * abs(0.65 - 1 / 3) + 1 / 4 * 0
    assert metrics.expected_calibration_error(p, np.array([0, 1, 0, 0])) == pytest.approx(expected)
    assert metrics.expected_calibration_error(p, np.array([0, 1, 0, 0]), n_bins=1) == pytest.approx(
        abs(p.max(axis=1).mean() - 1 / 2))
