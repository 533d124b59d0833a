"""Recordings of one's own, in a table or in a folder an emotion: a corpus like any other."""

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
    """
    if source is None:
        raise corpora.CorpusError("no table and no folder is named; give a CSV with path and emotion, or a folder of a "
                                  "folder an emotion")
    source = Path(source)
    clips = table(source) if source.suffix.lower() == ".csv" else _folders(source)
    clips = clips.assign(native=clips["emotion"], corpus=source.stem, emotion=_common(clips["emotion"], SAME))
    if "gender" in clips:
        clips["gender"] = _common(clips["gender"], GENDERS)
    stems = clips["path"].map(lambda path: Path(path).stem)
    whole = clips["path"].str.replace(r"\.\w+$", "", regex=True).str.replace("/", "_").str.lstrip("_")
    clips["clip"] = whole if stems.duplicated().any() else stems
    return clips.reindex(columns=corpora.COLUMNS).sort_values("clip", ignore_index=True)


def table(source):
    """A CSV of recordings as it stands, all text, each row with a path of its own and an emotion."""
    try:
        clips = pd.read_csv(source, dtype=str, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise corpora.CorpusError(f"{source}: no readable table ({error}); save it as CSV, in UTF-8") from error
    missing = [name for name in NEEDED if name not in clips]
    if missing:
        raise corpora.CorpusError(f"{source}: there is no column {' and no column '.join(missing)}, only "
                                  f"{', '.join(clips.columns)}; name them in its first line")
    if not len(clips):
        raise corpora.CorpusError(f"{source}: it has no rows; give a recording a row")
    empty = clips[list(NEEDED)].isna().any(axis=1)
    if empty.any():
        raise corpora.CorpusError(f"{source}, line {empty.idxmax() + 2}: path or emotion is empty; fill it in or "
                                  "remove the line")
    if clips["path"].duplicated().any():
        twice = clips["path"][clips["path"].duplicated()].iloc[0]
        raise corpora.CorpusError(f"{source}: {twice} is there twice; leave one of the lines")
    return clips


def _folders(source):
    rows = []
    for path in corpora.recordings(source):
        emotion, *between, _ = path.relative_to(source).parts if path.parent != source else ("", "")
        if emotion:
            rows.append({"path": path.relative_to(source).as_posix(), "emotion": emotion,
                         "speaker": between[0] if between else None})
    if not rows:
        raise corpora.CorpusError(f"no *.wav or *.flac in folders of {source}; put each emotion's into a folder of its "
                                  "name, or give a CSV with path and emotion")
    return pd.DataFrame(rows)


def _common(names, words):
    plain = names.str.strip().str.lower()
    return plain.map(words).fillna(plain)
