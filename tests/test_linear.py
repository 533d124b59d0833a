"""Logistic regression on Whisper statistics: distorted copies, sample weights, splits and speaker adaptation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation import splits
from ser_utils.models.linear import AdaptiveLogisticRegression, balance_corpora

LABELS = np.array(["calm", "sad", "angry"] * 8)


@pytest.fixture(scope="module")
def copies():
    """Clean and distorted features [24, 2, 6] of three classes."""
    rng = np.random.default_rng(0)
    means = {name: rng.normal(0, 2, 6) for name in set(LABELS)}
    clean = np.stack([means[name] for name in LABELS]) + rng.normal(size=(24, 6))
    return np.stack([clean, clean + rng.normal(size=clean.shape)], axis=1)


def test_fit_equals_scikit_learn_on_stacked_copies(copies):
    weight = np.where(LABELS == "sad", 10.0, 1.0)
    model = AdaptiveLogisticRegression(C=0.1).fit(copies, LABELS, sample_weight=weight)
    X = np.concatenate([copies[:, 0], copies[:, 1]])
    mean, std = X.mean(axis=0), X.std(axis=0)
    expected = LogisticRegression(C=0.1).fit((X - mean) / std, np.tile(LABELS, 2), np.tile(weight / weight.mean(), 2))
    np.testing.assert_allclose(model.predict_proba(copies), expected.predict_proba((copies[:, 0] - mean) / std),
                               atol=0.01)
    unweighted = AdaptiveLogisticRegression(C=0.1).fit(copies, LABELS)
    assert np.abs(unweighted.predict_proba(copies) - model.predict_proba(copies)).max() > 0.05
    assert (unweighted.predict(copies) == LABELS).mean() > 0.8
    with pytest.raises(ValueError, match=r"\(24, 6\)"):
        model.fit(copies[:, 0], LABELS)


def test_predict_proba_uses_the_first_copy_only(copies):
    model = AdaptiveLogisticRegression().fit(copies, LABELS)
    np.testing.assert_array_equal(model.predict_proba(copies), model.predict_proba(copies[:, :1]))
    assert clone(model).get_params() == model.get_params()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["calm", "sad", "angry"])), min_size=1, max_size=60))
def test_balanced_weights_are_equal_for_corpora_and_classes(clips):
    table = pd.DataFrame(clips, columns=["corpus", "label"])
    table["weight"] = balance_corpora(table["corpus"], table["label"])
    assert table["weight"].mean() == pytest.approx(1)
    assert np.ptp(table.groupby("corpus")["weight"].sum()) == pytest.approx(0, abs=1e-9)
    for _, sums in table.groupby(["corpus", "label"])["weight"].sum().groupby(level=0):
        assert np.ptp(sums) == pytest.approx(0, abs=1e-9)


def test_deployment_splits_train_on_open_corpora_without_test_speakers():
    rows = [{"corpus": corpus, "speaker": f"{'ravdess' if 'ravdess' in corpus else corpus}/{speaker:02d}",
             "emotion": emotion, "gender": "female", "clip": f"{corpus}/{speaker}/{emotion}"}
            for corpus in ("ravdess", "ravdess-song", "emodb", "tess") for speaker in range(1, 25)
            for emotion in ("sad", "happy", "bored" if corpus == "emodb" else "calm")]
    clips = pd.DataFrame(rows)
    training_corpora = {clips["corpus"].iloc[fold.test[0]]: set(clips["corpus"].iloc[fold.train])
                        for fold in splits.SPLITS["leave-one-corpus-out-open"](clips)}
    assert training_corpora == {"emodb": {"ravdess", "ravdess-song"}, "ravdess": {"emodb"}, "ravdess-song": {"emodb"},
                                "tess": {"emodb", "ravdess", "ravdess-song"}}
    for fold in splits.SPLITS["speaker-independent-multi-corpus"](clips):
        train, test = clips.iloc[fold.train], clips.iloc[[*fold.validation, *fold.test]]
        assert not set(train["speaker"]) & set(test["speaker"])
        assert set(test["corpus"]) == {"ravdess"}
        assert set(train["corpus"]) == {"ravdess", "ravdess-song", "emodb"}
        assert "bored" not in set(train["emotion"])
    assert not DATASETS["tess"].allows_derivatives
    single = clips[clips["corpus"] == "ravdess"].assign(speaker=lambda rows: rows["speaker"].str[-2:])
    with pytest.raises(ValueError, match="ravdess/01 is missing"):
        splits.SPLITS["speaker-independent-multi-corpus"](single)


def test_adaptation_moves_neutral_clips_to_the_neutral_mean():
    rng, speakers = np.random.default_rng(0), np.repeat(["a", "b", "c"], 8)
    y = np.tile(["neutral", "calm", "sad", "sad", "angry", "neutral", "angry", "sad"], 3)
    X = rng.normal(size=(24, 2, 6)) + 5 * (speakers == "b")[:, None, None]
    is_neutral = np.isin(y, ["neutral", "calm"])
    model = AdaptiveLogisticRegression(adaptation_weight=1).fit(X, y, speakers=speakers)
    means = [X[is_neutral & (speakers == name), 0].mean(axis=0) for name in "abc"]
    np.testing.assert_allclose(model.neutral_mean_, np.mean(means, axis=0), rtol=1e-5)
    neutral = X[is_neutral], speakers[is_neutral]
    adapted = model.adapt(*neutral, *neutral)
    for name in "abc":
        np.testing.assert_allclose(adapted[neutral[1] == name, 0].mean(axis=0), model.neutral_mean_, atol=1e-5)
    half = AdaptiveLogisticRegression().fit(X, y, speakers=speakers).adapt(*neutral, *neutral)
    np.testing.assert_allclose(half, (adapted + neutral[0]) / 2, atol=1e-5)
    unadapted = AdaptiveLogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="no neutral or calm clip of a known speaker"):
        unadapted.adapt(X, speakers, *neutral)
    with pytest.raises(ValueError, match="speaker c has no neutral clip"):
        model.adapt(X, speakers, X[:16], speakers[:16])


def test_adapted_copies_are_used_for_training(copies):
    speakers, y = np.repeat(["a", "b", "c", "d"], 6), np.tile(["neutral", "sad", "angry"], 8)
    model = AdaptiveLogisticRegression(C=0.1).fit(copies, y, speakers=speakers)
    is_neutral = y == "neutral"
    adapted = model.adapt(copies, speakers, copies[is_neutral], speakers[is_neutral])
    stacked = np.concatenate([copies, adapted[:, :1]], axis=1)
    expected = AdaptiveLogisticRegression(C=0.1).fit(stacked, y)
    np.testing.assert_allclose(model.predict_proba(copies), expected.predict_proba(copies), atol=1e-3)
    assert expected.neutral_mean_ is None


def test_enrollment_clips_are_excluded_from_the_test_set():
    clips = pd.DataFrame({"speaker": np.repeat(["a", "b", "c"], 20), "emotion": ["neutral", "sad"] * 25 + ["sad"] * 10,
                          "gender": "female", "corpus": "x"})
    plain = [splits.Split(0, np.arange(20), np.empty(0, int), np.arange(20, 60))]
    [fold] = splits.enroll_test_speakers(clips, split=lambda clips, target, seed: plain)
    enrollment_clips = clips.iloc[fold.norm_index]
    assert enrollment_clips.groupby("speaker").size().to_dict() == {"b": 5, "c": 2}  # c has five neutral clips
    assert set(enrollment_clips["emotion"]) == {"neutral"}
    assert set(fold.test) == set(range(20, 60)) - set(fold.norm_index)
