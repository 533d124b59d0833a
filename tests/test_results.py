"""Published results, recomputed with pandas and scikit-learn alone; result tables and their storage."""

import itertools
import json
import subprocess
import warnings
from dataclasses import replace

import fit_ensemble
import numpy as np
import pandas as pd
import pytest
import reproduce_results
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score
from test_metrics import make_predictions

from ser_utils._utils import files
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.datasets.core import DATASETS, EMOTIONS
from ser_utils.evaluation import experiment, metrics, results, tables
from ser_utils.evaluation.splits import MULTI_CORPUS_SPLITS, RAVDESS_TEST_ACTORS
from ser_utils.features.store import load_features, save_features
from ser_utils.models.registry import get_model

GAUSSIAN_NB = "sklearn.naive_bayes:GaussianNB"
RUN_KEYS = ["model", "split", "target"]
P_COLUMNS = [f"p_{name}" for name in EMOTIONS]
N_CLIPS = {"ravdess": 1440, "emodb": 535, "crema-d": 7435}
CORPORA = sorted(path.parent.name for path in (ROOT / "results").glob("*/experiments.csv"))


# Published results, recomputed with pandas and scikit-learn alone

@pytest.fixture(scope="module")
def published():
    """Predictions tables by folder and target."""
    tables = {}
    for path in (ROOT / "results").glob("*/predictions_*.csv.gz"):
        target = path.name.removeprefix("predictions_").partition(".")[0]
        tables.setdefault((path.parent.name, target), []).append(pd.read_csv(path, dtype={"speaker": str}))
    return {key: pd.concat(parts, ignore_index=True) for key, parts in tables.items()}


def recompute(rows):
    """Scores of one result with pandas and scikit-learn."""
    probabilities = rows.filter(like="p_").dropna(axis=1)
    classes = list(probabilities.columns.str.removeprefix("p_"))
    rows = rows.assign(predicted=probabilities.idxmax(axis=1).str.removeprefix("p_"))
    seeds = [part for _, part in rows.groupby("seed")]
    by_seed, by_fold = (rows.groupby(keys)[["label", "predicted"]].apply(lambda part: recall_score(
        part["label"], part["predicted"], labels=part["label"].unique(), average="macro", zero_division=0))
        for keys in ("seed", ["fold", "seed"]))
    by_fold = by_fold.groupby("fold").mean()
    return {"uar": by_seed.mean(), "sd_seeds": by_seed.std(), "uar_folds": by_fold.mean(), "sd_folds": by_fold.std(),
            "accuracy": np.mean([accuracy_score(part["label"], part["predicted"]) for part in seeds]),
            "macro_f1": np.mean([f1_score(part["label"], part["predicted"], labels=classes, average="macro",
                                          zero_division=0) for part in seeds]),
            "chance": 1 / len(classes), "n_seeds": len(seeds), "n_folds": len(by_fold),
            "n_clips": rows["clip"].nunique(), "n_speakers": rows["speaker"].nunique()}


@pytest.mark.parametrize("corpus", CORPORA)
def test_published_scores_equal_scikit_learn(published, corpus):
    summary = results.load_summary(corpus).set_index(metrics.KEYS)
    for table in (table for (folder, _), table in published.items() if folder == corpus):
        for key, rows in table.groupby(metrics.KEYS):
            expected = recompute(rows)
            assert summary.loc[key][list(expected)].to_dict() == pytest.approx(expected, abs=1e-9, nan_ok=True), key


def published_results(corpus):
    """Model, split, target and seeds of each result in `experiments.csv`."""
    for row in pd.read_csv(ROOT / "results" / corpus / "experiments.csv", dtype=str).itertuples():
        for model, split in itertools.product(row.models.split(), row.splits.split()):
            yield (model, split, row.target), [int(seed) for seed in row.seeds.split()]


@pytest.mark.parametrize("corpus", CORPORA)
def test_published_predictions_are_complete(published, corpus):
    available = {key: rows for (folder, _), table in published.items() if folder == corpus
                 for key, rows in table.groupby(RUN_KEYS)}
    single = {key for key in available if key[0] not in fit_ensemble.ENSEMBLES}
    assert single == {key for key, _ in published_results(corpus)}
    test_clips = {}  # clips of each fold by split and target
    for key, seeds in published_results(corpus):
        rows, (_, split, target) = available[key], key
        assert sorted(rows["seed"].unique()) == seeds
        assert not rows.duplicated(["seed", "fold", "clip"]).any()
        for _, part in rows.groupby("seed"):
            if split != "random-split" and not split.startswith("size-matched"):  # these depend on the seed
                clips = set(zip(part["fold"], part["clip"], strict=True))
                assert clips == test_clips.setdefault((split, target), clips), key
            if split not in MULTI_CORPUS_SPLITS:
                expected = {"random-split": 192, "enrollment-normalized": 1320}.get(
                    split, 960 if target == "gender_emotion" else N_CLIPS[corpus])
                assert len(part) == part["clip"].nunique() == expected, key
        np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1,
                                   atol=0.005 if split in MULTI_CORPUS_SPLITS else 1e-4)  # three or five digits


