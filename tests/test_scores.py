"""Scores against scikit-learn, and the published figures against pandas and scikit-learn alone."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ser_utils import corpora, plots, publish, report, scores, splits

matplotlib.use("Agg")
EMOTIONS = list(splits.CLASSES["emotion"])
PUBLISHED = corpora.ROOT / "results" / "ravdess"


def predictions(clips=96, seeds=2, labels="emotion", seed=0, protocol="speaker-independent"):
    rng = np.random.default_rng(seed)
    classes = list(splits.CLASSES[labels])
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
    guess = scores.predicted(rows, "emotion")
    present = sorted(set(rows["emotion"]))
    expected = metrics.recall_score(rows["emotion"], guess, labels=present, average="macro")
    assert scores.uar(scores.confusion(rows, "emotion")) == pytest.approx(expected)


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
    low, high = scores.interval(rows, "emotion")
    rng, drawn = np.random.default_rng(1), []
    groups = dict(list(rows.groupby("speaker")))
    for _ in range(400):
        sample = pd.concat([groups[name] for name in rng.choice(list(groups), len(groups))])
        drawn.append(metrics.recall_score(sample["emotion"], scores.predicted(sample, "emotion"), average="macro"))
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


def test_samples_are_rows_of_the_table():
    rows = predictions(seeds=1)
    shown = scores.samples(rows, 10)
    assert len(shown) == 10
    joined = shown.merge(rows, on="clip")
    assert (joined["actual"] == joined["emotion"]).all()
    pd.testing.assert_frame_equal(shown, scores.samples(rows, 10))


def test_a_confusion_matrix_is_drawn_in_its_reading_order():
    counts = scores.confusion(predictions(), "emotion")
    ax = plots.confusion(counts, EMOTIONS, normalise=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == EMOTIONS
    assert [label.get_text() for label in ax.get_xticklabels()] == EMOTIONS
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "actual")
    assert [text.get_text() for text in ax.texts] == [str(count) for count in counts.ravel()]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first class on top
    shares = plots.confusion(counts, EMOTIONS)
    assert float(shares.texts[0].get_text()) == round(100 * counts[0, 0] / counts[0].sum())


# The published figures, without ser_utils: from here on only pandas and scikit-learn compute

ROWS = pd.read_csv(PUBLISHED / "predictions.csv.gz", dtype={"speaker": str})


def independent(rows):
    columns = [name for name in rows if name.startswith("p_") and rows[name].notna().all()]
    guess = rows[columns].idxmax(axis=1).str.removeprefix("p_")
    classes = [name.removeprefix("p_") for name in columns]
    parts = list(rows.assign(guess=guess).groupby("seed"))
    return {
        "uar": np.mean([metrics.recall_score(p["emotion"], p["guess"], labels=classes, average="macro")
                        for _, p in parts]),
        "accuracy": np.mean([metrics.accuracy_score(p["emotion"], p["guess"]) for _, p in parts]),
        "macro_f1": np.mean([metrics.f1_score(p["emotion"], p["guess"], labels=classes, average="macro",
                                              zero_division=0) for _, p in parts]),
        "chance": 1 / len(classes)}


def test_the_published_table_is_recomputed_without_the_package():
    made = scores.summary(publish.load()).set_index(publish.KEYS)
    for key, rows in ROWS.groupby(publish.KEYS):
        for name, value in independent(rows).items():
            assert made.loc[key, name] == pytest.approx(value, abs=1e-9), (key, name)


def test_every_published_row_is_there_and_complete():
    for names, protocol, labels, seeds in publish.ROWS:
        for name in names:
            rows = ROWS[(ROWS[publish.KEYS] == [name, protocol, labels]).all(axis=1)]
            clips = {"speaker-independent": 1440 if labels == "emotion" else 960, "random-split": 192}[protocol]
            assert sorted(rows["seed"].unique()) == list(seeds), name
            assert (rows.groupby("seed")["clip"].nunique() == clips).all(), name
            assert not rows.duplicated(["seed", "clip"]).any()
            np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1, atol=1e-4)


def test_no_published_speaker_was_trained_on():
    strict = ROWS[ROWS["protocol"] == "speaker-independent"]
    assert not strict[["speaker", "fold"]].drop_duplicates().duplicated("speaker").any()
    truth = ROWS.merge(pd.read_csv(corpora.ROOT / "data" / "ravdess" / "clips.csv"), on="clip")
    assert (truth["emotion_x"].str.removeprefix("female_").str.removeprefix("male_") == truth["emotion_y"]).all()


def test_the_cnn_keeps_its_promise():
    rows = ROWS[(ROWS[publish.KEYS] == ["cnn", "speaker-independent", "emotion"]).all(axis=1)]
    assert independent(rows)["uar"] >= 0.60


def test_every_published_row_left_a_trace():
    looks = pd.read_csv(PUBLISHED / "looks.csv")
    latest = looks.groupby(publish.KEYS).tail(1).set_index(publish.KEYS)
    for key, rows in ROWS.groupby(publish.KEYS):
        assert latest.loc[key, "uar"] == pytest.approx(independent(rows)["uar"], abs=1e-4)
        assert re.fullmatch("[0-9a-f]{40}", latest.loc[key, "commit"])


def test_the_readme_shows_the_published_table():
    readme = (corpora.ROOT / "README.md").read_text()
    shown = re.search("<!-- results -->\n(.*)\n<!-- /results -->", readme, re.DOTALL)
    assert shown.group(1).strip() == report.markdown(scores.summary(publish.load()))
