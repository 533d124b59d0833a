"""Audit of a split for data leakage and confounding: shared speakers, duplicated recordings, recording conditions."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import audio
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import DATASETS, DatasetError, map_labels, read_table
from ser_utils.features.spectral import mfcc, mfcc_to_mel

SUBSET_ALIASES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
                  "val": "validation", "dev": "validation", "test": "test", "testing": "test"}
SR = 16000
FLOOR_DB = 25.0  # dynamic range of a fingerprint below its maximum
ENERGY_TAIL = 0.02  # fraction of the energy cut at each end of a fingerprint
FINGERPRINT_STEPS = 32  # time steps of a fingerprint
FINGERPRINT_BANDS = slice(4, 56)  # of 64 mel bands; grouped by four
# Different clips of RAVDESS stay below a cosine similarity of 0.93 (one million pairs); 94 to 100 % of the copies with
# another gain, noise at 10 dB SNR or MP3 at 20 kbit/s exceed 0.96. Reverberation and telephone bands hide a copy.
MIN_SIMILARITY = 0.96
# chance-corrected UAR, (UAR - chance) / (1 - chance), of a classifier of format or level from which it is reported;
# RAVDESS and EMO-DB reach 0.2 with all emotions, two emotions of different intensity, such as angry and calm, more
CONFOUNDING_THRESHOLD = 0.5
MIN_DURATION = 0.8  # s; the fingerprints of shorter clips of different speakers are too similar
MIN_CLIPS = 5  # per class and subset, for the test of confounding
CONFOUNDERS = {  # columns: what they measure
    ("format",): "the file format (sampling rate, channels, encoding)",
    ("peak", "noise_floor", "level"): "the recording level (dB re full scale: peak, noise floor, loud frames)"}
COLUMNS = ["file", "folder", "emotion", "speaker", "subset"]


@dataclass
class Finding:
    """A result of the audit.

    Parameters
    ----------
    severity : {"leak", "warning", "note"}
        "leak" if the test set is not independent of the others.
    message : str
        What was found.
    rows : pd.DataFrame, optional
        The clips, pairs or counts concerned.
    """

    severity: str
    message: str
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)


def load_subsets(tables):
    r"""Load a split from CSV tables.

    Parameters
    ----------
    tables : list of str or Path
        One table with a column `subset` (or `split`), or two or three: training, test and validation set. Required
        columns are `file`, relative to the table, and `emotion`. Without a column `speaker`, speakers are parsed from
        file names of the corpora in `DATASETS`.

    Returns
    -------
    pd.DataFrame
        Clips table with the columns `file`, `folder`, `emotion`, `speaker` and `subset` ("train", "validation" or
        "test").

    Raises
    ------
    DatasetError
        If a table cannot be used, or the training or test set is empty.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder) / "clips.csv"
    ...     _ = table.write_text("file,emotion,subset\na.wav,joy,train\nb.wav,sad,dev\nc.wav,sad,test\n", "utf-8")
    ...     load_subsets([table])[["file", "emotion", "subset"]].to_numpy().tolist()
    [['a.wav', 'happy', 'train'], ['b.wav', 'sad', 'validation'], ['c.wav', 'sad', 'test']]
    """
    if len(tables) == 1:
        clips = _read_subsets(Path(tables[0]))
    else:
        clips = pd.concat([read_table(table).assign(subset=subset, folder=Path(table).parent) for table, subset in
                           zip(tables, ("train", "test", "validation"), strict=False)], ignore_index=True)
    speakers = clips["speaker"] if "speaker" in clips else pd.Series(None, clips.index, dtype=object)
    clips["speaker"] = speakers.fillna(clips["file"].map(_parse_speaker))
    return _require_subsets(clips.assign(emotion=map_labels(clips["emotion"]))[COLUMNS], "row")


def _read_subsets(path):
    clips = read_table(path).assign(folder=path.parent)
    names = clips.get("subset", clips.get("split"))
    if names is None:
        raise DatasetError(f"{path}: no column subset; add one with train, validation or test, or pass a table of each")
    subsets = names.str.lower().map(SUBSET_ALIASES)
    if subsets.isna().any():
        row = subsets.isna().idxmax()
        aliases = ", ".join(SUBSET_ALIASES)
        raise DatasetError(f"{path}, row {row + 1}: unknown {names.name} {names[row]!r}; use one of {aliases}")
    return clips.assign(subset=subsets)


def _require_subsets(clips, what):
    for subset in ("train", "test"):
        if not (clips["subset"] == subset).any():
            raise DatasetError(f"no {what} in the {subset} set; file names are relative to {clips['folder'].iloc[0]}")
    return clips


def _parse_speaker(file):
    """Parse the speaker from a file name that matches exactly one group of corpora."""
    speakers = {f"{dataset.speaker_group}/{match['speaker']}" for dataset in DATASETS.values()
                if (match := dataset.match(Path(file)))}
    return speakers.pop() if len(speakers) == 1 else None


def fingerprint(coefficients):
    """Compute an audio fingerprint robust to gain, file format, noise and leading or trailing silence.

    The mel spectrogram is limited to `FLOOR_DB` below its maximum, cut where its energy begins and ends, resampled to
    13 bands and 32 time steps, centred per band and scaled to unit length.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, 64)]
        MFCCs of one clip.

    Returns
    -------
    np.ndarray [shape=(416,)]
        Fingerprint of unit length: the dot product of two is their cosine similarity.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y = audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> reference, attenuated, reversed_ = (fingerprint(mfcc(signal)) for signal in (y, 0.1 * y, y[::-1]))
    >>> bool(reference @ attenuated > MIN_SIMILARITY), bool(reference @ reversed_ > MIN_SIMILARITY)
    (True, False)
    """
    mel = mfcc_to_mel(coefficients)
    mel = np.maximum(mel - mel.max(), -FLOOR_DB) + FLOOR_DB
    energy = np.cumsum((10 ** (mel / 10) - 1).sum(axis=1))
    ends = np.interp([ENERGY_TAIL, 1 - ENERGY_TAIL], energy / energy[-1], np.arange(len(mel)))
    bands = mel[:, FINGERPRINT_BANDS].reshape(len(mel), -1, 4).mean(axis=2)
    times = np.linspace(ends[0], ends[1], FINGERPRINT_STEPS)
    steps = np.stack([np.interp(times, np.arange(len(mel)), band) for band in bands.T])
    steps -= steps.mean(axis=1, keepdims=True)
    return (steps / (np.linalg.norm(steps) + 1e-9)).ravel()


def recording_info(path):
    """Describe a recording: format, duration, level and fingerprint.

    Parameters
    ----------
    path : str or Path
        File of the recording.

    Returns
    -------
    dict or AudioError
        `format` (str), `duration` of the trimmed signal (s), `digest` of the samples (hexadecimal), `peak`,
        `noise_floor` and `level` (dB re full scale; the last two are the 5 % and 90 % quantiles of the frames) and
        `fingerprint`. For an unreadable file, the error is returned.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> info = recording_info(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> info["format"], round(info["duration"], 1)
    ('16000 Hz, 1 channel, PCM_16', 2.0)
    """
    try:
        with audio.open_audio(path) as sound:
            channels = f"{sound.channels} channel{'s' * (sound.channels > 1)}"
            file_format = f"{sound.samplerate} Hz, {channels}, {sound.subtype}"
        y = audio.load(path, SR)
    except audio.AudioError as error:
        return error
    level = 10 * np.log10(np.mean(np.square(audio.frame(y, 1024, 512)), axis=1) + 1e-10)
    speech = audio.trim(y)
    return {"format": file_format, "duration": len(speech) / SR,
            "digest": hashlib.blake2b(y.tobytes(), digest_size=8).hexdigest(),
            "peak": 20 * np.log10(np.abs(y).max()), "noise_floor": np.quantile(level, 0.05),
            "level": np.quantile(level, 0.9), "fingerprint": fingerprint(mfcc(speech))}


def audit_split(clips, *, n_jobs=-1, progress=True):
    """Audit a split for data leakage and confounding.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.
    n_jobs : int, default -1
        Number of processes that read the recordings; -1 for one per core.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.

    Raises
    ------
    DatasetError
        If no recording of the training or test set can be read.

    See Also
    --------
    load_subsets : Load a split from CSV tables.
    format_report : Format the findings as text.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> folder = SAMPLES / "Actor_01"
    >>> clips = pd.DataFrame({"file": ["03-01-05-01-01-01-01.flac"] * 2, "folder": folder, "emotion": "angry",
    ...                       "speaker": "01", "subset": ["train", "test"]})
    >>> # shared speaker, no validation set, shared recording
    >>> [finding.severity for finding in audit_split(clips, n_jobs=1, progress=False)]
    ['leak', 'warning', 'leak']
    """
    recordings, unreadable = read_recordings(clips, n_jobs=n_jobs, progress=progress)
    return (find_shared_speakers(clips) + find_missing_validation(clips) + find_class_imbalance(clips) + unreadable
            + find_duplicates(recordings) + find_confounding(recordings))


def read_recordings(clips, *, n_jobs=-1, progress=True):
    """Add the columns of `recording_info` to a split.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.
    n_jobs : int, default -1
        Number of processes that read the recordings; -1 for one per core.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    recordings : pd.DataFrame
        Clips table of the readable recordings.
    findings : list of Finding
        A note on the others, if there are any.

    Raises
    ------
    DatasetError
        If no recording of the training or test set can be read.
    """
    paths = [Path(row.folder) / row.file for row in clips.itertuples()]
    infos = list(parallel_map(recording_info, paths, desc="reading", unit="clip", n_jobs=n_jobs, progress=progress))
    is_readable = np.array([isinstance(info, dict) for info in infos])
    errors = pd.DataFrame({"error": [str(info) for info in infos if not isinstance(info, dict)]})
    readable = clips.loc[is_readable, COLUMNS].reset_index(drop=True)
    _require_subsets(readable if len(readable) else clips.assign(subset=None), "readable recording")
    readable = readable.join(pd.DataFrame([info for info in infos if isinstance(info, dict)]))
    count = _format_count(len(errors), "recording", "recordings")
    note = Finding("note", f"{count} left out, because reading failed", errors)
    return readable, [note] if len(errors) else []


def find_shared_speakers(clips):
    """Find test speakers that also occur in the training or validation set.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.

    Examples
    --------
    >>> clips = pd.DataFrame({"file": ["a.wav", "b.wav"], "speaker": ["01", "01"], "subset": ["train", "test"]})
    >>> [finding.message for finding in find_shared_speakers(clips)]
    ['1 of 1 test speakers is also in the train set']
    """
    findings = []
    if n_unknown := clips["speaker"].isna().sum():
        count = _format_count(n_unknown, "clip has", "clips have")
        findings.append(Finding("note", f"{count} no speaker, so overlap is not detected; add it"))
    test_speakers = set(clips.loc[clips["subset"] == "test", "speaker"].dropna())
    for subset in ("train", "validation"):
        if shared_speakers := test_speakers & set(clips.loc[clips["subset"] == subset, "speaker"]):
            rows = clips[clips["speaker"].isin(shared_speakers) & clips["subset"].isin((subset, "test"))]
            message = (f"{len(shared_speakers)} of {len(test_speakers)} test speakers "
                       f"{'is' if len(shared_speakers) == 1 else 'are'} also in the {subset} set")
            findings.append(Finding("leak", message, _count(rows, "speaker")))
    return findings


def _count(clips, column):
    """Count the clips of each value of a column in each subset."""
    return clips.groupby([column, "subset"]).size().unstack(fill_value=0)


def find_missing_validation(clips):
    """Check whether there is a validation set.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.
    """
    if (clips["subset"] == "validation").any():
        return []
    return [Finding("warning", "there is no validation set: if epochs, hyperparameters or the best of several runs "
                               "were selected by the score on these test clips, it is a validation score")]


def find_class_imbalance(clips):
    """Find classes that are missing in the training or test set, and a majority class.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.
    """
    counts = _count(clips, "emotion")
    missing = counts.index[(counts[["train", "test"]] == 0).any(axis=1)]
    findings = []
    if len(missing):
        findings.append(Finding("warning", f"classes in the training or test set only: {', '.join(missing)}", counts))
    fractions = counts["test"] / counts["test"].sum()
    if fractions.max() > 1.5 / len(counts):
        findings.append(Finding("note", f"{fractions.max():.0%} of the test clips are {fractions.idxmax()}, the "
                                        "accuracy of a constant prediction; report the UAR", counts))
    return findings


def find_duplicates(recordings):
    """Find test recordings that also occur in the training or validation set.

    Parameters
    ----------
    recordings : pd.DataFrame
        Clips table as `read_recordings` returns it.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.
    """
    is_short = recordings["duration"] < MIN_DURATION
    count = _format_count(is_short.sum(), "clip", "clips")
    note = f"of {count} shorter than {MIN_DURATION} s, only exact copies are detected"
    findings = [Finding("note", note)] if is_short.any() else []
    test = recordings[recordings["subset"] == "test"]
    for subset in ("train", "validation"):
        others = recordings[recordings["subset"] == subset]
        exact = test.merge(others, on="digest", suffixes=("", "_other"))
        similar = _find_similar(test[~is_short[test.index] & ~test["digest"].isin(exact["digest"])],
                                others[~is_short[others.index]])
        pairs = pd.DataFrame([*zip(exact["file"], exact["file_other"], [1.0] * len(exact), strict=True), *similar],
                             columns=["test", subset, "similarity"])
        if len(pairs):
            count = _format_count(pairs["test"].nunique(), "test recording is", "test recordings are")
            message = f"{count} also in the {subset} set, {exact['file'].nunique()} with identical samples"
            findings.append(Finding("leak", message, pairs))
    return findings


def _find_similar(test, others):
    """List (test file, most similar other file, cosine similarity) of the pairs above `MIN_SIMILARITY`."""
    from sklearn.neighbors import NearestNeighbors

    if not len(test) or not len(others):
        return []
    distances, nearest = NearestNeighbors(n_neighbors=1).fit(np.stack(others["fingerprint"])).kneighbors(
        np.stack(test["fingerprint"]))
    similarity = 1 - distances[:, 0] ** 2 / 2  # cosine, for vectors of unit length
    pairs = zip(test["file"], others["file"].iloc[nearest[:, 0]], similarity.round(3), similarity, strict=True)
    return [pair for *pair, exact in pairs if exact > MIN_SIMILARITY]


def find_confounding(recordings):
    """Check whether the file format or the recording level alone predicts the emotion.

    A small decision tree is trained on these properties of the training clips and scored on the test clips.

    Parameters
    ----------
    recordings : pd.DataFrame
        Clips table as `read_recordings` returns it.

    Returns
    -------
    list of Finding
        Findings; empty if there are none.
    """
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier

    counts, findings = _count(recordings, "emotion"), []
    classes = counts.index[(counts[["train", "test"]] >= MIN_CLIPS).all(axis=1)]
    if len(classes) < 2:
        return []
    clips, chance = recordings[recordings["emotion"].isin(classes)], 1 / len(classes)
    train, test = (clips[clips["subset"] == subset].index for subset in ("train", "test"))
    for columns, name in CONFOUNDERS.items():
        X, y = pd.get_dummies(clips[list(columns)]), clips["emotion"]
        tree = DecisionTreeClassifier(min_samples_leaf=MIN_CLIPS, class_weight="balanced", random_state=0)
        uar = recall_score(y[test], tree.fit(X.loc[train], y[train]).predict(X.loc[test]), average="macro")
        if uar >= chance + CONFOUNDING_THRESHOLD * (1 - chance):
            groups = recordings.groupby("emotion")[list(columns)]
            rows = groups.value_counts().unstack(fill_value=0) if columns == ("format",) else groups.median()
            findings.append(Finding("warning", f"{name} alone predicts the emotion with {uar:.0%} UAR (chance "
                                    f"{chance:.0%}): a model can rely on it instead of on speech", rows.round(1)))
    return findings


def format_report(clips, findings, n_rows=5):
    """Format the findings of an audit.

    Parameters
    ----------
    clips : pd.DataFrame
        Clips table as `load_subsets` returns it.
    findings : list of Finding
        Findings as `audit_split` returns them.
    n_rows : int, default 5
        Number of rows to show of each finding.

    Returns
    -------
    str
        Report as plain text.

    Examples
    --------
    >>> clips = pd.DataFrame({"file": ["a.wav", "b.wav"], "subset": ["train", "test"], "speaker": ["01", "02"]})
    >>> print(format_report(clips, []))
    train: 1 clip of 1 speaker
    test: 1 clip of 1 speaker
    <BLANKLINE>
    Verdict: no leakage found; no test speaker and no test recording was detected in the other subsets.
    """
    sizes = clips.groupby("subset", sort=False).agg(clips=("file", "size"), speakers=("speaker", "nunique"))
    lines = [f"{subset}: {_format_count(n_clips, 'clip', 'clips')}"
             + f" of {_format_count(n_speakers, 'speaker', 'speakers')}" * bool(n_speakers)
             for subset, n_clips, n_speakers in sizes.itertuples()]
    for finding in findings:
        lines += ["", f"{finding.severity.upper()}: {finding.message}."]
        if len(finding.rows):
            lines += ["  " + line for line in finding.rows.head(n_rows).to_string().splitlines()]
            lines += [f"  ... and {len(finding.rows) - n_rows} more"] * (len(finding.rows) > n_rows)
    return "\n".join([*lines, "", f"Verdict: {verdict(findings)}"])


def _format_count(n, singular, plural):
    return f"{n} {singular if n == 1 else plural}"


def verdict(findings):
    """Summarize the findings of an audit in one sentence or two.

    Parameters
    ----------
    findings : list of Finding
        Findings as `audit_split` returns them.

    Returns
    -------
    str
        The verdict.

    Examples
    --------
    >>> verdict([])
    'no leakage found; no test speaker and no test recording was detected in the other subsets.'
    """
    if any(finding.severity == "leak" for finding in findings):
        return ("the test set is not independent of the training or validation set. A score on it measures performance "
                "on known speakers or recordings and overestimates that on unseen ones.")
    if findings:
        return ("no test speaker and no test recording was detected in the other subsets; consider the warnings and "
                "notes above before relying on a score.")
    return "no leakage found; no test speaker and no test recording was detected in the other subsets."
