"""Optional features of whole clips, one vector per clip: their extractors and files."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from ser_utils._utils import files
from ser_utils.features.opensmile_functionals import compute_functionals

# name -> function f(y, sr) -> np.ndarray [shape=(n_features,)] of one clip without silence at both ends
EXTRACTORS: dict[str, Callable] = {
    "egemaps": partial(compute_functionals, feature_set="eGeMAPSv02"),
    "compare": partial(compute_functionals, feature_set="ComParE_2016"),
}


def check_names(names):
    """Check that all names are keys of `EXTRACTORS`.

    Parameters
    ----------
    names : iterable of str

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> check_names(["egemaps", "compare"])
    >>> check_names(["gemaps"])
    Traceback (most recent call last):
    ValueError: unknown features 'gemaps'; choose from egemaps, compare
    """
    for name in names:
        if name not in EXTRACTORS:
            raise ValueError(f"unknown features {name!r}; choose from {', '.join(EXTRACTORS)}")


def save_extra(folder, name, clips, values):
    """Save the extra features of all clips as `NAME.npz`: arrays `clips` and `values`. Checksums are not updated.

    The file is not compressed, because 37 MB of ComParE are read by every worker process.

    Parameters
    ----------
    folder : Path
    name : str
    clips : iterable of str [shape=(n_clips,)]
        Names of the clips.
    values : np.ndarray [shape=(n_clips, n_features)]
    """
    np.savez(archive := io.BytesIO(), clips=np.array(list(clips), dtype=str), values=values.astype(np.float32))
    files.write_atomic(folder / f"{name}.npz", archive.getvalue())


def load_extra(folder, clips, remedy):
    """Load all extra features of a folder, with the rows in the order of the given clips.

    Files that `SHA256SUMS` does not list are ignored: they belong to an earlier extraction of other recordings.

    Parameters
    ----------
    folder : Path
    clips : iterable of str [shape=(n_clips,)]
        Names of the clips.
    remedy : str
        End of the error messages.

    Returns
    -------
    dict of np.ndarray [shape=(n_clips, n_features)], float32

    Raises
    ------
    IntegrityError
        If a file does not match its checksum.
    ValueError
        If a clip is missing in a file.
    """
    listed = {line.split()[-1] for line in (folder / files.CHECKSUM_FILE).read_text().splitlines() if line.strip()}
    extra = {}
    for name in EXTRACTORS:
        path = folder / f"{name}.npz"
        if path.name in listed and path.is_file():
            with np.load(io.BytesIO(files.read_verified(path, remedy)), allow_pickle=False) as arrays:
                rows = get_rows(arrays["clips"], clips, f"{path}; {remedy}")
                extra[name] = arrays["values"][rows].astype(np.float32, copy=False)
    return extra


def get_rows(names, clips, source):
    """Find the position of each clip by its name.

    Parameters
    ----------
    names : iterable of str [shape=(n,)]
        Unique names.
    clips : iterable of str [shape=(n_clips,)]
    source : str
        Where the names come from, for the error message.

    Returns
    -------
    np.ndarray of int [shape=(n_clips,)]

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
    ValueError: clip d is missing in table
    """
    clips = list(clips)
    rows = pd.Index(list(names), dtype=object).get_indexer(pd.Index(clips, dtype=object))
    if (rows < 0).any():
        raise ValueError(f"clip {files.printable(clips[np.argmin(rows)])} is missing in {source}")
    return rows
