"""Features of a whole corpus: extraction in parallel, compact files with checksums, cached results."""

import hashlib
import io
import itertools
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import audio, datasets
from ser_utils._utils import files
from ser_utils._utils.parallel import parallel_map
from ser_utils.features import descriptors, extra_features, spectral
from ser_utils.features.quantization import MIN_STEP, quantize

RAVDESS_FEATURES = files.ROOT / "data" / "ravdess"
FEATURES_VERSION = 2  # part of the cache key; to be increased when the code changes any feature or drops clips
VERSIONED_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "librosa")  # their versions are part of the cache key
FILES = ("clips.csv", "features.npz", "feature_config.json")


@dataclass(frozen=True)
class FeatureSet:
    """Features of all clips of a corpus, in the order of the table of clips.

    Parameters
    ----------
    clips : pd.DataFrame
        Columns `CLIP_COLUMNS` and `DESCRIPTORS`, one row per clip.
    frames : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of all clips, concatenated.
    offsets : np.ndarray [shape=(n_clips + 1,)], int
        Clip `i` is ``frames[offsets[i]:offsets[i + 1]]``.
    contours : np.ndarray [shape=(n_clips, 216)]
        Mean-MFCC contours of `mfcc_mean_contour`, float32.
    config : FeatureConfig
        Configuration that the MFCCs were extracted with.
    extra : dict of str to np.ndarray or list, optional
        Optional features by name, from `extract_extra_features`: of whole clips, such as "whisper" or "egemaps"
        (np.ndarray [shape=(n_clips, n_features)], float32), or "whisper_sequences" (list of np.ndarray
        [shape=(n_frames, n_features)], float16). They do not enter `digest`.

    Examples
    --------
    >>> data = load_features()
    >>> data.frames.shape, data.contours.shape
    ((182163, 64), (1440, 216))
    >>> len(data.sequences), data.sequences[0].shape
    (1440, (97, 64))
    """

    clips: pd.DataFrame
    frames: np.ndarray
    offsets: np.ndarray
    contours: np.ndarray
    config: spectral.FeatureConfig
    extra: dict = field(default_factory=dict)

    @property
    def sequences(self):
        """MFCCs of each clip (list of np.ndarray [shape=(n_frames, n_mfcc)])."""
        return [self.frames[start:end] for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    @property
    def digest(self):
        """Hash of the features and of the names and order of the clips (str, 8 hexadecimal digits)."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.frames).tobytes(), digest_size=4)
        digest.update(self.contours.tobytes() + "\n".join(self.clips["clip"]).encode(*files.CSV_ENCODING)
                      + self.offsets.tobytes())
        return digest.hexdigest()

    def has_input(self, name):
        """Check whether `get_input` can return the input of a model.

        Parameters
        ----------
        name : str
            As for `get_input`.

        Returns
        -------
        bool
            Whether the features are present.
        """
        return name in ("sequences", "contours") or all(part in self.extra for part in name.split("+"))

    def get_input(self, name):
        """Get the input of a model, one entry per clip.

        Parameters
        ----------
        name : str
            "sequences", "contours", a key of `extra`, or several keys of features of the same shape, such as
            "whisper+whisper_distorted".

        Returns
        -------
        list of np.ndarray [shape=(n_frames, n_features)] or np.ndarray [shape=(n_clips, n_features)]
            The contours as sequences of one coefficient, [shape=(216, 1)]; several features side by side,
            [shape=(n_clips, n_keys, n_features)].

        Raises
        ------
        ValueError
            If the name is unknown or these features are missing.

        Examples
        --------
        >>> load_features().get_input("contours")[0].shape
        (216, 1)
        """
        if name == "sequences":
            return self.sequences
        if name == "contours":
            return list(self.contours[..., None])
        names = name.split("+")
        if all(name in self.extra for name in names):
            return self.extra[name] if len(names) == 1 else np.stack([self.extra[name] for name in names], axis=1)
        extra_features.check_names(names)
        corpora = self.clips["corpus"].unique()
        dataset = corpora[0] if len(corpora) == 1 and corpora[0] in datasets.DATASETS else "NAME"
        raise ValueError(f"features {name!r} of {', '.join(corpora)} are missing; add them with extract_extra_features "
                         f"(ser extract FOLDER --dataset {dataset} --features {' '.join(names)} --out DIR, where DIR "
                         "is the folder of these features)")


def extract_features(folder, out, dataset="ravdess", config=spectral.FeatureConfig(), *, f0=True, n_jobs=-1,
                     scheduler=None, progress=True):
    """Extract and save the features of all recordings of a corpus, or load them if nothing has changed since.

    Parameters
    ----------
    folder : str or Path
        Folder of the recordings, or CSV table of custom recordings, as for `load_clips`.
    out : str or Path
        Folder for the features.
    dataset : str, default "ravdess"
        A key of `DATASETS`, or "custom".
    config : FeatureConfig, default FeatureConfig()
        Configuration of the MFCC extraction; the default is that of the published results.
    f0 : bool, default True
        Estimate F0, which takes most of the time.
    n_jobs : int, default -1
        Number of processes; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler whose workers reach `folder` under the same path.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    features : FeatureSet
        Features of all usable recordings.
    errors : list of AudioError
        One per recording that is left out: those that `load_clips` skips, unusable ones and duplicates. Of identical
        recordings with the same emotion, the first clip is used; with different emotions, none.

    Raises
    ------
    DatasetError
        If the dataset is unknown, no recording is found or none is usable.
    ValueError
        If the Dask scheduler or one of its workers cannot be used.

    See Also
    --------
    load_features : Load extracted features.
    extract_extra_features : Add optional features.

    Examples
    --------
    >>> import tempfile
    >>> file = datasets.SAMPLES / "Actor_01" / "03-01-01-01-01-01-01.flac"
    >>> table = pd.DataFrame({"file": [str(file)], "emotion": ["neutral"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.to_csv(Path(folder) / "custom.csv", index=False)
    ...     features, errors = extract_features(Path(folder) / "custom.csv", Path(folder) / "features", "custom",
    ...                                         f0=False, n_jobs=1, progress=False)
    >>> features.clips["emotion"].tolist(), features.frames.shape[1], errors
    (['neutral'], 64, [])
    """
    clips, skipped = datasets.load_clips(folder, dataset, return_skipped=True)
    folder, out = datasets.data_home(dataset, folder), Path(out)
    digest = _digest_recordings(folder, clips, skipped, config, f0)
    if cached := _load_cached(out, digest):
        return cached
    spectral.mfcc(np.zeros(config.n_fft), config)  # import librosa before the workers start: numba compiles on import
    if f0:
        descriptors.compile_pyin()
    paths = [folder.resolve() / file for file in clips["file"]]
    results = list(parallel_map(partial(_extract_clip, config=config, f0=f0), paths, desc="extracting", unit="clip",
                                n_jobs=n_jobs, scheduler=scheduler, environment=_package_versions, progress=progress))
    known = datasets.DATASETS[dataset].known_duplicates if dataset in datasets.DATASETS else ()
    results = _reject_duplicates(clips, paths, results, known)
    is_usable = np.array([not isinstance(result, audio.AudioError) for result in results])
    errors = [audio.AudioError(*fields) for fields in skipped]
    errors += [result for result in results if isinstance(result, audio.AudioError)]
    if not is_usable.any():
        raise datasets.DatasetError(f"{folder}: none of {len(clips)} recordings can be used; the first: {errors[0]}")
    sequences, contours, rows, _ = zip(*itertools.compress(results, is_usable), strict=True)
    table = clips[is_usable].reset_index(drop=True).join(pd.DataFrame(list(rows)).round(3))
    save_features(FeatureSet(table, np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]),
                             np.stack(contours), config), out, recordings_digest=digest,
                  errors=[(error.path, error.reason, error.remedy) for error in errors])
    return load_features(out), errors


def extract_extra_features(folder, out, names, dataset="ravdess", *, n_jobs=-1, scheduler=None, progress=True):
    """Add extra features to a folder of extracted features, for the same clips; those it already contains are reused.

    Each recording is loaded as by `extract_mfcc`: mono, resampled, without silence at both ends.

    Parameters
    ----------
    folder : str or Path
        Folder or table of the recordings, as for `extract_features`.
    out : str or Path
        Folder that `extract_features` wrote.
    names : list of str
        Keys of `extra_features.EXTRACTORS`.
    dataset : str, default "ravdess"
        A key of `DATASETS`, or "custom".
    n_jobs : int, default -1
        Number of processes; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler, as for `extract_features`.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    FeatureSet
        Features of the folder, with these and earlier features in `extra`.

    Raises
    ------
    ValueError
        If a name is unknown, a package is not installed, or a clip has no recording in `folder`.
    AudioError
        If a recording cannot be used.
    """
    extra_features.check_names(names)
    features, out = load_features(out), Path(out)
    stored = list(features.extra)
    missing = [name for name in dict.fromkeys(names) if name not in stored]
    if not missing:
        return features
    recordings, root = datasets.load_clips(folder, dataset), datasets.data_home(dataset, folder)
    rows = extra_features.get_rows(recordings["clip"], features.clips["clip"], root)
    paths = [root.resolve() / file for file in recordings["file"].iloc[rows]]
    for name in missing:
        _extract_extra_clip(None, name, features.config)  # fails here, not in every worker, if a package is missing
    for name in missing:
        extract = partial(_extract_extra_clip, name=name, config=features.config)
        values = parallel_map(extract, paths, desc=f"extracting {name}", unit="clip", n_jobs=n_jobs,
                              scheduler=scheduler, environment=_package_versions, progress=progress)
        extra_features.save_extra(out, name, features.clips["clip"], list(values))
        stored.append(name)
        files.write_checksums(out, (*FILES, *(f"{one}.npz" for one in stored)))
    return load_features(out)


def save_features(features, folder, **info):
    """Save features as `clips.csv`, `features.npz`, `feature_config.json` and their checksums `SHA256SUMS`.

    Values are stored with 8-bit uniform quantization of each coefficient. Extra features are not saved, and those
    in the folder become invalid.

    Parameters
    ----------
    features : FeatureSet
        Features to save.
    folder : str or Path
        Target; it is created if it does not exist.
    **info
        Further entries of `feature_config.json`.

    Examples
    --------
    >>> import tempfile
    >>> y = np.random.default_rng(0).normal(size=16000)
    >>> frames = spectral.mfcc(y)
    >>> clips = pd.DataFrame({"clip": ["noise"], "corpus": ["demo"]})
    >>> data = FeatureSet(clips, frames, np.array([0, 63]), np.zeros((1, 216)), spectral.FeatureConfig())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_features(data, folder)
    ...     restored = load_features(folder)
    >>> restored.frames.shape, bool(np.abs(restored.frames - frames).max() < 0.01 * np.ptp(frames))
    ((63, 64), True)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frames, steps, lows = zip(*map(quantize, features.sequences), strict=True)
    contours, contour_step, contour_low = quantize(features.contours.T)
    sd = np.maximum(features.frames.std(axis=0), MIN_STEP)
    info = {"config": asdict(features.config), "n_clips": len(features.clips), "n_frames": len(features.frames),
            "max_quantization_error_sd": round(float((np.stack(steps) / 2 / sd).max()), 4),
            "max_contour_quantization_error": round(float(contour_step.max() / 2), 4), **info}
    np.savez_compressed(
        archive := io.BytesIO(), frames=np.concatenate(frames), step=np.stack(steps), low=np.stack(lows),
        lengths=np.diff(features.offsets).astype(np.uint16), contours=contours.T, contour_step=contour_step[:, None],
        contour_low=contour_low[:, None])
    files.write_atomic(folder / "features.npz", archive.getvalue())
    files.write_atomic(folder / "clips.csv", files.to_csv_bytes(features.clips))
    files.write_atomic(folder / "feature_config.json", (json.dumps(info, indent=1) + "\n").encode())
    files.write_checksums(folder, FILES)


def load_features(folder=RAVDESS_FEATURES):
    """Load features that `extract_features` or `save_features` wrote.

    Parameters
    ----------
    folder : str, Path or list of these, optional
        By default the RAVDESS features of this repository. The features of several folders are concatenated; names of
        clips and speakers then begin with their corpus, and `extra` contains what all folders contain.

    Returns
    -------
    FeatureSet
        Features of all clips.

    Raises
    ------
    FileNotFoundError
        If a folder contains no features.
    IntegrityError
        If a file does not match its checksum.
    ValueError
        If the list of folders is empty, or folders contain the same corpus or differ in their configuration.

    See Also
    --------
    extract_features : Extract the features of a corpus.
    extract_extra_features : Add optional features.

    Examples
    --------
    >>> load_features().clips[["clip", "speaker", "emotion"]].iloc[0].tolist()
    ['03-01-01-01-01-01-01', '01', 'neutral']
    """
    if isinstance(folder, list | tuple):
        if not folder:
            raise ValueError("the list of folders is empty; pass one at least, or no argument for RAVDESS")
        return _concat([load_features(one) for one in folder])
    folder = Path(folder or RAVDESS_FEATURES)
    command = f"extract_features (ser extract RECORDINGS --out {folder})"
    remedy = "restore it with git checkout" if folder == RAVDESS_FEATURES else f"extract the features with {command}"
    if missing := [name for name in (files.CHECKSUM_FILE, *FILES) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: no features ({missing[0]} is missing); {remedy}")
    table, archive, info = (io.BytesIO(files.read_verified(folder / name, remedy)) for name in FILES)
    with np.load(archive, allow_pickle=False) as arrays:
        lengths = arrays["lengths"].astype(np.int64)
        # step and low are per clip; in data/ravdess one vector serves all clips
        step, low = (arrays[name] if arrays[name].ndim == 1 else np.repeat(arrays[name], lengths, axis=0)
                     for name in ("step", "low"))
        frames = arrays["frames"] * step + low
        contours = arrays["contours"] * arrays["contour_step"] + arrays["contour_low"]
    clips = files.read_csv(table)
    return FeatureSet(clips, frames.astype(np.float32, copy=False), np.cumsum([0, *lengths]),
                      contours.astype(np.float32, copy=False), spectral.FeatureConfig(**json.load(info)["config"]),
                      extra_features.load_extra(folder, clips["clip"], remedy))


def _extract_clip(path, config, f0=True):
    """MFCCs, contour, descriptors and hash of one recording, or the AudioError that makes it unusable."""
    try:
        recording, sr = audio.read(path)
    except audio.AudioError as error:
        return error
    y = audio.resample(recording, sr, config.sr)
    speech = audio.trim(y, config.trim_db)
    return (spectral.mfcc(speech, config), descriptors.mfcc_mean_contour(recording, sr),
            descriptors.compute_descriptors(y, speech, config.sr, f0),
            hashlib.blake2b(recording.tobytes(), digest_size=16).hexdigest())


def _extract_extra_clip(path, name, config):
    """Extra features of one recording, or of 1 s of silence if `path` is None."""
    y = audio.trim(audio.load(path, config.sr), config.trim_db) if path else np.zeros(config.sr, np.float32)
    return extra_features.EXTRACTORS[name](y, config.sr)


def _reject_duplicates(clips, paths, results, known=()):
    """Replace the results of identical recordings by AudioErrors; the first of several with one emotion is kept."""
    results = list(results)
    hashes = [None if isinstance(result, audio.AudioError) else result[-1] for result in results]
    for _, group in clips.groupby(np.array(hashes, dtype=object)):  # rows without a hash belong to no group
        if len(set(group["emotion"])) > 1:
            names = ", ".join(group["clip"] + " " + group["emotion"])
            for row in group.index:
                results[row] = audio.AudioError(paths[row], f"identical recordings with different emotions: {names}",
                                                "keep only the correct one")
        else:
            for row in group.index[1:].difference(group.index[group["clip"].isin(known)]):
                results[row] = audio.AudioError(paths[row], f"identical to {group['clip'].iloc[0]}, which is used",
                                                "remove one of them")
    return results


def _package_versions():
    """Feature and package versions, which must be equal here and on every Dask worker."""
    return FEATURES_VERSION, *(f"{name} {version(name)}" for name in VERSIONED_PACKAGES)


def _digest_recordings(folder, clips, skipped, config, f0):
    """Cache key: hash of the recordings' bytes, the tables of clips and skipped files, configuration and versions."""
    digest = hashlib.blake2b(f"{config} {f0} {_package_versions()}".encode(), digest_size=16)
    digest.update(files.to_csv_bytes(clips) + repr(skipped).encode())
    for file in clips["file"]:
        digest.update(file.encode(*files.CSV_ENCODING))
        with suppress(OSError):  # reported as AudioError when the clip is extracted
            digest.update((folder / file).read_bytes() if (folder / file).is_file() else b"")
    return digest.hexdigest()


def _load_cached(out, digest):
    """Earlier results for the same cache key; None if there are none or a file is damaged."""
    with suppress(FileNotFoundError, files.IntegrityError):
        info = json.loads(files.read_verified(out / "feature_config.json", ""))
        if info.get("recordings_digest") == digest:
            return load_features(out), [audio.AudioError(*fields) for fields in info["errors"]]
    return None


def _concat(parts):
    if len(parts) == 1:
        return parts[0]
    names = [", ".join(part.clips["corpus"].unique()) for part in parts]
    if len(set(names)) < len(names) or any(part.config != parts[0].config for part in parts):
        raise ValueError(f"features of {' and '.join(names)} cannot be joined; give each corpus once, all extracted "
                         "with the same configuration")
    clips = pd.concat([part.clips for part in parts], ignore_index=True)
    groups = {name: dataset.speaker_group for name, dataset in datasets.DATASETS.items()}
    clips = clips.assign(clip=clips["corpus"] + "/" + clips["clip"],
                         speaker=clips["corpus"].replace(groups) + "/" + clips["speaker"])
    frames, lengths, contours = (np.concatenate(arrays) for arrays in zip(
        *((part.frames, np.diff(part.offsets), part.contours) for part in parts), strict=True))
    common = {}
    for name in parts[0].extra:
        if all(name in part.extra for part in parts):
            values = list(itertools.chain.from_iterable(part.extra[name] for part in parts))
            common[name] = values if name in extra_features.SEQUENCES else np.stack(values)
    return FeatureSet(clips, frames, np.cumsum([0, *lengths]), contours, parts[0].config, common)
