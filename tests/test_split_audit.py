"""Audit of a split: shared speakers, duplicated recordings, confounding, and their false positives."""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_utils import audio
from ser_utils.datasets.core import DatasetError, load_clips
from ser_utils.distortions import CONDITIONS
from ser_utils.evaluation import split_audit
from ser_utils.evaluation.split_audit import audit_split, find_duplicates, read_recordings
from ser_utils.evaluation.splits import speaker_independent
from ser_utils.features.spectral import mfcc

SUBSET_OF_SPEAKER = {"01": "train", "02": "train", "03": "validation", "04": "test"}


@pytest.fixture(scope="module")
def clips(samples):
    """The sample recordings in a speaker-independent split."""
    table = load_clips(samples)
    return table.assign(folder=samples, subset=table["speaker"].map(SUBSET_OF_SPEAKER))


@pytest.fixture(scope="module")
def sample_recordings(clips):
    return read_recordings(clips, n_jobs=1, progress=False)[0]


def audit(clips):
    return audit_split(clips, n_jobs=1, progress=False)


def test_audit_split_speaker_independent_has_no_finding(clips):
    assert audit(clips) == []


def test_audit_split_speakers_in_several_subsets(clips):
    """Every speaker and every emotion occurs in each subset; one clip has no speaker."""
    rows = np.arange(len(clips))  # sorted by emotion, then speaker
    dependent = clips.assign(subset=np.array(["train", "test", "validation", "train"])[(rows + rows // 4) % 4])
    leaks = audit(dependent)
    assert [(leak.severity, re.findall(r"^\d of \d|train|validation", leak.message)) for leak in leaks] == [
        ("leak", ["4 of 4", subset]) for subset in ("train", "validation")]
    assert leaks[0].rows.to_dict() == {"test": dict.fromkeys(SUBSET_OF_SPEAKER, 2),
                                       "train": dict.fromkeys(SUBSET_OF_SPEAKER, 4)}
    assert "not independent" in split_audit.verdict(leaks)
    partial = split_audit.find_shared_speakers(dependent.assign(speaker=clips["speaker"].where(rows != 3)))
    assert [finding.severity for finding in partial] == ["note", "leak", "leak"]
    assert partial[0].message.startswith("1 clip has no speaker")


@pytest.mark.parametrize(("change", "sr"), [
    (lambda y: 0.3 * y, 16000), (lambda y: np.pad(y, (9000, 4000)), 16000),
    (lambda y: audio.resample(y, 16000, 44100), 44100),
    (lambda y: y + np.random.default_rng(0).normal(0, 1e-4, len(y)), 16000)], ids=["gain", "silence", "rate", "hiss"])
def test_find_duplicates_of_modified_copy(tmp_path, clips, sample_recordings, change, sr):
    source = clips[clips["subset"] == "train"].iloc[5]
    soundfile.write(tmp_path / "copy.ogg", change(audio.load(source["folder"] / source["file"])), sr)
    info = split_audit.recording_info(tmp_path / "copy.ogg")
    assert info["format"] == f"{sr} Hz, 1 channel, VORBIS"
    copy = pd.DataFrame([{**source[split_audit.COLUMNS], "file": "copy.ogg", "subset": "test", **info}])
    [leak] = find_duplicates(pd.concat([sample_recordings, copy], ignore_index=True))
    assert leak.rows[["test", "train"]].to_numpy().tolist() == [["copy.ogg", source["file"]]]


def test_find_duplicates_of_short_clips_only_exact(sample_recordings):
    similar = pd.concat([sample_recordings, sample_recordings.iloc[[0]].assign(subset="test", digest="other")],
                        ignore_index=True)
    exact = similar.assign(digest=["same", *similar["digest"][1:-1], "same"])
    for recordings, duration, severities in (
            (similar, 2, ["leak"]), (similar, 0.5, ["note"]), (exact, 0.5, ["note", "leak"])):
        assert [finding.severity for finding in find_duplicates(recordings.assign(duration=duration))] == severities


def test_find_missing_validation_and_class_imbalance(clips):
    assert [finding.severity for finding in split_audit.find_missing_validation(
        clips[clips["subset"] != "validation"])] == ["warning"]
    [warning] = split_audit.find_class_imbalance(clips[(clips["subset"] != "train") | (clips["emotion"] != "calm")])
    assert (warning.severity, warning.message.endswith(": calm")) == ("warning", True)
    [note] = split_audit.find_class_imbalance(clips.assign(emotion=np.where(clips.index < 28, "sad", "calm")))
    assert note.message.startswith("88% of the test clips are sad")


def test_find_confounding_by_format_or_level(sample_recordings):
    is_calm = sample_recordings["emotion"].isin(["neutral", "calm", "sad"])
    recordings = sample_recordings.assign(
        emotion=np.where(is_calm, "calm", "excited"), peak=0.0, noise_floor=0.0, level=0.0,
        subset=np.where(sample_recordings["speaker"] < "03", "train", "test"))
    assert split_audit.find_confounding(recordings) == []
    for column, calm, excited, name in (
            ("format", "8000 Hz", "16000 Hz", "file format"), ("noise_floor", -60.0, -40.0, "recording level")):
        [warning] = split_audit.find_confounding(recordings.assign(**{column: np.where(is_calm, calm, excited)}))
        assert (warning.severity, name in warning.message) == ("warning", True)


@pytest.mark.parametrize(("text", "message"), [
    ("file,emotion\na.wav,sad\n", "no column subset"),
    ("file,emotion,subset\na.wav,sad,exam\n", "row 1: unknown subset 'exam'"),
    ("path,emotion,split\na.wav,sad,test\nb.wav,sad,\n", "row 2: unknown split"),
    ("file,emotion,subset\na.wav,sad,train\n", "no row in the test set")])
def test_load_split_bad_table(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        split_audit.load_subsets([tmp_path / "split.csv"])


def test_load_split_of_three_tables(tmp_path):
    tables = [tmp_path / f"{name}.csv" for name in "abc"]
    for table in tables:
        table.write_text(f"file,emotion,duration\n{table.stem}.wav,Anger,2\n")
    assert split_audit.load_subsets(tables)[["file", "emotion", "subset"]].to_numpy().tolist() == [
        ["a.wav", "angry", "train"], ["b.wav", "angry", "test"], ["c.wav", "angry", "validation"]]


def test_audit_command(tmp_path, clips, run_cli):
    """Speakers are parsed from file names; an unreadable file and exact copies are reported."""
    table = pd.DataFrame({"file": [str(row.folder / row.file) for row in clips.itertuples()],
                          "emotion": clips["emotion"], "duration": 3,
                          "subset": np.where(np.arange(len(clips)) % 3, "Train", "test")})
    table.loc[len(table)] = [str(tmp_path / "missing.wav"), "sad", 3, "test"]
    table.loc[len(table)] = [table["file"][1], "sad", 3, "test"]  # also in the training set
    table.loc[len(table)] = [table["file"][0], "sad", 3, "dev"]  # also in the test set
    table.to_csv(tmp_path / "all.csv", index=False)
    status, out, _ = run_cli("audit", tmp_path / "all.csv", "--jobs", "1")
    assert status == 1
    for line in ("LEAK: 4 of 4 test speakers are", "NOTE: 1 recording left out",
                 "LEAK: 1 test recording is also in the train set, 1 with identical",
                 "also in the validation set, 1 with identical"):
        assert line in out
    assert run_cli("audit", *["a.csv"] * 4)[0] == 2
    with pytest.raises(DatasetError, match="train set"):
        read_recordings(clips.assign(folder=tmp_path), n_jobs=1, progress=False)


def test_fingerprint_separates_different_clips(ravdess):
    fingerprints = np.stack([split_audit.fingerprint(sequence) for sequence in ravdess.sequences])
    similarity = np.sort((fingerprints @ fingerprints.T)[np.triu_indices(len(fingerprints), 1)])
    assert similarity[-1] == pytest.approx(1, abs=1e-3)  # RAVDESS contains one clip twice
    assert similarity[-2] < 0.93


@pytest.mark.parametrize("condition", ["+12 dB", "noise, 10 dB SNR", "MP3"])
def test_fingerprint_recognizes_distorted_copies(sample_recordings, condition):
    similarity = []
    for seed, row in enumerate(sample_recordings[::2].itertuples()):
        y = CONDITIONS[condition](audio.load(row.folder / row.file), 16000, seed)
        similarity.append(row.fingerprint @ split_audit.fingerprint(mfcc(audio.trim(y))))
    assert np.mean(np.array(similarity) > split_audit.MIN_SIMILARITY) >= 0.9


@pytest.mark.slow
def test_audit_split_of_ravdess_has_no_finding(recordings, ravdess, monkeypatch):
    """The published fold passes an audit twice as strict as the default."""
    monkeypatch.setattr(split_audit, "CONFOUNDING_THRESHOLD", 0.25)
    split, subsets = speaker_independent(ravdess.clips)[0], np.full(1440, "train", dtype=object)
    subsets[split.validation], subsets[split.test] = "validation", "test"
    assert audit(ravdess.clips.assign(folder=recordings, subset=subsets)) == []
