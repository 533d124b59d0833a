"""Tables of clips from published corpora and from custom recordings."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest

from ser_utils import datasets
from ser_utils._utils.files import ROOT
from ser_utils.datasets.core import load_clips


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_load_clips_parses_ravdess_names(tmp_path):
    """Files at any depth and with capital suffix are parsed; duplicates, other names and macOS files are skipped."""
    touch(tmp_path, "Actor_02/03-01-05-01-02-01-02.flac", "a/b/03-01-02-01-01-01-02.flac", "03-01-01-01-01-01-02.WAV",
          "03-01-05-01-02-01-02.flac", "03-02-05-01-02-01-02.wav", "noise.wav", "03-01-09-01-01-01-02.flac",
          "03-01-01-01-01-01-25.wav", "._03-01-02-01-01-01-02.wav")
    with pytest.warns(datasets.DatasetWarning, match="3 of 1440 .* 1 of 24 .* speaker 02: 3 of 60; 5 files left"):
        clips, skipped = load_clips(tmp_path, return_skipped=True)
    assert {path.relative_to(tmp_path).as_posix(): reason for path, reason, _ in skipped if "same clip" in reason} == {
        "Actor_02/03-01-05-01-02-01-02.flac": "the same clip as 03-01-05-01-02-01-02.flac"}
    assert list(clips.columns) == datasets.CLIP_COLUMNS
    assert clips["clip"].tolist() == ["03-01-01-01-01-01-02", "03-01-02-01-01-01-02", "03-01-05-01-02-01-02"]
    assert clips.drop(columns="file").iloc[2].to_dict() == {
        "clip": "03-01-05-01-02-01-02", "corpus": "ravdess", "speaker": "02", "gender": "female", "emotion": "angry",
        "original_label": "05", "intensity": "normal", "statement": "dogs", "repetition": 1}
    assert clips["file"].tolist()[:2] == ["03-01-01-01-01-01-02.WAV", "a/b/03-01-02-01-01-01-02.flac"]


def test_load_clips_names_up_to_five_skipped_files(tmp_path):
    touch(tmp_path, "03-01-01-01-01-01-02.wav", *(f"noise_{number}.wav" for number in range(7)))
    with pytest.warns(datasets.DatasetWarning, match=r"7 files .* noise_0.wav .*noise_4.wav \([^)]*\)\) and 2 more"):
        _, skipped = load_clips(tmp_path, return_skipped=True)
    assert [path.name for path, *_ in skipped] == [f"noise_{number}.wav" for number in range(7)]


@pytest.mark.parametrize(("name", "correct", "contradictory"), [
    ("ased", "03Happy/h3-01-01-02-08.wav", "03Happy/a5-03-01-02-50.wav"),
    ("tess", "OAF_Pleasant_surprise/OAF_back_ps.wav", "OAF_Pleasant_surprise/OAF_bar_fear.wav"),
    ("emodb", "wav/03a01Fa.wav", "boredom/03a01Wa.wav")])
def test_load_clips_skips_a_clip_in_the_folder_of_another_emotion(tmp_path, name, correct, contradictory):
    touch(tmp_path, correct, contradictory)
    with pytest.warns(datasets.DatasetWarning, match=f"1 files left out: {Path(contradictory).name} .*its folder"):
        clips, skipped = load_clips(tmp_path, name, return_skipped=True)
    assert clips["file"].tolist() == [correct]
    assert [path for path, *_ in skipped] == [tmp_path / contradictory]


def test_load_clips_without_recordings_names_folder_and_source(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(datasets.DatasetError, match=rf"{folder}.*zenodo.org/records/1188976"):
            load_clips(folder)
    with pytest.raises(datasets.DatasetError, match=r"iemocap.*crema-d, .*custom"):
        load_clips(tmp_path, "iemocap")


def test_data_home_prefers_argument_to_environment_to_default(monkeypatch):
    monkeypatch.setenv("SER_DATA", "/environment")
    assert datasets.data_home(folder="/argument") == Path("/argument")
    assert datasets.data_home() == Path("/environment")
    assert datasets.data_home("custom", "/argument/table.csv") == Path("/argument")
    monkeypatch.delenv("SER_DATA")
    assert datasets.data_home("emodb").parts[-3:] == ("data", "raw", "emodb")


def test_shipped_clips_equal_recordings(recordings, ravdess):
    pd.testing.assert_frame_equal(load_clips(recordings), ravdess.clips[datasets.CLIP_COLUMNS])


def test_emodb_is_complete(emodb_recordings):
    clips = load_clips(emodb_recordings, "emodb")  # a DatasetWarning is an error
    assert clips.groupby("gender")["speaker"].nunique().to_dict() == {"female": 5, "male": 5}
    assert clips["emotion"].value_counts().to_dict() == {  # Burkhardt et al. 2005
        "angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fearful": 69, "sad": 62, "disgust": 46}


@pytest.mark.parametrize(("name", "n_female", "files"), [
    ("ravdess-song", 11, {"Actor_24/03-02-06-02-01-02-24.wav": ("24", "fearful", "strong")}),
    ("savee", 0, {"AudioData/JE/sa01.wav": ("JE", "sad", "normal"), "AudioData/KL/n30.wav": ("KL", "neutral", "normal"),
                  "AudioData/DC/a15.wav": ("DC", "angry", "normal")}),
    ("emodb", 5, {"wav/03a01Fa.wav": ("03", "happy", "normal"), "08b10Lf.flac": ("08", "bored", "normal")}),
    ("tess", 2, {"TESS/YAF_ps/YAF_youth_ps.wav": ("YAF", "surprised", "normal"),
                 "TESS/OAF_neutral/OA_bite_neutral.wav": ("OAF", "neutral", "normal")}),  # misspelt as published
    ("crema-d", 43, {"AudioWAV/1001_IEO_ANG_LO.wav": ("1001", "angry", "low"),
                     "AudioWAV/1040_ITH_SAD_X.wav": ("1040", "sad", "normal"),  # misspelt as published
                     "AudioWAV/1091_WSI_NEU_XX.wav": ("1091", "neutral", "normal")}),
    ("nemo", 4, {"samples/KS0_surprised_70.wav": ("KS0", "surprised", "normal"),
                 "samples/MK0_happiness_9.wav": ("MK0", "happy", "normal")}),
    ("emovo", 3, {"EMOVO/f1/gio-f1-b1.wav": ("f1", "happy", "normal"), "tri-m3-d2.wav": ("m3", "sad", "normal"),
                  "EMOVO/m1/pau-m1-n5.wav": ("m1", "fearful", "normal")}),
    ("ased", 25, {"05Angry/a5-03-01-02-50.wav": ("50", "angry", "normal"),
                  "02Fearful/f2-02-01-02-25.wav": ("25", "fearful", "normal"),  # female with the code of males
                  "04Sad/S4-04-02-01-29.wav": ("29", "sad", "normal")})])  # in capitals as published
def test_load_clips_parses_names_of_other_corpora(tmp_path, name, n_female, files):
    dataset = datasets.DATASETS[name]
    touch(tmp_path, *files, "noise.wav", "07a01Fa.wav")
    with pytest.warns(datasets.DatasetWarning, match="2 files left out"):
        clips = load_clips(tmp_path, name).set_index("file")
    assert {file: tuple(row) for file, row in clips[["speaker", "emotion", "intensity"]].T.items()} == files
    assert dataset.n_speakers - len(set(dataset.male_speakers)) == n_female
    assert (clips["gender"] == "male").eq(clips["speaker"].isin(dataset.male_speakers)).all()
    assert [other.name for other in datasets.DATASETS.values() for file in files if other.match(Path(file))] == (
        [name] * len(files))


@pytest.mark.parametrize("name", ["savee", "tess", "crema-d", "ravdess-song", "nemo", "emovo", "ased"])
def test_further_corpora_are_complete(name):
    folder = Path(os.environ.get("SER_CORPORA", ROOT.parent / "shared" / "corpora")) / name
    if not folder.is_dir():
        pytest.skip(f"needs the recordings of {name} in {folder}, or another parent folder in SER_CORPORA")
    clips, dataset = load_clips(folder, name), datasets.DATASETS[name]  # a DatasetWarning is an error
    genders = clips.groupby("speaker")["gender"].first()
    assert (len(clips), len(genders), (genders == "male").sum()) == (
        dataset.n_clips, dataset.n_speakers, len({*dataset.male_speakers} & {*genders.index}))


def test_only_open_licences_without_nd_clause_allow_derivatives():
    names = {name for name, dataset in datasets.DATASETS.items() if dataset.allows_derivatives}
    assert names == {"ravdess", "ravdess-song", "emodb", "crema-d", "nemo"}


def test_registry_examples_match_their_dataset_and_checksums_are_md5():
    for dataset in datasets.DATASETS.values():
        assert dataset.match(Path(dataset.example + ".wav"))
        assert re.fullmatch("md5:[0-9a-f]{32}" if dataset.url else "None", str(dataset.checksum))


@pytest.mark.parametrize(("text", "encoding"), [
    ("Path ;Emotion;speaker;Gender\n a b\\x.wav;Joy;NA;F\n\nc/x.wav ;glad;02;male\n", "utf-8"),
    ("file\temotion\tSpeaker\tgender\na b/x.wav\tJoy\tNA\tF\nc/x.wav\tglad\t02\tmale", "utf-8-sig")])
def test_custom_table_accepts_spreadsheet_formats(tmp_path, text, encoding):
    (tmp_path / "table.csv").write_text(text, encoding=encoding)
    clips = load_clips(tmp_path / "table.csv", "custom")
    assert list(clips.columns) == datasets.CLIP_COLUMNS
    assert clips[["clip", "file", "corpus", "speaker", "gender", "emotion", "original_label"]].to_numpy().tolist() == [
        ["a b/x.wav", "a b/x.wav", "table", "NA", "female", "happy", "Joy"],
        ["c/x.wav", "c/x.wav", "table", "02", "male", "glad", "glad"]]


@pytest.mark.parametrize(("text", "message"), [
    ("path,label\na.wav,sad\n", "no column emotion"), ("file,emotion\n", "empty"), ("", "not a readable table"),
    ("file,emotion\na.wav,sad\nb.wav,\n", "row 2"), ("file,emotion\na.wav,sad\na.wav,sad\n", "a.wav is listed twice"),
    ("file,emotion\na.wav,sad,x\n", "not a readable table"), (None, "not a readable table")])
def test_custom_table_rejects_unusable_files(tmp_path, text, message):
    if text is not None:
        (tmp_path / "table.csv").write_text(text)
    with pytest.raises(datasets.DatasetError, match=message):
        load_clips(tmp_path / "table.csv", "custom")


def test_custom_folder_takes_emotion_and_speaker_from_subfolders(tmp_path):
    touch(tmp_path, "joy/1.wav", "joy/2.FLAC", "sad/ann/1.wav", "sad/readme.txt", "sad/._1.wav", "no_emotion.wav")
    clips, skipped = load_clips(tmp_path, "custom", return_skipped=True)
    assert [path.name for path, *_ in skipped] == ["no_emotion.wav"]
    assert clips[["clip", "emotion", "original_label"]].to_numpy().tolist() == [
        ["joy/1.wav", "happy", "joy"], ["joy/2.FLAC", "happy", "joy"], ["sad/ann/1.wav", "sad", "sad"]]
    assert clips["speaker"].fillna("").tolist() == ["", "", "ann"]
    touch(tmp_path, "by_speaker/ann/sad/1.wav", "by_speaker/bob/angry/1.wav")
    for folder, message in (("sad/ann", "sad/ann"), ("missing", "missing"), ("by_speaker", "emotion/speaker/file"),
                            (None, "CSV")):
        with pytest.raises(datasets.DatasetError, match=message):
            load_clips(folder and tmp_path / folder, "custom")
