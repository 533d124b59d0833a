"""Folders to clips tables: names, and departures from what was published."""

import shutil
import warnings

import pandas as pd
import pytest

from conftest import MINIATURE
from ser_utils import corpora


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


def test_emodb_names_say_everything(tmp_path):
    for name in ("03a01Fa.wav", "16b10Lb.flac", "08a07Wc.wav", "07a01Fa.wav", "03a01Xa.wav"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(corpora.CorpusWarning, match="3 clips where 535 were published; 2 files left out"):
        clips = corpora.read(tmp_path, "emodb").set_index("clip")
    assert clips.loc["03a01Fa", ["speaker", "gender", "emotion", "statement", "repetition"]].tolist() == [
        "03", "male", "happy", "a01", 1]
    assert clips.loc["16b10Lb", ["speaker", "gender", "emotion", "repetition"]].tolist() == ["16", "female", "bored", 2]
    assert clips.loc["08a07Wc", ["gender", "emotion"]].tolist() == ["female", "angry"]


def test_emodb_is_all_there(recordings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = corpora.read(recordings.with_name("emodb"), "emodb")
    assert clips.groupby("gender")["speaker"].nunique().to_dict() == {"female": 5, "male": 5}
    assert clips["emotion"].value_counts().to_dict() == {"angry": 127, "bored": 81, "neutral": 79, "happy": 71,
                                                         "fearful": 69, "sad": 62, "disgust": 46}  # Burkhardt et al.


def test_an_unknown_corpus_is_refused():
    with pytest.raises(corpora.CorpusError, match="corpus='tess' is unknown"):
        corpora.read(MINIATURE, "tess")


def test_the_shipped_table_is_the_recordings(recordings, shipped):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = corpora.read(recordings)
    pd.testing.assert_frame_equal(clips, shipped.clips[corpora.COLUMNS])
