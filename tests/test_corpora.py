"""Folders to clips tables: names, and departures from what was published."""

import itertools
import re
import shutil
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from conftest import MINIATURE
from ser_utils import corpora, splits

sys.path.insert(0, str(corpora.ROOT / "tools"))


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
    assert angry["native"] == "05"
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
    with pytest.raises(corpora.CorpusError, match=r"corpus=.iemocap. is unknown.*crema-d, or own"):
        corpora.read(MINIATURE, "iemocap")


def test_the_shipped_table_is_the_recordings(recordings, shipped):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = corpora.read(recordings)
    pd.testing.assert_frame_equal(clips, shipped.clips[corpora.COLUMNS])


def published(corpus):
    """The paths of a whole corpus, as its publishers name them."""
    if corpus.startswith("ravdess"):
        channel, most = ("01", 8) if corpus == "ravdess" else ("02", 6)
        for actor, emotion, strong, said, take in itertools.product(range(1, 25), range(1, most + 1), *[(1, 2)] * 3):
            if (emotion, strong) != (1, 2) and (actor, channel) != (18, "02"):
                name = f"03-{channel}-0{emotion}-0{strong}-0{said}-0{take}-{actor:02d}.wav"
                yield f"Actor_{actor:02d}/{name}"
    elif corpus == "savee":
        for speaker, (emotion, count) in itertools.product(("DC", "JE", "JK", "KL"), {
                "a": 15, "d": 15, "f": 15, "h": 15, "sa": 15, "su": 15, "n": 30}.items()):
            yield from (f"AudioData/{speaker}/{emotion}{number:02d}.wav" for number in range(1, count + 1))
    elif corpus == "tess":
        words = [f"{a}{b}" for a, b in itertools.product("abcdefghij", "klmnopqrstuvwxyzabcd")]
        for speaker, word, emotion in itertools.product(("OAF", "YAF"), words, (
                "angry", "disgust", "fear", "happy", "neutral", "ps", "sad")):
            shown = "OA" if (speaker, word, emotion) == ("OAF", "ak", "neutral") else speaker  # one is misspelt
            yield f"TESS/{speaker}_{emotion}/{shown}_{word}_{emotion}.wav"
    elif corpus == "crema-d":
        said = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
        names = [f"{actor}_{word}_{emotion}_XX" for actor, word, emotion in itertools.product(
            range(1001, 1092), said, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))]
        names += [f"{actor}_IEO_{emotion}_{level}" for actor, emotion, level in itertools.product(
            range(1001, 1092), ("ANG", "DIS", "FEA", "HAP", "SAD"), ("LO", "HI"))]
        names[names.index("1040_ITH_SAD_XX")] = "1040_ITH_SAD_X"  # one is misspelt
        yield from (f"AudioWAV/{name}.wav" for name in names[:7442])


@pytest.mark.parametrize("corpus", ["ravdess", "ravdess-song", "savee", "tess", "crema-d"])
def test_every_name_of_a_published_corpus_is_read(tmp_path, corpus):
    known = corpora.CORPORA[corpus]
    for name in published(corpus):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = corpora.read(tmp_path, corpus)
    assert len(clips) == known.clips == clips["clip"].nunique()
    assert clips["speaker"].nunique() == known.speakers
    assert set(clips["emotion"]) == set(known.emotions)
    assert set(known.men) == set(clips[clips["gender"] == "male"]["speaker"])
    assert clips["native"].nunique() == len(known.words["emotion"])
    women = {"ravdess": 12, "ravdess-song": 11, "savee": 0, "tess": 2, "crema-d": 43}[corpus]
    assert clips[clips["gender"] == "female"]["speaker"].nunique() == women
    for other in set(corpora.CORPORA) - {corpus}:
        with pytest.raises(corpora.CorpusError, match="no "):
            corpora.read(tmp_path, other)


def test_every_corpus_says_what_it_is_and_how_it_is_had():
    for known in corpora.CORPORA.values():
        assert known.citation
        assert known.licence
        assert known.source.startswith("http")
        assert re.fullmatch(r"(md5:[0-9a-f]{32})|None", str(known.checksum))
        assert (known.url is None) == (known.checksum is None)
        assert known.match(Path(known.example + ".wav"))


