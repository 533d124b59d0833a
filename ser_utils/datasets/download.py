"""Download of published corpora: verified checksums, safe unpacking, no incomplete folders."""

import os
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ser_utils._utils.files import ROOT

MAX_BYTES, MAX_FILES = 4 * 2 ** 30, 20_000  # unpacked; RAVDESS speech has 0.5 GB in 1440 files
N_RETRIES = 3


class DownloadError(ValueError):
    """An archive that cannot be downloaded or must not be unpacked."""


def download(dataset, folder=None, *, progress=True):
    """Download the archive of a corpus, verify its checksum and unpack it.

    Interrupted transfers are retried. The folder appears under its name only when it is complete.

    Parameters
    ----------
    dataset : Dataset
        With a `url` and a `checksum`.
    folder : str or Path, optional
        Target, `data/raw/<name>` by default; it must be empty or absent.
    progress : bool, default True
        Show progress bars.

    Returns
    -------
    Path
        The folder of the recordings.

    Raises
    ------
    DownloadError
        If the corpus needs registration, the folder is not empty, the transfer fails, or the archive is unsafe.

    See Also
    --------
    ser_utils.datasets.load_clips : Load the table of clips of the folder.

    Examples
    --------
    >>> from ser_utils.datasets import DATASETS
    >>> folder = download(DATASETS["emodb"])  # doctest: +SKIP
    """
    folder = Path(folder or ROOT / "data" / "raw" / dataset.name).resolve()
    if not dataset.url:
        raise DownloadError(f"{dataset.title} cannot be downloaded automatically; {dataset.download_info} and unzip it "
                            f"into {folder}. Licence: {dataset.licence}. Citation: {dataset.citation}")
    if folder.exists() and any(folder.iterdir()):
        raise DownloadError(f"{folder} exists and is not empty; remove it to download {dataset.title} again")
    workspace = folder.with_name(f".{folder.name}.partial")  # also of interrupted runs
    partial = workspace / f"{os.getpid()}"
    try:
        unpack_zip(_download_archive(dataset, workspace, progress), partial, progress=progress)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
        shutil.rmtree(workspace, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            workspace.rmdir()  # kept if it contains a complete archive
    return folder


def unpack_zip(archive, folder, *, progress=True):
    """Unpack a zip archive after checking all of its names and sizes.

    Parameters
    ----------
    archive : str or Path
        Zip archive.
    folder : Path
        Target; it must not exist.
    progress : bool, default True
        Show a progress bar.

    Raises
    ------
    DownloadError
        If the archive is damaged or encrypted, contains links or names outside `folder`, or exceeds 4 GB, 20,000 files
        or the free disk space.
    """
    from tqdm.auto import tqdm

    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            for member in members:
                member.filename = member.filename.replace("\\", "/")  # written by some Windows programs
                parts = PurePosixPath(member.filename).parts
                is_outside = not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]
                if is_outside or stat.S_ISLNK(member.external_attr >> 16):
                    raise DownloadError(f"{archive}: {member.filename!r} is outside it or a link; do not use it")
            size = sum(member.file_size for member in members)
            if size > MAX_BYTES or len(members) > MAX_FILES:
                raise DownloadError(f"{archive}: it would unpack to {size / 2 ** 30:.1f} GB in {len(members)} files, "
                                    "more than any supported corpus; do not use it")
            folder.mkdir(parents=True)
            if size > shutil.disk_usage(folder).free:
                raise DownloadError(f"{archive}: {size / 2 ** 30:.1f} GB exceed the free disk space; free some space")
            for member in tqdm(members, desc="unpacking", unit="file", disable=not progress):
                zipped.extract(member, folder)  # at most file_size bytes
    except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error) as error:  # RuntimeError: encrypted
        raise DownloadError(f"{archive}: not a readable zip archive ({error}); remove it and try again") from error


def _download_archive(dataset, folder, progress):
    import pooch
    import requests

    name = PurePosixPath(dataset.url).name
    registry = pooch.create(folder, base_url="", registry={name: dataset.checksum}, urls={name: dataset.url},
                            retry_if_failed=N_RETRIES)
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(registry.fetch(name, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=30)))
    except requests.RequestException as error:
        raise DownloadError(f"{dataset.url}: download failed {N_RETRIES + 1} times ({type(error).__name__}); check the "
                            f"connection and try again, or {dataset.download_info} and unzip it into "
                            f"data/raw/{dataset.name}") from error
    except ValueError as error:  # raised by pooch for a wrong hash
        raise DownloadError(f"{dataset.url}: the archive does not match the published checksum {dataset.checksum}; try "
                            f"again later, and look at {dataset.homepage} for a new version") from error
