"""Atomic writes, SHA-256 checksums, CSV tables and git."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKSUM_FILE = "SHA256SUMS"  # the format of sha256sum
# Read as text: the speaker "01" is not a number, and "None" may be a name
TEXT_COLUMNS = ("clip", "file", "corpus", "speaker", "gender", "emotion", "original_label", "intensity", "statement",
                "model", "split", "train_corpus", "test_corpus", "target", "label")
CSV_ENCODING = "utf-8", "surrogateescape"  # file names need not be valid UTF-8


class IntegrityError(ValueError):
    """A file whose content does not match its recorded checksum."""


def printable(name):
    r"""Escape the non-printable characters of a file name, so that it is printed on one line.

    Parameters
    ----------
    name : str or Path
        File name, or any text.

    Returns
    -------
    str
        The name, with escape sequences in place of non-printable characters.

    Examples
    --------
    >>> print(printable("two\nlines.wav"))
    two\nlines.wav
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(name))


def write_atomic(path, content):
    """Write a file under a temporary name and rename it once all bytes are on the disk.

    An interrupted write leaves the previous file unchanged.

    Parameters
    ----------
    path : Path
        File to write or replace.
    content : bytes
        Content of the file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())  # a power failure could otherwise leave an empty file under the final name
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_checksums(folder, names):
    """Write the SHA-256 checksums of the files of a folder to `SHA256SUMS`.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    names : iterable of str
        File names in `folder`.
    """
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    write_atomic(folder / CHECKSUM_FILE, "".join(lines).encode())


def read_verified(path, remedy):
    """Read a file and compare it with the checksum in the `SHA256SUMS` of its folder.

    Parameters
    ----------
    path : Path
        File to read.
    remedy : str
        Instruction for the user, the end of the error message.

    Returns
    -------
    bytes
        Content of the file.

    Raises
    ------
    IntegrityError
        If the checksum differs or is missing.
    FileNotFoundError
        If the file or `SHA256SUMS` does not exist.

    Examples
    --------
    >>> content = read_verified(ROOT / "data" / "ravdess" / "clips.csv", "restore it with git checkout")
    >>> len(content.splitlines())  # header and 1440 clips
    1441
    """
    content, checksums = path.read_bytes(), (path.parent / CHECKSUM_FILE).read_bytes().splitlines()
    digest = hashlib.sha256(content).hexdigest()
    if f"{digest}  {path.name}".encode() not in checksums:
        raise IntegrityError(f"{path}: its SHA-256 {digest} does not match its checksum in {CHECKSUM_FILE}; {remedy}")
    return content


def write_model_checksums(folder):
    """Write the checksums of all model files of a folder: `*.onnx` and `*_info.json`.

    Parameters
    ----------
    folder : Path
        Folder of the model files.
    """
    write_checksums(folder, sorted(path.name for pattern in ("*.onnx", "*_info.json") for path in folder.glob(pattern)))


def read_model(path, remedy):
    """Read a model file and compare it with its checksum.

    Parameters
    ----------
    path : Path
        Model file to read.
    remedy : str
        As for `read_verified`.

    Returns
    -------
    bytes
        Content of the file.

    Raises
    ------
    IntegrityError
        If the file or its checksum is missing, cannot be read, or differs.
    """
    try:
        return read_verified(path, remedy)
    except OSError as error:
        raise IntegrityError(f"{error.filename or path}: cannot be read ({error.strerror}); {remedy}") from error


def to_csv_bytes(table):
    """Convert a table to the bytes of a CSV file that `read_csv` restores.

    Parameters
    ----------
    table : pd.DataFrame
        Table to convert; its index is not stored.

    Returns
    -------
    bytes
        The CSV file, with a header.
    """
    return table.to_csv(index=False, lineterminator="\n").encode(*CSV_ENCODING)


def read_csv(path_or_buffer):
    r"""Read a table that was written with `to_csv_bytes`; names and labels stay text.

    Parameters
    ----------
    path_or_buffer : str, Path or file-like
        Compression is inferred from the suffix of a path.

    Returns
    -------
    pd.DataFrame
        The table; empty fields are NaN.

    Examples
    --------
    >>> import io
    >>> read_csv(io.BytesIO(b"clip,speaker,seed\na,01,0\n")).to_dict("records")
    [{'clip': 'a', 'speaker': '01', 'seed': 0}]
    """
    import pandas as pd

    return pd.read_csv(path_or_buffer, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[""],
                       encoding_errors=CSV_ENCODING[1])


def run_git(*arguments):
    """Run git in the repository.

    Parameters
    ----------
    *arguments : str
        Command and options of git.

    Returns
    -------
    str
        Standard output; empty if git is missing or fails.
    """
    if not shutil.which("git"):
        return ""
    result = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return result.stdout.rstrip() if result.returncode == 0 else ""
