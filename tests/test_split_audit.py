import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_utils import audio
from ser_utils.datasets.core import DatasetError, load_clips
from ser_utils.evaluation import split_audit
from ser_utils.evaluation.split_audit import audit_split, find_duplicates, read_recordings
from ser_utils.evaluation.splits import random_split, speaker_independent
from ser_utils.features.spectral import mfcc
from ser_utils.live.distortions import CONDITIONS

SUBSET_OF_SPEAKER = {"01": "train", "02": "train", "03": "validation", "04": "test"}


@pytest.fixture(scope="module")
def clips(samples):
    """The sample recordings in a speaker-independent split."""
    table = load_clips(samples)
    return table.assign(folder=samples, subset=table["speaker"].map(SUBSET_OF_SPEAKER))


@pytest.fixture(scope="module")
def sample_recordings(clips):
    readable, notes = read_recordings(clips, n_jobs=1, progress=False)
    assert not notes
    return readable


def audit(clips):
    return audit_split(clips, n_jobs=1, progress=False)


def messages(findings, severity):
    return [finding.message for finding in findings if finding.severity == severity]


def with_subsets(clips, split):
    subsets = pd.Series(index=clips.index, dtype=object)
    for name in ("train", "validation", "test"):
        subsets.iloc[getattr(split, name)] = name
    return clips.assign(subset=subsets)


def test_audit_split_speaker_independent_has_no_finding(clips):
    findings = audit(clips)
    assert findings == []
    assert "no leakage" in split_audit.verdict(findings)


