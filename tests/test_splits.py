"""Splits: frozen row numbers, disjoint speakers, and what each split promises."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS, TARGETS
from ser_utils.evaluation import splits

# of the rows of every fold, for all targets and the seeds 0 to 2 on RAVDESS; the published results rest on them
FROZEN = {
    "speaker-independent": "6f395bb9", "leave-one-speaker-out": "10ba5cfb", "random-split": "14c8f034",
    "nested-cv": "87467827", "speaker-normalized": "73e05960", "enrollment-normalized": "989dbc4c",
    "train-5-speakers": "350c61bf", "train-10-speakers": "3d90192b", "train-15-speakers": "55630431",
    "train-half-clips": "40dc364c", "size-matched-random": "b60cb5e5", "size-matched-repetitions": "fe5a7d45",
    "size-matched-speakers": "74861514", "size-matched-speakers-statements": "25799831"}


@pytest.fixture(scope="module")
def clips(ravdess):
    return ravdess.clips


@pytest.fixture(scope="module")
def two_corpora(clips):
    bored = clips["emotion"].replace("calm", "bored")
    other = clips.assign(corpus="other", speaker="other" + clips["speaker"], emotion=bored)
    return pd.concat([clips, other.iloc[::3]], ignore_index=True)


@st.composite
def clips_tables(draw):
    """Clips tables of three to nine speakers, each with one to three clips of every emotion."""
    genders = draw(st.lists(st.sampled_from(["female", "male"]), min_size=3, max_size=9))
    n = draw(st.integers(1, 3))
    return pd.DataFrame([
        {"corpus": "c", "speaker": f"s{speaker}", "gender": gender, "emotion": emotion, "repetition": repetition}
        for speaker, gender in enumerate(genders) for emotion in EMOTIONS for repetition in range(n)])


@pytest.mark.parametrize("name", FROZEN)
def test_splits_are_frozen(clips, name):
    digest = hashlib.blake2b(digest_size=4)
    for target in TARGETS:
        for seed in range(3):
            for split in splits.SPLITS[name](clips, target, seed=seed):
                for rows in (split.train, split.validation, split.test, split.norm_index):
                    if rows is not None:
                        digest.update(rows.astype(np.int64).tobytes() + b".")
    assert digest.hexdigest() == FROZEN[name]


def test_speaker_independent_has_published_folds(clips):
    folds = splits.speaker_independent(clips)
    for subset, actors in (("test", splits.RAVDESS_TEST_ACTORS), ("validation", splits.RAVDESS_VALIDATION_ACTORS)):
        for fold, expected in zip(folds, actors, strict=True):
            assert sorted(clips["speaker"].iloc[getattr(fold, subset)].astype(int).unique()) == list(expected)


@settings(max_examples=40, deadline=None)
@given(table=clips_tables(), target=st.sampled_from(TARGETS),
       name=st.sampled_from(["speaker-independent", "leave-one-speaker-out"]))
def test_speaker_splits_are_disjoint_and_test_every_clip_once(table, target, name):
    folds, usable = splits.SPLITS[name](table, target), np.flatnonzero(pd.notna(splits.get_labels(table, target)))
    assert sorted(np.concatenate([fold.test for fold in folds])) == usable.tolist()
    for fold in folds:
        subsets = [fold.train, fold.validation, fold.test]
        speakers = [set(table["speaker"].iloc[rows]) for rows in subsets]
        assert all(speakers)
        assert len(set.union(*speakers)) == sum(map(len, speakers))
        assert sorted(np.concatenate(subsets)) == usable.tolist()


@settings(max_examples=30, deadline=None)
@given(table=clips_tables(), seed=st.integers(0, 99), name=st.sampled_from([
    "speaker-independent", "leave-one-speaker-out", "nested-cv", "speaker-normalized"]))
def test_speaker_splits_follow_permuted_rows(table, seed, name):
    order = np.random.default_rng(seed).permutation(len(table))
    permuted = table.iloc[order].reset_index(drop=True)
    for a, b in zip(splits.SPLITS[name](table), splits.SPLITS[name](permuted), strict=True):
        for subset in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(a, subset), np.sort(order[getattr(b, subset)]))


def test_get_labels_covers_960_clips_with_gender_emotion(clips):
    labels = splits.get_labels(clips, "gender_emotion")
    has_label = pd.notna(labels)
    assert has_label.sum() == 960
    assert set(clips["emotion"][~has_label]) == {"neutral", "disgust", "surprised"}
    assert (labels[has_label] == (clips["gender"] + "_" + clips["emotion"])[has_label]).all()


def test_get_classes_sorts_known_classes_first(clips):
    assert splits.get_classes(clips) == EMOTIONS
    assert splits.get_classes(clips, "gender_emotion") == GENDER_EMOTIONS
    assert splits.get_classes(clips, "gender") == ("female", "male")
    mixed = pd.DataFrame({"emotion": ["zeal", "bored", "sad", "neutral", None], "gender": ["male"] * 5})
    assert splits.get_classes(mixed) == ("neutral", "sad", "bored", "zeal")
    assert splits.get_classes(mixed, "gender_emotion") == ("male_sad",)


def test_random_split_is_stratified(clips):
    [split] = splits.random_split(clips, "gender_emotion", seed=3)
    labels = splits.get_labels(clips, "gender_emotion")
    rows = np.flatnonzero(pd.notna(labels))
    _, test = train_test_split(rows, test_size=0.2, stratify=labels[rows], random_state=3)
    np.testing.assert_array_equal(split.test, np.sort(test))
    assert set(pd.Series(labels[split.test]).value_counts()) <= {19, 20}
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == rows.tolist()


@pytest.mark.parametrize("target", ["emotion", "gender_emotion"])
@pytest.mark.parametrize("seed", [0, 5])
def test_size_matched_splits_are_disjoint_and_of_equal_size(clips, target, seed):
    labels = splits.get_labels(clips, target)
    utterance = clips.groupby(["speaker", "emotion", "intensity", "statement"]).ngroup()
    disjoint = {"size-matched-random": (), "size-matched-repetitions": (utterance,),
                "size-matched-speakers": (utterance, clips["speaker"]),
                "size-matched-speakers-statements": (utterance, clips["speaker"], clips["statement"])}
    class_counts = set()
    for name, columns in disjoint.items():
        folds = splits.SPLITS[name](clips, target, seed=seed)
        assert sorted(np.concatenate([fold.test for fold in folds])) == np.flatnonzero(pd.notna(labels)).tolist()
        for fold in folds:
            train = np.concatenate([fold.train, fold.validation])
            assert len(set(train)) == len(train)
            assert not set(train) & set(fold.test)
            for column in columns:
                assert not set(column[train]) & set(column[fold.test])
            assert len(fold.validation) > 0.05 * len(train)
            class_counts.add(tuple(pd.Series(labels[train]).value_counts().sort_index()))
    assert len(class_counts) == 1


def test_size_matched_uses_stratified_group_k_fold(clips):
    labels = splits.get_labels(clips).astype(str)
    groups = clips.groupby(["speaker", "emotion", "intensity", "statement"]).ngroup()
    expected = StratifiedGroupKFold(5, shuffle=True, random_state=1).split(labels, labels, groups)
    for fold, (_, test) in zip(splits.size_matched(clips, seed=1, disjoint="repetitions"), expected, strict=True):
        np.testing.assert_array_equal(fold.test, test)


def test_nested_cv_scores_of_an_outer_fold_exclude_its_test_speakers(clips):
    speaker, inner = clips["speaker"].to_numpy(), splits.nested_cv(clips)
    for fold in inner:
        assert not len(fold.test)
        assert sorted(np.concatenate([fold.train, fold.validation])) == list(range(len(clips)))
    for outer in splits.speaker_independent(clips):
        test = set(speaker[outer.test])
        pairs = [fold for fold in inner if test <= set(speaker[fold.validation])]
        scored = [rows for fold in pairs for rows in fold.validation if speaker[rows] not in test]
        assert sorted(scored) == np.flatnonzero(~np.isin(speaker, list(test))).tolist()
        assert not any(test & set(speaker[fold.train]) for fold in pairs)


def test_speaker_normalized_does_not_predict_enrollment_clips(clips):
    reference = splits.speaker_independent(clips)
    for seed in (0, 1):
        folds = splits.SPLITS["enrollment-normalized"](clips, seed=seed)
        enrolled = clips.iloc[folds[0].norm_index]
        assert set(enrolled.groupby("speaker")["emotion"].agg(sorted).map(tuple)) == {
            ("calm", "calm", "calm", "neutral", "neutral")}
        assert sum(len(fold.test) for fold in folds) == 1440 - 24 * 5
        for fold, plain in zip(folds, reference, strict=True):
            assert not set(fold.norm_index) & {*fold.test, *fold.validation}
            assert set(fold.test) < set(plain.test)
            np.testing.assert_array_equal(fold.train, plain.train)
    for fold, plain in zip(splits.SPLITS["speaker-normalized"](clips), reference, strict=True):
        np.testing.assert_array_equal(fold.test, plain.test)
        np.testing.assert_array_equal(fold.norm_index, np.arange(1440))


@pytest.mark.parametrize("seed", [0, 3])
def test_train_subset_draws_nested_sets_of_both_genders(clips, seed):
    speaker, reference = clips["speaker"].to_numpy(), splits.speaker_independent(clips)
    previous = [set()] * len(reference)
    for n_speakers in (5, 10, 15):
        folds = splits.train_subset(clips, seed=seed, n_speakers=n_speakers)
        drawn = [set(speaker[np.concatenate([fold.train, fold.validation])]) for fold in folds]
        for fold, plain, speakers, fewer in zip(folds, reference, drawn, previous, strict=True):
            np.testing.assert_array_equal(fold.test, plain.test)
            assert len(speakers) == n_speakers
            assert fewer <= speakers - set(speaker[fold.test])
            assert len(fold.train) + len(fold.validation) == 60 * n_speakers
            assert abs(2 * sum(int(name) % 2 == 0 for name in speakers) - n_speakers) <= 1  # even numbers: female
        previous = drawn


def test_train_subset_draws_a_fraction_of_each_speaker_and_emotion(clips):
    for fold in splits.train_subset(clips, clip_fraction=0.5):
        rows = np.concatenate([fold.train, fold.validation])
        assert len(rows) == (1440 - len(fold.test)) / 2
        assert set(clips.iloc[rows].groupby(["speaker", "emotion"]).size()) == {2, 4}


@pytest.mark.parametrize("norm_by", [None, "corpus", "speaker"])
def test_cross_corpus_trains_on_one_corpus_and_tests_the_other(two_corpora, norm_by):
    folds = splits.cross_corpus(two_corpora, norm_by=norm_by)
    for fold, (train, test) in zip(folds, [("other", "ravdess"), ("ravdess", "other")], strict=True):
        assert set(two_corpora["corpus"].iloc[fold.train]) == {train}
        assert set(two_corpora["corpus"].iloc[fold.test]) == {test}
        assert set(two_corpora["emotion"].iloc[fold.train]) == set(EMOTIONS) - {"calm"}
        assert set(two_corpora["emotion"].iloc[fold.test]) == set(EMOTIONS) - {"calm"}
        assert not len(fold.validation)
        assert (fold.norm_index is None) == (norm_by is None)
        assert norm_by in (None, fold.norm_by)


def test_cross_corpus_leaves_out_clips_without_class(two_corpora):
    for fold in splits.cross_corpus(two_corpora, "gender_emotion"):
        labels = splits.get_labels(two_corpora, "gender_emotion")
        assert set(labels[fold.train]) | set(labels[fold.test]) <= set(GENDER_EMOTIONS)


def test_unseen_speaker_splits_never_train_on_a_test_speaker(two_corpora, clips):
    for name in splits.UNSEEN_SPEAKER_SPLITS:
        table = two_corpora if name.startswith("cross-corpus") else clips
        for fold in splits.SPLITS[name](table):
            train = np.concatenate([fold.train, fold.validation]) if len(fold.test) else fold.train
            assert not set(table["speaker"][train]) & set(table["speaker"][fold.test if len(fold.test)
                                                                          else fold.validation])


def test_get_labels_rejects_unknown_target(clips):
    with pytest.raises(ValueError, match="target='mood' is unknown; choose one of emotion"):
        splits.get_labels(clips, "mood")


def test_splits_reject_clips_that_cannot_be_split(clips, two_corpora):
    two_speakers = clips.query("speaker < '03'")
    with pytest.raises(ValueError, match=r"2 speakers \(01, 02\) are too few .* --split random-split"):
        splits.speaker_independent(two_speakers)
    with pytest.raises(ValueError, match="60 of 1440 clips have no speaker"):
        splits.leave_one_speaker_out(clips.assign(speaker=clips["speaker"].where(clips["speaker"] != "01")))
    with pytest.raises(ValueError, match=r"16 clips of 8 classes are too few .* at least seven"):
        splits.random_split(clips.groupby("emotion").head(2))
    with pytest.raises(ValueError, match="all clips are from ravdess"):
        splits.cross_corpus(clips)
    is_first = two_corpora["corpus"] == "ravdess"
    with pytest.raises(ValueError, match="have 1 common speakers"):
        splits.cross_corpus(two_corpora.assign(speaker=two_corpora["speaker"].where(is_first, "01")))
    with pytest.raises(ValueError, match="have 0 emotion classes in common"):
        splits.cross_corpus(two_corpora.assign(emotion=two_corpora["emotion"].where(is_first, "glad")))
