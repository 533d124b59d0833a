"""Features of a whole corpus: made from recordings over all cores, kept in three small files, opened as float32."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import audio, corpora, descriptors, features, files
from ser_utils.parallel import each

SHIPPED = corpora.ROOT / "data" / "ravdess"
LEVELS = 255  # one byte a value
FILES = ("clips.csv", "features.npz", "settings.json")
# of every table: 01 is no number, None may be a name, and file names need not be UTF-8
READ = {"dtype": {name: str for name in corpora.COLUMNS if name != "repetition"}, "keep_default_na": False,
        "na_values": [""], "encoding_errors": "surrogateescape"}
BYTES = "utf-8", "surrogateescape"


@dataclass(frozen=True)
class FeatureSet:
    """Features of every clip of a clips table, in its order.

    Attributes
    ----------
    clips : pd.DataFrame
        The clips table with the columns of `descriptors.COLUMNS`.
    frames : np.ndarray [shape=(all frames, n_mfcc)], float32
    starts : np.ndarray [shape=(clips + 1,)], int
        Clip `i` is `frames[starts[i]:starts[i + 1]]`.
    contours : np.ndarray [shape=(clips, 216)], float32
        The original project's feature.
    settings : features.Settings

    >>> data = load()
    >>> data.frames.shape, data.contours.shape
    ((182163, 64), (1440, 216))
    >>> len(data.sequences), data.sequences[0].shape  # 64 coefficients every 16 ms
    (1440, (97, 64))
    >>> len(data.digest)
    8
    """

    clips: pd.DataFrame
    frames: np.ndarray
    starts: np.ndarray
    contours: np.ndarray
    settings: features.Settings

    @property
    def sequences(self):
        """MFCCs of each clip. list of np.ndarray [shape=(frames, n_mfcc)]"""
        return [self.frames[a:b] for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]

    @property
    def digest(self):
        """Eight hex digits that change whenever the features, their order or the clips' names do."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.frames).tobytes(), digest_size=4)
        digest.update(self.contours.tobytes() + "\n".join(self.clips["clip"]).encode(*BYTES) + self.starts.tobytes())
        return digest.hexdigest()


def _one(folder, row, settings, pitch=True):
    """Everything about one clip, or the AudioError that says why not. Runs in a worker process."""
    from scipy.fft import rfft

    try:
        recorded, native = audio.read(Path(folder) / row["path"])
    except audio.AudioError as error:
        return error
    y = audio.resampled(recorded, native, settings.sr)
    speech = audio.trim(y, settings.trim_db)
    return (features.mfcc(speech, settings, rfft), descriptors.contour(recorded, native, rfft),
            descriptors.describe(y, speech, settings.sr, pitch))


def as_csv(table):
    """A table as the bytes of a CSV file, for `READ`.

    >>> as_csv(pd.DataFrame({"clip": ["a"], "speaker": ["01"], "gender": [None]})).splitlines()
    [b'clip,speaker,gender', b'a,01,']
    """
    return table.to_csv(index=False, lineterminator="\n").encode(*BYTES)


def code_here():
    """Of the code and the packages that make features on this machine. str

    >>> len(code_here()), code_here() == code_here()
    (16, True)
    """
    code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("audio", "features", "descriptors")]
    packages = [f"{name} {version(name)}" for name in ("numpy", "scipy", "soundfile", "soxr", "librosa")]
    return hashlib.blake2b(b"".join(code) + " ".join(packages).encode(), digest_size=8).hexdigest()


def _fingerprint(folder, clips, *how):
    """Of the recordings' bytes, the way and the code: what a cached result must agree with to be used again."""
    digest = hashlib.blake2b(f"{how} {code_here()}".encode(), digest_size=16)
    digest.update(as_csv(clips))
    for path in clips["path"]:
        file = Path(folder) / path
        try:
            digest.update(path.encode(*BYTES) + (file.read_bytes() if file.is_file() else b"no file"))
        except OSError:  # reported by name when the clip is read
            digest.update(b"unreadable")
    return digest.hexdigest()


