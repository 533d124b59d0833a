"""Splits: unchanged row numbers, disjoint speakers, and the definition of each split."""

import hashlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS, TARGETS
from ser_utils.evaluation import splits

# hashes of the rows of every fold on RAVDESS, for all targets and seeds 0 to 2; the published results depend on them
HASHES = {
    "speaker-independent": "6f395bb9", "leave-one-speaker-out": "10ba5cfb", "random-split": "14c8f034",
    "selection-cv": "87467827", "speaker-normalized": "73e05960", "enrollment-normalized": "989dbc4c",
    "train-5-speakers": "350c61bf", "train-10-speakers": "3d90192b", "train-15-speakers": "55630431",
    "train-half-clips": "40dc364c", "size-matched-random": "b60cb5e5", "size-matched-repetitions": "fe5a7d45",
    "size-matched-speakers": "74861514", "size-matched-speakers-statements": "25799831"}


@pytest.fixture(scope="module")
def clips(ravdess):
    return ravdess.clips


def make_clips(corpus, speakers, emotions=("angry", "sad"), n=1):
    """A clips table of `n` clips of each speaker and emotion, of both genders alternately."""
    return pd.DataFrame([
        {"corpus": corpus, "speaker": speaker, "gender": ("male", "female")[index % 2], "emotion": emotion}
        for index, speaker in enumerate(speakers) for emotion in emotions for _ in range(n)])


RAVDESS_SPEAKERS = [f"ravdess/{actor:02d}" for actor in range(1, 25)]


@pytest.fixture(scope="module")
def corpora():
    """A clips table of several corpora; two have the same speakers, two are held out from `train_speakers`."""
    return pd.concat([
        make_clips("ravdess", RAVDESS_SPEAKERS, n=2), make_clips("ravdess-song", RAVDESS_SPEAKERS[:-1]),
        make_clips("crema-d", [f"crema-d/{speaker}" for speaker in range(180)]),
        make_clips("tess", ["tess/O", "tess/Y"], n=20), make_clips("emodb", ["emodb/3", "emodb/8", "emodb/9"]),
        make_clips("casia", ["casia/1", "casia/2"])]).sample(frac=1, random_state=0, ignore_index=True)


@st.composite
def corpora_tables(draw):
    """Clips tables of two to four corpora, which can have common speakers and different emotions."""
    emotions = st.lists(st.sampled_from(EMOTIONS[:5]), min_size=1, max_size=5, unique=True)
    speakers = st.lists(st.integers(0, 9).map("s{}".format), min_size=1, max_size=3, unique=True)
    tables = [make_clips(name, draw(speakers), draw(emotions)) for name in "abcd"[:draw(st.integers(2, 4))]]
    return pd.concat(tables).sample(frac=1, random_state=draw(st.integers(0, 9)), ignore_index=True)


@st.composite
def clips_tables(draw):
    """Clips tables of three to nine speakers, each with one to three clips of every emotion."""
    genders = draw(st.lists(st.sampled_from(["female", "male"]), min_size=3, max_size=9))
    n = draw(st.integers(1, 3))
    return pd.DataFrame([
        {"corpus": "c", "speaker": f"s{speaker}", "gender": gender, "emotion": emotion, "repetition": repetition}
        for speaker, gender in enumerate(genders) for emotion in EMOTIONS for repetition in range(n)])


@pytest.mark.parametrize("name", HASHES)
def test_rows_of_splits_are_unchanged(clips, name):
    digest = hashlib.blake2b(digest_size=4)
    for target in TARGETS:
        for seed in range(3):
            for split in splits.SPLITS[name](clips, target, seed=seed):
                for rows in (split.train, split.validation, split.test, split.norm_index):
                    if rows is not None:
                        digest.update(rows.astype(np.int64).tobytes() + b".")
    assert digest.hexdigest() == HASHES[name]


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
    "speaker-independent", "leave-one-speaker-out", "selection-cv", "speaker-normalized"]))
