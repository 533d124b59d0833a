import itertools
import json
import subprocess

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.evaluation import experiment, results, tables
from ser_utils.evaluation.metrics import KEYS, summarize
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


@pytest.fixture(scope="module")
def summary():
    return results.load_summary().set_index(KEYS)


def recall(rows, classes):
    occurring = [name for name in classes if (rows["label"] == name).any()]
    return recall_score(rows["label"], rows["predicted"], labels=occurring, average="macro", zero_division=0)


def recompute(rows):
    """Scores of one result with pandas and scikit-learn."""
    probabilities = rows.filter(like="p_")
    classes = list(probabilities.columns.str.removeprefix("p_"))
    rows = rows.assign(predicted=probabilities.idxmax(axis=1).str.removeprefix("p_"))
    seeds = [part for _, part in rows.groupby("seed")]
    by_seed = pd.Series([recall(part, classes) for part in seeds])
    by_fold = pd.Series({key: recall(part, classes) for key, part in rows.groupby(["fold", "seed"])})
    by_fold = by_fold.groupby(level=0).mean()
    return {"uar": by_seed.mean(), "sd_seeds": by_seed.std(), "uar_folds": by_fold.mean(), "sd_folds": by_fold.std(),
            "accuracy": np.mean([accuracy_score(part["label"], part["predicted"]) for part in seeds]),
            "macro_f1": np.mean([f1_score(part["label"], part["predicted"], labels=classes, average="macro",
                                          zero_division=0) for part in seeds]),
            "chance": 1 / len(classes), "n_seeds": len(seeds), "n_folds": len(by_fold),
            "n_clips": rows["clip"].nunique(), "n_speakers": rows["speaker"].nunique()}


@pytest.mark.parametrize("target", ["emotion", "gender_emotion", "gender"])
def test_published_scores_equal_scikit_learn(published, summary, target):
    for key, rows in published["ravdess", target].groupby(KEYS):
        for name, value in recompute(rows).items():
            assert summary.loc[key, name] == pytest.approx(value, abs=1e-9, nan_ok=True), (key, name)


def test_published_ensemble_averages_probabilities(published, summary):
    rows = published["ravdess", "emotion"].query("split == 'speaker-independent' and model in ['mlp', 'lstm', 'cnn']")
    mean = rows.groupby(["seed", "fold", "clip", "speaker", "label"]).mean(numeric_only=True).reset_index()
    expected = recompute(mean)
    key = ("ensemble", "speaker-independent", "ravdess", "emotion")
    assert summary.loc[key, "uar"] == pytest.approx(expected["uar"], abs=1e-9)
    assert summary.loc[key, "accuracy"] == pytest.approx(expected["accuracy"], abs=1e-9)


def test_published_confidence_interval_equals_plain_bootstrap(published, summary):
    rows = published["ravdess", "emotion"].query("model == 'cnn' and split == 'speaker-independent'")
    rows = rows.assign(is_correct=rows.filter(like="p_").idxmax(axis=1) == "p_" + rows["label"])
    counts = rows.pivot_table("is_correct", ["seed", "label"], "speaker", aggfunc=["sum", "size"], fill_value=0)
    correct, total = counts["sum"].to_numpy(), counts["size"].to_numpy()
    rng, n_speakers = np.random.default_rng(5), correct.shape[1]
    samples = rng.choice(n_speakers, (2000, n_speakers))
    uar = [(correct[:, sample].sum(axis=1) / total[:, sample].sum(axis=1)).mean() for sample in samples]
    interval = summary.loc[("cnn", "speaker-independent", "ravdess", "emotion"), ["ci_low", "ci_high"]]
    np.testing.assert_allclose(interval.astype(float), np.quantile(uar, [0.025, 0.975]), atol=0.005)


def test_published_cnn_reaches_60_percent_uar(published):
    rows = published["ravdess", "emotion"].query("model == 'cnn' and split == 'speaker-independent'")
    assert recompute(rows)["uar"] >= 0.60


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


