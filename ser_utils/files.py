"""Files that are there whole or not at all, and that are noticed when they are no longer what was written."""

import hashlib
import os
from contextlib import contextmanager

SUMS = "SHA256SUMS"  # as sha256sum writes it, and checks it


@contextmanager
def quiet():
    """What native libraries write to standard error goes nowhere: decoders grumble there, and TensorFlow says hello.

    >>> with quiet():
    ...     os.write(2, b"a decoder grumbles")
    18
    """
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class DamagedError(ValueError):
    """A file that is not what was written: which, and what helps.

    >>> from ser_utils import corpora
    >>> try:
    ...     verified(corpora.ROOT / "data" / "ravdess" / SUMS, "git checkout it")  # of which no sum is written down
    ... except DamagedError as error:
    ...     print(str(error).rpartition(": ")[2])
    not what was written (SHA256SUMS beside it says otherwise); git checkout it
    """


def write(path, content):
    """Bytes into a file, which takes its name once all of them are on the disk; until then the old one stays.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(pathlib.Path(folder, "a.csv"), b"path,emotion")
    ...     [path.name for path in pathlib.Path(folder).iterdir()]
    ['a.csv']
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())  # or a power cut might leave the name and no content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def seal(folder, names):
    """Write down what the files of a folder are now, for `verified`.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(pathlib.Path(folder, "a.csv"), b"path,emotion")
    ...     seal(pathlib.Path(folder), ["a.csv"])
    ...     print(pathlib.Path(folder, SUMS).read_text().rstrip())
    50dbf5ae6d07addd553bcebdeab1e905517b0bd0657e5c383ad0565ea2fcdb36  a.csv
    """
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    write(folder / SUMS, "".join(lines).encode())


def verified(path, remedy):
    """The bytes of a file that `seal` has seen. FileNotFoundError without one, DamagedError with remedy for others.

    >>> from ser_utils import corpora
    >>> content = verified(corpora.ROOT / "data" / "ravdess" / "clips.csv", "git checkout it")
    >>> len(content.splitlines())  # its first line names the columns
    1441
    """
    lines = (path.parent / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    known = dict(reversed(line.split(maxsplit=1)) for line in lines if len(line.split(maxsplit=1)) == 2)
    content = path.read_bytes()
    if known.get(path.name) != hashlib.sha256(content).hexdigest():
        raise DamagedError(f"{path}: not what was written ({SUMS} beside it says otherwise); {remedy}")
    return content
