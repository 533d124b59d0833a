"""Who is learned from and who is tested: nobody on two sides, and what each protocol says it keeps apart."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from ser_utils import compare, corpora, features, splits


def test_the_published_folds(shipped):
    folds = splits.speaker_independent(shipped.clips)
    speaker = shipped.clips["speaker"].to_numpy()
    tested = [sorted(map(int, set(speaker[fold.test]))) for fold in folds]
    assert tested == [[2, 5, 14, 15, 16], [3, 6, 7, 13, 18], [10, 11, 12, 19, 20], [8, 17, 21, 23, 24], [1, 4, 9, 22]]
    validated = [sorted(map(int, set(speaker[fold.validation]))) for fold in folds]
    assert validated == [[3, 6], [10, 11], [8, 17], [1, 14], [2, 5]]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(1440))


@settings(max_examples=40, deadline=None)
@given(men=st.integers(0, 9), women=st.integers(0, 9), clips=st.integers(1, 4), ten=st.booleans())
def test_no_speaker_sits_on_two_sides(men, women, clips, ten):
    speakers = [("male", f"m{i}") for i in range(men)] + [("female", f"f{i}") for i in range(women)]
    table = pd.DataFrame([{"speaker": name, "gender": gender, "emotion": emotion}
                          for gender, name in speakers for emotion in corpora.EMOTIONS for _ in range(clips)],
                         columns=["speaker", "gender", "emotion"])
    labels = "gender_emotion" if ten else "emotion"
    if len(speakers) < 3:
        with pytest.raises(ValueError, match="at least three"):
            splits.speaker_independent(table, labels)
        return
    folds = splits.speaker_independent(table, labels)
    covered = np.flatnonzero(pd.notna(splits.label(table, labels)))
    assert sorted(np.concatenate([fold.test for fold in folds])) == covered.tolist()
    for fold in folds:
        sides = [set(table["speaker"].iloc[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == covered.tolist()


def test_the_ten_codes_cover_960_clips(shipped):
    names = splits.label(shipped.clips, "gender_emotion")
    counts = pd.Series(names).value_counts()
    assert counts.sum() == 960
    assert set(counts.index) == set(splits.TEN)
    assert splits.TEN[0] == "female_angry"
    assert splits.TEN[9] == "male_sad"
    uncovered = shipped.clips["emotion"][pd.isna(names)]
    assert set(uncovered) == {"neutral", "disgust", "surprised"}


def test_a_random_split_is_stratified_whole_and_its_seeds(shipped):
    [split] = splits.random_split(shipped.clips, "gender_emotion", seed=3)
    parts = [split.train, split.validation, split.test]
    assert [len(part) for part in parts] == [614, 154, 192]
    assert len(set(np.concatenate(parts))) == 960
    names = splits.label(shipped.clips, "gender_emotion")
    assert set(pd.Series(names[split.test]).value_counts()) <= {19, 20}
    np.testing.assert_array_equal(split.test, splits.random_split(shipped.clips, "gender_emotion", seed=3)[0].test)
    assert set(split.test) != set(splits.random_split(shipped.clips, "gender_emotion", seed=4)[0].test)


def test_unknown_labels_are_refused(shipped):
    with pytest.raises(ValueError, match="labels='mood'"):
        splits.label(shipped.clips, "mood")


@pytest.mark.parametrize("labels", ["emotion", "gender_emotion"])
@pytest.mark.parametrize("seed", [0, 5])
def test_each_rung_of_the_leak_keeps_apart_what_it_says_and_all_learn_equally_much(shipped, labels, seed):
    clips, names = shipped.clips, splits.label(shipped.clips, labels)
    line = clips.groupby(["speaker", "emotion", "intensity", "statement"]).ngroup()
    shared = {"leak-random": (), "leak-repetitions": (line,), "leak-speakers": (line, clips["speaker"]),
              "leak-speakers-statement": (line, clips["speaker"], clips["statement"])}
    learned_counts = set()
    for protocol, apart in shared.items():
        folds = splits.PROTOCOLS[protocol](clips, labels, seed=seed)
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(np.flatnonzero(pd.notna(names)))
        for fold in folds:
            learned = np.concatenate([fold.train, fold.validation])
            assert not set(learned) & set(fold.test)
            assert not set(fold.train) & set(fold.validation)
            for column in apart:
                assert not set(column[learned]) & set(column[fold.test])
            learned_counts.add(tuple(pd.Series(names[learned]).value_counts().sort_index()))
            assert len(fold.validation) > 0.05 * len(learned)
        met = np.isin(line[folds[0].test], line[np.concatenate([folds[0].train, folds[0].validation])]).mean()
        assert met > 0.3 if protocol == "leak-random" else met == 0
    assert len(learned_counts) == 1


def test_what_a_fold_may_choose_by_is_blind_to_its_own_test(shipped):
    sys.path.insert(0, str(corpora.ROOT / "tools"))
    import choose

    clips = shipped.clips
    tests = [set(clips["speaker"].iloc[fold.test]) for fold in splits.speaker_independent(clips)]
    nested = splits.nested(clips)
    rows = pd.concat([clips.iloc[fold.validation].assign(fold=fold.fold, trained=" ".join(
        clips["speaker"].iloc[fold.train].unique())) for fold in nested])
    for fold in nested:
        assert not len(fold.test)
        assert len(fold.train) + len(fold.validation) == len(clips)
    for test in tests:
        seen = choose.blind(rows, test)
        assert len(seen) == (24 - len(test)) * 60
        assert not test & set(seen["speaker"])
        for trained, part in seen.groupby("trained"):
            assert not (set(part["speaker"]) | test) & set(trained.split())
    with pytest.raises(ValueError, match="for choosing"):
        compare.plan(["svm"], ["nested"], part="test", clips=clips)


def test_classes_come_in_reading_order_and_further_ones_by_alphabet(shipped):
    assert splits.classes(shipped.clips) == corpora.EMOTIONS
    assert splits.classes(shipped.clips, "gender_emotion") == splits.TEN
    mixed = pd.DataFrame({"emotion": ["zeal", "bored", "sad", "neutral", None], "gender": ["male"] * 5})
    assert splits.classes(mixed) == ("neutral", "sad", "bored", "zeal")
    assert splits.classes(mixed, "gender_emotion") == ("male_sad",)


def test_one_speaker_is_left_out_at_a_time(shipped):
    folds, speaker = splits.leave_one_speaker_out(shipped.clips), shipped.clips["speaker"]
    assert [set(speaker[fold.test]) for fold in folds] == [{name} for name in sorted(speaker.unique())]
    for fold in folds:
        assert len(set(speaker[fold.validation])) == 1
        assert not (set(speaker[fold.train]) | set(speaker[fold.validation])) & set(speaker[fold.test])
        assert len(fold.train) == 22 * 60


def test_what_is_known_of_a_speaker_beforehand_is_not_predicted(shipped):
    clips = shipped.clips
    strict = splits.speaker_independent(clips)
    for seed in (0, 1):
        folds = splits.PROTOCOLS["few-shot"](clips, seed=seed)
        known = clips.iloc[folds[0].known]
        assert known.groupby("speaker")["emotion"].agg(sorted).map(tuple).unique().tolist() == [
            ("calm", "calm", "calm", "neutral", "neutral")]
        assert len(np.concatenate([fold.test for fold in folds])) == 1440 - 24 * 5
        for fold, plain in zip(folds, strict, strict=True):
            assert not set(fold.known) & set(fold.test)
            assert set(fold.test) < set(plain.test)
            np.testing.assert_array_equal(fold.train, plain.train)
    assert set(folds[0].known) != set(splits.PROTOCOLS["few-shot"](clips, seed=0)[0].known)
    for fold, plain in zip(splits.PROTOCOLS["speaker-adapted"](clips), strict, strict=True):
        np.testing.assert_array_equal(fold.test, plain.test)
        assert len(fold.known) == 1440


def test_a_speakers_features_are_brought_to_those_of_the_training_speakers():
    rng, speakers = np.random.default_rng(0), np.array(["a", "a", "b", "b", "c", "c"])
    sequences = [rng.normal(size=(30 + row, 4)) * (1 + row) + row for row in range(6)]
    known, learned = np.array([0, 2, 4]), np.array([0, 1, 2, 3])
    made = features.by_speaker(sequences, speakers, known, learned)
    scalers = {name: StandardScaler().fit(sequences[row]) for name, row in zip("abc", known, strict=True)}
    mean, sd = (np.mean([getattr(scalers[name], kind) for name in "ab"], axis=0) for kind in ("mean_", "scale_"))
    for speaker, before, after in zip(speakers, sequences, made, strict=True):
        np.testing.assert_allclose(after, scalers[speaker].transform(before) * sd + mean, rtol=1e-4, atol=1e-4)
    spoilt = [*sequences[:5], sequences[5] + 1e3]  # what is not known moves nobody but itself
    np.testing.assert_array_equal(np.concatenate(features.by_speaker(spoilt, speakers, known, learned)[:5]),
                                  np.concatenate(made[:5]))


@pytest.mark.parametrize("seed", [0, 3])
def test_fewer_speakers_or_clips_to_learn_from(shipped, seed):
    clips, speaker = shipped.clips, shipped.clips["speaker"].to_numpy()
    strict, before = splits.speaker_independent(clips), [set()] * 5
    for name, less in splits.LEARN.items():
        folds = splits.PROTOCOLS[name](clips, seed=seed)
        for fold, plain, smaller in zip(folds, strict, before, strict=True):
            learned = np.concatenate([fold.train, fold.validation])
            np.testing.assert_array_equal(fold.test, plain.test)
            assert not set(speaker[learned]) & set(speaker[fold.test])
            if "speakers" in less:
                assert len(set(speaker[learned])) == less["speakers"]
                assert len(learned) == 60 * less["speakers"]
                women = {name for name in set(speaker[learned]) if int(name) % 2 == 0}
                assert abs(2 * len(women) - less["speakers"]) <= 1 + max(0, less["speakers"] - 16)
                assert smaller <= set(speaker[learned])
            else:
                assert len(learned) == (1440 - len(fold.test)) / 2
                assert set(clips.iloc[learned].groupby(["speaker", "emotion"]).size()) == {2, 4}
        before = [set(speaker[np.concatenate([fold.train, fold.validation])]) for fold in folds]


def test_across_corpora_one_teaches_and_the_other_is_tested(shipped):
    bored = shipped.clips["emotion"].replace("calm", "bored")
    other = shipped.clips.assign(corpus="other", speaker="s", emotion=bored).iloc[::3]
    clips = pd.concat([shipped.clips, other], ignore_index=True)
    common = set(shipped.clips["emotion"]) - {"calm"}
    for protocol, by in (("across", None), ("across-by-corpus", "corpus"), ("across-by-speaker", "speaker")):
        there, back = splits.PROTOCOLS[protocol](clips)
        for split, taught, tested in ((there, "other", "ravdess"), (back, "ravdess", "other")):
            assert set(clips["corpus"].iloc[split.train]) == {taught}
            assert set(clips["corpus"].iloc[split.test]) == {tested}
            assert set(clips["emotion"].iloc[split.train]) == set(clips["emotion"].iloc[split.test]) == common
            assert not len(split.validation)
            assert (split.known is None) == (by is None)
            assert by in (None, split.by)
    with pytest.raises(ValueError, match="all clips are of ravdess"):
        splits.across(shipped.clips)
    sung = clips.assign(speaker=clips["speaker"].where(clips["corpus"] == "ravdess", "01"))
    with pytest.raises(ValueError, match="share 1 speakers"):
        splits.across(sung)
    alien = clips.assign(emotion=clips["emotion"].where(clips["corpus"] == "ravdess", "glad"))
    with pytest.raises(ValueError, match="have 0 emotion classes in common"):
        splits.across(alien)
    with pytest.raises(ValueError, match=r"2 speakers .* random-split"):
        splits.leave_one_speaker_out(shipped.clips.query("speaker < '03'"))


def test_too_few_clips_for_a_random_split(shipped):
    with pytest.raises(ValueError, match="16 clips of 8 classes are too few for three sides; bring seven"):
        splits.random_split(shipped.clips.groupby("emotion").head(2))
    assert splits.random_split(shipped.clips.groupby("emotion").head(7))


def test_across_corpora_by_gender_and_emotion_leaves_out_what_has_no_code(shipped):
    """What has no class is None and no NaN, which no order has a place for."""
    clips = shipped.clips.query("speaker in ('01', '02', '03')")
    both = pd.concat([clips, clips.assign(corpus="other", speaker="other" + clips["speaker"])], ignore_index=True)
    assert {name for name in splits.label(both, "gender_emotion") if not isinstance(name, str)} == {None}
    for split in splits.across(both, "gender_emotion"):
        assert set(splits.label(both, "gender_emotion")[split.test]) <= set(splits.TEN)