def test_published_folds_and_labels(published):
    rows = published["ravdess", "emotion"].query("split == 'speaker-independent'")
    speakers = rows.groupby("fold")["speaker"].agg(lambda values: tuple(sorted(map(int, set(values)))))
    assert tuple(speakers) == RAVDESS_TEST_ACTORS
    clips = pd.read_csv(ROOT / "data" / "ravdess" / "clips.csv").set_index("clip")
    clips["gender_emotion"] = clips["gender"] + "_" + clips["emotion"]
    for target in ("emotion", "gender", "gender_emotion"):
        table = published["ravdess", target]
        assert (table["label"].to_numpy() == clips[target].loc[table["clip"]].to_numpy()).all()


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


def test_published_model_selection_agrees_across_folds():
    """Each kept choice against its reference: the number of the five folds in which it has the higher UAR."""
    trials = pd.read_csv(ROOT / "results" / "ravdess" / "model_selection.csv")
    trials = trials[trials["folds"].str.startswith("nested-cv")]
    by_fold = {(row.model, row.description): np.array(str(row.uar_by_fold).split(), float)
               for row in trials.itertuples()}

    def n_better(model, choice, reference):
        return int((by_fold[model, choice] > by_fold[model, reference]).sum())

    narrow, stride = "reference: width 64, batch size 32, 40 epochs", "batch size 16, first convolution with stride two"
    crops = "reference: crops of 144 frames, no test-time augmentation"
    tta = "as above, test-time augmentation with five VTLP warps"
    mlp = "reference: 2 x 512 units on windows of nine frames, no test-time augmentation"
    assert n_better("cnn", "as above, width 128", narrow) == 5
    assert n_better("cnn", "as above, width 64, batch size 16", narrow) == 5
    assert n_better("cnn", f"width 256, {stride}", f"width 128, {stride}") == 5
    assert n_better("cnn", "as above, VTLP within 15 % instead of mel-band shift",
                    f"reference: width 256, {stride}, mel-band shift within two bands") == 5
    assert n_better("cnn", f"{tta} (-12 to 12 %)", crops) == 3
    assert n_better("mlp", "windows of 21 frames, no test-time augmentation", mlp) == 4
    first = trials[trials["description"] == tta].groupby("model")["uar_by_fold"].first()
    lstm = "reference: two convolutions of 256 filters, LSTM 128 with residual connection, no test-time augmentation"
    for model, reference in (("mlp", mlp), ("lstm", lstm)):
        assert (np.array(first[model].split(), float) > by_fold[model, reference]).all()


def test_published_training_schedules_end_at_the_same_loss():
    curves = pd.read_csv(ROOT / "results" / "ravdess" / "training_schedules.csv").groupby("schedule")["loss"]
    first, last = curves.first(), curves.apply(lambda loss: loss.tail(5).mean())
    assert curves.size().to_dict() == {"full": 700, "quick": get_model("original_cnn").build(0).epochs}
    assert abs(last["quick"] - last["full"]) < 0.03 * first["full"]


# Result tables

def make_predictions(split="speaker-independent", test_corpus="c", target="emotion", model="m", n_clips=96):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), n_clips)
    names = ["neutral", "calm", "happy", "sad"]
    return pd.DataFrame({
        "model": model, "split": split, "test_corpus": test_corpus, "target": target, "seed": 0, "fold": 0,
        "clip": [f"c{i}" for i in range(n_clips)], "speaker": [f"s{i % 8}" for i in range(n_clips)],
        "label": rng.choice(names, n_clips)}).join(pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]))


def test_results_page_shows_the_published_scores(summary):
    page = results.render_results_page()
    assert page == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    uar = summary.loc[("cnn", "speaker-independent", "ravdess", "emotion"), "uar"]
    assert f"| cnn | {100 * uar:.1f} |" in page


def test_result_tables_one_per_test_corpus():
    both = pd.concat([make_predictions("cross-corpus", "emodb"), make_predictions("cross-corpus", "ravdess")])
    headings = [heading for heading, _ in results.result_tables(summarize(both))]
    assert [heading.split(" (")[0] for heading in headings] == [
        "Trained on RAVDESS speech, tested on EMO-DB", "Trained on EMO-DB, tested on RAVDESS speech"]
    assert headings[0].endswith("4 emotions: 96 clips of 8 speakers, chance 25.0 %")


def test_result_tables_interval_for_unseen_speakers_only():
    for split, has_interval in (("speaker-independent", True), ("random-split", False)):
        [(_, table)] = results.result_tables(summarize(make_predictions(split)))
        assert ("95 % CI" in table) is has_interval


