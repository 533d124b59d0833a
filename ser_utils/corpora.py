"""Corpora as declarations, and folders of recordings as clips tables: what each file is, read from its name."""

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
COLUMNS = ["clip", "path", "corpus", "speaker", "gender", "emotion", "native", "intensity", "statement", "repetition"]
OWN = "own"  # a table of recordings, or a folder an emotion, that nobody published


class CorpusError(ValueError):
    """A folder or table in which there is nothing to work with."""


class CorpusWarning(UserWarning):
    """A corpus that is not what its authors published; the rest of it is used."""


@dataclass(frozen=True)
class Corpus:
    """What one corpus is, what its file names say, and where it is to be had."""

    name: str
    title: str
    citation: str
    licence: str
    source: str  # where to read about it
    steps: str  # how to get it by hand
    clips: int  # published
    speakers: int
    example: str  # the end of a file's path, without its suffix
    pattern: str  # of the end of a path, with a group for every field
    words: dict  # field to what its codes mean; a field that is not here means what it says
    males: tuple  # speakers; the others are female
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


def _ravdess(name, title, channel, emotions, actors, clips, archive, checksum):
    return Corpus(
        name=name, title=title, clips=clips, speakers=len(actors),
        citation="Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song "
                 "(RAVDESS). PLoS ONE 13(5): e0196391. doi:10.1371/journal.pone.0196391",
        licence="CC BY-NC-SA 4.0", source="https://zenodo.org/records/1188976",
        steps=f"download {archive} from https://zenodo.org/records/1188976",
        url=f"https://zenodo.org/records/1188976/files/{archive}", checksum=checksum,
        example=f"03-{channel}-05-01-02-01-12",
        # modality 03 audio only; channel; then emotion-intensity-statement-repetition-actor
        pattern=rf"03-{channel}-(?P<emotion>0[1-{emotions}])-(?P<intensity>0[12])-(?P<statement>0[12])"
                rf"-(?P<repetition>0[12])-(?P<speaker>{'|'.join(actors)})",
        words={"emotion": {f"0{code}": word for code, word in enumerate(EMOTIONS[:emotions], 1)},
               "intensity": {"01": "normal", "02": "strong"},
               "statement": {"01": "kids", "02": "dogs"},  # "... are talking / sitting by the door"
               "repetition": {"01": 1, "02": 2}},
        males=tuple(actor for actor in actors if int(actor) % 2))


ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
CREMA_WOMEN = tuple(map(str, (
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030, 1037,
    1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078,
    1079, 1082, 1084, 1089, 1091)))  # its VideoDemographics.csv