def test_published_labels_and_folds_match_the_clips_table(published):
    clips = pd.read_csv(ROOT / "data" / "ravdess" / "clips.csv").set_index("clip")
    clips["gender_emotion"] = clips["gender"] + "_" + clips["emotion"]
    for target in ("emotion", "gender", "gender_emotion"):
        table = published["ravdess", target]
        assert (table["label"].to_numpy() == clips[target].loc[table["clip"]].to_numpy()).all()
        rows = table[table["split"] == "speaker-independent"]
        assert all(int(row.speaker) in RAVDESS_TEST_ACTORS[row.fold] for row in rows.itertuples())


def test_published_results_equal_the_log_of_test_access(published):
    for folder in {folder for folder, _ in published}:
        log = pd.read_csv(ROOT / "results" / folder / "test_access.csv")
        keys = RUN_KEYS + ["condition"] * ("condition" in log)
        latest = log.groupby(keys).tail(1).set_index(keys)
        assert latest["commit"].str.fullmatch("[0-9a-f]{40}").all()
        for (name, _), table in published.items():
            if name == folder:
                is_correct = table.filter(like="p_").idxmax(axis=1) == "p_" + table["label"]
                columns = [*keys, "train_corpus", "test_corpus"]
                recalls = is_correct.groupby([table[name] for name in [*columns, "seed", "label"]]).mean()
                uar = recalls.groupby([*columns, "seed"]).mean().reset_index("seed", name="uar")
                seeds = latest.loc[uar.index.droplevel(["train_corpus", "test_corpus"]), "seeds"]
                is_logged = [str(seed) in str(logged).split() for seed, logged in zip(uar["seed"], seeds, strict=True)]
                uar = uar.loc[is_logged, "uar"].groupby(columns).mean().groupby(keys).mean()
                pd.testing.assert_series_equal(latest.loc[uar.index, "uar"], uar, atol=1e-4, check_names=False)


@pytest.mark.parametrize("corpus", CORPORA)
def test_published_settings_equal_those_of_the_models(corpus):
    records = json.loads((ROOT / "results" / corpus / "run_metadata.json").read_text())
    settings = {tuple(record[name] for name in RUN_KEYS): record["settings"] for record in records}
    for key, _ in published_results(corpus):
        assert settings[key] == get_model(key[0]).settings, key


# Result tables

@pytest.mark.parametrize("split", [name for name in experiment.SPLITS if name not in MULTI_CORPUS_SPLITS])
def test_result_tables_cover_every_split_of_one_corpus(split):
    [(_, table)] = tables.result_tables(metrics.summarize(make_predictions(split=split)))
    assert table["model"].tolist() == ["m"]


def test_format_comparison_adds_published_uar_folds_and_seeds():
    validation = metrics.summarize(pd.concat([make_predictions(), make_predictions(model="other")]))
    published = metrics.summarize(make_predictions()).assign(uar=0.123, n_folds=5, n_seeds=2)
    table, note = tables.format_comparison(validation, published)
    assert table["published UAR"].tolist() == ["12.3 (5 folds, 2 seeds)", "–"]
    assert "split speaker-independent" in note
    assert "published UAR" not in tables.format_comparison(validation)[0]


# Storage

