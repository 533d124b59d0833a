"""Splits: frozen row numbers, disjoint speakers, and what each split promises."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=25, deadline=None)
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


@settings(max_examples=20, deadline=None)
@given(table=clips_tables(), seed=st.integers(0, 99), name=st.sampled_from([
    "speaker-independent", "leave-one-speaker-out", "nested-cv", "speaker-normalized"]))
def test_speaker_splits_follow_permuted_rows(table, seed, name):
    order = np.random.default_rng(seed).permutation(len(table))
    permuted = table.iloc[order].reset_index(drop=True)
    for a, b in zip(splits.SPLITS[name](table), splits.SPLITS[name](permuted), strict=True):
        for subset in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(a, subset), np.sort(order[getattr(b, subset)]))


def test_get_classes_of_each_target(clips):
    assert [splits.get_classes(clips, target) for target in ("emotion", "gender_emotion", "gender")] == [
        EMOTIONS, GENDER_EMOTIONS, ("female", "male")]


@pytest.mark.parametrize("target", ["emotion", "gender_emotion"])
def test_size_matched_splits_are_disjoint_and_of_equal_size(clips, target):
    labels = splits.get_labels(clips, target)
    utterance = clips.groupby(["speaker", "emotion", "intensity", "statement"]).ngroup()
    disjoint = {"size-matched-random": (), "size-matched-repetitions": (utterance,),
                "size-matched-speakers": (utterance, clips["speaker"]),
                "size-matched-speakers-statements": (utterance, clips["speaker"], clips["statement"])}
    class_counts = set()
    for name, columns in disjoint.items():
        folds = splits.SPLITS[name](clips, target, seed=5)
        assert sorted(np.concatenate([fold.test for fold in folds])) == np.flatnonzero(pd.notna(labels)).tolist()
        for fold in folds:
            train = np.concatenate([fold.train, fold.validation])
            assert len(set(train)) == len(train)
            for column in (pd.Series(clips.index), *columns):
                assert not set(column[train]) & set(column[fold.test])
            assert len(fold.validation) > 0.05 * len(train)
            class_counts.add(tuple(pd.Series(labels[train]).value_counts().sort_index()))
    assert len(class_counts) == 1


def test_nested_cv_scores_of_an_outer_fold_exclude_its_test_speakers(clips):
    speaker, inner = clips["speaker"].to_numpy(), splits.nested_cv(clips)
    for fold in inner:
        assert sorted(np.concatenate([fold.train, fold.validation])) == list(range(len(clips)))
    for outer in splits.speaker_independent(clips):
        test = set(speaker[outer.test])
        pairs = [fold for fold in inner if test <= set(speaker[fold.validation])]
        scored = [rows for fold in pairs for rows in fold.validation if speaker[rows] not in test]
        assert sorted(scored) == np.flatnonzero(~np.isin(speaker, list(test))).tolist()


def test_speaker_normalized_does_not_predict_enrollment_clips(clips):
    reference = splits.speaker_independent(clips)
    folds = splits.SPLITS["enrollment-normalized"](clips, seed=1)
    enrolled = clips.iloc[folds[0].norm_index]
    assert set(enrolled.groupby("speaker")["emotion"].agg(sorted).map(tuple)) == {
        ("calm", "calm", "calm", "neutral", "neutral")}
    for fold, transductive, plain in zip(folds, splits.speaker_normalized(clips), reference, strict=True):
        np.testing.assert_array_equal(fold.train, plain.train)
        np.testing.assert_array_equal(fold.test, np.setdiff1d(plain.test, enrolled.index))
        np.testing.assert_array_equal(fold.validation, np.setdiff1d(plain.validation, enrolled.index))
        np.testing.assert_array_equal(transductive.test, plain.test)
        np.testing.assert_array_equal(transductive.norm_index, np.arange(1440))


@pytest.mark.parametrize("norm_by", [None, "corpus", "speaker"])
@pytest.mark.parametrize(("target", "classes"), [("emotion", EMOTIONS), ("gender_emotion", GENDER_EMOTIONS)])
def test_cross_corpus_trains_on_one_corpus_and_tests_the_other(two_corpora, norm_by, target, classes):
    folds, labels = splits.cross_corpus(two_corpora, target, norm_by=norm_by), splits.get_labels(two_corpora, target)
    for fold, corpora in zip(folds, [("other", "ravdess"), ("ravdess", "other")], strict=True):
        for rows, corpus in zip((fold.train, fold.test), corpora, strict=True):
            assert set(two_corpora["corpus"].iloc[rows]) == {corpus}
            assert set(labels[rows]) == {name for name in classes if "calm" not in name}
        assert not len(fold.validation)
        assert (fold.norm_by if fold.norm_index is not None else None) == norm_by


def test_unseen_speaker_splits_never_train_on_a_test_speaker(two_corpora, clips):
    for name in splits.UNSEEN_SPEAKER_SPLITS:
        table = two_corpora if name.startswith("cross-corpus") else clips
        for fold in splits.SPLITS[name](table):
            train, test = ((np.concatenate([fold.train, fold.validation]), fold.test) if len(fold.test) else
                           (fold.train, fold.validation))
            assert not set(table["speaker"][train]) & set(table["speaker"][test])


@pytest.mark.parametrize(("split", "change", "message"), [
    (splits.speaker_independent, lambda clips, _: clips.query("speaker < '03'"), r"2 speakers \(01, 02\)"),
    (splits.leave_one_speaker_out, lambda clips, _: clips.assign(speaker=clips["speaker"].where(
        clips["speaker"] != "01")), "60 of 1440 clips have no speaker"),
    (splits.random_split, lambda clips, _: clips.groupby("emotion").head(2), "16 clips of 8 classes"),
    (splits.cross_corpus, lambda clips, _: clips, "all clips are from ravdess"),
    (splits.cross_corpus, lambda _, both: both.assign(speaker=both["speaker"].where(
        both["corpus"] == "ravdess", "01")), "1 common speakers"),
    (splits.cross_corpus, lambda _, both: both.assign(emotion=both["emotion"].where(
        both["corpus"] == "ravdess", "glad")), "0 emotion classes"),
    (lambda clips: splits.get_labels(clips, "mood"), lambda clips, _: clips, "'mood'"),
])
def test_splits_reject_clips_that_cannot_be_split(clips, two_corpora, split, change, message):
    with pytest.raises(ValueError, match=message):
        split(change(clips, two_corpora))
