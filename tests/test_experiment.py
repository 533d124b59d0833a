"""Experiments: plans, checkpoints, custom models, and which clips a run may see."""

import gzip
import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from conftest import CUSTOM_MODELS
from ser_utils._utils.files import read_csv
from ser_utils.evaluation import experiment, splits
from ser_utils.evaluation.experiment import Run
from ser_utils.models import registry

CHANCE = Run("chance", "speaker-independent", "emotion", seed=0, fold=0)


@pytest.fixture
def custom_models(tmp_path, monkeypatch):
    """A module `mine` on the path with two models, and an estimator that raises an error."""
    path = tmp_path / "mine.py"
    path.write_text(CUSTOM_MODELS + """
class Broken(Regression):
    def fit(self, X, y):
        raise ValueError("broken on purpose")
""")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("mine", None)


@pytest.fixture
def spy(monkeypatch):
    """A model "spy" that records the clips it is fitted on and those it predicts."""
    seen = {}

    class Spy(DummyClassifier):
        def fit(self, X, y):
            seen["train"] = [x.tobytes() for x in X]
            return super().fit(np.zeros((len(y), 1)), y)

        def predict_proba(self, X):
            seen["test"] = [x.tobytes() for x in X]
            return super().predict_proba(np.zeros((len(X), 1)))

    monkeypatch.setitem(registry.MODELS, "spy", registry.ModelSpec("spy", Spy))
    return seen


@pytest.fixture(scope="module")
def two_corpora(small_features):
    """The samples as two corpora of two speakers each."""
    speakers = sorted(small_features.clips["speaker"].unique())
    corpus = np.where(small_features.clips["speaker"].isin(speakers[:2]), "a", "b")
    return replace(small_features, clips=small_features.clips.assign(corpus=corpus))


def test_plan_runs_lists_slow_models_first(ravdess):
    runs = experiment.plan_runs(["svm", "cnn"], seeds=[0, 1], folds=[1, 2], clips=ravdess.clips)
    assert [(run.model, run.seed, run.fold) for run in runs] == [
        (model, seed, fold) for seed in (0, 1) for model in ("cnn", "svm") for fold in (1, 2)]
    assert {run.subset for run in runs} == {"validation"}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"models": ["nonsense"]}, "model 'nonsense' is unknown"),
    ({"splits": ["nonsense"]}, "split 'nonsense' is unknown; choose one of speaker-independent"),
    ({"folds": [7]}, r"fold 7 of speaker-independent does not exist; choose from \[0, 1, 2, 3, 4\]"),
    ({"splits": ["nested-cv"], "subset": "test"}, "nested-cv has no test set; .* leave out --test"),
    ({"target": "mood"}, "target='mood' is unknown"),
])
def test_plan_runs_rejects(ravdess, arguments, message):
    with pytest.raises(ValueError, match=message):
        experiment.plan_runs(**{"models": ["chance"], "clips": ravdess.clips} | arguments)


def test_plan_runs_needs_two_classes_and_a_validation_set(ravdess, two_corpora):
    with pytest.raises(ValueError, match=r"have 1 classes of emotion \(sad\)"):
        experiment.plan_runs(["chance"], clips=ravdess.clips.query("emotion == 'sad'"))
    with pytest.raises(ValueError, match="have 0 classes of gender"):
        experiment.plan_runs(["chance"], target="gender", clips=ravdess.clips.assign(gender=None))
    with pytest.raises(ValueError, match="cross-corpus has no validation set; add --test"):
        experiment.plan_runs(["chance"], ["cross-corpus"], clips=two_corpora.clips)


