"""Declarations of the corpora, and the table of clips of a folder or a list of recordings."""

import csv
import os
import re
import tomllib
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ser_utils._utils.files import ROOT, printable

# Order of classes in tables and figures; further emotions of a corpus follow alphabetically
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
GENDERS = ("female", "male")
# The ten classes of the original project, in the order of their codes
GENDER_EMOTIONS = tuple(f"{gender}_{emotion}" for gender in GENDERS
                        for emotion in ("angry", "calm", "fearful", "happy", "sad"))
TARGETS = ("emotion", "gender_emotion", "gender")
CLIP_COLUMNS = ["clip", "file", "corpus", "speaker", "gender", "emotion", "original_label", "intensity", "statement",
                "repetition"]
CUSTOM = "custom"  # recordings of the user's own
CUSTOM_REMEDY = "give a CSV with the columns file and emotion, or a folder with emotion/file or emotion/speaker/file"
EMOTION_ALIASES = {
    "anger": "angry", "ang": "angry", "happiness": "happy", "joy": "happy", "hap": "happy", "sadness": "sad",
    "fear": "fearful", "fea": "fearful", "disgusted": "disgust", "dis": "disgust", "surprise": "surprised",
    "boredom": "bored", "neu": "neutral", "calmness": "calm"}
GENDER_ALIASES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}
SAMPLES = ROOT / "data" / "samples" / "ravdess"  # 32 RAVDESS recordings that ship with the project


class DatasetError(ValueError):
    """A folder or table without usable recordings."""


class DatasetWarning(UserWarning):
    """A folder that differs from the published corpus; the recognized recordings are used."""


@dataclass(frozen=True)
class Dataset:
    """A published corpus: its metadata, its file names and its source.

    Parameters
    ----------
    name : str
        Key of `DATASETS`, such as "emodb".
    title : str
        Name in tables and figures, such as "EMO-DB".
    language : str
        Language of the utterances.
    n_clips : int
        Published number of clips.
    n_speakers : int
        Published number of speakers.
    citation : str
        Publication to cite.
    licence : str
        Licence of the recordings.
    homepage : str
        Address of the corpus.
    download_info : str
        Instruction to download it by hand.
    example : str
        End of a recording's path without suffix.
    pattern : str
        Regular expression for the end of a path without suffix, one named group per column.
    male_speakers : list of str
        Male speakers; all others are female.
    label_codes : dict of str to dict
        For each column, the mapping from codes in the file name to values.
    known_duplicates : list of str, optional
        Clips identical to another one of the same emotion that are used nevertheless.
    url : str, optional
        Archive that can be downloaded without registration.
    checksum : str, optional
        Checksum of the archive, `algorithm:hexdigest`.

    Examples
    --------
    >>> emodb = DATASETS["emodb"]
    >>> emodb.n_clips, emodb.emotions[-1]
    (535, 'bored')
    >>> emodb.match(Path("wav/03a01Fa.wav"))["emotion"]
    'F'
    """

    name: str
    title: str
    language: str
    n_clips: int
    n_speakers: int
    citation: str
    licence: str
    homepage: str
    download_info: str
    example: str
    pattern: str
    male_speakers: list
    label_codes: dict
    known_duplicates: tuple | list = ()
    url: str | None = None
    checksum: str | None = None

    @property
    def speaker_group(self):
        """Name shared by corpora with the same speakers, such as RAVDESS speech and song (str)."""
        return self.name.removesuffix("-song")

    @property
    def allows_derivatives(self):
        """Whether the licence permits derivatives, so that a model trained on the corpus may be published (bool)."""
        return self.licence.startswith(("CC", "ODbL")) and "-ND" not in self.licence

    @property
    def how_to_get(self):
        """Command or instruction to obtain the recordings (str)."""
        by_hand = f"{self.download_info} and unzip it into data/raw/{self.name}"
        return f"ser download {self.name}" if self.url else by_hand

    @property
    def emotions(self):
        """Emotions of the corpus in the order of `EMOTIONS`, then alphabetically (tuple of str)."""
        names = set(self.label_codes["emotion"].values())
        return tuple(name for name in EMOTIONS if name in names) + tuple(sorted(names - set(EMOTIONS)))

    def match(self, path):
        """Match the path of a recording.

        Parameters
        ----------
        path : Path
            Path relative to the folder of the corpus.

        Returns
        -------
        re.Match or None
            Match with one named group per column; None if the file is not named as in the corpus.
        """
        return re.search(f"(?:^|/){self.pattern}$", path.with_suffix("").as_posix())