CORPORA = {corpus.name: corpus for corpus in (
    _ravdess("ravdess", "RAVDESS speech", "01", 8, ACTORS, 1440, "Audio_Speech_Actors_01-24.zip",
             "md5:bc696df654c87fed845eb13823edef8a"),
    _ravdess("ravdess-song", "RAVDESS song", "02", 6, tuple(actor for actor in ACTORS if actor != "18"), 1012,
             "Audio_Song_Actors_01-24.zip", "md5:5411230427d67a21e18aa4d466e6d1b9"),
    Corpus(
        name="savee", title="SAVEE", clips=480, speakers=4,
        citation="Haq S, Jackson PJB (2010). Multimodal emotion recognition. In Machine Audition: Principles, "
                 "Algorithms and Systems, IGI Global, 398-423",
        licence="for research, after registration", source="http://kahlan.eps.surrey.ac.uk/savee/",
        steps="register at http://kahlan.eps.surrey.ac.uk/savee/Register.html and download AudioData.zip",
        example="DC/sa01", pattern=r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<statement>\d\d)",
        words={"emotion": {"a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad",
                           "su": "surprised"}},
        males=("DC", "JE", "JK", "KL")),
    Corpus(
        name="emodb", title="EMO-DB", clips=535, speakers=10,
        citation="Burkhardt F, Paeschke A, Rolfes M, Sendlmeier W, Weiss B (2005). A database of German emotional "
                 "speech. Interspeech 2005, 1517-1520",
        licence="CC BY 4.0", source="https://zenodo.org/records/7447302",
        steps="download emodb.zip from https://zenodo.org/records/7447302",
        url="https://zenodo.org/records/7447302/files/emodb.zip", checksum="md5:9d21362dbc5676ef3ab4745d83ced0db",
        example="03a01Fa",
        pattern=r"(?P<speaker>03|08|09|1[0-6])(?P<statement>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<repetition>[a-f])",
        words={"emotion": {"W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad",
                           "N": "neutral"},
               "repetition": {letter: number for number, letter in enumerate("abcdef", 1)}},
        males=("03", "10", "11", "12", "15")),
    Corpus(
        name="tess", title="TESS", clips=2800, speakers=2,
        citation="Pichora-Fuller MK, Dupuis K (2020). Toronto emotional speech set (TESS). doi:10.5683/SP2/E8H2MF",
        licence="CC BY-NC-ND 4.0", source="https://doi.org/10.5683/SP2/E8H2MF",
        steps="download all files at https://doi.org/10.5683/SP2/E8H2MF",
        example="OAF_back_angry",
        pattern=r"(?P<speaker>OAF?|YAF)_(?P<statement>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)",
        words={"emotion": {"angry": "angry", "disgust": "disgust", "fear": "fearful", "happy": "happy",
                           "neutral": "neutral", "ps": "surprised", "sad": "sad"},  # ps: pleasant surprise
               "speaker": {"OA": "OAF"}},  # one file is misspelt
        males=()),
    Corpus(
        name="crema-d", title="CREMA-D", clips=7442, speakers=91,
        citation="Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced emotional "
                 "multimodal actors dataset. IEEE Transactions on Affective Computing 5(4), 377-390",
        licence="ODbL 1.0", source="https://github.com/CheyneyComputerScience/CREMA-D",
        steps="git lfs clone https://github.com/CheyneyComputerScience/CREMA-D (its AudioWAV is enough)",
        example="1001_DFA_ANG_XX",
        pattern=r"(?P<speaker>10[0-8]\d|109[01])_(?P<statement>[A-Z]{3})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)"
                r"_(?P<intensity>LO|MD|HI|XX?)",  # one file is misspelt
        words={"emotion": {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral",
                           "SAD": "sad"},
               "intensity": {"LO": "low", "MD": "medium", "HI": "high", "XX": "normal", "X": "normal"}},
        males=tuple(str(actor) for actor in range(1001, 1092) if str(actor) not in CREMA_WOMEN)),
)}


def folder_of(corpus="ravdess", folder=None):
    """Where a corpus's recordings are: the argument, else `SER_DATA`, else `data/raw/<corpus>` of this project.

    For a table of recordings, the folder that it lies in.
    """
    folder = Path(folder or os.environ.get("SER_DATA") or ROOT / "data" / "raw" / corpus)
    return folder.parent if folder.suffix.lower() == ".csv" else folder


def read(folder=None, corpus="ravdess"):
    """The clips table of a folder of recordings, WAV or FLAC, however nested: one row a clip, sorted by `clip`.

    The folder is `SER_DATA` or `data/raw/<corpus>` by default; `path` is relative to it; `native` is the emotion as the
    file's name has it. With corpus "own" it is a CSV with the columns `path` and `emotion`, and any other of `COLUMNS`,
    or a folder of a folder an emotion. Warns (CorpusWarning) of clips missing or beyond those published and of files
    that fit no rule; raises CorpusError when no clip is found or a table cannot be used.
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
    """Every WAV and FLAC in a folder, however nested, by name. list of Path"""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
                  and not path.name.startswith("."))  # some machines leave such beside every file


def _clip(match):
    return match.group().lstrip("/").replace("/", "_")


def _row(known, folder, path, match):
    field = {name: known.words.get(name, {}).get(code, code) for name, code in match.groupdict().items()}
    return {"intensity": "normal", **field, "clip": _clip(match), "path": path.relative_to(folder).as_posix(),
            "native": match["emotion"], "gender": "male" if field["speaker"] in known.males else "female"}


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
