"""Splits that flatter, found out; and one that does not, left alone."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import MINIATURE
from ser_utils import audio, audit, cli, corpora, distort, features, splits


@pytest.fixture(scope="module")
def clips():
    return corpora.read(MINIATURE).assign(folder=MINIATURE)


def sided(clips, split):
    side = pd.Series(index=clips.index, dtype=object)
    for name in ("train", "validation", "test"):
        side.iloc[getattr(split, name)] = name
    return clips.assign(side=side)


def kinds(findings, kind="leak"):
    return [finding.text for finding in findings if finding.kind == kind]


def test_speakers_apart_and_not(clips):
    assert kinds(audit.audit(sided(clips, splits.speaker_independent(clips)[0]), progress=False)) == []
    findings = audit.audit(sided(clips, splits.random_split(clips)[0]), progress=False)
    assert "8 of 8 test speakers are also in train" in kinds(findings)
    assert findings[0].rows.loc["01", "test"] > 0


def changed(name, y):
    rng = np.random.default_rng(0)
    return {"as it is": y, "softer": 0.3 * y, "noisy": distort.noisy(y, 16000, 15),
            "silence around": np.concatenate([np.zeros(9000), y, np.zeros(4000)]),
            "another rate": audio.resampled(y, 16000, 44100),
            "hiss": y + rng.normal(0, 1e-3, len(y))}[name].astype(np.float32)


@pytest.mark.parametrize("change", ["as it is", "softer", "noisy", "silence around", "another rate", "hiss"])
def test_a_copy_is_found_whatever_was_done_to_it(tmp_path, clips, change):
    fold = sided(clips, splits.speaker_independent(clips)[0])
    copied = fold[fold["side"] == "train"].iloc[5]
    y = changed(change, audio.load(MINIATURE / copied["path"]))
    soundfile.write(tmp_path / "new.ogg", y, 44100 if change == "another rate" else 16000)
    row = {**copied, "path": "new.ogg", "folder": tmp_path, "side": "test", "speaker": "99"}
    rows = pd.concat([fold, pd.DataFrame([row])], ignore_index=True)
    [leak] = [finding for finding in audit.audit(rows, progress=False) if finding.kind == "leak"]
    assert leak.text.startswith("1 test recordings are also in train, 0 of them sample by sample")
    assert leak.rows[["test", "train"]].to_numpy().tolist() == [["new.ogg", copied["path"]]]


def test_validating_on_the_test_rows_and_on_none(clips):
    fold = sided(clips, splits.speaker_independent(clips)[0])
    again = pd.concat([fold, fold[fold["side"] == "test"].assign(side="validation")], ignore_index=True)
    leaks = kinds(audit.audit(again, progress=False))
    tested = (fold["side"] == "test").sum()
    assert f"{tested} test recordings are also in validation, {tested} of them sample by sample" in leaks
    none = fold[fold["side"] != "validation"].reset_index(drop=True)
    assert kinds(audit.audit(none, progress=False), "doubt")[0].startswith("nothing is set aside to choose by")


def test_what_tells_the_emotion_without_listening(tmp_path, clips):
    sides = {"05": "validation"} | dict.fromkeys(("06", "07", "08"), "test")
    fold = clips.assign(side=clips["speaker"].map(sides).fillna("train"))
    for row in fold.itertuples():
        y, code = audio.load(MINIATURE / row.path), corpora.EMOTIONS.index(row.emotion)
        (tmp_path / row.path).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / row.path, y / np.abs(y).max() * 10 ** -(code / 5), 8000 + 1000 * code)
    findings = audit.audit(fold.assign(folder=tmp_path), progress=False)
    assert [doubt.split(" alone tells")[0].split(" (")[0] for doubt in kinds(findings, "doubt")] == [
        "the file format", "level"]
    assert findings[0].rows.loc["calm"].idxmax() == "9000 Hz, 1 channel, PCM_16"
    assert "no voice and no recording was found on two sides" in audit.verdict(findings)


def test_one_unknown_speaker_hides_nobody_else(clips):
    rows = sided(clips, splits.random_split(clips)[0])
    rows.loc[3, "speaker"] = None
    findings = audit.audit(rows, progress=False)
    assert kinds(findings, "note")[0].startswith("1 clips do not say who speaks")
    assert "8 of 8 test speakers are also in train" in kinds(findings)


def test_of_very_short_clips_only_exact_copies_count(tmp_path, clips):
    fold = sided(clips, splits.speaker_independent(clips)[0]).sort_values("side", key=lambda side: side == "train")
    fold = fold.groupby("side").head(4).reset_index(drop=True)  # tested ones and validating ones first
    for number, row in enumerate(fold.itertuples()):
        (tmp_path / row.path).parent.mkdir(exist_ok=True)
        y = audio.load(MINIATURE / (row.path if number else fold["path"].iloc[-1]))
        soundfile.write(tmp_path / row.path, audio.trim(y)[4000:9000], 16000)
    findings = audit.audit(fold.assign(folder=tmp_path), progress=False)
    assert "12 clips have less than 0.8 s of sound: of them only exact copies are found" in kinds(findings, "note")
    assert {fold["side"].iloc[0], fold["side"].iloc[-1]} == {"test", "train"}
    assert kinds(findings) == ["1 test recordings are also in train, 1 of them sample by sample"]


def test_labels_and_unknown_speakers(clips):
    fold = sided(clips, splits.speaker_independent(clips)[0])
    fold = fold.assign(speaker=None)
    fold = fold[~((fold["side"] == "train") & (fold["emotion"] == "calm"))].reset_index(drop=True)
    findings = audit.audit(fold, progress=False)
    assert kinds(findings, "note")[0].startswith(f"{len(fold)} clips do not say who speaks")
    assert kinds(findings, "doubt") == ["on one side only: calm"]
    assert "see above" in audit.verdict(findings)


@pytest.mark.parametrize(("text", "message"), [
    ("path,emotion\na.wav,sad\n", "there is no column split"),
    ("path,emotion,split\na.wav,sad,exam\n", "row 1: split 'exam' is none of train"),
    ("path,emotion,split\na.wav,sad,test\nb.wav,sad,\n", "row 2: split .* is none of train"),
    ("path,emotion,split\na.wav,sad,train\n", "no row is for test")])
def test_tables_that_cannot_be_audited(tmp_path, text, message):
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(corpora.CorpusError, match=message):
        audit.read([tmp_path / "all.csv"])


def test_the_command(tmp_path, clips, capsys):
    """Speakers are read from the names of a published corpus where no column has them."""
    names = clips[["path", "emotion"]].assign(path=[str(MINIATURE / path) for path in clips["path"]])
    names["split"] = np.where(np.arange(len(names)) % 3, "Train", "test")
    names.loc[len(names)] = [str(tmp_path / "gone.wav"), "sad", "test"]
    names.to_csv(tmp_path / "all.csv", index=False)
    names.loc[len(names)] = [names["path"][1], "sad", "test"]  # which is in train, under the same path
    names.to_csv(tmp_path / "all.csv", index=False)
    for name, part in names.groupby("split"):
        part.to_csv(tmp_path / f"{name.lower()}.csv", index=False)
    for tables in (["all.csv"], ["train.csv", "test.csv"]):
        assert cli.main(["audit", *(str(tmp_path / table) for table in tables)]) == 1
        said = capsys.readouterr().out
        assert "LEAK: 8 of 8 test speakers are also in train." in said
        assert "NOTE: 1 recordings cannot be read" in said
        assert "1 of them sample by sample" in said
        assert "Verdict: the test side is not apart" in said
    assert cli.main(["audit", *["a.csv"] * 4]) == 2


def test_different_clips_never_look_like_copies(shipped):
    prints = np.stack([audit.fingerprint(sequence) for sequence in shipped.sequences])
    pairs = np.sort((prints @ prints.T)[np.triu_indices(len(prints), 1)])
    assert len(pairs) > 1e6
    assert pairs[-1] == pytest.approx(1, abs=1e-3)  # the one that was published twice
    assert pairs[-2] < 0.93


@pytest.mark.parametrize(("condition", "share"), [("12 dB louder", 0.9), ("12 dB softer", 0.98),
                                                  ("noise at 20 dB", 0.98), ("noise at 10 dB", 0.95), ("codec", 0.95)])
def test_copies_look_like_copies(recordings, shipped, condition, share):
    def looks(y):
        return audit.fingerprint(features.mfcc(audio.trim(y)))

    found = []
    for seed, path in enumerate(shipped.clips["path"].iloc[::12]):
        y = audio.load(recordings / path)
        found.append(looks(y) @ looks(distort.CONDITIONS[condition](y, 16000, seed)) > audit.ALIKE)
    assert np.mean(found) >= share, np.mean(found)


def test_the_five_folds_hide_nothing_and_the_originals_way_does(recordings, shipped, monkeypatch):
    monkeypatch.setattr(audit, "BETRAYS", 0.25)  # twice as strict as it is
    clips = shipped.clips.assign(folder=recordings, side="train")
    clips.loc[0, "side"] = "test"  # both must be there to listen
    known = audit.listen(clips, progress=False)[0]
    for split in splits.speaker_independent(clips):
        rows = sided(known, split)
        assert audit.check(rows) + audit._speakers(rows) + audit._labels(rows) + audit._validation(rows) == []
    rows = sided(known, splits.random_split(clips)[0]).dropna(subset=["side"])
    [voices] = [finding for finding in audit._speakers(rows) + audit.check(rows) if "train" in finding.text]
    assert voices.kind == "leak"
    assert voices.text == "24 of 24 test speakers are also in train"
