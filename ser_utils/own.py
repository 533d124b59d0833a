"""Recordings of one's own, in a table or in a folder an emotion: a corpus like any other."""

import csv
import warnings
from pathlib import Path

import pandas as pd

from ser_utils import corpora

# what people call the emotions whose common names are in `corpora.EMOTIONS`
SAME = {"anger": "angry", "ang": "angry", "happiness": "happy", "joy": "happy", "hap": "happy", "sadness": "sad",
        "fear": "fearful", "fea": "fearful", "disgusted": "disgust", "dis": "disgust", "surprise": "surprised",
        "boredom": "bored", "neu": "neutral", "calmness": "calm"}
GENDERS = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}
NEEDED = ("path", "emotion")


def read(source):
    """The clips table of a CSV with the columns `path` and `emotion`, or of a folder of a folder an emotion.

    Paths in a CSV are relative to its folder; `speaker`, `gender` and the other `corpora.COLUMNS` are optional and stay
    empty where nobody says. In a folder, `emotion/speaker/file` names the speaker, `emotion/file` does not. Raises
    CorpusError when there is nothing, or a row lacks what it needs.

    >>> import tempfile
    >>> rows = pd.DataFrame({"path": ["a.wav", "b.wav"], "emotion": ["Joy", "Anger"], "gender": ["f", "m"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows.to_csv(f"{folder}/mine.csv", index=False)
    ...     read(f"{folder}/mine.csv")[["clip", "corpus", "emotion", "gender"]].values.tolist()
    [['a', 'mine', 'happy', 'female'], ['b', 'mine', 'angry', 'male']]
    """
    if source is None:
        raise corpora.CorpusError("no table and no folder is named; give a CSV with path and emotion, or a folder of a "
                                  "folder an emotion")
    source = Path(source)
    clips = table(source) if source.suffix.lower() == ".csv" else _folders(source)
    if clips["path"].duplicated().any():
        twice = clips["path"][clips["path"].duplicated()].iloc[0]
        raise corpora.CorpusError(f"{source}: {twice} is there twice; leave one of the rows")
    synthetic = (corpora.folder_of(corpora.OWN, source) / corpora.MARK).is_file()
    clips = clips.assign(native=clips["emotion"], emotion=common(clips["emotion"]),
                         corpus=name(source) + " (synthetic)" * synthetic)
    if "gender" in clips:
        clips["gender"] = common(clips["gender"], GENDERS)
    stems = clips["path"].map(lambda path: Path(path).stem)
    clips["clip"] = clips["path"] if stems.duplicated().any() else stems
    return clips.reindex(columns=corpora.COLUMNS).sort_values("clip", ignore_index=True)


def name(source):
    """What a table or folder is called as a corpus. str

    >>> name("recordings/mine.csv"), name("recordings/mine")
    ('mine', 'mine')
    """
    source = Path(source).resolve()
    return source.stem if source.suffix.lower() == ".csv" else source.name


def table(source):
    """A CSV of recordings, all text, each row with a path and an emotion; commas, semicolons or tabs between.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pd.DataFrame({"Path": ["a.wav"], "Emotion": [" sad "]}).to_csv(f"{folder}/mine.csv", sep=";", index=False)
    ...     table(f"{folder}/mine.csv").to_dict("records")
    [{'path': 'a.wav', 'emotion': 'sad'}]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows that are longer than the first line
            clips = pd.read_csv(source, dtype=str, sep=None, engine="python", index_col=False, encoding="utf-8-sig",
                                keep_default_na=False)
    except (OSError, UnicodeError, csv.Error, ValueError, pd.errors.ParserWarning) as error:
        raise corpora.CorpusError(f"{source}: no readable table ({error}); save it as CSV, in UTF-8, with as many "
                                  "fields a row as in the first line") from error
    clips.columns = clips.columns.str.strip().str.lower()
    missing = [column for column in NEEDED if column not in clips]
    if missing:
        raise corpora.CorpusError(f"{source}: there is no column {' and no column '.join(missing)}, only "
                                  f"{', '.join(clips.columns)}; name them in its first line")
    if not len(clips):
        raise corpora.CorpusError(f"{source}: it has no rows; give a recording a row")
    clips = clips.apply(lambda column: column.str.strip()).replace("", None)
    empty = clips[list(NEEDED)].isna().any(axis=1)
    if empty.any():
        raise corpora.CorpusError(f"{source}, row {empty.idxmax() + 1}: path or emotion is empty; fill it in or remove "
                                  "the row")
    return clips.assign(path=clips["path"].str.replace("\\", "/"))


def common(names, words=SAME):
    """Emotions by their common names, others as they are, in small letters. pd.Series

    >>> common(pd.Series(["Joy", "ANG", "proud"])).tolist()
    ['happy', 'angry', 'proud']
    """
    plain = names.str.strip().str.lower()
    return plain.map(words).fillna(plain)


def _folders(source):
    parts = [(path, *path.relative_to(source).parts[:-1]) for path in corpora.recordings(source)]
    rows = pd.DataFrame([{"path": path.relative_to(source).as_posix(), "emotion": emotion,
                          "speaker": between[0] if between else None}
                         for path, emotion, *between in (part for part in parts if len(part) > 1)])
    if not len(rows):
        raise corpora.CorpusError(f"no *.wav or *.flac in folders of {source}; put each emotion's into a folder of its "
                                  "name, or give a CSV with path and emotion")
    usual = {*corpora.EMOTIONS, "bored"}
    if not usual & set(common(rows["emotion"])) and usual & set(common(rows["speaker"].dropna())):
        raise corpora.CorpusError(f"{source}: its folders are no emotions, but hold some; let the emotion come first, "
                                  "emotion/speaker/file, or give a CSV with path, emotion and speaker")
    return rows