def test_speaker_splits_do_not_depend_on_the_order_of_rows(table, seed, name):
    order = np.random.default_rng(seed).permutation(len(table))
    permuted = table.iloc[order].reset_index(drop=True)
    for fold, permuted_fold in zip(splits.SPLITS[name](table), splits.SPLITS[name](permuted), strict=True):
        for subset in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(fold, subset), np.sort(order[getattr(permuted_fold, subset)]))


def test_get_classes_returns_the_classes_of_each_target(clips):
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


def test_selection_cv_scores_of_an_outer_fold_exclude_its_test_speakers(clips):
    speaker, inner = clips["speaker"].to_numpy(), splits.selection_cv(clips)
    for fold in inner:
        assert sorted(np.concatenate([fold.train, fold.validation])) == list(range(len(clips)))
    for outer in splits.speaker_independent(clips):
        test = set(speaker[outer.test])
        pairs = [fold for fold in inner if test <= set(speaker[fold.validation])]
        scored_rows = [rows for fold in pairs for rows in fold.validation if speaker[rows] not in test]
        assert sorted(scored_rows) == np.flatnonzero(~np.isin(speaker, list(test))).tolist()


def test_enrollment_normalized_excludes_enrollment_clips_from_the_test_set(clips):
    reference = splits.speaker_independent(clips)
    folds = splits.SPLITS["enrollment-normalized"](clips, seed=1)
    enrollment_clips = clips.iloc[folds[0].norm_index]
    assert set(enrollment_clips.groupby("speaker")["emotion"].agg(sorted).map(tuple)) == {
        ("calm", "calm", "calm", "neutral", "neutral")}
    for fold, transductive, plain in zip(folds, splits.speaker_normalized(clips), reference, strict=True):
        np.testing.assert_array_equal(fold.train, plain.train)
        np.testing.assert_array_equal(fold.test, np.setdiff1d(plain.test, enrollment_clips.index))
        np.testing.assert_array_equal(fold.validation, np.setdiff1d(plain.validation, enrollment_clips.index))
        np.testing.assert_array_equal(transductive.test, plain.test)
        np.testing.assert_array_equal(transductive.norm_index, np.arange(1440))


def list_corpus_folds(table, labels, name):
    """Training and test rows of each fold of a split of corpora, from its definition."""
    groups = table.groupby("corpus").groups
    usable = {corpus: [row for row in rows if labels[row] is not None] for corpus, rows in groups.items()}
    speakers = {corpus: set(table["speaker"][rows]) for corpus, rows in groups.items()}
    classes = {corpus: {labels[row] for row in rows} for corpus, rows in usable.items()}
    for corpus in sorted(groups):
        others = [other for other in groups if other != corpus and speakers[other].isdisjoint(speakers[corpus])]
        pairs = [([corpus], other) for other in others] if name == "cross-corpus" else [(others, corpus)]
        test = []
        for train, test_corpus in pairs:
            common = set().union(*(classes[other] for other in train)) & classes[test_corpus]
            test += [row for row in usable[test_corpus] if labels[row] in common] if len(common) > 1 else []
        if test:
            yield sorted(row for other in pairs[0][0] for row in usable[other]), sorted(test)


@pytest.mark.parametrize("name", ["cross-corpus", "leave-one-corpus-out"])
@settings(max_examples=60, deadline=None)
@given(table=corpora_tables(), target=st.sampled_from(TARGETS))
def test_splits_of_corpora_test_common_classes_of_unseen_speakers(name, table, target):
    expected = list(list_corpus_folds(table, splits.get_labels(table, target), name))
    if not expected:
        with pytest.raises(ValueError, match="a, b"):
            splits.SPLITS[name](table, target)
        return
    folds = splits.SPLITS[name](table, target)
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in folds] == expected
    assert [fold.fold for fold in folds] == list(range(len(expected)))
    assert not any(len(fold.validation) for fold in folds)