def test_cache_key_changes_with_everything_a_result_depends_on(small_features, custom_models, monkeypatch):
    clips = small_features.clips
    reversed_labels = replace(small_features, clips=clips.assign(emotion=clips["emotion"].to_numpy()[::-1]))
    other_frames = replace(small_features, frames=small_features.frames + 1)

    def keys():
        return [experiment.cache_key("cnn", small_features), experiment.cache_key("mlp", small_features),
                experiment.cache_key("cnn", reversed_labels), experiment.cache_key("cnn", other_frames)]

    before = keys()
    assert keys() == before
    custom = experiment.cache_key("mine:Network", small_features)
    custom_models.write_text(CUSTOM_MODELS + "# edited\n")
    after = [experiment.cache_key("mine:Network", small_features)]
    monkeypatch.setattr(experiment, "RESULTS_VERSION", -1)
    after += keys()
    monkeypatch.setattr(experiment, "package_versions", lambda: {"numpy": "0"})
    after += keys()
    assert len({*before, custom, *after}) == len([*before, custom, *after])
    assert all(len(key) == 12 for key in before)


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_execute_run_trains_and_predicts_the_rows_of_the_split(small_features, spy, subset):
    split = splits.speaker_independent(small_features.clips)[2]
    predictions, history = experiment.execute_run(Run("spy", "speaker-independent", "emotion", 0, 2, subset),
                                                  small_features)
    train, test = ((split.train, split.validation) if subset == "validation" else
                   (np.sort([*split.train, *split.validation]), split.test))
    assert spy["train"] == [small_features.sequences[row].tobytes() for row in train]
    assert spy["test"] == [small_features.sequences[row].tobytes() for row in test]
    assert predictions["clip"].tolist() == small_features.clips["clip"].iloc[test].tolist()
    assert predictions["label"].tolist() == small_features.clips["emotion"].iloc[test].tolist()
    assert predictions.columns.tolist() == [
        "model", "split", "test_corpus", "target", "seed", "fold", "clip", "speaker", "label",
        *(f"p_{name}" for name in splits.get_classes(small_features.clips))]
    assert set(history) == {"seconds", "ms_per_clip"}


def test_execute_run_normalizes_each_speaker(small_features, spy):
    experiment.execute_run(Run("spy", "speaker-normalized", "emotion", 0, 0), small_features)
    frames = {}
    for sequence, speaker in zip(small_features.sequences, small_features.clips["speaker"], strict=True):
        frames.setdefault(speaker, []).append(sequence)
    train = splits.speaker_normalized(small_features.clips)[0].train
    statistics = {name: (np.concatenate(part).mean(axis=0), np.concatenate(part).std(axis=0))
                  for name, part in frames.items()}
    mean, std = np.mean([statistics[name] for name in small_features.clips["speaker"].iloc[train].unique()], axis=0)
    for row, received in zip(train, spy["train"], strict=True):
        own_mean, own_std = statistics[small_features.clips["speaker"].iloc[row]]
        expected = (small_features.sequences[row] - own_mean) / own_std * std + mean
        np.testing.assert_allclose(np.frombuffer(received, np.float32).reshape(expected.shape), expected, atol=0.02)


def test_fit_predict_is_scikit_learns_fit_and_predict_proba(small_features):
    X = np.stack([sequence.mean(axis=0) for sequence in small_features.sequences])
    y = splits.get_labels(small_features.clips, "gender")
    train, test = np.arange(0, 24), np.arange(24, 32)
    estimator = KNeighborsClassifier(3)
    probabilities, history = experiment.fit_predict(estimator, X, y, train, test, validation=True)
    expected = KNeighborsClassifier(3).fit(X[train], y[train].astype(str)).predict_proba(X[test])
    np.testing.assert_array_equal(probabilities, expected)
    assert history["seconds"] > 0


def test_execute_run_names_the_tested_corpus(two_corpora):
    predictions, _ = experiment.execute_run(Run("chance", "cross-corpus", "emotion", 0, 0, "test"), two_corpora)
    assert set(predictions["test_corpus"]) == {"b"}
    predictions, _ = experiment.execute_run(CHANCE, two_corpora)
    assert set(predictions["test_corpus"]) == {"a-b"}


def test_run_experiment_gives_one_table_per_target_without_empty_columns(small_features_folder, tmp_path):
    runs = [replace(CHANCE, target=target, fold=fold) for fold in (0, 1)
            for target in ("emotion", "gender_emotion", "gender")]
    predictions, histories = experiment.run_experiment(runs, small_features_folder, tmp_path, n_jobs=1,
                                                       progress=False)
    assert list(histories) == runs
    assert {target: table.filter(like="p_").shape[1] for target, table in predictions.items()} == {
        "emotion": 8, "gender_emotion": 10, "gender": 2}
    for table in predictions.values():
        assert table.notna().all().all()
        np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-4)