def test_result_tables_of_missing_splits_show_dashes():
    result = summarize(make_predictions("size-matched-speakers"))
    [(heading, table)] = results.result_tables(result)
    assert heading.startswith("Size-matched data leakage ablation")
    model, *cells = table.iloc[0]
    assert (model, cells.count("–")) == ("m", 3)
    assert cells[2].startswith(results.format_percent(result["uar"].item()))


def test_result_tables_cover_every_split_and_target():
    for split, target in itertools.product(experiment.SPLITS, ("emotion", "gender")):
        assert len(results.result_tables(summarize(make_predictions(split, target=target)))) == 1


def test_compare_with_published():
    validation = summarize(pd.concat([make_predictions(), make_predictions(model="other")]))
    published = summarize(make_predictions()).assign(uar=0.123, n_folds=5, n_seeds=2)
    lines = tables.compare_with_published(validation, published).splitlines()
    assert "12.3" in lines[1]
    assert lines[1].endswith("5 folds × 2 seeds")
    assert lines[2].endswith("–")
    assert "12.3" not in results.compare_with_published(validation)


# Storage

def test_evaluate_test_replaces_its_own_rows(tmp_path, small_features, small_features_folder):
    runs = experiment.plan_runs(["chance", BAYES], folds=[0, 1], subset="test", clips=small_features.clips)
    folder, checkpoints = tmp_path / "results", tmp_path / "runs"

    def evaluate(selected):
        return results.evaluate_test(selected, small_features_folder, folder, checkpoints, n_jobs=1, progress=False)

    new = evaluate(runs)["emotion"]
    stored = results.load_predictions(folder)
    pd.testing.assert_frame_equal(stored, new, check_dtype=False)
    changed = stored.assign(p_calm=-1.0)
    results.save_predictions(folder, {"emotion": changed})
    evaluate([run for run in runs if run.model == "chance" and run.fold == 0])
    stored = results.load_predictions(folder)
    replaced = (stored["model"] == "chance") & (stored["fold"] == 0)
    assert len(stored) == len(new)
    assert (stored.loc[replaced, "p_calm"] > 0).all()
    assert (stored.loc[~replaced, "p_calm"] == -1).all()

    log = pd.read_csv(folder / "test_access.csv")
    assert log["model"].tolist()[-1] == "chance"
    assert (len(log), log["folds"].astype(str).tolist()[-1]) == (3, "0")
    assert log["uar"].notna().all()
    records = json.loads((folder / "run_metadata.json").read_text())
    assert sorted(record["model"] for record in records) == ["chance", BAYES]
    assert records[0]["versions"] == experiment.package_versions()


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

    with pytest.raises(results.UncommittedError, match="not a git repository"):
        results.require_committed(tmp_path / "results" / "ravdess")
    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "one")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text("1")
    results.require_committed(tmp_path / "results" / "ravdess")
    (tmp_path / "a.py").write_text("2")
    with pytest.raises(results.UncommittedError, match=r"1 changed files are not committed \(a.py\)"):
        results.require_committed(tmp_path / "results" / "ravdess")
    results.require_committed(tmp_path / "build" / "results")


def test_load_predictions_damaged_or_missing(tmp_path):
    path = tmp_path / "predictions_emotion.csv.gz"
    results.save_predictions(tmp_path, {"emotion": make_predictions()})
    content = path.read_bytes()
    damaged = [content[:-100], content[:200] + bytes([content[200] ^ 1]) + content[201:], b"not gzip", b""]
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(IntegrityError, match="damaged"):
            results.load_predictions(tmp_path)
    with pytest.raises(FileNotFoundError, match="no predictions_gender"):
        results.load_predictions(tmp_path, "gender")
    with pytest.raises(FileNotFoundError, match="ser evaluate --test"):
        results.load_summary(tmp_path / "missing")


def test_save_predictions_is_reproducible(tmp_path):
    table, path = make_predictions(), tmp_path / "predictions_emotion.csv.gz"
    results.save_predictions(tmp_path, {"emotion": table})
    content = path.read_bytes()
    results.save_predictions(tmp_path, {"emotion": results.load_predictions(tmp_path)})
    assert path.read_bytes() == content
    pd.testing.assert_frame_equal(results.load_predictions(tmp_path), table)