def extract(folder, out, corpus="ravdess", settings=features.Settings(), *, pitch=True, jobs=-1,
            scheduler=None, progress=True):
    """Features of every recording of a corpus, written to `out`, or read from there if nothing has changed.

    Runs over `jobs` processes (-1: one a core), or a Dask scheduler's workers, who see the folder at the same path.
    Without `pitch` its columns stay empty, and the rest is there far sooner.
    Returns a FeatureSet of what could be used, and a list of the AudioErrors of what could not. Raises CorpusError when
    the folder holds no recording, or none that can be used.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     mine = pd.DataFrame({"path": [corpora.ROOT / "data" / "this_coffee_sucks.flac"], "emotion": ["angry"]})
    ...     mine.to_csv(Path(folder) / "mine.csv", index=False)
    ...     made, errors = extract(Path(folder) / "mine.csv", Path(folder) / "out", "own", pitch=False, jobs=1)
    >>> made.clips["emotion"].tolist(), made.sequences[0].shape, errors
    (['angry'], (63, 64), [])
    """
    from joblib import delayed

    clips, folder, out = corpora.read(folder, corpus), corpora.folder_of(corpus, folder), Path(out)
    fingerprint = _fingerprint(folder, clips, settings, pitch)
    if cached := _cached(out, fingerprint):
        return cached
    if pitch:
        descriptors.compile_pitch()
    work = (delayed(_one)(folder.resolve(), row, settings, pitch) for row in clips.to_dict("records"))
    results = list(each(work, len(clips), "extracting", "clip", jobs=jobs, scheduler=scheduler, same=code_here,
                        progress=progress))
    kept = [not isinstance(result, audio.AudioError) for result in results]
    errors = [result for result, good in zip(results, kept, strict=True) if not good]
    if not any(kept):
        raise corpora.CorpusError(f"no recording of the {len(clips)} in {folder} can be used; the first: {errors[0]}")
    sequences, contours, described = zip(*(r for r, good in zip(results, kept, strict=True) if good), strict=True)
    table = clips[kept].reset_index(drop=True).join(pd.DataFrame(list(described)).round(3))
    made = FeatureSet(table, np.concatenate(sequences), np.cumsum([0] + [len(s) for s in sequences]),
                      np.stack(contours), settings)
    save(made, out, recordings=fingerprint, left_out=[(e.path, e.reason, e.remedy) for e in errors])
    return load(out), errors


def _cached(out, fingerprint):
    """What `extract` made of the same before, or None: there is nothing, of something else, or damaged."""
    try:
        meta = json.loads(files.verified(out / "settings.json", ""))
        return (load(out), [audio.AudioError(*problem) for problem in meta["left_out"]]) \
            if meta.get("recordings") == fingerprint else None
    except (FileNotFoundError, files.DamagedError):
        return None


def _quantise(values):
    """Each column as bytes. Returns the bytes, and the step and the least value of each column."""
    low = values.min(axis=0)
    step = np.maximum((values.max(axis=0) - low) / LEVELS, 1e-9).astype(np.float32)
    return np.rint((values - low) / step).astype(np.uint8), step, low.astype(np.float32)


