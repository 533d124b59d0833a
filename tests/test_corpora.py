"""Folders to clips tables to folds: names, departures, and nobody on two sides."""

import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MINIATURE
from ser_utils import compare, corpora, splits


@pytest.fixture
def tree(tmp_path):
    """Three clips nested as people nest them, one of them a WAV in capitals."""
    source = MINIATURE / "Actor_02"
    for place, name in (("Actor_02", "03-01-05-01-02-01-02.flac"), ("deep/er/Actor_02", "03-01-02-01-01-01-02.flac")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, tmp_path / place / name)
    shutil.copy(source / "03-01-01-01-01-01-02.flac", tmp_path / "03-01-01-01-01-01-02.WAV")
    return tmp_path


def test_a_name_says_everything(tree):
    with pytest.warns(corpora.CorpusWarning, match="3 clips where 1440"):
        clips = corpora.read(tree)
    assert list(clips.columns) == corpora.COLUMNS
    assert clips["clip"].tolist() == ["03-01-01-01-01-01-02", "03-01-02-01-01-01-02", "03-01-05-01-02-01-02"]
    angry = clips.iloc[2]
    assert angry[["speaker", "gender", "emotion", "intensity", "statement", "repetition"]].tolist() == [
        "02", "female", "angry", "normal", "dogs", 1]
    assert angry["path"] == "Actor_02/03-01-05-01-02-01-02.flac"


def test_odd_files_and_second_copies_are_counted_and_left_out(tree):
    shutil.copy(tree / "Actor_02" / "03-01-05-01-02-01-02.flac", tree / "03-01-05-01-02-01-02.flac")
    for odd in ("03-02-05-01-02-01-02.wav", "noise.wav", "03-01-09-01-01-01-02.flac", "03-01-01-01-01-01-25.wav"):
        (tree / odd).write_bytes(b"")
    with pytest.warns(corpora.CorpusWarning, match="1 second copies left out; 4 files left out"):
        assert len(corpora.read(tree)) == 3


def test_no_recording_says_what_was_looked_for_where_and_how_to_get_it(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(corpora.CorpusError, match="no RAVDESS speech recording") as caught:
            corpora.read(folder)
        for part in (str(folder), "03-01-05-01-02-01-12", "zenodo.org/records/1188976", "SER_DATA"):
            assert part in str(caught.value)


def test_the_folder_is_the_argument_then_the_environment_then_the_default(monkeypatch):
    monkeypatch.setenv("SER_DATA", "/from/environment")
    assert corpora.folder_of(folder="/given").as_posix() == "/given"
    assert corpora.folder_of().as_posix() == "/from/environment"
    monkeypatch.delenv("SER_DATA")
    assert corpora.folder_of() == corpora.ROOT / "data" / "raw" / "ravdess"


def test_an_unknown_corpus_is_refused():
    with pytest.raises(corpora.CorpusError, match="corpus='tess' is unknown"):
        corpora.read(MINIATURE, "tess")


def test_the_shipped_table_is_the_recordings(recordings, shipped):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = corpora.read(recordings)
    pd.testing.assert_frame_equal(clips, shipped.clips[corpora.COLUMNS])


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
