"""Scores against scikit-learn, and the published figures against pandas and scikit-learn alone."""

import itertools
import json
import re
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ser_utils import audio, corpora, features, models, plots, publish, report, scores, splits

matplotlib.use("Agg")
sys.path.insert(0, str(corpora.ROOT / "tools"))
EMOTIONS = list(corpora.EMOTIONS)
PUBLISHED = corpora.ROOT / "results" / "ravdess"


def predictions(clips=96, seeds=2, labels="emotion", seed=0, protocol="speaker-independent"):
    rng = np.random.default_rng(seed)
    classes = list({"emotion": corpora.EMOTIONS, "gender_emotion": splits.TEN}[labels])
    truth = np.array(classes)[np.arange(clips) % len(classes)]
    tables = []
    for one in range(seeds):
        p = rng.random((clips, len(classes))) + 0.8 * (truth[:, None] == np.array(classes))
        p /= p.sum(axis=1, keepdims=True)
        keys = {"model": "m", "protocol": protocol, "labels": labels, "seed": one, "fold": np.arange(clips) % 5,
                "clip": [f"c{i}" for i in range(clips)], "speaker": [f"s{i % 7}" for i in range(clips)],
                "emotion": truth}
        tables.append(pd.DataFrame(keys).join(pd.DataFrame(p, columns=[f"p_{name}" for name in classes])))
    return pd.concat(tables, ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(clips=st.integers(1, 200), seed=st.integers(0, 999))
def test_uar_is_scikit_learns(clips, seed):
    rows = predictions(clips, seeds=1, seed=seed)
    guess = scores.predicted(rows)
    present = sorted(set(rows["emotion"]))
    expected = metrics.recall_score(rows["emotion"], guess, labels=present, average="macro")
    assert scores.uar(scores.confusion(rows)) == pytest.approx(expected)


def test_chance_perfect_and_inverted_are_what_they_must_be():
    perfect = np.diag([3, 5, 2])
    assert scores.uar(perfect) == 1
    assert scores.uar(np.array([[3, 0], [9, 0]])) == 0.5
    assert scores.uar(perfect[:, [1, 2, 0]]) == 0
    np.testing.assert_array_equal(scores.recalls(np.array([[1, 1], [0, 0]])), [0.5, np.nan])


def test_a_summary_against_scikit_learn():
    rows = predictions()
    [made] = scores.summary(rows).to_dict("records")
    guess = rows[[f"p_{name}" for name in EMOTIONS]].to_numpy().argmax(axis=1)
    rows["guess"] = np.array(EMOTIONS)[guess]
    by_seed = [metrics.recall_score(one["emotion"], one["guess"], average="macro") for _, one in rows.groupby("seed")]
    assert made["uar"] == pytest.approx(np.mean(by_seed))
    assert made["sd_seeds"] == pytest.approx(np.std(by_seed, ddof=1))
    assert made["accuracy"] == pytest.approx((rows["guess"] == rows["emotion"]).mean())
    f1 = [metrics.f1_score(one["emotion"], one["guess"], average="macro") for _, one in rows.groupby("seed")]
    assert made["macro_f1"] == pytest.approx(np.mean(f1))
    assert made["chance"] == 1 / 8
    assert made["low"] < made["uar"] < made["high"]


def test_the_interval_is_that_of_a_plain_bootstrap_over_speakers():
    rows = predictions(seeds=1, clips=160)
    low, high = scores.interval(rows)
    rng, drawn = np.random.default_rng(1), []
    groups = dict(list(rows.groupby("speaker")))
    for _ in range(400):
        sample = pd.concat([groups[name] for name in rng.choice(list(groups), len(groups))])
        drawn.append(metrics.recall_score(sample["emotion"], scores.predicted(sample), average="macro"))
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), atol=0.02)


def test_no_interval_where_speakers_sit_on_both_sides():
    [made] = scores.summary(predictions(protocol="random-split")).to_dict("records")
    assert np.isnan(made["low"])


def test_gender_comes_from_the_ten_classes():
    rows = predictions(labels="gender_emotion", seeds=1)
    columns = [f"p_{name}" for name in splits.TEN]
    female = rows[columns[:5]].sum(axis=1) > rows[columns[5:]].sum(axis=1)
    expected = (female == rows["emotion"].str.startswith("female")).mean()
    assert scores.gender_accuracy(rows) == pytest.approx(expected)