def save(made, out, **meta):
    """Write a FeatureSet as `clips.csv`, `features.npz` (bytes, scaled clip by clip), `settings.json` and their sums.

    Each clip has a scale of its own, so that no clip's features depend on the company it is in.

    >>> from tempfile import TemporaryDirectory
    >>> data = load()
    >>> first = FeatureSet(data.clips[:1], data.sequences[0], data.starts[:2], data.contours[:1], data.settings)
    >>> with TemporaryDirectory() as out:
    ...     save(first, out)
    ...     sorted(path.name for path in Path(out).iterdir())
    ['SHA256SUMS', 'clips.csv', 'features.npz', 'settings.json']
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    packed, steps, lows = zip(*map(_quantise, made.sequences), strict=True)
    contours, contour_step, contour_low = _quantise(made.contours.T)
    spread = np.maximum(made.frames.std(axis=0), 1e-9)
    text = {"settings": asdict(made.settings), "clips": len(made.clips), "frames": len(made.frames),
            "largest_error_in_sd": round(float((np.stack(steps) / 2 / spread).max()), 4),
            "largest_contour_error": round(float(contour_step.max() / 2), 4), **meta}
    np.savez_compressed(
        archive := io.BytesIO(), frames=np.concatenate(packed), step=np.stack(steps), low=np.stack(lows),
        lengths=np.diff(made.starts).astype(np.uint16), contours=contours.T, contour_step=contour_step[:, None],
        contour_low=contour_low[:, None])
    files.write(out / "features.npz", archive.getvalue())
    files.write(out / "clips.csv", as_csv(made.clips))
    files.write(out / "settings.json", (json.dumps(text, indent=1) + "\n").encode())
    files.seal(out, FILES)


def load(folder=SHIPPED):
    """Open the features of a folder as a FeatureSet; without one, those of RAVDESS that ship with the project.

    A list of folders is opened as one, clips and speakers named by their corpus first. Raises FileNotFoundError when a
    folder holds no features, DamagedError when they are not what was written, and ValueError when folders disagree.

    >>> load().clips[["clip", "speaker", "emotion"]].iloc[0].tolist()
    ['03-01-01-01-01-01-01', '01', 'neutral']
    >>> load("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: no features in nowhere (SHA256SUMS is missing); make them with ...
    """
    if isinstance(folder, list | tuple):
        return _joined([load(one) for one in folder])
    folder = Path(folder or SHIPPED)
    if not (folder / files.SUMS).is_file():
        raise FileNotFoundError(f"no features in {folder} ({files.SUMS} is missing); make them with "
                                f"python -m ser_utils extract RECORDINGS --out {folder}")
    remedy = "git checkout it" if folder == SHIPPED else "extract them again"
    table, packed, settings = (io.BytesIO(files.verified(folder / name, remedy)) for name in FILES)
    with np.load(packed, allow_pickle=False) as arrays:
        lengths = arrays["lengths"].astype(np.int64)
        step, low = (arrays[name] if arrays[name].ndim == 1 else np.repeat(arrays[name], lengths, axis=0)
                     for name in ("step", "low"))  # one scale for all clips, as in what ships, or one for each
        frames = arrays["frames"] * step + low
        contours = arrays["contours"] * arrays["contour_step"] + arrays["contour_low"]
    return FeatureSet(pd.read_csv(table, **READ), frames.astype(np.float32, copy=False),
                      np.cumsum([0, *lengths]), contours.astype(np.float32, copy=False),
                      features.Settings(**json.load(settings)["settings"]))


def _joined(sets):
    if len(sets) == 1:
        return sets[0]
    names = [", ".join(one.clips["corpus"].unique()) for one in sets]
    if len(set(names)) < len(names) or any(one.settings != sets[0].settings for one in sets):
        raise ValueError(f"features of {' and '.join(names)} cannot be joined: give each corpus once, extracted alike")
    clips = pd.concat([one.clips for one in sets], ignore_index=True)
    known = clips["speaker"].notna()
    voices = clips["corpus"].map(lambda name: corpora.CORPORA[name].voices if name in corpora.CORPORA else name)
    clips.loc[known, "speaker"] = voices + "/" + clips["speaker"]
    lengths = np.concatenate([np.diff(one.starts) for one in sets])
    return FeatureSet(clips.assign(clip=clips["corpus"] + "/" + clips["clip"]),
                      np.concatenate([one.frames for one in sets]), np.cumsum([0, *lengths]),
                      np.concatenate([one.contours for one in sets]), sets[0].settings)
