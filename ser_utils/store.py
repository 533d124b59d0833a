"""Features of a whole corpus: made from recordings over all cores, kept in three small files, opened as float32."""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils import audio, corpora, descriptors, features
from ser_utils.parallel import each

SHIPPED = corpora.ROOT / "data" / "ravdess"
LEVELS = 255  # one byte a value
TEXT = {name: str for name in corpora.COLUMNS if name != "repetition"}  # 01 is no number, and None may be a name


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
        digest.update(self.contours.tobytes() + "\n".join(self.clips["clip"]).encode() + self.starts.tobytes())
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


def code_here():
    """Of the code and the packages that make features on this machine. str"""
    code = [Path(module.__file__).read_bytes() for module in (audio, features, descriptors)]
    packages = [f"{name} {version(name)}" for name in ("numpy", "scipy", "soundfile", "soxr", "librosa")]
    return hashlib.blake2b(b"".join(code) + " ".join(packages).encode(), digest_size=8).hexdigest()


def _fingerprint(folder, clips, *how):
    """Of the recordings' bytes, the way and the code: what a cached result must agree with to be used again."""
    digest = hashlib.blake2b(f"{how} {code_here()}".encode(), digest_size=16)
    digest.update(clips.to_csv(index=False).encode())
    for path in clips["path"]:
        try:
            digest.update(path.encode() + (Path(folder) / path).read_bytes())
        except OSError:  # reported by name when the clip is read
            digest.update(b"unreadable")
    return digest.hexdigest()


def extract(folder, out, corpus="ravdess", settings=features.Settings(), *, pitch=True, jobs=-1,
            scheduler=None, progress=True):
    """Features of every recording of a corpus, written to `out`, or read from there if nothing has changed.

    Runs over `jobs` processes (-1: one a core), or a Dask scheduler's workers, who see the folder at the same path.
    Without `pitch` its columns stay empty and the rest takes a tenth of the time.
    Returns a FeatureSet of what could be used, and a list of the AudioErrors of what could not. Raises CorpusError when
    the folder holds no recording, or none that can be used.
    """
    from joblib import delayed

    clips, folder, out = corpora.read(folder, corpus), corpora.folder_of(corpus, folder), Path(out)
    fingerprint = _fingerprint(folder, clips, settings, pitch)
    cached = _meta(out)
    if cached.get("recordings") == fingerprint:
        return load(out), [audio.AudioError(*problem) for problem in cached["left_out"]]
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


def _quantise(values):
    """Each column as bytes. Returns the bytes, and the step and the least value of each column."""
    low = values.min(axis=0)
    step = np.maximum((values.max(axis=0) - low) / LEVELS, 1e-9).astype(np.float32)
    return np.rint((values - low) / step).astype(np.uint8), step, low.astype(np.float32)


def save(made, out, **meta):
    """Write a FeatureSet as `clips.csv`, `features.npz` (bytes, scaled per coefficient) and `settings.json`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").unlink(missing_ok=True)  # written last again: its presence says that the rest is whole
    frames, step, low = _quantise(made.frames)
    contours, contour_step, contour_low = _quantise(made.contours.reshape(-1, 1))
    np.savez_compressed(
        out / "features.npz", frames=frames, step=step, low=low, lengths=np.diff(made.starts).astype(np.uint16),
        contours=contours.reshape(made.contours.shape), contour_step=contour_step, contour_low=contour_low)
    made.clips.to_csv(out / "clips.csv", index=False, lineterminator="\n")
    spread = made.frames.std(axis=0)
    text = {"settings": asdict(made.settings), "clips": len(made.clips), "frames": len(made.frames),
            "largest_error_in_sd": round(float((step / 2 / np.maximum(spread, 1e-9)).max()), 4),
            "largest_contour_error": round(float(contour_step[0] / 2), 4), **meta}
    (out / "settings.json").write_text(json.dumps(text, indent=1) + "\n")


def _meta(folder):
    path = Path(folder) / "settings.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def load(folder=SHIPPED):
    """Open the features of a folder, by default those of RAVDESS that ship with the project, as a FeatureSet.

    A list of folders is opened as one, clips and speakers named by their corpus first. Raises FileNotFoundError when a
    folder holds no features, and ValueError when its files, or several folders, disagree.
    """
    if not isinstance(folder, str | Path):
        return _joined([load(one) for one in folder])
    folder, meta = Path(folder), _meta(folder)
    if not meta:
        raise FileNotFoundError(f"no features in {folder} (settings.json is missing); make them with "
                                f"python -m ser_utils extract RECORDINGS --out {folder}")
    with np.load(folder / "features.npz", allow_pickle=False) as arrays:
        frames = arrays["frames"] * arrays["step"] + arrays["low"]
        contours = arrays["contours"] * arrays["contour_step"] + arrays["contour_low"]
        starts = np.concatenate([[0], np.cumsum(arrays["lengths"], dtype=np.int64)])
    clips = pd.read_csv(folder / "clips.csv", dtype=TEXT, keep_default_na=False, na_values=[""])
    if not len(clips) == meta["clips"] == len(starts) - 1 == len(contours) or len(frames) != starts[-1]:
        raise ValueError(f"{folder}: clips.csv and features.npz disagree about the clips; extract them again")
    return FeatureSet(clips, frames.astype(np.float32, copy=False), starts, contours.astype(np.float32),
                      features.Settings(**meta["settings"]))


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
