"""Folders of recordings as clips tables: what each file is, read from its name."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# in reading order; a corpus's further ones follow by alphabet
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
# The original project's ten codes: gender by emotion, in its order; three of the eight emotions have none
TEN = tuple(f"{gender}_{emotion}" for gender in ("female", "male")
            for emotion in ("angry", "calm", "fearful", "happy", "sad"))
LABELS = ("emotion", "gender_emotion", "gender")  # the ways to name what a clip is
SUFFIXES = (".wav", ".flac")
MARK = "SYNTHETIC.md"  # a folder with this file holds synthetic speech, and every table made from it says so
COLUMNS = ["clip", "path", "corpus", "speaker", "gender", "emotion", "intensity", "statement", "repetition"]


class CorpusError(ValueError):
    """A folder in which there is nothing to work with."""


class CorpusWarning(UserWarning):
    """A corpus that is not what its authors published; the rest of it is used."""


@dataclass(frozen=True)
class Corpus:
    """What one corpus's file names say, how many clips were published, and where they are to be had."""

    name: str
    title: str
    clips: int
    example: str  # a file's stem
    pattern: str  # of a file's stem, with a group for every field
    words: dict  # field to what its codes mean; a field that is not here means what it says
    males: tuple  # speakers; the others are female
    remedy: str


CORPORA = {corpus.name: corpus for corpus in (
    Corpus(
        name="ravdess",
        title="RAVDESS speech",
        clips=1440,
        example="03-01-05-01-02-01-12",
        # modality 03 audio only, channel 01 speech; then emotion-intensity-statement-repetition-actor
        pattern=r"03-01-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<statement>0[12])-(?P<repetition>0[12])"
                r"-(?P<speaker>0[1-9]|1\d|2[0-4])",
        words={"emotion": {f"0{code}": name for code, name in enumerate(EMOTIONS, 1)},
               "intensity": {"01": "normal", "02": "strong"},
               "statement": {"01": "kids", "02": "dogs"},  # "... are talking / sitting by the door"
               "repetition": {"01": 1, "02": 2}},
        males=tuple(f"{actor:02d}" for actor in range(1, 25, 2)),
        remedy="download Audio_Speech_Actors_01-24.zip from https://zenodo.org/records/1188976 and unzip it there, "
               "or name the folder that has it as argument or in SER_DATA"),
    Corpus(  # Burkhardt et al. 2005
        name="emodb",
        title="EMO-DB",
        clips=535,
        example="03a01Fa",
        pattern=r"(?P<speaker>03|08|09|1[0-6])(?P<statement>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<repetition>[a-f])",
        words={"emotion": {"W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad",
                           "N": "neutral"},
               "repetition": {letter: number for number, letter in enumerate("abcdef", 1)}},
        males=("03", "10", "11", "12", "15"),
        remedy="download emodb.zip from https://zenodo.org/records/7447302 and unzip it there, or name the folder that "
               "has it as argument or in SER_DATA"),
)}


def folder_of(corpus="ravdess", folder=None):
    """Where a corpus's recordings are: the argument, else `SER_DATA`, else `data/raw/<corpus>` of this project."""
    return Path(folder or os.environ.get("SER_DATA") or ROOT / "data" / "raw" / corpus)


def read(folder=None, corpus="ravdess"):
    """The clips table of a folder of recordings, WAV or FLAC, however nested: one row a clip, sorted by `clip`.

    The folder is `SER_DATA` or `data/raw/<corpus>` by default; `path` is relative to it. Warns (CorpusWarning) of clips
    missing or beyond those published and of files that fit no rule; raises CorpusError when no clip is found.
    """
    import pandas as pd

    if corpus not in CORPORA:
        raise CorpusError(f"corpus={corpus!r} is unknown; choose one of {', '.join(CORPORA)}")
    known, folder = CORPORA[corpus], folder_of(corpus, folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    named = [(path, re.fullmatch(known.pattern, path.stem)) for path in files]
    rows, synthetic = {}, (folder / MARK).is_file()
    for path, match in named:
        if match and path.stem not in rows:  # the published zip is often unpacked twice, one copy inside the other
            rows[path.stem] = {**_row(known, folder, path, match),
                               "corpus": known.name + " (synthetic)" * synthetic}
    if not rows:
        raise CorpusError(f"no {known.title} recording (*.wav or *.flac named like {known.example}) in {folder}"
                          f"{'' if folder.is_dir() else ', which is not a folder'}; {known.remedy}")
    copies = sum(bool(match) for _, match in named) - len(rows)
    _warn_of_departures(known, folder, known.clips if synthetic else len(rows), copies,
                        [path.name for path, match in named if not match])
    return pd.DataFrame(sorted(rows.values(), key=lambda row: row["clip"]), columns=COLUMNS)


def _row(known, folder, path, match):
    field = {name: known.words.get(name, {}).get(code, code) for name, code in match.groupdict().items()}
    return {"intensity": "normal", **field, "clip": path.stem, "path": path.relative_to(folder).as_posix(),
            "gender": "male" if field["speaker"] in known.males else "female"}


def _warn_of_departures(known, folder, clips, copies, odd):
    found = []
    if clips != known.clips:
        found.append(f"{clips} clips where {known.clips} were published")
    if copies:
        found.append(f"{copies} second copies left out")
    if odd:
        shown = ", ".join(odd[:3]) + (", ..." if len(odd) > 3 else "")
        found.append(f"{len(odd)} files left out whose names are not {known.title}'s ({shown})")
    if found:
        warnings.warn(f"{folder}: {'; '.join(found)}", CorpusWarning, stacklevel=3)
