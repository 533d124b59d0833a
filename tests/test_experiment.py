"""Experiments: plans, cached runs, custom models, and the clips used for training and evaluation."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import CUSTOM_MODELS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_utils._utils.files import read_csv
from ser_utils.datasets.core import EMOTIONS, TARGETS
from ser_utils.evaluation import experiment, splits
from ser_utils.evaluation.experiment import Run
from ser_utils.evaluation.metrics import KEYS, get_class_names
from ser_utils.features.spectral import functionals
from ser_utils.models import registry

CHANCE = Run("chance", "speaker-independent", "emotion", seed=0, fold=0)
GAUSSIAN_NB = "sklearn.naive_bayes:GaussianNB"


@pytest.fixture
def custom_models(tmp_path, monkeypatch):
    """A module `my_models` on the path."""
    path = tmp_path / "my_models.py"
    path.write_text(CUSTOM_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("my_models", None)


@pytest.fixture
def spy(monkeypatch):
    """The clips of fit ("train") and predict_proba ("test") of a model "spy"."""
    inputs = {}

    class Spy(DummyClassifier):
        def fit(self, X, y):
            inputs["train"] = X
            return super().fit(np.zeros((len(y), 1)), y)

        def predict_proba(self, X):
            inputs["test"] = X
            return super().predict_proba(np.zeros((len(X), 1)))

    monkeypatch.setitem(registry.MODELS, "spy", registry.ModelSpec("spy", Spy))
    return inputs


@pytest.fixture
def run_experiment(small_features_folder, tmp_path):
    """A function that executes runs on the samples, cached in `runs`."""
    def run(runs, folder="runs", n_jobs=1):
        return experiment.run_experiment(runs, small_features_folder, tmp_path / folder, n_jobs=n_jobs, progress=False)

    return run


@pytest.fixture(scope="module")
def two_corpora(small_features):
    """The samples as two corpora of two speakers each."""
    speaker = small_features.clips["speaker"]
    corpus = np.where(speaker.isin(sorted(speaker.unique())[:2]), "a", "b")
    return replace(small_features, clips=small_features.clips.assign(corpus=corpus))


@pytest.fixture(scope="module")
def three_corpora(small_features):
    """The samples as corpora a, b and c, of one or two speakers and different emotions."""
    speaker, emotion = small_features.clips["speaker"], small_features.clips["emotion"]
    names = dict(zip(sorted(speaker.unique()), "aabc", strict=True))
    corpus = speaker.map(names)
    emotion = emotion.where(corpus != "b", emotion.replace({"calm": "bored"}))
    emotion = emotion.where(corpus != "c", emotion.replace({"calm": "bored", "disgust": "sad"}))
    return replace(small_features, clips=small_features.clips.assign(corpus=corpus, emotion=emotion))


@pytest.mark.parametrize(("arguments", "change", "message"), [
    ({"models": ["nonsense"]}, {}, "model 'nonsense'"),
    ({"splits": ["nonsense"]}, {}, "split 'nonsense'"),
    ({"folds": [7]}, {}, r"fold 7 .* \[0, 1, 2, 3\]"),
    ({"splits": ["selection-cv"], "subset": "test"}, {}, "selection-cv has no test set"),
    ({"splits": ["cross-corpus"]}, {}, "cross-corpus has no validation set"),
    ({"target": "mood"}, {}, "target='mood'"), ({"subset": "train"}, {}, "subset='train'"),
    ({}, {"emotion": "sad"}, "1 classes of emotion"),
    ({"target": "gender"}, {"gender": None}, "0 classes of gender"),
])
def test_plan_runs_rejects_invalid_arguments_and_labels(two_corpora, arguments, change, message):
    with pytest.raises(ValueError, match=message):
        experiment.plan_runs(**{"models": ["chance"], "clips": two_corpora.clips.assign(**change)} | arguments)


def test_cache_key_changes_with_everything_a_result_depends_on(small_features, custom_models, monkeypatch):
    clips = small_features.clips
    reversed_labels = replace(small_features, clips=clips.assign(emotion=clips["emotion"].to_numpy()[::-1]))
    other_frames = replace(small_features, frames=small_features.frames + 1)

    def get_keys():
        return [experiment.cache_key(model, data) for model, data in (
            ("cnn", small_features), ("mlp", small_features), ("cnn", reversed_labels), ("cnn", other_frames))]

    keys = get_keys()
    assert get_keys() == keys
    keys.append(experiment.cache_key("my_models:Network", small_features))
    custom_models.write_text(CUSTOM_MODELS + "# edited\n")
    keys.append(experiment.cache_key("my_models:Network", small_features))
    for name, value in (("RESULTS_VERSION", -1), ("package_versions", lambda: {"numpy": "0"})):
        monkeypatch.setattr(experiment, name, value)
        keys += get_keys()
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_execute_run_trains_and_predicts_the_rows_of_the_split(two_corpora, spy, subset):
    split = splits.speaker_independent(two_corpora.clips)[2]
    run = Run("spy", "speaker-independent", "emotion", 0, 2, subset)
    predictions, _ = experiment.execute_run(run, two_corpora)
    train, test = ((split.train, split.validation) if subset == "validation" else
                   (np.sort([*split.train, *split.validation]), split.test))
    for name, rows in (("train", train), ("test", test)):
        for x, row in zip(spy[name], rows, strict=True):
            np.testing.assert_array_equal(x, two_corpora.sequences[row])
    expected = two_corpora.clips.iloc[test].reset_index().assign(
        model="spy", split=run.split, train_corpus="a-b", test_corpus="a-b", target="emotion", seed=0, fold=2,
        label=lambda t: t["emotion"])
    columns = [*KEYS, "seed", "fold", "clip", "speaker", "label"]
    pd.testing.assert_frame_equal(predictions[columns], expected[columns], check_dtype=False)
    assert predictions.columns.tolist() == columns + [f"p_{name}" for name in splits.get_classes(two_corpora.clips)]


@pytest.mark.parametrize(("split", "train_corpora", "test_corpora"), [
    ("cross-corpus", ["a", "b", "c"], [{"b", "c"}, {"a", "c"}, {"a", "b"}]),
    ("leave-one-corpus-out", ["multiple"] * 3, [{"a"}, {"b"}, {"c"}])])
def test_execute_run_scores_corpora_on_their_common_classes(three_corpora, split, train_corpora, test_corpora):
    emotions = three_corpora.clips.groupby("corpus")["emotion"].agg(set)
    for fold in range(3):
        run = Run("chance", split, "emotion", 0, fold, "test")
        predictions, _ = experiment.execute_run(run, three_corpora)
        assert set(predictions["train_corpus"]) == {train_corpora[fold]}
        assert set(predictions["test_corpus"]) == test_corpora[fold]
        assert set(predictions.filter(like="p_")) == {f"p_{name}" for name in set.union(*emotions)}
        for name, rows in predictions.groupby("test_corpus"):
            known = set.union(*(emotions[corpus] for corpus in "abc" if
                                (corpus != name if split == "leave-one-corpus-out" else corpus == train_corpora[fold])))
            assert set(get_class_names(rows)) == set(rows["label"]) == known & emotions[name]
            np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1, atol=0.005)  # three digits


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_restrict_to_common_classes_renormalizes_probabilities(data, seed):
    names, rng = list(EMOTIONS), np.random.default_rng(seed)
    train = data.draw(st.sets(st.sampled_from(names), min_size=3))
    corpora = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=20)))
    labels = rng.choice(sorted(train), len(corpora))
    p = pd.DataFrame(rng.random((len(corpora), len(names))), columns=names)
    restricted = experiment.restrict_to_common_classes(p, sorted(train), labels, corpora)
    assert restricted.index.tolist() == p.index.tolist()
    for row, corpus in enumerate(corpora):
        common = [name for name in names if name in set(labels[corpora == corpus])]
        expected = p.loc[row, common] / p.loc[row, common].sum()
        pd.testing.assert_series_equal(restricted.loc[row].dropna(), expected, check_names=False)


def test_execute_run_normalizes_each_speaker(small_features, spy):
    experiment.execute_run(Run("spy", "speaker-normalized", "emotion", 0, 0), small_features)
    speaker, X = small_features.clips["speaker"], small_features.sequences
    frames = {name: np.concatenate([X[row] for row in rows]) for name, rows in speaker.groupby(speaker).indices.items()}
    statistics = {name: (values.mean(axis=0), values.std(axis=0)) for name, values in frames.items()}
    train = splits.speaker_normalized(small_features.clips)[0].train
    mean, std = np.mean([statistics[name] for name in speaker.iloc[train].unique()], axis=0)
    for row, x in zip(train, spy["train"], strict=True):
        own_mean, own_std = statistics[speaker.iloc[row]]
        np.testing.assert_allclose(x, (X[row] - own_mean) / own_std * std + mean, atol=0.02)


@pytest.mark.parametrize("target", ["emotion", "gender"])
def test_execute_run_equals_scikit_learn(small_features, target):
    split, y = splits.speaker_independent(small_features.clips)[0], splits.get_labels(small_features.clips, target)
    X = functionals(small_features.sequences, registry.N_MFCC)
    expected = make_pipeline(StandardScaler(), GaussianNB()).fit(X[split.train], y[split.train].astype(str))
    predictions, _ = experiment.execute_run(replace(CHANCE, model=GAUSSIAN_NB, target=target), small_features)
    np.testing.assert_allclose(predictions[[f"p_{name}" for name in expected.classes_]],
                               expected.predict_proba(X[split.validation]), atol=1e-5)


def test_run_experiment_reuses_valid_cached_runs(run_experiment, tmp_path, monkeypatch):
    runs, executed, execute_run = [replace(CHANCE, target=target) for target in TARGETS], [], experiment.execute_run
    first, histories = run_experiment(runs)
    assert [table.filter(like="p_").notna().all().sum() for table in first.values()] == [8, 10, 2]  # classes
    monkeypatch.setattr(experiment, "execute_run", lambda run, data: executed.append(run) or execute_run(run, data))
    again, same_histories = run_experiment(runs)
    assert (executed, same_histories) == ([], histories)
    [path] = (tmp_path / "runs").glob("*-independent_emotion_*.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    next((tmp_path / "runs").glob("*_gender_emotion_*.json.gz")).unlink()
    with pytest.warns(UserWarning, match="damaged"):
        repaired, _ = run_experiment(runs)
    assert executed == runs[:2]
    for target in TARGETS:
        pd.testing.assert_frame_equal(again[target], first[target])
        pd.testing.assert_frame_equal(repaired[target], first[target])


def test_run_experiment_in_parallel_equals_serial_execution(run_experiment):
    runs = [replace(CHANCE, model=GAUSSIAN_NB, fold=fold) for fold in (0, 1)]
    serial, parallel = (run_experiment(runs, str(n_jobs), n_jobs)[0]["emotion"] for n_jobs in (1, 2))
    pd.testing.assert_frame_equal(serial, parallel, check_exact=True)


def test_run_experiment_trains_custom_networks(run_experiment, custom_models, tmp_path):
    run = replace(CHANCE, model="my_models:Network")
    predictions, histories = run_experiment([run])
    np.testing.assert_allclose(predictions["emotion"].filter(like="p_").sum(axis=1), 1, atol=1e-4)
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "n_parameters"} <= set(histories[run])
    experiment.save_experiment(tmp_path / "out", predictions, histories)
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["curves"] == {run.model: histories[run]}
    pd.testing.assert_frame_equal(read_csv(tmp_path / "out" / "predictions_emotion.csv.gz"), predictions["emotion"])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_run_experiment_raises_run_error_with_its_cause(run_experiment, n_jobs):
    with pytest.raises(experiment.RunError, match=r"fold=9.*IndexError") as excinfo:
        run_experiment([replace(CHANCE, fold=9), replace(CHANCE, fold=1)], n_jobs=n_jobs)
    assert "list index out of range" in str(excinfo.value.__cause__)