def test_run_experiment_reuses_checkpoints(small_features_folder, tmp_path, monkeypatch):
    runs = [replace(CHANCE, fold=fold) for fold in range(3)]
    first, histories = experiment.run_experiment(runs, small_features_folder, tmp_path, n_jobs=1, progress=False)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.rpartition("_")[0] for name in names[::2]] == [
        f"chance_speaker-independent_emotion_validation_seed0_fold{fold}" for fold in range(3)]
    assert {name.partition(".")[2] for name in names} == {"csv.gz", "json.gz"}
    executed, execute_run = [], experiment.execute_run
    monkeypatch.setattr(experiment, "execute_run", lambda run, data: executed.append(run) or execute_run(run, data))
    again, same_histories = experiment.run_experiment(runs, small_features_folder, tmp_path, n_jobs=1, progress=False)
    assert not executed
    assert same_histories == histories
    pd.testing.assert_frame_equal(again["emotion"], first["emotion"])
    (tmp_path / names[0]).write_bytes((tmp_path / names[0]).read_bytes()[:-20])
    (tmp_path / names[3]).unlink()
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        repaired, _ = experiment.run_experiment(runs, small_features_folder, tmp_path, n_jobs=1, progress=False)
    assert executed == runs[:2]
    pd.testing.assert_frame_equal(repaired["emotion"], first["emotion"])


def test_run_experiment_gives_equal_results_in_parallel(small_features_folder, tmp_path):
    runs = [replace(CHANCE, model="sklearn.linear_model:LogisticRegression", fold=fold) for fold in (0, 1)]
    for n_jobs in (1, 2):
        experiment.run_experiment(runs, small_features_folder, tmp_path / str(n_jobs), n_jobs=n_jobs, progress=False)
    alone, parallel = ({path.name: path.read_bytes() for path in (tmp_path / n_jobs).glob("*.csv.gz")}
                       for n_jobs in "12")
    assert len(alone) == 2
    assert alone == parallel


def test_run_experiment_trains_custom_models(small_features_folder, custom_models, tmp_path):
    runs = [replace(CHANCE, model=f"mine:{name}") for name in ("Regression", "Network")]
    predictions, histories = experiment.run_experiment(runs, small_features_folder, tmp_path / "runs", n_jobs=1,
                                                       progress=False)
    assert predictions["emotion"].groupby("model").size().to_dict() == {"mine:Network": 8, "mine:Regression": 8}
    np.testing.assert_allclose(predictions["emotion"].filter(like="p_").sum(axis=1), 1, atol=1e-4)
    curves = histories[runs[1]]
    assert all(len(curves[name]) == 2 for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
    assert curves["n_parameters"] > 0
    experiment.save_experiment(tmp_path / "out", predictions, histories)
    assert json.loads((tmp_path / "out" / "experiment.json").read_text()) == {"curves": {"mine:Network": curves}}
    pd.testing.assert_frame_equal(read_csv(tmp_path / "out" / "predictions_emotion.csv.gz"), predictions["emotion"])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_run_experiment_raises_run_error_with_its_cause(small_features_folder, tmp_path, n_jobs):
    with pytest.raises(experiment.RunError, match=r"^Run\(model='chance'.*fold=9.* failed: IndexError") as caught:
        experiment.run_experiment([replace(CHANCE, fold=9), replace(CHANCE, fold=1)], small_features_folder, tmp_path,
                                  n_jobs=n_jobs, progress=False)
    assert "list index out of range" in str(caught.value.__cause__)


def test_run_error_keeps_the_error_of_a_custom_model(small_features_folder, custom_models, tmp_path):
    with pytest.raises(experiment.RunError) as caught:
        experiment.run_experiment([replace(CHANCE, model="mine:Broken")], small_features_folder, tmp_path, n_jobs=1,
                                  progress=False)
    assert repr(caught.value.__cause__) == "ValueError('broken on purpose')"


def test_write_predictions_is_reproducible(tmp_path):
    table = pd.DataFrame({"clip": ["a"], "speaker": ["01"], "p_sad": [0.25]})
    for name in ("a", "b"):
        experiment.write_predictions(tmp_path / f"{name}.csv.gz", table)
    content = (tmp_path / "a.csv.gz").read_bytes()
    assert content == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress(content) == b"clip,speaker,p_sad\na,01,0.25\n"