def test_the_average_is_of_one_seed_of_each():
    rows = pd.concat([predictions(seed=number).assign(model=name)
                      for number, name in enumerate(("mlp", "lstm", "cnn"))], ignore_index=True)
    made = scores.with_average(rows)
    average = made[made["model"] == "average"].set_index(["seed", "clip"])
    assert len(average) == len(rows) / 3
    for column in [f"p_{name}" for name in EMOTIONS]:
        expected = rows.groupby(["seed", "clip"])[column].mean()
        np.testing.assert_allclose(average[column], expected.loc[average.index])
    pd.testing.assert_frame_equal(made[made["model"] != "average"], rows)
    alone = rows[~((rows["model"] == "cnn") & (rows["seed"] == 1))]
    assert set(scores.with_average(alone).query("model == 'average'")["seed"]) == {0}
    assert "average" in set(scores.summary(rows)["model"])


def test_samples_are_rows_of_the_table():
    rows = predictions(seeds=1)
    shown = scores.samples(rows, 10)
    assert len(shown) == 10
    joined = shown.merge(rows, on="clip")
    assert (joined["actual"] == joined["emotion"]).all()
    pd.testing.assert_frame_equal(shown, scores.samples(rows, 10))


def test_a_confusion_matrix_is_drawn_in_its_reading_order():
    counts = scores.confusion(predictions())
    ax = plots.confusion(counts, EMOTIONS, normalise=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == EMOTIONS
    assert [label.get_text() for label in ax.get_xticklabels()] == EMOTIONS
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "actual")
    assert [text.get_text() for text in ax.texts] == [str(count) for count in counts.ravel()]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first class on top
    shares = plots.confusion(counts, EMOTIONS)
    drawn = [float(text.get_text() or 0) for text in shares.texts]  # shares below a half are left out
    np.testing.assert_array_equal(drawn, (100 * counts / counts.sum(axis=1, keepdims=True)).round().ravel())


