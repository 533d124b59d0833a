"""Tables of clips from published corpora and from custom recordings."""

import itertools
import re
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

from ser_utils import datasets
from ser_utils.datasets.core import find_recordings, load_clips, read_table

SPEAKERS_BY_GENDER = {  # female, male
    "ravdess": (12, 12), "ravdess-song": (11, 12), "savee": (0, 4), "tess": (2, 0), "crema-d": (43, 48)}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def nested(tmp_path):
    """Three RAVDESS file names at different depths, one with the suffix in capitals."""
    touch(tmp_path, "Actor_02/03-01-05-01-02-01-02.flac", "a/b/03-01-02-01-01-01-02.flac", "03-01-01-01-01-01-02.WAV")
    return tmp_path


def test_load_clips_parses_ravdess_names(nested):
    with pytest.warns(datasets.DatasetWarning, match="3 of 1440 published clips"):
        clips = load_clips(nested)
    assert list(clips.columns) == datasets.CLIP_COLUMNS
    assert clips["clip"].tolist() == ["03-01-01-01-01-01-02", "03-01-02-01-01-01-02", "03-01-05-01-02-01-02"]
    assert clips.iloc[2].to_dict() == {
        "clip": "03-01-05-01-02-01-02", "file": "Actor_02/03-01-05-01-02-01-02.flac", "corpus": "ravdess",
        "speaker": "02", "gender": "female", "emotion": "angry", "original_label": "05", "intensity": "normal",
        "statement": "dogs", "repetition": 1}


def test_load_clips_parses_emodb_names(tmp_path):
    touch(tmp_path, "03a01Fa.wav", "16b10Lb.flac", "08a07Wc.wav", "07a01Fa.wav", "03a01Xa.wav")
    with pytest.warns(datasets.DatasetWarning, match="3 of 535 published clips; 2 files left out"):
        clips = load_clips(tmp_path, "emodb")
    assert clips[["speaker", "gender", "emotion", "statement", "repetition"]].to_numpy().tolist() == [
        ["03", "male", "happy", "a01", 1], ["08", "female", "angry", "a07", 3], ["16", "female", "bored", "b10", 2]]


def test_load_clips_leaves_out_duplicates_and_unknown_names(nested):
    shutil.copy(nested / "Actor_02" / "03-01-05-01-02-01-02.flac", nested)
    touch(nested, "03-02-05-01-02-01-02.wav", "noise.wav", "03-01-09-01-01-01-02.flac", "03-01-01-01-01-01-25.wav",
          "._03-01-02-01-01-01-02.wav")
    with pytest.warns(datasets.DatasetWarning, match="1 duplicates left out; 4 files left out"):
        assert len(load_clips(nested)) == 3


