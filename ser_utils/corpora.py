"""Corpora as corpora.toml declares them, and folders of recordings as clips tables: what each file's name says."""

import os
import re
import tomllib
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
COLUMNS = ["clip", "path", "corpus", "speaker", "gender", "emotion", "native", "intensity", "statement", "repetition"]
OWN = "own"  # a table of recordings, or a folder an emotion, that nobody published


class CorpusError(ValueError):
    """A folder or table in which there is nothing to work with.

    >>> try:
    ...     read(corpus="iemocap")
    ... except CorpusError as error:
    ...     print(str(error).partition(";")[0])
    corpus='iemocap' is unknown
    """


class CorpusWarning(UserWarning):
    """A corpus that is not what its authors published; the rest of it is used.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     clips = read(ROOT / "data" / "miniature" / "Actor_01")
    >>> print(str(caught[-1].message).rpartition(": ")[2])
    16 clips where 1440 were published
    """


@dataclass(frozen=True)
class Corpus:
    """What one corpus is, what its file names say, and where it is to be had.

    >>> emodb = CORPORA["emodb"]
    >>> emodb.clips, emodb.speakers, emodb.get
    (535, 10, 'python -m ser_utils fetch emodb')
    >>> emodb.words["emotion"][emodb.match(Path("wav/03a01Fa.wav"))["emotion"]]
    'happy'
    """

    name: str
    title: str
    clips: int  # published
    speakers: int
    citation: str
    licence: str
    source: str  # where to read about it
    steps: str  # how to get it by hand
    example: str  # the end of a file's path, without its suffix
    pattern: str  # of the end of a path, with a group for every field
    men: list  # speakers; the others are women
    words: dict  # field to what its codes mean; a field that is not here means what it says
    url: str | None = None  # of an archive that may be fetched without asking
    checksum: str | None = None  # as published: algorithm:hex digits

    @property
    def voices(self):
        """Whose voices they are: corpora that name the same people name the same here."""
        return self.name.removesuffix("-song")

    def match(self, path):
        """What the name of a recording says, as a re.Match with a group for every field, or None."""
        return re.search(f"(?:^|/){self.pattern}$", path.with_suffix("").as_posix())

    @property
    def get(self):
        """How to have it. str"""
        by_hand = f"{self.steps}, and put it into data/raw/{self.name}"
        return f"python -m ser_utils fetch {self.name}" if self.url else by_hand

    @property
    def emotions(self):
        """The emotions it has, by common name, in reading order. tuple of str"""
        names = set(self.words["emotion"].values())
        return tuple(name for name in EMOTIONS if name in names) + tuple(sorted(names - set(EMOTIONS)))


CORPORA = {name: Corpus(name, **declared) for name, declared in
           tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items()}


def folder_of(corpus="ravdess", folder=None):
    """Where a corpus's recordings are: the argument, else `SER_DATA`, else `data/raw/<corpus>` of this project.

    For a table of recordings, the folder that it lies in.

    >>> folder_of(folder="recordings").as_posix(), folder_of("own", "recordings/mine.csv").as_posix()
    ('recordings', 'recordings')
    """
    folder = Path(folder or os.environ.get("SER_DATA") or ROOT / "data" / "raw" / corpus)
    return folder.parent if folder.suffix.lower() == ".csv" else folder


def read(folder=None, corpus="ravdess"):
    """The clips table of a folder of recordings, WAV or FLAC, however nested: one row a clip, sorted by `clip`.

    The folder is `SER_DATA` or `data/raw/<corpus>` by default; `path` is relative to it; `native` is the emotion as the
    file's name has it. With corpus "own" it is a CSV with the columns `path` and `emotion`, and any other of `COLUMNS`,
    or a folder of a folder an emotion. Warns (CorpusWarning) of clips missing or beyond those published and of files
    that fit no rule; raises CorpusError when no clip is found or a table cannot be used.

    >>> clips = read(ROOT / "data" / "miniature")
    >>> len(clips), clips["speaker"].nunique(), clips["emotion"].nunique()
    (128, 8, 8)
    >>> clips.loc[0, ["clip", "corpus", "speaker", "gender", "emotion"]].tolist()
    ['03-01-01-01-01-01-01', 'ravdess (synthetic)', '01', 'male', 'neutral']
    """
    import pandas as pd

    if corpus == OWN:
        from ser_utils import own

        return own.read(folder)
    if corpus not in CORPORA:
        raise CorpusError(f"corpus={corpus!r} is unknown; choose one of {', '.join(CORPORA)}, or {OWN}")
    known, folder = CORPORA[corpus], folder_of(corpus, folder)
    named = [(path, known.match(path.relative_to(folder))) for path in recordings(folder)]
    rows, synthetic = {}, (folder / MARK).is_file()
    for path, match in named:
        if match and _clip(match) not in rows:  # a zip is often unpacked twice, one copy inside the other
            rows[_clip(match)] = {**_row(known, folder, path, match),
                                  "corpus": known.name + " (synthetic)" * synthetic}
    if not rows:
        raise CorpusError(f"no {known.title} recording (*.wav or *.flac named like {known.example}) in {folder}"
                          f"{'' if folder.is_dir() else ', which is not a folder'}; {known.steps} and unzip it there, "
                          "or name the folder that has it as argument or in SER_DATA")
    copies = sum(bool(match) for _, match in named) - len(rows)
    _warn_of_departures(known, folder, known.clips if synthetic else len(rows), copies,
                        [path.name for path, match in named if not match])
    return pd.DataFrame(sorted(rows.values(), key=lambda row: row["clip"]), columns=COLUMNS)


def recordings(folder):
    """Every WAV and FLAC in a folder, however nested, by name. list of Path

    >>> found = recordings(ROOT / "data" / "miniature")
    >>> len(found), found[0].name
    (128, '03-01-01-01-01-01-01.flac')
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
                  and not path.name.startswith("."))  # some machines leave such beside every file


def _clip(match):
    return match.group().lstrip("/").replace("/", "_")


def _row(known, folder, path, match):
    field = {name: known.words.get(name, {}).get(code, code) for name, code in match.groupdict().items()}
    return {"intensity": "normal", **field, "clip": _clip(match), "path": path.relative_to(folder).as_posix(),
            "native": match["emotion"], "gender": "male" if field["speaker"] in known.men else "female"}


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