DATASETS = {name: Dataset(name, **fields) for name, fields in
            tomllib.loads(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8")).items()}


def data_home(dataset="ravdess", folder=None):
    """Return the folder of the recordings: `folder`, else the variable `SER_DATA`, else `data/raw/<dataset>`.

    Parameters
    ----------
    dataset : str, default "ravdess"
        A key of `DATASETS`, or "custom".
    folder : str or Path, optional
        For a CSV table, the folder that contains it is returned.

    Returns
    -------
    Path
        The folder; it need not exist.

    Examples
    --------
    >>> data_home("custom", "recordings/clips.csv").as_posix()
    'recordings'
    """
    folder = Path(folder or os.environ.get("SER_DATA") or ROOT / "data" / "raw" / dataset)
    return folder.parent if folder.suffix.lower() == ".csv" else folder


def load_clips(folder=None, dataset="ravdess", *, return_skipped=False):
    """Load the table of clips of a corpus or of custom recordings.

    Parameters
    ----------
    folder : str or Path, optional
        Folder of WAV or FLAC files at any depth; by default `data_home(dataset)`. For "custom": a CSV table with the
        columns `file` (relative to the table) and `emotion`, optionally the others of `CLIP_COLUMNS`; or a folder with
        the recordings as `emotion/file` or `emotion/speaker/file`.
    dataset : str, default "ravdess"
        A key of `DATASETS`, or "custom".
    return_skipped : bool, default False
        Also return the recordings that are left out.

    Returns
    -------
    clips : pd.DataFrame
        Columns `CLIP_COLUMNS`, one row per clip, sorted by `clip`. `file` is relative to the folder; `original_label`
        is the emotion as the file name or table states it, `emotion` its common name.
    skipped : list of tuple
        Path, reason and remedy of each recording that is left out: its name is not one of the corpus, its clip occurs
        twice, or its folder is named after another emotion. Only with `return_skipped=True`.

    Raises
    ------
    DatasetError
        If no recording is found or the table cannot be used.

    Warns
    -----
    DatasetWarning
        If clips are missing, duplicated, named differently from the published corpus, or in the folder of another
        emotion; up to five are named.

    See Also
    --------
    ser_utils.features.extract_features : Extract the features of these clips.

    Examples
    --------
    >>> clips = load_clips(SAMPLES)
    >>> clips.loc[0, ["clip", "speaker", "gender", "emotion"]].tolist()
    ['03-01-01-01-01-01-01', '01', 'male', 'neutral']
    """
    if dataset not in (*DATASETS, CUSTOM):
        raise DatasetError(f"unknown dataset {dataset!r}; choose one of {', '.join(DATASETS)}, {CUSTOM}")
    clips, skipped = (_load_custom(folder) if dataset == CUSTOM else
                      _load_published(DATASETS[dataset], data_home(dataset, folder)))
    return (clips, skipped) if return_skipped else clips


def find_recordings(folder):
    """Find all WAV and FLAC files of a folder, at any depth.

    Parameters
    ----------
    folder : Path
        Folder to search recursively.

    Returns
    -------
    list of Path
        Sorted; hidden files are left out.

    Examples
    --------
    >>> recordings = find_recordings(SAMPLES)
    >>> len(recordings), recordings[0].name
    (32, '03-01-01-01-01-01-01.flac')
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac") and path.is_file()
                  and not path.name.startswith("."))  # macOS writes ._NAME beside every file


def custom_name(source):
    """Return the corpus name of a custom table or folder: its name without suffix.

    Parameters
    ----------
    source : str or Path
        CSV table or folder of recordings; it need not exist.

    Returns
    -------
    str
        Name of the corpus.

    Examples
    --------
    >>> custom_name("recordings/my_voice.csv"), custom_name("recordings/my_voice")
    ('my_voice', 'my_voice')
    """
    source = Path(source).resolve()
    return source.stem if source.suffix.lower() == ".csv" else source.name


def read_table(path):
    r"""Read a CSV table of recordings; the delimiter may be a comma, a semicolon or a tab.

    Parameters
    ----------
    path : str or Path
        CSV file in UTF-8 with a header.

    Returns
    -------
    pd.DataFrame
        All columns as str, names in lower case; the column `path` is accepted for `file`.

    Raises
    ------
    DatasetError
        If the table is unreadable or empty, or a row has no file or emotion.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "clips.csv"
    ...     _ = path.write_text("Path;Emotion\na.wav;happy\n", encoding="utf-8")
    ...     read_table(path).to_dict("records")
    [{'file': 'a.wav', 'emotion': 'happy'}]
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            clips = pd.read_csv(path, dtype=str, sep=None, engine="python", index_col=False, encoding="utf-8-sig",
                                keep_default_na=False)
    except (OSError, UnicodeError, csv.Error, ValueError, pd.errors.ParserWarning) as error:
        raise DatasetError(f"{path}: not a readable table ({error}); save it as CSV in UTF-8, every row with as many "
                           "fields as the header") from error
    clips.columns = clips.columns.str.strip().str.lower()
    clips = clips.rename(columns={} if "file" in clips else {"path": "file"})
    if missing := sorted({"file", "emotion"} - set(clips)):
        names = ", ".join(clips.columns)
        raise DatasetError(f"{path}: no column {' and no column '.join(missing)}, only {names}; add it to the header")
    if not len(clips):
        raise DatasetError(f"{path}: the table is empty; add one row per recording")
    clips = clips.apply(lambda column: column.str.strip()).replace("", None)
    incomplete = clips[["file", "emotion"]].isna().any(axis=1)
    if incomplete.any():
        raise DatasetError(f"{path}, row {incomplete.idxmax() + 1}: file or emotion is empty; complete or remove it")
    return clips.assign(file=clips["file"].str.replace("\\", "/"))


def map_labels(names, mapping=EMOTION_ALIASES):
    """Map labels to their common names; unknown labels are kept in lower case.

    Parameters
    ----------
    names : pd.Series of str
        Labels.
    mapping : dict of str to str, default EMOTION_ALIASES
        Common name of each label, in lower case.

    Returns
    -------
    pd.Series of str
        Common names.

    Examples
    --------
    >>> import pandas as pd
    >>> map_labels(pd.Series(["Joy", "ANG", "proud"])).tolist()
    ['happy', 'angry', 'proud']
    """
    lower = names.str.strip().str.lower()
    return lower.map(mapping).fillna(lower)


def _load_published(dataset, folder):
    import pandas as pd

    rows: dict[str, dict] = {}
    skipped = []
    for path in find_recordings(folder):
        file = path.relative_to(folder)
        match = dataset.match(file)
        if not match:
            skipped.append((path, f"not named as in {dataset.title} ({dataset.example})", "rename or remove it"))
            continue
        clip = match.group().lstrip("/").replace("/", "_")
        codes = dataset.label_codes
        fields = {name: codes.get(name, {}).get(code, code) for name, code in match.groupdict().items()}
        if _folder_emotion(file) not in (None, fields["emotion"]):
            skipped.append((path, f"its name says {fields['emotion']}, its folder {file.parent.name}",
                            "correct its name or its folder"))
        elif clip in rows:  # an archive unpacked twice
            skipped.append((path, f"the same clip as {rows[clip]['file']}", "remove one of them"))
        else:
            rows[clip] = {"intensity": "normal", **fields, "clip": clip, "file": file.as_posix(),
                          "corpus": dataset.name, "original_label": match["emotion"],
                          "gender": "male" if fields["speaker"] in dataset.male_speakers else "female"}
    if not rows:
        raise DatasetError(f"{folder}: no {dataset.title} recording (*.wav or *.flac named like {dataset.example}); "
                           f"{dataset.download_info} and unzip it there, or give its folder as argument or in SER_DATA")
    _warn_of_differences(dataset, folder, [row["speaker"] for row in rows.values()], skipped)
    return pd.DataFrame([rows[clip] for clip in sorted(rows)], columns=CLIP_COLUMNS), skipped


def _folder_emotion(file):
    """Emotion after which the folder of a recording is named, such as 03Happy or OAF_angry; None if there is none."""
    word = "".join(re.findall("[a-z]+", file.parent.name.lower())[-1:])
    emotion = EMOTION_ALIASES.get(word, word)
    return emotion if emotion in (*EMOTIONS, "bored") else None


def _warn_of_differences(dataset, folder, speakers, skipped):
    differences = []
    if len(speakers) != dataset.n_clips and folder != SAMPLES:
        counts = Counter(speakers)
        differences.append(f"{len(speakers)} of {dataset.n_clips} published clips, "
                           f"{len(counts)} of {dataset.n_speakers} speakers")
        n_expected, rest = divmod(dataset.n_clips, dataset.n_speakers)
        if not rest:  # as many clips of each speaker
            differences.append(_list_some([f"speaker {speaker}: {n} of {n_expected}"
                                           for speaker, n in sorted(counts.items()) if n != n_expected]))
    if skipped:
        names = _list_some([f"{printable(path.name)} ({reason})" for path, reason, _ in skipped])
        differences.append(f"{len(skipped)} files left out: {names}")
    if differences:
        remedy = "check that the archive is complete and unpacked once"
        warnings.warn(f"{folder}: {'; '.join(filter(None, differences))}; {remedy}", DatasetWarning, stacklevel=4)


def _list_some(items, n_max=5):
    """Join the first items, and state how many more there are."""
    return ", ".join(items[:n_max]) + (f" and {len(items) - n_max} more" if len(items) > n_max else "")


def _load_custom(source):
    if source is None:
        raise DatasetError(f"dataset {CUSTOM!r} needs a table or folder of recordings; {CUSTOM_REMEDY}")
    source = Path(source)
    clips, skipped = (read_table(source), []) if source.suffix.lower() == ".csv" else _read_folders(source)
    duplicates = clips["file"][clips["file"].duplicated()]
    if len(duplicates):
        raise DatasetError(f"{source}: {duplicates.iloc[0]} is listed twice; remove one of the rows")
    stems = clips["file"].map(lambda file: Path(file).stem)
    clips = clips.assign(original_label=clips["emotion"], emotion=map_labels(clips["emotion"]),
                         corpus=custom_name(source), clip=clips["file"] if stems.duplicated().any() else stems)
    if "gender" in clips:
        clips["gender"] = map_labels(clips["gender"], GENDER_ALIASES)
    return clips.reindex(columns=CLIP_COLUMNS).sort_values("clip", ignore_index=True), skipped


def _read_folders(source):
    """Table of recordings as emotion/file or emotion/speaker/file, and the skipped recordings in no sub-folder."""
    import pandas as pd

    files = [path.relative_to(source) for path in find_recordings(source)]
    rows = [(file.as_posix(), *file.parts[:-1], None)[:3] for file in files if len(file.parts) > 1]
    clips = pd.DataFrame(rows, columns=["file", "emotion", "speaker"])
    if not len(clips):
        raise DatasetError(f"{source}: no *.wav or *.flac in its sub-folders; {CUSTOM_REMEDY}")
    known = {*EMOTIONS, "bored"}
    if not known & set(map_labels(clips["emotion"])) and known & set(map_labels(clips["speaker"].dropna())):
        raise DatasetError(f"{source}: the emotions are on the second folder level; {CUSTOM_REMEDY}")
    return clips, [(source / file, "in no folder named after an emotion", "move it to one")
                   for file in files if len(file.parts) == 1]