def test_load_clips_without_recordings(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(datasets.DatasetError, match="no RAVDESS speech recording") as caught:
            load_clips(folder)
        for part in (str(folder), "03-01-05-01-02-01-12", "zenodo.org/records/1188976", "SER_DATA"):
            assert part in str(caught.value)
    with pytest.raises(datasets.DatasetError, match=r"unknown dataset 'iemocap'.*crema-d, custom"):
        load_clips(tmp_path, "iemocap")


def test_data_home_order_of_precedence(monkeypatch):
    monkeypatch.setenv("SER_DATA", "/environment")
    assert datasets.data_home(folder="/argument") == Path("/argument")
    assert datasets.data_home() == Path("/environment")
    assert datasets.data_home("custom", "/argument/table.csv") == Path("/argument")
    monkeypatch.delenv("SER_DATA")
    assert datasets.data_home("emodb").parts[-3:] == ("data", "raw", "emodb")


def test_samples_cover_speakers_and_emotions(samples):
    clips = load_clips(samples)
    assert clips.groupby(["gender", "emotion"])["speaker"].nunique().unique().tolist() == [2]
    assert len(clips) == 32
    assert (samples.parent / "LICENSE.md").is_file()


def test_shipped_clips_equal_recordings(recordings, ravdess):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(load_clips(recordings), ravdess.clips[datasets.CLIP_COLUMNS])


def test_emodb_is_complete(emodb_recordings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = load_clips(emodb_recordings, "emodb")
    assert clips.groupby("gender")["speaker"].nunique().to_dict() == {"female": 5, "male": 5}
    assert clips["emotion"].value_counts().to_dict() == {  # Burkhardt et al. 2005
        "angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fearful": 69, "sad": 62, "disgust": 46}


def published_names(dataset):
    """All file names of a corpus as published."""
    if dataset.startswith("ravdess"):
        channel, n_emotions = ("01", 8) if dataset == "ravdess" else ("02", 6)
        for actor, emotion, intensity, statement, repetition in itertools.product(
                range(1, 25), range(1, n_emotions + 1), *[(1, 2)] * 3):
            if (emotion, intensity) != (1, 2) and (actor, channel) != (18, "02"):
                name = f"03-{channel}-0{emotion}-0{intensity}-0{statement}-0{repetition}-{actor:02d}.wav"
                yield f"Actor_{actor:02d}/{name}"
    elif dataset == "savee":
        for speaker, (emotion, n) in itertools.product(("DC", "JE", "JK", "KL"), {
                "a": 15, "d": 15, "f": 15, "h": 15, "sa": 15, "su": 15, "n": 30}.items()):
            yield from (f"AudioData/{speaker}/{emotion}{number:02d}.wav" for number in range(1, n + 1))
    elif dataset == "tess":
        words = [f"{a}{b}" for a, b in itertools.product("abcdefghij", "klmnopqrstuvwxyzabcd")]
        for speaker, word, emotion in itertools.product(("OAF", "YAF"), words, (
                "angry", "disgust", "fear", "happy", "neutral", "ps", "sad")):
            prefix = "OA" if (speaker, word, emotion) == ("OAF", "ak", "neutral") else speaker  # one name is misspelt
            yield f"TESS/{speaker}_{emotion}/{prefix}_{word}_{emotion}.wav"
    else:
        statements = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
        names = [f"{speaker}_{statement}_{emotion}_XX" for speaker, statement, emotion in itertools.product(
            range(1001, 1092), statements, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))]
        names += [f"{speaker}_IEO_{emotion}_{intensity}" for speaker, emotion, intensity in itertools.product(
            range(1001, 1092), ("ANG", "DIS", "FEA", "HAP", "SAD"), ("LO", "HI"))]
        names[names.index("1040_ITH_SAD_XX")] = "1040_ITH_SAD_X"  # one name is misspelt
        yield from (f"AudioWAV/{name}.wav" for name in names[:7442])


@pytest.mark.parametrize("name", SPEAKERS_BY_GENDER)
def test_load_clips_recognizes_all_published_names(tmp_path, monkeypatch, name):
    dataset, files = datasets.DATASETS[name], [tmp_path / file for file in published_names(name)]
    monkeypatch.setattr("ser_utils.datasets.core.find_recordings", lambda folder: files)  # faster than 7442 files
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = load_clips(tmp_path, name)
    assert len(clips) == clips["clip"].nunique() == dataset.n_clips
    assert clips["speaker"].nunique() == dataset.n_speakers
    assert set(clips["emotion"]) == set(dataset.emotions)
    assert clips["original_label"].nunique() == len(dataset.label_codes["emotion"])
    assert set(clips.loc[clips["gender"] == "male", "speaker"]) == set(dataset.male_speakers) & set(clips["speaker"])
    assert tuple(clips.loc[clips["gender"] == gender, "speaker"].nunique() for gender in datasets.GENDERS) == \
        SPEAKERS_BY_GENDER[name]
    assert not any(other.match(file) for other in datasets.DATASETS.values() if other != dataset for file in files)


def test_registry_is_complete():
    for dataset in datasets.DATASETS.values():
        assert dataset.citation
        assert dataset.licence
        assert dataset.homepage.startswith("http")
        assert re.fullmatch(r"(md5:[0-9a-f]{32})|None", str(dataset.checksum))
        assert (dataset.url is None) == (dataset.checksum is None)
        assert dataset.match(Path(dataset.example + ".wav"))


def test_custom_table(tmp_path):
    (tmp_path / "table.csv").write_text("file,emotion,speaker,gender\na/x.wav,Anger,7,F\nb/x.wav,glad,08,male\n")
    clips = load_clips(tmp_path / "table.csv", "custom")
    assert list(clips.columns) == datasets.CLIP_COLUMNS
    assert clips[["clip", "file", "corpus", "speaker", "gender", "emotion", "original_label"]].to_numpy().tolist() == [
        ["a/x.wav", "a/x.wav", "table", "7", "female", "angry", "Anger"],
        ["b/x.wav", "b/x.wav", "table", "08", "male", "glad", "glad"]]


@pytest.mark.parametrize(("text", "encoding"), [
    ("Path ;Emotion;speaker;statement\n a b\\x.wav;Joy;NA;1\n\nc/y.wav ;2;None;02\n", "utf-8"),
    ("file\temotion\tSpeaker\tstatement\na b/x.wav\tjoy\tNA\t1\nc/y.wav\t2\tNone\t02", "utf-8-sig")])
def test_read_table_accepts_spreadsheet_formats(tmp_path, text, encoding):
    (tmp_path / "table.csv").write_text(text, encoding=encoding)
    assert read_table(tmp_path / "table.csv")[["file", "speaker", "statement"]].to_numpy().tolist() == [
        ["a b/x.wav", "NA", "1"], ["c/y.wav", "None", "02"]]


@pytest.mark.parametrize(("text", "message"), [
    ("path,label\na.wav,sad\n", "no column emotion, only file, label"), ("file,emotion\n", "the table is empty"),
    ("file,emotion\na.wav,sad\nb.wav,\n", "row 2: file or emotion is empty"), ("", "not a readable table"),
    ("file,emotion\na.wav,sad\na.wav,sad\n", "a.wav is listed twice"),
    ("file,emotion\na.wav,sad,x\n", "as many fields as the header"), (None, "not a readable table")])
def test_custom_table_rejects_unusable_files(tmp_path, text, message):
    if text is not None:
        (tmp_path / "table.csv").write_text(text)
    with pytest.raises(datasets.DatasetError, match=message):
        load_clips(tmp_path / "table.csv", "custom")


def test_custom_folder_per_emotion(tmp_path):
    touch(tmp_path, "joy/1.wav", "joy/2.FLAC", "sad/ann/1.wav", "sad/readme.txt", "without_emotion.wav")
    clips = load_clips(tmp_path, "custom")
    assert clips[["clip", "emotion", "original_label"]].to_numpy().tolist() == [
        ["joy/1.wav", "happy", "joy"], ["joy/2.FLAC", "happy", "joy"], ["sad/ann/1.wav", "sad", "sad"]]
    assert clips["speaker"].isna().tolist() == [True, True, False]
    assert clips["speaker"].iloc[2] == "ann"
    for folder in (tmp_path / "sad" / "ann", tmp_path / "missing", None):
        with pytest.raises(datasets.DatasetError):
            load_clips(folder, "custom")


def test_custom_folder_rejects_speaker_before_emotion(tmp_path):
    touch(tmp_path, "ann/sad/1.wav", "bob/angry/1.wav", "bob/sad/._1.wav")
    assert len(find_recordings(tmp_path)) == 2
    with pytest.raises(datasets.DatasetError, match="emotion/speaker/file"):
        load_clips(tmp_path, "custom")
