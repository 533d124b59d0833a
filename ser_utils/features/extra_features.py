"""Optional features besides the MFCCs, one vector or one sequence of vectors per clip: their extractors and files."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from ser_utils import distortions, whisper
from ser_utils._utils import files
from ser_utils.features.opensmile_functionals import compute_functionals
from ser_utils.features.quantization import quantize


def compute_distorted_statistics(y, sr):
    """Compute the Whisper statistics of a clip after a random channel that depends on the clip.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples.
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(4096,)]
        Mean and standard deviation of the hidden states, as from `ser_utils.whisper.compute_statistics`.

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> np.array_equal(compute_distorted_statistics(y, 16000), compute_distorted_statistics(y, 16000))
    True
    """
    return whisper.compute_statistics(distortions.simulate_random_channel(y, sr), sr)


# name -> function f(y, sr) of one clip without silence at both ends, which returns a vector [shape=(n_features,)] or,
# for the names in SEQUENCES, a sequence [shape=(n_frames, n_features)]
EXTRACTORS: dict[str, Callable] = {
    "egemaps": partial(compute_functionals, feature_set="eGeMAPSv02"),
    "compare": partial(compute_functionals, feature_set="ComParE_2016"),
    "whisper": whisper.compute_statistics,
    "whisper_distorted": compute_distorted_statistics,
    "whisper_sequences": whisper.compute_sequence,
}
SEQUENCES = ("whisper_sequences",)  # stored in 16 bits
# Stored in 8 bits; the functionals of openSMILE have too large a range for that
EIGHT_BIT = ("whisper", "whisper_distorted")


def check_names(names):
    """Check that all names are keys of `EXTRACTORS`.

    Parameters
    ----------
    names : iterable of str
        Names of features.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> check_names(["egemaps", "compare"])
    >>> check_names(["gemaps"])
    Traceback (most recent call last):
    ValueError: unknown features 'gemaps'; choose from egemaps, compare, whisper, whisper_distorted, whisper_sequences
    """
    for name in names:
        if name not in EXTRACTORS:
            raise ValueError(f"unknown features {name!r}; choose from {', '.join(EXTRACTORS)}")


def save_extra(folder, name, clips, values):
    """Save the extra features of all clips as `NAME.npz`. Checksums are not updated.

    The file is not compressed, because every worker process reads it (37 MB for ComParE on RAVDESS).

    Parameters
    ----------
    folder : Path
        Folder that `extract_features` wrote.
    name : str
        Key of `EXTRACTORS`.
    clips : iterable of str [shape=(n_clips,)]
        Names of the clips.
    values : sequence of np.ndarray [shape=(n_features,)] or [shape=(n_frames, n_features)]
        One per clip. Features of `EIGHT_BIT` are quantized.
    """
    arrays = {"clips": np.array(list(clips), dtype=str)}
    if name in SEQUENCES:
        arrays |= {"values": np.concatenate(values, dtype=np.float16), "lengths": np.array(list(map(len, values)))}
    elif name in EIGHT_BIT:
        arrays |= dict(zip(("values", "step", "low"), quantize(np.stack(values)), strict=True))
    else:
        arrays["values"] = np.stack(values).astype(np.float32)
    np.savez(archive := io.BytesIO(), **arrays)  # type: ignore[arg-type]
    files.write_atomic(folder / f"{name}.npz", archive.getbuffer())


def load_extra(folder, clips, remedy):
    """Load all extra features of a folder, with the rows in the order of the given clips.

    Files that `SHA256SUMS` does not list are ignored: they belong to an earlier extraction of other recordings.

    Parameters
    ----------
    folder : Path
        Folder that `extract_features` wrote.
    clips : iterable of str [shape=(n_clips,)]
        Names of the clips.
    remedy : str
        End of the error messages.

    Returns
    -------
    dict of str to np.ndarray or list of np.ndarray
        By name, vectors [shape=(n_clips, n_features)], float32, or a list of sequences
        [shape=(n_frames, n_features)], float16.

    Raises
    ------
    IntegrityError
        If a file does not match its checksum.
    ValueError
        If a clip is missing in a file.
    """
    listed = {line.split()[-1] for line in (folder / files.CHECKSUM_FILE).read_text().splitlines() if line.strip()}
    paths = {name: folder / f"{name}.npz" for name in EXTRACTORS}
    return {name: _load_values(path, clips, remedy) for name, path in paths.items()
            if path.name in listed and path.is_file()}


def _load_values(path, clips, remedy):
    with np.load(io.BytesIO(files.read_verified(path, remedy)), allow_pickle=False) as arrays:
        rows, values = get_rows(arrays["clips"], clips, f"{path}; {remedy}"), arrays["values"]
        if "lengths" in arrays:
            sequences = np.split(values, np.cumsum(arrays["lengths"])[:-1])
            return [sequences[row] for row in rows]
        if "step" in arrays:
            return values[rows] * arrays["step"] + arrays["low"]
        return values[rows].astype(np.float32, copy=False)


def get_rows(names, clips, source):
    """Find the position of each clip by its name.

    Parameters
    ----------
    names : iterable of str [shape=(n,)]
        Unique names.
    clips : iterable of str [shape=(n_clips,)]
        Names to find.
    source : str
        Where the names come from, for the error message.

    Returns
    -------
    np.ndarray [shape=(n_clips,)], int
        Position of each of `clips` in `names`.

    Raises
    ------
    ValueError
        If a clip is missing.

    Examples
    --------
    >>> get_rows(["a", "b", "c"], ["c", "a"], "table").tolist()
    [2, 0]
    >>> get_rows(["a", "b", "c"], ["c", "d"], "table")
    Traceback (most recent call last):
    ValueError: clip d is missing in table; use the recordings that the features were extracted from
    """
    clips = list(clips)
    rows = pd.Index(list(names), dtype=object).get_indexer(pd.Index(clips, dtype=object))
    if (rows < 0).any():
        raise ValueError(f"clip {files.printable(clips[np.argmin(rows)])} is missing in {source}; use the recordings "
                         "that the features were extracted from")
    return rows