def test_a_table_of_ones_own_is_a_corpus(tmp_path):
    (tmp_path / "mine.csv").write_text("path,emotion,speaker,gender\na/x.wav,Anger,7,F\nb/x.wav,glad,08,male\n")
    clips = corpora.read(tmp_path / "mine.csv", "own")
    assert list(clips.columns) == corpora.COLUMNS
    assert clips[["clip", "path", "corpus", "speaker", "gender", "emotion", "native"]].to_numpy().tolist() == [
        ["a/x.wav", "a/x.wav", "mine", "7", "female", "angry", "Anger"], ["b/x.wav", "b/x.wav", "mine", "08", "male",
                                                                            "glad", "glad"]]
    assert corpora.folder_of("own", tmp_path / "mine.csv") == tmp_path


@pytest.mark.parametrize(("text", "message"), [
    ("path,label\na.wav,sad\n", "no column emotion, only path, label"), ("path,emotion\n", "it has no rows"),
    ("path,emotion\na.wav,sad\nb.wav,\n", "row 2: path or emotion is empty"), ("", "no readable table"),
    ("path,emotion\na.wav,sad\na.wav,sad\n", "a.wav is there twice"),
    ("path,emotion\na.wav,sad,x\n", "as many fields a row as in the first line"), (None, "no readable table")])
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(corpora.CorpusError, match=message):
        corpora.read(tmp_path / "mine.csv", "own")


def test_a_folder_an_emotion_is_a_corpus(tmp_path):
    for name in ("joy/1.wav", "joy/2.FLAC", "sad/1.wav", "sad/readme.txt", "loose.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    clips = corpora.read(tmp_path, "own")
    assert clips[["clip", "emotion", "native"]].to_numpy().tolist() == [
        ["joy/1.wav", "happy", "joy"], ["joy/2.FLAC", "happy", "joy"], ["sad/1.wav", "sad", "sad"]]
    assert clips["speaker"].isna().all()
    with pytest.raises(ValueError, match=r"3 of 3 clips do not say who speaks.*--protocol random-split"):
        splits.speaker_independent(clips)
    (tmp_path / "sad" / "ann").mkdir()
    (tmp_path / "sad" / "1.wav").rename(tmp_path / "sad" / "ann" / "1.wav")
    assert corpora.read(tmp_path, "own").iloc[-1]["speaker"] == "ann"
    for nothing in (tmp_path / "sad" / "ann", tmp_path / "nowhere", None):
        with pytest.raises(corpora.CorpusError):
            corpora.read(nothing, "own")


def test_the_page_of_the_data_says_what_the_declarations_say():
    import update_readme

    page = update_readme.DATA.read_text(encoding="utf-8")
    assert update_readme.filled(page, {"corpora": update_readme.declared()}) == page


def test_tables_as_people_write_them(tmp_path):
    wanted = [["a b/x.wav", "happy", "NA", "1"], ["c/y.wav", "2", "None", "02"]]
    semicolons = "Path ;Emotion;speaker;statement\n a b\\x.wav;Joy;NA;1\n\nc/y.wav ;2;None;02\n"
    tabs = "path\temotion\tSpeaker\tstatement\na b/x.wav\tjoy\tNA\t1\nc/y.wav\t2\tNone\t02"
    for text, encoding in ((semicolons, "utf-8"), (tabs, "utf-8-sig")):
        (tmp_path / "mine.csv").write_text(text, encoding=encoding)
        clips = corpora.read(tmp_path / "mine.csv", "own")
        assert clips[["path", "emotion", "speaker", "statement"]].to_numpy().tolist() == wanted


def test_folders_the_other_way_round_are_refused(tmp_path):
    for name in ("ann/sad/1.wav", "bob/angry/1.wav", "bob/sad/._1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(corpora.recordings(tmp_path)) == 2
    with pytest.raises(corpora.CorpusError, match="let the emotion come first"):
        corpora.read(tmp_path, "own")
    (tmp_path / "bob" / corpora.MARK).write_text("")
    assert corpora.read(tmp_path / "bob", "own")["corpus"].unique().tolist() == ["bob (synthetic)"]
