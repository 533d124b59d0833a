"""Published results, recomputed with pandas and scikit-learn alone; result tables and their storage."""

import itertools
import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score
from test_metrics import make_predictions

from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.evaluation import experiment, metrics, results, tables
from ser_utils.evaluation.splits import RAVDESS_TEST_ACTORS
from ser_utils.models.registry import get_model

BAYES = "sklearn.naive_bayes:GaussianNB"
RUN_KEYS = ["model", "split", "target"]
N_CLIPS = {"ravdess": 1440, "emodb": 535, "ravdess-emodb": 1056 + 454}  # cross-corpus: clips of the common emotions


# Published results, recomputed with pandas and scikit-learn alone

@pytest.fixture(scope="module")
def published():
    """Predictions tables by folder and target."""
    return {(path.parent.name, path.name.removeprefix("predictions_").removesuffix(".csv.gz")):
            pd.read_csv(path, dtype={"speaker": str}) for path in (ROOT / "results").glob("*/predictions_*.csv.gz")}


def recompute(rows):
    """Scores of one result with pandas and scikit-learn."""
    probabilities = rows.filter(like="p_")
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


@pytest.mark.parametrize("corpus", N_CLIPS)
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


@pytest.mark.parametrize("corpus", N_CLIPS)
def test_published_predictions_are_complete(published, corpus):
    available = {key: rows for (folder, _), table in published.items() if folder == corpus
                 for key, rows in table.groupby(RUN_KEYS)}
    assert set(available) == {key for key, _ in published_results(corpus)}
    for key, seeds in published_results(corpus):
        rows, (_, split, target) = available[key], key
        n_clips = {"random-split": 192, "enrollment-normalized": 1320}.get(
            split, 960 if target == "gender_emotion" else N_CLIPS[corpus])
        assert sorted(rows["seed"].unique()) == seeds
        assert (rows.groupby("seed")["clip"].nunique() == n_clips).all(), key
        assert not rows.duplicated(["seed", "clip"]).any()
        np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1, atol=1e-4)


def test_published_labels_and_folds(published):
    clips = pd.read_csv(ROOT / "data" / "ravdess" / "clips.csv").set_index("clip")
    clips["gender_emotion"] = clips["gender"] + "_" + clips["emotion"]
    for target in ("emotion", "gender", "gender_emotion"):
        table = published["ravdess", target]
        assert (table["label"].to_numpy() == clips[target].loc[table["clip"]].to_numpy()).all()
        rows = table[table["split"] == "speaker-independent"]
        assert all(int(row.speaker) in RAVDESS_TEST_ACTORS[row.fold] for row in rows.itertuples())


def test_published_results_are_logged(published):
    for folder in {folder for folder, _ in published}:
        log = pd.read_csv(ROOT / "results" / folder / "test_access.csv")
        keys = RUN_KEYS + ["condition"] * (folder == "robustness")
        latest = log.groupby(keys).tail(1).set_index(keys)
        assert latest["commit"].str.fullmatch("[0-9a-f]{40}").all()
        for (name, _), table in published.items():
            if name == folder:
                is_correct = table.filter(like="p_").idxmax(axis=1) == "p_" + table["label"]
                recalls = is_correct.groupby([table[name] for name in [*keys, "test_corpus", "seed", "label"]]).mean()
                uar = recalls.groupby([*keys, "test_corpus"]).mean().groupby(keys).mean()
                pd.testing.assert_series_equal(latest.loc[uar.index, "uar"], uar, atol=1e-4, check_names=False)


@pytest.mark.parametrize("corpus", N_CLIPS)
def test_published_settings_are_those_of_the_models(corpus):
    records = json.loads((ROOT / "results" / corpus / "run_metadata.json").read_text())
    settings = {tuple(record[name] for name in RUN_KEYS): record["settings"] for record in records}
    for key, _ in published_results(corpus):
        assert settings[key] == get_model(key[0]).settings, key


# Result tables

@pytest.mark.parametrize("split", experiment.SPLITS)
def test_result_tables_cover_every_split(split):
    [(_, table)] = tables.result_tables(metrics.summarize(make_predictions(split=split)))
    assert table["model"].tolist() == ["m"]


def test_format_comparison():
    validation = metrics.summarize(pd.concat([make_predictions(), make_predictions(model="other")]))
    published = metrics.summarize(make_predictions()).assign(uar=0.123, n_folds=5, n_seeds=2)
    lines = tables.format_comparison(validation, published).splitlines()
    first, second = (line for line in lines if re.search(r"\b(m|other)\b", line))
    assert re.search("12.3.*5 folds.*2 seeds", first)
    assert second.endswith("–")


# Storage

def test_evaluate_test_replaces_its_own_rows(tmp_path, small_features, small_features_folder):
    runs = experiment.plan_runs(["chance", BAYES], folds=[0, 1], subset="test", clips=small_features.clips)
    folder = tmp_path / "results"

    def evaluate(selected):
        new = results.evaluate_test(selected, small_features_folder, folder, tmp_path, n_jobs=1, progress=False)
        return new["emotion"], results.load_predictions(folder)

    new, stored = evaluate(runs)
    pd.testing.assert_frame_equal(stored, new, check_dtype=False)
    results.save_predictions(folder, {"emotion": stored.assign(p_calm=-1.0)})
    _, stored = evaluate([run for run in runs if run.model == "chance" and run.fold == 0])
    assert len(stored) == len(new)
    replaced = (stored["model"] == "chance") & (stored["fold"] == 0)
    assert ((stored["p_calm"] >= 0) == replaced).all()
    log = pd.read_csv(folder / "test_access.csv", dtype=str)
    assert log[["model", "folds"]].to_numpy().tolist() == [[BAYES, "0 1"], ["chance", "0 1"], ["chance", "0"]]
    assert log["uar"].notna().all()
    records = json.loads((folder / "run_metadata.json").read_text())
    assert sorted(record["model"] for record in records) == ["chance", BAYES]


def test_evaluate_test_logs_access_before_any_prediction(tmp_path, small_features_folder, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_experiment", interrupted)
    runs = [experiment.Run("chance", "speaker-independent", "emotion", 0, 0, "test")]
    for n_lines in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            results.evaluate_test(runs, small_features_folder, tmp_path, progress=False)
        log = pd.read_csv(tmp_path / "test_access.csv")
        assert len(log) == n_lines
        assert log["uar"].isna().all()
    assert not results.has_predictions(tmp_path)


def test_published_runs(ravdess):
    runs = results.published_runs(ravdess.clips)
    assert {run.subset for run in runs} == {"test"}
    assert {(run.model, run.split, run.target) for run in runs} == {key for key, _ in published_results("ravdess")}
    with pytest.raises(ValueError, match="corpus mine"):
        results.published_runs(pd.DataFrame({"corpus": ["mine"]}))


def test_require_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "ROOT", tmp_path)

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


def test_save_predictions_is_reproducible(tmp_path):
    table, path = make_predictions(), tmp_path / "predictions_emotion.csv.gz"
    results.save_predictions(tmp_path, {"emotion": table})
    content = path.read_bytes()
    assert content[4:8] == bytes(4)  # gzip's modification time
    results.save_predictions(tmp_path, {"emotion": results.load_predictions(tmp_path)})
    assert path.read_bytes() == content
    pd.testing.assert_frame_equal(results.load_predictions(tmp_path), table)