@pytest.mark.parametrize(("plain", "norm_by"), [
    ("cross-corpus", "corpus"), ("cross-corpus", "speaker"), ("leave-one-corpus-out", "corpus")])
def test_splits_of_corpora_are_normalized_with_all_clips(corpora, plain, norm_by):
    folds = splits.SPLITS[f"{plain}-{norm_by}-normalized"](corpora)
    for fold, expected in zip(folds, splits.SPLITS[plain](corpora), strict=True):
        assert (expected.norm_index, fold.norm_by) == (None, norm_by)
        np.testing.assert_array_equal(fold.norm_index, np.arange(len(corpora)))
        np.testing.assert_array_equal(fold.train, expected.train)
        np.testing.assert_array_equal(fold.test, expected.test)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), numbers=st.lists(st.integers(1, 200), min_size=2, max_size=3, unique=True).map(sorted))
def test_train_speakers_are_nested_and_unseen(corpora, seed, numbers):
    curve = [splits.train_speakers(corpora, seed=seed, n_speakers=n, max_clips=3) for n in numbers]
    is_held_out = corpora["corpus"].isin(["emodb", "casia"])
    for fold, actors in enumerate(splits.RAVDESS_TEST_ACTORS):
        test_actors = {f"ravdess/{actor:02d}" for actor in actors}
        is_test = is_held_out | (corpora["corpus"] == "ravdess") & corpora["speaker"].isin(test_actors)
        previous = set()
        for n, folds in zip(numbers, curve, strict=True):
            train = corpora.iloc[folds[fold].train]
            assert train.index.is_unique
            assert train["speaker"].nunique() == n
            assert train.groupby("speaker").size().eq(  # all of its clips, up to max_clips
                corpora.groupby("speaker").size().clip(upper=3)[train["speaker"].unique()]).all()
            assert not test_actors & set(train["speaker"])
            assert not is_held_out[train.index].any()
            assert folds[fold].test.tolist() == np.flatnonzero(is_test).tolist()
            assert previous <= set(train.index)
            previous = set(train.index)


def test_train_speakers_are_drawn_uniformly():
    frequent = make_clips("tess", [f"tess/{speaker}" for speaker in range(20)], n=20)
    table = pd.concat([make_clips("ravdess", RAVDESS_SPEAKERS), frequent], ignore_index=True)
    draws = [table.iloc[fold.train].drop_duplicates("speaker")["corpus"] for seed in range(0, 500, 5)
             for fold in splits.train_speakers(table, seed=seed, n_speakers=4)]
    # of 39 or 40 available speakers 20 are from this corpus, with 95 % of the clips
    assert (pd.concat(draws) == "tess").mean() == pytest.approx(0.507, abs=0.05)
    assert len({tuple(rows.index) for rows in draws}) > 400
    with pytest.raises(ValueError, match=r"39 .* 40"):
        splits.train_speakers(table, n_speakers=40)


def test_train_speakers_test_classes_of_the_training_set(corpora):
    emotion = corpora["emotion"].where((corpora["corpus"] != "emodb") | (corpora["emotion"] != "sad"), "bored")
    table = corpora.assign(emotion=emotion)
    for fold in splits.train_speakers(table, n_speakers=20):
        assert set(table["emotion"][fold.test]) <= set(table["emotion"][fold.train])


@pytest.mark.parametrize("name", sorted(splits.UNSEEN_SPEAKER_SPLITS))
def test_unseen_speaker_splits_never_train_on_a_test_speaker(corpora, clips, name):
    table = corpora if name in splits.MULTI_CORPUS_SPLITS else clips
    if name.endswith("-adapted"):  # needs neutral clips
        table = pd.concat([table, table.assign(emotion="neutral")], ignore_index=True)
    for fold in splits.SPLITS[name](table):
        train, test = ((np.concatenate([fold.train, fold.validation]), fold.test) if len(fold.test) else
                       (fold.train, fold.validation))
        assert not set(table["speaker"][train]) & set(table["speaker"][test])