def test_every_other_figure_draws_what_it_is_given():
    y = audio.load(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    line = plots.waveform(y, 16000).lines[0]
    np.testing.assert_array_equal(line.get_ydata(), y)
    assert line.get_xdata()[-1] == pytest.approx((len(y) - 1) / 16000)
    mel = plots.mel_spectrogram(y)
    np.testing.assert_array_equal(mel.images[0].get_array(), features.mel_spectrogram(y).T)
    assert mel.get_yticklabels()[-1].get_text() == "7629"  # Hz, the centre of the last band
    assert plots.mfcc(features.mfcc(y)).images[0].get_array().shape == (64, 1 + len(y) // 256)
    left, right = plots.training_curves({"cnn": {"loss": [2, 1], "accuracy": [0.1, 0.5], "val_loss": [3, 2],
                                                 "val_accuracy": [0.2, 0.3]}})
    assert [list(drawn.get_ydata()) for drawn in right.lines] == [[10, 50], [20, 30]]  # per cent
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy (%)")
    many = pd.concat([predictions().assign(model=f"model {number}") for number in range(9)])
    recall = plots.recall_by_class(many)
    assert len(recall.lines) == 10  # chance among them


# The published figures, without ser_utils: from here on only pandas and scikit-learn compute

TABLES = {path.parent.name: pd.read_csv(path, dtype={"speaker": str})
          for path in sorted((corpora.ROOT / "results").glob("*/predictions.csv.gz"))}
ROWS = TABLES["ravdess"]


def independent(rows):
    """The figures of one published row."""
    columns = [name for name in rows if name.startswith("p_") and rows[name].notna().all()]
    guess = rows[columns].idxmax(axis=1).str.removeprefix("p_")
    classes = [name.removeprefix("p_") for name in columns]
    rows = rows.assign(guess=guess)
    parts = list(rows.groupby("seed"))
    by_seed = [plain_uar(part, classes) for _, part in parts]
    by_fold = rows.groupby(["fold", "seed"]).apply(plain_uar, classes).groupby("fold").mean()
    female = rows["guess"].str.startswith("female") == rows["emotion"].str.startswith("female")
    return {
        "uar": np.mean(by_seed),
        "sd_seeds": pd.Series(by_seed).std(),
        "uar_folds": by_fold.mean(),
        "sd_folds": by_fold.std(),
        "accuracy": np.mean([metrics.accuracy_score(p["emotion"], p["guess"]) for _, p in parts]),
        "macro_f1": np.mean([metrics.f1_score(p["emotion"], p["guess"], labels=classes, average="macro",
                                              zero_division=0) for _, p in parts]),
        "chance": 1 / len(classes)} | ({"gender_by_class": female.mean()} if len(classes) == 10 else {})


def plain_uar(rows, classes):
    there = [name for name in classes if (rows["emotion"] == name).any()]
    return metrics.recall_score(rows["emotion"], rows["guess"], labels=there, average="macro")


def plain_interval(rows, draws=300):
    """The bootstrap over speakers, drawn clip by clip as the definition says."""
    rng, drawn = np.random.default_rng(5), []
    guess = rows.filter(like="p_").dropna(axis=1).idxmax(axis=1).str.removeprefix("p_")
    truth, seed = rows["emotion"].to_numpy(), rows["seed"].to_numpy()
    classes, of = sorted(set(truth)), rows.groupby("speaker").indices
    for _ in range(draws):
        chosen = np.concatenate([of[name] for name in rng.choice(list(of), len(of))])
        drawn.append(np.mean([metrics.recall_score(truth[one], guess.to_numpy()[one], labels=classes, average="macro",
                                                   zero_division=0)
                              for one in (chosen[seed[chosen] == number] for number in set(seed))]))
    return np.quantile(drawn, [0.025, 0.975])


def test_the_published_table_is_recomputed_without_the_package():
    made = scores.summary(publish.load()).set_index(publish.KEYS)
    for key, rows in ROWS.groupby(publish.KEYS):
        for name, value in independent(rows).items():
            if name == "gender_by_class":  # ours sums the probabilities of the half; the likeliest class comes close
                assert made.loc[key, "gender"] == pytest.approx(value, abs=0.03), key
            else:
                assert made.loc[key, name] == pytest.approx(value, abs=1e-9, nan_ok=True), (key, name)
    headline = ("cnn", "speaker-independent", "emotion")
    rows = ROWS[(ROWS[publish.KEYS] == list(headline)).all(axis=1)].reset_index(drop=True)
    np.testing.assert_allclose(made.loc[headline, ["low", "high"]].astype(float), plain_interval(rows), atol=0.01)


def planned(corpus):
    """Model, protocol, labels and seeds of every row that `rows.csv` says is published."""
    for row in pd.read_csv(corpora.ROOT / "results" / corpus / "rows.csv", dtype=str).itertuples():
        for model, protocol in itertools.product(row.models.split(), row.protocols.split()):
            yield [model, protocol, row.labels], [int(seed) for seed in row.seeds.split()]


@pytest.mark.parametrize(("corpus", "clips"), [("ravdess", 1440), ("emodb", 535), ("ravdess-emodb", 1056 + 454)])
def test_every_published_row_is_there_and_complete(corpus, clips):
    there = {tuple(key): rows for key, rows in TABLES[corpus].groupby(publish.KEYS)}
    assert set(there) == {tuple(key) for key, _ in planned(corpus)}
    for (model, protocol, labels), seeds in planned(corpus):
        rows = there[model, protocol, labels]
        whole = {"random-split": 192, "few-shot": 1320}.get(protocol, 960 if labels == "gender_emotion" else clips)
        assert sorted(rows["seed"].unique()) == seeds
        assert (rows.groupby("seed")["clip"].nunique() == whole).all(), (model, protocol)
        assert not rows.duplicated(["seed", "clip"]).any()
        np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1, atol=1e-4)


def test_no_published_speaker_was_trained_on():
    strict = ROWS[ROWS["protocol"] == "speaker-independent"]
    tested = strict.groupby("fold")["speaker"].agg(lambda speakers: sorted(map(int, set(speakers)))).tolist()
    assert tested == [[2, 5, 14, 15, 16], [3, 6, 7, 13, 18], [10, 11, 12, 19, 20], [8, 17, 21, 23, 24], [1, 4, 9, 22]]
    truth = ROWS.merge(pd.read_csv(corpora.ROOT / "data" / "ravdess" / "clips.csv"), on="clip")
    truth["gender_emotion"] = truth["gender"] + "_" + truth["emotion_y"]
    actual = truth.rename(columns={"emotion_y": "emotion"}).groupby("labels").apply(lambda rows: rows[rows.name])
    assert (truth["emotion_x"] == actual.droplevel(0).reindex(truth.index)).all()


def test_what_each_fold_alone_would_have_kept():
    """The sentence on choosing in docs/methods.md, from the trials it rests on."""
    trials = pd.read_csv(PUBLISHED / "trials.csv").query("folds.str.startswith('nested')")
    by_fold = {(one.model, one.what): np.array(str(one.uar_by_fold).split(), float) for one in trials.itertuples()}

    def ahead(model, what, before):
        return int((by_fold[model, what] > by_fold[model, before]).sum())

    narrow, wide = "reference: width 64, batches of 32, 40 epochs", "first convolution in steps of two frames"
    assert ahead("cnn", "the same, width 128", narrow) == 5
    assert ahead("cnn", f"width 256, batches of 16, {wide}", f"width 128, batches of 16, {wide}") == 5
    assert ahead("cnn", "the same, width 64, batches of 16", narrow) == 5
    assert ahead("cnn", "the same, frequencies warped within 15 % instead of shifted by bands",
                 f"reference: width 256, batches of 16, {wide}, pitch within two bands") == 5
    mlp = "reference: 2 x 512 on windows of nine frames, one view"
    assert ahead("mlp", "windows of 21 frames, one view", mlp) == 4
    cnn = trials[(trials["model"] == "cnn") & trials["what"].str.startswith("reference: crops")]["what"].item()
    assert ahead("cnn", "the same, five views (warps -12 to 12 %)", cnn) == 3
    five = trials[trials["what"] == "the same, five views"]
    reference = {"mlp": mlp, "lstm": "reference: two convolutions of 256, LSTM 128 beside them, one view"}
    for model, before in reference.items():
        first = np.array(five[five["model"] == model]["uar_by_fold"].iloc[0].split(), float)
        assert (first > by_fold[model, before]).all()
    page = (corpora.ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    choosing = re.search(r"\*\*Choosing\.\*\*.*?UAR on the", page, re.DOTALL).group()
    assert "every fold, the MLP's longer windows in four of five" in choosing
    assert "five views in all for MLP and LSTM and in three for the CNN" in choosing


def test_the_cnn_keeps_its_promise():
    rows = ROWS[(ROWS[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    assert independent(rows)["uar"] >= 0.60


def test_every_published_row_left_a_trace():
    for corpus, table in TABLES.items():
        looks = pd.read_csv(corpora.ROOT / "results" / corpus / "looks.csv")
        latest = looks.groupby(publish.KEYS).tail(1).set_index(publish.KEYS)
        for key, rows in table.groupby(publish.KEYS):
            tested = rows["clip"].where(rows["clip"].str.contains("/"), "all/").str.split("/").str[0]  # of across: two
            found = np.mean([independent(part)["uar"] for _, part in rows.groupby(tested)])
            assert latest.loc[key, "uar"] == pytest.approx(found, abs=1e-4)
            assert re.fullmatch("[0-9a-f]{40}", latest.loc[key, "commit"])


def test_what_is_published_is_what_the_code_makes():
    for corpus in set(TABLES) - {"live"}:
        made = json.loads((corpora.ROOT / "results" / corpus / "made.json").read_text())
        for key, _ in planned(corpus):
            assert made[" ".join(key)]["settings"] == models.find(key[0]).settings, key


def test_the_quick_schedule_ends_where_the_originals_does():
    curves = pd.read_csv(PUBLISHED / "original_schedule.csv").set_index("epoch").groupby("schedule")["loss"]
    first, last = curves.first(), curves.apply(lambda loss: loss.tail(5).mean())
    assert curves.size().to_dict() == {"full": 700, "quick": models.find("original_cnn").estimator(0).epochs}
    assert abs(last["quick"] - last["full"]) < 0.03 * first["full"]


def test_a_rung_that_nobody_published_is_a_dash():
    summary = scores.summary(predictions(protocol="leak-speakers"))
    [(heading, shown)] = report.tables(summary)
    assert heading.startswith("What the split hides")
    first, *cells = shown.iloc[0]
    assert (first, cells.count("–")) == ("m", 3)
    assert cells[2].startswith(report.percent(summary["uar"].item()))


def test_the_readme_and_the_page_of_tables_show_the_published_figures():
    import update_readme

    found, docs = update_readme.summaries(), corpora.ROOT / "docs"
    readme, methods = ((docs / name).read_text(encoding="utf-8") for name in ("../README.md", "methods.md"))
    for path, texts in update_readme.pages(found).items():
        text = path.read_text(encoding="utf-8")
        assert update_readme.filled(text, texts) == text
    assert update_readme.everything(found) == (docs / "results.md").read_text(encoding="utf-8")
    rows = ROWS[(ROWS[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    others = rows[~rows["speaker"].astype(int).isin({1, 2, 3, 5, 6, 8, 10, 11, 14, 17})]
    shown = re.search("<!-- unconsulted -->(.*?)<!-- /unconsulted -->", methods, re.DOTALL).group(1)
    assert f"cnn {100 * independent(others)['uar']:.1f}" in shown
    assert f"| cnn | {100 * independent(rows)['uar']:.1f} |" in readme


def test_across_corpora_every_tested_one_has_a_row():
    one = predictions(protocol="across")
    both = pd.concat([one.assign(clip="emodb/" + one["clip"]), one.assign(clip="ravdess/" + one["clip"])])
    summary = scores.summary(both)
    assert summary["protocol"].tolist() == ["across to emodb", "across to ravdess"]
    assert summary["uar"].iloc[0] == summary["uar"].iloc[1]
    assert [heading.split(":")[0] for heading, _ in report.tables(summary)] == [
        f"Taught by another corpus, tested on {tested}, as recorded" for tested in ("emodb", "ravdess")]