@pytest.fixture
def speaker_dependent(clips):
    """A split in which every speaker and every emotion occurs in each subset."""
    rows = np.arange(len(clips))  # sorted by emotion, then speaker
    return clips.assign(subset=np.array(["train", "test", "validation", "train"])[(rows + rows // 4) % 4])


def test_audit_split_speakers_in_several_subsets(speaker_dependent):
    findings = audit(speaker_dependent)
    assert [(finding.severity, finding.message) for finding in findings] == [
        ("leak", "4 of 4 test speakers are also in the train set"),
        ("leak", "4 of 4 test speakers are also in the validation set")]
    assert findings[0].rows.to_dict() == {"test": dict.fromkeys(SUBSET_OF_SPEAKER, 2),
                                          "train": dict.fromkeys(SUBSET_OF_SPEAKER, 4)}
    assert split_audit.verdict(findings).startswith("the test set is not independent")


def test_audit_split_without_some_speakers_compares_the_others(speaker_dependent):
    speakers = speaker_dependent["speaker"].where(speaker_dependent.index != 3)
    findings = audit(speaker_dependent.assign(speaker=speakers))
    assert messages(findings, "note")[0].startswith("1 clips have no speaker")
    assert "4 of 4 test speakers are also in the train set" in messages(findings, "leak")


def modify(change, y):
    rng = np.random.default_rng(0)
    return {"none": y, "gain": 0.3 * y, "noise": CONDITIONS["noise, 10 dB SNR"](y, 16000, 0),
            "silence": np.concatenate([np.zeros(9000), y, np.zeros(4000)]),
            "sampling rate": audio.resample(y, 16000, 44100),
            "hiss": y + rng.normal(0, 1e-4, len(y))}[change].astype(np.float32)


@pytest.mark.parametrize("change", ["none", "gain", "noise", "silence", "sampling rate", "hiss"])
def test_find_duplicates_of_modified_copy(tmp_path, clips, sample_recordings, change):
    source = clips[clips["subset"] == "train"].iloc[5]
    y = modify(change, audio.load(source["folder"] / source["file"]))
    soundfile.write(tmp_path / "copy.ogg", y, 44100 if change == "sampling rate" else 16000)
    info = split_audit.recording_info(tmp_path / "copy.ogg")
    copy = pd.DataFrame([{**source[split_audit.COLUMNS], "file": "copy.ogg", "subset": "test", **info}])
    [leak] = find_duplicates(pd.concat([sample_recordings, copy], ignore_index=True))
    assert leak.message.startswith("1 test recordings are also in the train set, 0 of them")
    assert leak.rows[["test", "train"]].to_numpy().tolist() == [["copy.ogg", source["file"]]]


def test_find_duplicates_identical_samples_in_validation_set(sample_recordings):
    test = sample_recordings[sample_recordings["subset"] == "test"]
    repeated = pd.concat([sample_recordings, test.assign(subset="validation")], ignore_index=True)
    [leak] = find_duplicates(repeated)
    assert (leak.severity, len(leak.rows)) == ("leak", len(test))
    assert leak.message == "8 test recordings are also in the validation set, 8 of them with identical samples"


def test_find_duplicates_of_short_clips_only_exact(sample_recordings):
    similar = pd.concat([sample_recordings, sample_recordings.iloc[[0]].assign(subset="test", digest="other")],
                        ignore_index=True)
    assert [finding.severity for finding in find_duplicates(similar)] == ["leak"]
    [note] = find_duplicates(similar.assign(duration=0.5))
    assert note.severity == "note"
    _, leak = find_duplicates(similar.assign(duration=0.5, digest=["same", *similar["digest"][1:-1], "same"]))
    assert leak.message.endswith("1 of them with identical samples")


def test_audit_split_without_validation_set(clips):
    findings = audit(clips[clips["subset"] != "validation"].reset_index(drop=True))
    assert messages(findings, "warning")[0].startswith("there is no validation set")


def test_audit_split_class_in_one_subset_only(clips):
    is_calm_in_train = (clips["subset"] == "train") & (clips["emotion"] == "calm")
    findings = audit(clips[~is_calm_in_train].reset_index(drop=True))
    assert messages(findings, "warning") == ["classes in the training or the test set only: calm"]


def test_find_class_imbalance_reports_majority_class(clips):
    [note] = split_audit.find_class_imbalance(clips.assign(emotion=np.where(clips.index < 28, "sad", "calm")))
    assert note.message.startswith("88% of the test clips are sad")


def test_audit_split_format_and_level_predict_the_class(tmp_path, clips):
    """Calm and excited clips of different sampling rate and level: recording conditions give the label away."""
    is_calm = clips["emotion"].isin(["neutral", "calm", "sad"])
    subsets = clips["speaker"].map({"01": "train", "02": "train", "03": "test", "04": "test"})
    files = [f"{clip}.wav" for clip in clips["clip"]]
    for calm, target, row in zip(is_calm, files, clips.itertuples(), strict=True):
        y = audio.load(row.folder / row.file)
        soundfile.write(tmp_path / target, (0.1 if calm else 0.9) * y / np.abs(y).max(), 8000 if calm else 16000)
    findings = audit(clips.assign(folder=tmp_path, file=files, subset=subsets,
                                  emotion=np.where(is_calm, "calm", "excited")))
    reported = [message for message in messages(findings, "warning") if "alone predicts" in message]
    assert [message.split(" (")[0] for message in reported] == ["the file format", "the recording level"]
    [table] = [finding.rows for finding in findings if finding.message == reported[0]]
    assert table.loc["calm"].idxmax() == "8000 Hz, 1 channel, PCM_16"
    assert messages(findings, "leak") == []


@pytest.mark.parametrize(("text", "message"), [
    ("file,emotion\na.wav,sad\n", "no column subset"),
    ("file,emotion,subset\na.wav,sad,exam\n", "row 1: unknown subset 'exam'"),
    ("path,emotion,split\na.wav,sad,test\nb.wav,sad,\n", "row 2: unknown split"),
    ("file,emotion,subset\na.wav,sad,train\n", "no row in the test set")])
def test_load_split_bad_table(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        split_audit.load_split([tmp_path / "split.csv"])


def test_load_split_of_three_tables(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(f"file,emotion,duration\n{name}.wav,Anger,2\n")
    clips = split_audit.load_split([tmp_path / f"{name}.csv" for name in "abc"])
    assert clips[["file", "emotion", "subset"]].to_numpy().tolist() == [
        ["a.wav", "angry", "train"], ["b.wav", "angry", "test"], ["c.wav", "angry", "validation"]]


def test_read_recordings_of_no_readable_file(tmp_path, clips):
    with pytest.raises(DatasetError, match="no readable recording in the train set"):
        read_recordings(clips.assign(folder=tmp_path), n_jobs=1, progress=False)


@pytest.mark.parametrize("n_tables", [1, 2])
def test_audit_command(tmp_path, clips, run_cli, n_tables):
    """Speakers are parsed from file names; an unreadable file and an exact copy are reported."""
    table = pd.DataFrame({"file": [str(row.folder / row.file) for row in clips.itertuples()],
                          "emotion": clips["emotion"], "duration": 3,
                          "subset": np.where(np.arange(len(clips)) % 3, "Train", "test")})
    table.loc[len(table)] = [str(tmp_path / "missing.wav"), "sad", 3, "test"]
    table.loc[len(table)] = [table["file"][1], "sad", 3, "test"]  # also in the training set
    table.to_csv(tmp_path / "all.csv", index=False)
    for name, part in table.groupby("subset"):
        part.drop(columns="subset").to_csv(tmp_path / f"{name.lower()}.csv", index=False)
    tables = ["all.csv"] if n_tables == 1 else ["train.csv", "test.csv"]
    status, out, _ = run_cli("audit", *(str(tmp_path / name) for name in tables), "--jobs", "1")
    assert status == 1
    assert "LEAK: 4 of 4 test speakers are also in the train set." in out
    assert "NOTE: 1 recordings cannot be read" in out
    assert "1 of them with identical samples" in out


def test_audit_command_rejects_four_tables(run_cli):
    assert run_cli("audit", *["a.csv"] * 4)[0] == 2


def test_fingerprint_separates_different_clips(ravdess):
    fingerprints = np.stack([split_audit.fingerprint(sequence) for sequence in ravdess.sequences])
    similarity = np.sort((fingerprints @ fingerprints.T)[np.triu_indices(len(fingerprints), 1)])
    assert len(similarity) > 1e6
    assert similarity[-1] == pytest.approx(1, abs=1e-3)  # RAVDESS contains one clip twice
    assert similarity[-2] < 0.93


@pytest.mark.parametrize(("condition", "fraction"), [
    ("+12 dB", 0.9), ("-12 dB", 0.98), ("noise, 20 dB SNR", 0.98), ("noise, 10 dB SNR", 0.95), ("MP3", 0.95)])
def test_fingerprint_recognizes_distorted_copies(recordings, ravdess, condition, fraction):
    def compute(y):
        return split_audit.fingerprint(mfcc(audio.trim(y)))

    signals = [audio.load(recordings / file) for file in ravdess.clips["file"].iloc[::48]]
    similarity = [compute(y) @ compute(CONDITIONS[condition](y, 16000, seed)) for seed, y in enumerate(signals)]
    assert np.mean(np.array(similarity) > split_audit.MIN_SIMILARITY) >= fraction


@pytest.mark.slow
def test_ravdess_splits(recordings, ravdess, monkeypatch):
    """The published folds pass an audit twice as strict as the default; the random split has one leak."""
    monkeypatch.setattr(split_audit, "MAX_CONFOUNDING", 0.25)
    clips = ravdess.clips.assign(folder=recordings, subset=["test"] + ["train"] * 1439)
    readable = read_recordings(clips, progress=False)[0]
    checks = (split_audit.find_shared_speakers, split_audit.find_class_imbalance, split_audit.find_missing_validation,
              find_duplicates, split_audit.find_confounding)
    for split in speaker_independent(clips):
        assert [finding for check in checks for finding in check(with_subsets(readable, split))] == []
    rows = with_subsets(readable, random_split(clips)[0])
    leaks = [finding.message for check in checks for finding in check(rows) if "train" in finding.message]
    assert leaks == ["24 of 24 test speakers are also in the train set"]