@pytest.mark.parametrize(("split", "change", "message"), [
    (splits.speaker_independent, lambda clips, _: clips.query("speaker < '03'"), r"2 speakers \(01, 02\)"),
    (splits.leave_one_speaker_out, lambda clips, _: clips.assign(speaker=clips["speaker"].where(
        clips["speaker"] != "01")), "60 of 1440 clips have no speaker"),
    (splits.random_split, lambda clips, _: clips.groupby("emotion").head(2), "16 clips of 8 classes"),
    (splits.cross_corpus, lambda clips, _: clips, "ravdess"),
    (splits.SPLITS["leave-one-corpus-out-open-adapted"], lambda _, corpora: corpora, "no speaker has two neutral"),
    (splits.SPLITS["cross-corpus-speaker-normalized"], lambda _, corpora: corpora.assign(speaker=None), "no speaker"),
    (lambda clips: splits.get_labels(clips, "mood"), lambda clips, _: clips, "'mood'"),
    *((partial(split, **arguments), lambda clips, _: clips, message) for split, arguments, message in (
        (splits.train_subset, {"n_speakers": 0}, "n_speakers=0"),
        (splits.train_subset, {"clip_fraction": 2}, "clip_fraction=2"),
        (splits.speaker_normalized, {"enrollment": {}}, "no clip"),
        (splits.speaker_normalized, {"enrollment": {"calm": 9}}, r"enrollment\['calm'\]=9 .* 1 and 8"),
        (splits.cross_corpus, {"norm_by": "gender"}, "'gender'"),
        (splits.size_matched, {"disjoint": "sentences"}, "'sentences'"),
        (splits.train_speakers, {"n_speakers": 0}, "n_speakers=0"),
        (splits.enroll_test_speakers, {"split": splits.speaker_independent, "max_clips": 0}, "max_clips=0"),
        (splits.random_split, {"seed": -1}, "[Ss]eed"))),
    (partial(splits.size_matched, disjoint="repetitions"), lambda clips, _: clips.assign(intensity=None),
     "1440 of 1440 clips have no intensity"),
])
def test_splits_reject_clips_that_cannot_be_split(clips, corpora, split, change, message):
    with pytest.raises(ValueError, match=message):
        split(change(clips, corpora))


@pytest.mark.parametrize(("split", "column"), [
    (splits.speaker_independent, "speaker"), (splits.speaker_independent, "gender"),
    (splits.speaker_independent, "emotion"), (splits.leave_one_speaker_out, "speaker"),
    (splits.selection_cv, "speaker"), (partial(splits.speaker_normalized, enrollment={"sad": 1}), "emotion"),
    (partial(splits.train_subset, n_speakers=2), "gender"), (splits.random_split, "emotion"),
    (partial(splits.random_split, target="gender_emotion"), "gender"), (splits.cross_corpus, "speaker"),
    (splits.leave_one_corpus_out, "emotion"), (splits.speaker_independent_multi_corpus, "speaker"),
    (partial(splits.train_speakers, n_speakers=1), "speaker"),
    (partial(splits.enroll_test_speakers, split=splits.speaker_independent), "speaker"),
    (partial(splits.size_matched, disjoint="speakers"), "statement"),
    (partial(splits.size_matched, disjoint="repetitions"), "intensity")])
def test_splits_name_missing_columns(split, column):
    table = make_clips("c", ["a", "b", "c"]).assign(statement="x", intensity="y")
    with pytest.raises(ValueError, match=f"lacks the column .*{column}"):
        split(table.drop(columns=column))


def test_speaker_splits_accept_integer_speakers():
    names, numbers = make_clips("c", list("abcde")), make_clips("c", range(5))
    for split in (splits.speaker_independent, splits.leave_one_speaker_out):
        for fold, expected in zip(split(numbers), split(names), strict=True):
            np.testing.assert_array_equal(fold.test, expected.test)
    with pytest.raises(ValueError, match=r"2 speakers \(0, 1\)"):
        splits.speaker_independent(make_clips("c", range(2)))