def test_save_predictions_divides_long_tables_into_files(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MAX_ROWS", 15)
    table, other = make_predictions(n_clips=150, n_seeds=1), make_predictions(target="gender_emotion", n_seeds=1)
    for n_rows in (150, 20, 15):
        new = table.head(n_rows)
        results.save_predictions(tmp_path, {"emotion": new, "gender_emotion": other})
        assert len(list(tmp_path.glob("predictions_emotion.*"))) == -(-n_rows // 15)
        pd.testing.assert_frame_equal(results.load_predictions(tmp_path), new)
    pd.testing.assert_frame_equal(results.load_predictions(tmp_path, "gender_emotion"), other)
    assert not results.has_predictions(tmp_path, "gender")


def test_evaluate_test_replaces_its_own_rows(tmp_path, small_features, small_features_folder):
    runs = experiment.plan_runs(["chance", GAUSSIAN_NB], folds=[0, 1], subset="test", clips=small_features.clips)
    folder = tmp_path / "results"

    def evaluate(runs):
        new = results.evaluate_test(runs, small_features_folder, folder, tmp_path, n_jobs=1, progress=False)
        return new["emotion"], results.load_predictions(folder)

    new, stored = evaluate(runs)
    pd.testing.assert_frame_equal(stored, new, check_dtype=False)
    results.save_predictions(folder, {"emotion": stored.assign(p_calm=-1.0)})
    _, stored = evaluate([run for run in runs if run.model == "chance" and run.fold == 0])
    assert len(stored) == len(new)
    is_replaced = (stored["model"] == "chance") & (stored["fold"] == 0)
    assert ((stored["p_calm"] >= 0) == is_replaced).all()
    log = pd.read_csv(folder / "test_access.csv", dtype=str)
    assert log[["model", "folds"]].to_numpy().tolist() == [[GAUSSIAN_NB, "0 1"], ["chance", "0 1"], ["chance", "0"]]
    assert log["uar"].notna().all()
    records = json.loads((folder / "run_metadata.json").read_text())
    assert sorted(record["model"] for record in records) == ["chance", GAUSSIAN_NB]


def test_evaluate_test_scores_each_pair_of_corpora(tmp_path, small_features):
    emotion = small_features.clips["emotion"].replace("calm", "bored")
    folders = [tmp_path / name for name in ("ravdess", "my_corpus")]
    save_features(small_features, folders[0])
    custom_clips = small_features.clips.assign(corpus="my_corpus", emotion=emotion)
    save_features(replace(small_features, clips=custom_clips), folders[1])
    runs = experiment.plan_runs(["chance", GAUSSIAN_NB], ["cross-corpus", "leave-one-corpus-out"], subset="test",
                                clips=load_features(folders).clips)
    assert len(runs) == 8
    results.evaluate_test(runs, folders, tmp_path / "out", tmp_path, n_jobs=1, progress=False)
    log = pd.read_csv(tmp_path / "out" / "test_access.csv")
    assert set(log["corpus"]) == {results.MULTI_CORPUS}
    assert log[log["model"] == "chance"]["uar"].tolist() == pytest.approx([1 / 7, 1 / 7], abs=1e-4)
    for emotions, n_classes in ((None, 7), (tables.FOUR_EMOTIONS, 4)):
        summary = results.load_summary(tmp_path / "out", emotions)
        assert summary["chance"].tolist() == [1 / n_classes] * 8
        pairs = set(zip(summary["train_corpus"], summary["test_corpus"], strict=True))
        assert pairs == {("my_corpus", "ravdess"), ("ravdess", "my_corpus")}


def test_evaluate_test_logs_access_before_any_prediction(tmp_path, small_features_folder, monkeypatch):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_experiment", interrupt)
    runs = [experiment.Run("chance", "speaker-independent", "emotion", 0, 0, "test")]
    for n_lines in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            results.evaluate_test(runs, small_features_folder, tmp_path, progress=False)
        log = pd.read_csv(tmp_path / "test_access.csv")
        assert len(log) == n_lines
        assert log["uar"].isna().all()
    assert not results.has_predictions(tmp_path)


def write_experiments(folder, *rows):
    """Write the list of published experiments of the corpus "my_corpus" to a folder of results."""
    (folder / "my_corpus").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["models", "splits", "target", "seeds"])
    table.to_csv(folder / "my_corpus" / "experiments.csv", index=False)


@pytest.fixture
def my_features(small_features, tmp_path, monkeypatch):
    """The features of the samples as the corpus "my_corpus", whose results are in tmp_path."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return replace(small_features, clips=small_features.clips.assign(corpus="my_corpus"))


def test_published_runs_expand_the_table_of_experiments(my_features, tmp_path):
    with pytest.raises(ValueError, match="corpus my_corpus"):
        results.published_runs(my_features)
    write_experiments(tmp_path, ("svm cnn", "speaker-independent", "emotion", "0 3"),
                      ("svm", "leave-one-speaker-out random-split", "gender", "1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = results.published_runs(my_features)
    assert {run.subset for run in runs} == {"test"}
    n_runs = pd.Series([(run.model, run.split, run.target, run.seed) for run in runs]).value_counts().to_dict()
    assert n_runs == {
        **{(model, "speaker-independent", "emotion", seed): 4 for model in ("svm", "cnn") for seed in (0, 3)},
        ("svm", "leave-one-speaker-out", "gender", 1): 4, ("svm", "random-split", "gender", 1): 1}


def test_published_runs_skip_models_and_splits_that_the_features_do_not_support(my_features, tmp_path):
    write_experiments(tmp_path, ("svm svm_egemaps", "speaker-independent", "emotion", "0"),
                      ("svm_compare", "speaker-independent", "emotion", "0"),
                      ("svm", "cross-corpus", "emotion", "0"))
    with pytest.warns(RuntimeWarning) as record:
        runs = results.published_runs(my_features)
    assert {(run.model, run.split) for run in runs} == {("svm", "speaker-independent")}
    for warning, name in zip(record, ("svm_egemaps", "svm_compare", "cross-corpus"), strict=True):
        assert name in str(warning.message)
    with_egemaps = replace(my_features, extra={"egemaps": np.zeros((32, 88), np.float32)})
    with pytest.warns(RuntimeWarning) as record:
        assert {run.model for run in results.published_runs(with_egemaps)} == {"svm", "svm_egemaps"}
    assert len(record) == 2


# Reproduction and ensemble

def test_find_features_lists_the_missing_corpora(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_results, "FEATURES", tmp_path)
    for name in ("emodb", "casia", "nonsense"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features.npz").touch()
    (tmp_path / "tess").mkdir()  # an extraction that was interrupted
    available, missing = reproduce_results.find_features()
    assert available == {"ravdess": reproduce_results.RAVDESS_FEATURES, "emodb": tmp_path / "emodb",
                         "casia": tmp_path / "casia"}
    assert missing.keys() == DATASETS.keys() - available.keys()
    assert all(f"--dataset {name}" in remedy for name, remedy in missing.items())
    (tmp_path / "casia" / "features.npz").unlink()
    assert "casia" in reproduce_results.find_features()[1]


def make_log_p(n_clips, n_members, seed):
    """Log probabilities of three classes, and true classes."""
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.ones(3), (n_clips, n_members))), rng.integers(3, size=n_clips)


@settings(max_examples=50, deadline=None)
@given(n_members=st.integers(1, 5), n_clips=st.integers(3, 60), seed=st.integers(0, 99))
def test_fit_weights_increase_the_likelihood(n_members, n_clips, seed):
    log_p, y_index = make_log_p(n_clips, n_members, seed)

    def likelihood(weights):
        return np.log(fit_ensemble.pool(log_p, weights)[np.arange(n_clips), y_index]).mean()

    weights = fit_ensemble.fit_weights(log_p, y_index)
    assert (weights >= 0).all()
    for others in (np.zeros(n_members), np.full(n_members, 1 / n_members), *np.eye(n_members)):
        assert likelihood(weights) >= likelihood(others) - 1e-6


def test_pool_of_equal_weights_is_the_geometric_mean():
    p = np.array([[[0.5, 0.5], [0.9, 0.1]]])
    np.testing.assert_allclose(fit_ensemble.pool(np.log(p), np.array([0.5, 0.5])), [[0.75, 0.25]])
    np.testing.assert_allclose(fit_ensemble.pool(np.log(p), np.array([0, 1])), p[:, 1])


def test_fit_weights_prefer_the_accurate_member():
    log_p, y_index = make_log_p(200, 2, seed=0)
    p = np.full((200, 3), 0.1) + 0.7 * np.eye(3)[y_index]
    p[:20] = 0.1 + 0.7 * np.eye(3)[(y_index[:20] + 1) % 3]  # correct on nine of ten clips
    log_p[:, 1] = np.log(p)
    first, second = fit_ensemble.fit_weights(log_p, y_index)
    assert second > 5 * first


@pytest.fixture(scope="module")
def members():
    """Predictions of two models, averaged over their seeds; the second is the better one."""
    table = pd.concat([make_predictions(model="svm", n_seeds=1), make_predictions(model="cnn", n_seeds=2, seed=1)])
    better = table[P_COLUMNS] + (table["model"] == "cnn").to_numpy()[:, None] * pd.get_dummies(table["label"]).reindex(
        columns=EMOTIONS).to_numpy()
    return fit_ensemble.average_seeds(table.assign(**better.div(better.sum(axis=1), axis=0)))


def test_average_seeds_averages_the_probabilities_of_each_model():
    table = make_predictions(n_seeds=3)
    averaged = fit_ensemble.average_seeds(pd.concat([table, table.assign(model="other")]))
    assert set(averaged) == set(table) - {"seed"}
    for model in ("m", "other"):
        rows = averaged[averaged["model"] == model].set_index("clip")
        pd.testing.assert_frame_equal(rows[P_COLUMNS].sort_index(), table.groupby("clip")[P_COLUMNS].mean())


def test_combine_weights_each_fold_by_the_other_folds(members):
    predictions, weights = fit_ensemble.combine(members, "ensemble_weighted")
    assert (weights["cnn"] > weights["svm"]).all()
    assert (set(predictions["model"]), set(predictions["seed"])) == ({"ensemble_weighted"}, {0})
    np.testing.assert_allclose(predictions[P_COLUMNS].sum(axis=1), 1, atol=1e-4)
    fold = predictions["fold"].iloc[0]
    relabeled = members.assign(label=members["label"].where(members["fold"] != fold, members["label"].iloc[0]))
    again, weights_again = fit_ensemble.combine(relabeled, "fusion")  # its own labels have no effect on a fold
    is_fold = predictions["fold"] == fold
    pd.testing.assert_frame_equal(again.loc[is_fold, P_COLUMNS], predictions.loc[is_fold, P_COLUMNS])
    assert weights_again.loc[fold].equals(weights.loc[fold])
    assert not weights_again.equals(weights)


def test_combine_gives_no_probability_to_classes_absent_from_a_corpus(members):
    """Each fold is a corpus; the first one lacks two classes, as in leave-one-corpus-out."""
    is_first, absent = members["fold"] == members["fold"].min(), ["p_calm", "p_surprised"]
    members = members[~(is_first & members["label"].isin(["calm", "surprised"]))].copy()
    members.loc[is_first, absent] = np.nan
    members[P_COLUMNS] = members[P_COLUMNS].div(members[P_COLUMNS].sum(axis=1), axis=0)
    predictions, _ = fit_ensemble.combine(members, "fusion")
    is_first = predictions["fold"] == members["fold"].min()
    assert predictions.loc[is_first, absent].isna().all(axis=None)
    assert predictions.loc[~is_first, P_COLUMNS].notna().all(axis=None)
    np.testing.assert_allclose(predictions[P_COLUMNS].sum(axis=1), 1, atol=1e-4)


def test_combine_with_a_validation_set_ignores_the_labels_of_the_test_set(members):
    validation = members.assign(clip="validation/" + members["clip"])
    predictions, weights = fit_ensemble.combine(members, "ensemble_weighted", validation)
    assert weights.nunique().eq(1).all()  # the same for all folds
    again, _ = fit_ensemble.combine(members.assign(label=members["label"].iloc[0]), "ensemble_weighted", validation)
    pd.testing.assert_frame_equal(again[P_COLUMNS], predictions[P_COLUMNS])
    with pytest.raises(ValueError, match="validation predictions are of cnn, test predictions of cnn, svm"):
        fit_ensemble.combine(members, "ensemble_weighted", validation[validation["model"] == "cnn"])


# Access to the test sets

def test_require_committed_rejects_modified_files_for_published_results_only(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(files, "ROOT", tmp_path)

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)

    published = tmp_path / "results" / "ravdess"
    with pytest.raises(results.UncommittedError, match="git"):
        results.require_committed(published)
    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "one")
    published.mkdir(parents=True)
    (published / "new.csv").write_text("1")
    results.require_committed(published)
    (tmp_path / "a.py").write_text("2")
    with pytest.raises(results.UncommittedError, match=r"a\.py"):
        results.require_committed(published)
    results.require_committed(tmp_path / "build" / "results")


@pytest.mark.parametrize("damage", [
    lambda content: content[:-100], lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    lambda content: b"not gzip", lambda content: b""])
def test_load_predictions_rejects_damaged_files(tmp_path, damage):
    path = tmp_path / "predictions_emotion.csv.gz"
    results.save_predictions(tmp_path, {"emotion": make_predictions()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IntegrityError, match=path.name):
        results.load_predictions(tmp_path)


def test_load_predictions_names_the_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="predictions_emotion"):
        results.load_predictions(tmp_path)


@pytest.mark.parametrize("target", ["mood", "Emotion", "", None])
def test_load_predictions_names_the_known_targets(target):
    with pytest.raises(ValueError, match=f"target={target!r} is unknown.*emotion, gender_emotion, gender"):
        results.load_predictions("ravdess", target)


def test_save_predictions_is_reproducible(tmp_path):
    table, path = make_predictions(), tmp_path / "predictions_emotion.csv.gz"
    results.save_predictions(tmp_path, {"emotion": table})
    content = path.read_bytes()
    assert content[4:8] == bytes(4)  # gzip's modification time
    results.save_predictions(tmp_path, {"emotion": results.load_predictions(tmp_path)})
    assert path.read_bytes() == content
    pd.testing.assert_frame_equal(results.load_predictions(tmp_path), table)
