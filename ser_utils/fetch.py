"""Published corpora fetched: whole and as published, or not at all."""

import os
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ser_utils import corpora

MOST_BYTES, MOST_FILES = 4 * 2 ** 30, 20_000  # unpacked; RAVDESS's speech has half a gigabyte in 1,440 files
RETRIES = 3


class FetchError(ValueError):
    """An archive that cannot be had or must not be unpacked: which, why, and what would help.

    >>> try:
    ...     unpack(corpora.ROOT / "LICENSE", Path("never"), progress=False)
    ... except FetchError as error:
    ...     print(str(error).rpartition("LICENSE: ")[2])
    no readable zip (File is not a zip file); remove it and fetch it again
    """


def fetch(corpus, folder=None, *, progress=True):
    """Download a corpus's archive, check it, unpack it. Returns the folder, by default `data/raw/<corpus>`.

    `corpus` is a `corpora.Corpus` with a url and a checksum. Broken downloads are tried again; nothing lies under the
    folder's name until all of it is there. Raises FetchError.

    >>> try:
    ...     fetch(corpora.CORPORA["savee"])
    ... except FetchError as error:
    ...     print(str(error).partition(":")[0])
    SAVEE is not to be had by a program
    """
    folder = Path(folder or corpora.ROOT / "data" / "raw" / corpus.name).resolve()
    if not corpus.url:
        raise FetchError(f"{corpus.title} is not to be had by a program: {corpus.steps}, and unzip it into {folder}. "
                         f"Licence: {corpus.licence}. Cite: {corpus.citation}")
    if folder.exists() and any(folder.iterdir()):
        raise FetchError(f"{folder} is there and not empty; remove it to fetch {corpus.title} again")
    place = folder.with_name(f".{folder.name}.partial")  # of all that is not whole yet, of killed runs too
    partial = place / f"{os.getpid()}"
    try:
        unpack(_download(corpus, place, progress), partial, progress=progress)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
        shutil.rmtree(place, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            place.rmdir()  # unless an archive is in it, to go on from
    return folder


def _download(corpus, folder, progress):
    import pooch
    import requests

    name = PurePosixPath(corpus.url).name
    keeper = pooch.create(folder, base_url="", registry={name: corpus.checksum}, urls={name: corpus.url},
                          retry_if_failed=RETRIES)
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(keeper.fetch(name, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=30)))
    except requests.RequestException as error:
        raise FetchError(f"{corpus.url}: not to be had, {RETRIES + 1} times ({type(error).__name__}); look at the "
                         f"connection and try again, or {corpus.steps} and unzip it into data/raw/{corpus.name}"
                         ) from error
    except ValueError as error:  # pooch's word for another hash
        raise FetchError(f"{corpus.url}: what came is not what was published (checksum {corpus.checksum}); try again "
                         f"later, and ask at {corpus.source} if it has changed") from error


def unpack(archive, folder, *, progress=True):
    """A zip's files into a folder. FetchError for one that is damaged, or that would write beside or beyond it.

    Refused before anything is written: names that leave the folder, links, more than 4 GB or 20,000 files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     archive = shutil.make_archive(f"{folder}/speech", "zip", corpora.ROOT / "data" / "miniature", "Actor_01")
    ...     unpack(archive, Path(folder, "raw"), progress=False)
    ...     len(corpora.recordings(Path(folder, "raw")))
    16
    """
    from tqdm.auto import tqdm

    try:
        with zipfile.ZipFile(archive) as zipped:
            inside = zipped.infolist()
            for one in inside:
                one.filename = one.filename.replace("\\", "/")  # as some zips from Windows have it
                _check_name(archive, one)
            size = sum(one.file_size for one in inside)
            if size > MOST_BYTES or len(inside) > MOST_FILES:
                raise FetchError(f"{archive}: it would unpack to {size / 2 ** 30:.1f} GB in {len(inside)} files, more "
                                 "than any corpus here has; do not trust it")
            folder.mkdir(parents=True)
            if size > shutil.disk_usage(folder).free:
                raise FetchError(f"{archive}: {size / 2 ** 30:.1f} GB do not fit on this disk; make room")
            for one in tqdm(inside, desc="unpacking", unit="file", disable=not progress):
                zipped.extract(one, folder)  # never more than the size that was counted
    except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error) as error:  # RuntimeError: it wants a password
        raise FetchError(f"{archive}: no readable zip ({error}); remove it and fetch it again") from error


def _check_name(archive, one):
    parts = PurePosixPath(one.filename).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise FetchError(f"{archive}: {one.filename!r} would be written outside the folder; do not trust it")
    if stat.S_ISLNK(one.external_attr >> 16):
        raise FetchError(f"{archive}: {one.filename!r} is a link; do not trust it")
