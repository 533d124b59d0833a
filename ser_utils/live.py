"""A voice in, an emotion out, without TensorFlow: what was heard, how surely, and when not to trust it."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ser_utils import audio, features, files
from ser_utils.corpora import EMOTIONS, ROOT, TEN
from ser_utils.runtime import Network

MODELS = ROOT / "models"
RECIPES = {"emotion": "cnn_live", "gender": "gender_live"}  # of `models`, by which the shipped networks were trained
SR = features.Settings().sr
WINDOW, HOP = 4.0, 2.0  # s: what is longer than two windows is heard in windows
SHORTEST, SHORT, LONGEST = 0.3, 0.6, 3600.0  # s: of sound; of speech, below which little can be said; of sound
QUIET_DB = -60.0  # dB re full scale: a peak below it is a microphone that hears nobody
PAUSE_DB = 35.0  # a window this far below the loudest one is a pause, as it is at the ends of a clip
CLIPPED = 0.001  # share of samples at full scale
STRANGE = 0.25  # share of windows unlike speech, of which each has a chance of one in twenty to be called so wrongly
CODED = tuple(name.removeprefix("female_") for name in TEN[:5])  # the emotions that have a code


@lru_cache(maxsize=1)
def networks():
    """The shipped networks for emotion and gender, read once. dict of Network

    >>> networks()["emotion"].classes
    ['angry', 'calm', 'disgust', 'fearful', 'happy', 'neutral', 'sad', 'surprised']
    >>> networks()["gender"].classes
    ['female', 'male']
    """
    return {name: Network(io.BytesIO(files.verified(MODELS / f"live_{name}.npz", "git checkout it")))
            for name in RECIPES}


def predict(source, sr=None, own=None):
    """The emotion in a voice.

    Parameters
    ----------
    source : str, Path or np.ndarray [shape=(samples,) or (samples, channels)]
        A file that libsndfile reads, 0.3 s to an hour; or samples.
    sr : int, optional
        The rate of samples, in Hz.
    own : np.ndarray, optional
        What `accustomed` made of this speaker's neutral takes, to bring each coefficient to the average speaker's.

    Returns
    -------
    dict
        `file`; `emotion`, `gender`; `code` and `class`, of the likeliest of the five emotions that have one of the ten
        codes; `probabilities` by emotion; `warnings`, sentences; and `windows` where it lasts longer than 8 s: `start`
        in s, `emotion` and its `probability`. What depends on speech is None where none is heard.

    Raises
    ------
    AudioError
        When a recording cannot be used.
    ValueError
        When samples come without a rate, in another shape, or are not finite.

    >>> answer = predict(ROOT / "data" / "this_coffee_sucks.flac")
    >>> answer["emotion"], answer["code"], answer["class"]
    ('angry', 5, 'male_angry')
    >>> predict([0.1, 0.2])
    Traceback (most recent call last):
    ValueError: sr=None is no sampling rate; give the samples' rate in Hz
    """
    named = isinstance(source, str | Path)
    stretches = tqdm(_stretches(source, sr), Path(source).name if named else "samples", unit=" windows", delay=2,
                     leave=False, disable=None)
    with threadpool_limits(1):  # a second thread gains little on matrices this small, and waits on a busy machine
        heard = [_hear(block, rate, start, own) for block, rate, start in stretches]
    loudest = max(one["peak"] for one in heard)
    spoken = [one for one in heard if one["speech"] and one["peak"] > loudest * 10 ** (-PAUSE_DB / 20)]
    answer = {"file": str(source) if named else "samples", "emotion": None, "gender": None,
              "code": None, "class": None, "probabilities": None, "warnings": _warnings(heard, spoken)}
    if spoken:
        answer |= decoded(*(np.average([one[what] for one in spoken], axis=0, weights=[one["speech"] for one in spoken])
                            for what in ("emotion", "gender")))
        if answer["emotion"] not in CODED:
            answer["warnings"].append(f"{answer['emotion']} has none of the ten codes; {answer['code']} is that of the "
                                      "likeliest emotion that has one")
    if len(heard) > 1:
        answer["windows"] = [{"start": one["start"], **_likeliest(one["emotion"])} for one in spoken]
    return answer


def accustomed(takes):
    """Mean and SD of each coefficient over a speaker's neutral takes. list of (samples, Hz) -> [shape=(2, n_mfcc)]

    Raises ValueError when nobody is heard in any of them.

    >>> y = audio.load(ROOT / "data" / "this_coffee_sucks.flac")
    >>> own = accustomed([(y, 16000)])
    >>> own.shape, predict(y, 16000, own)["file"]
    ((2, 64), 'samples')
    >>> accustomed([(0 * y, 16000)])
    Traceback (most recent call last):
    ValueError: nobody is heard in these takes; record a neutral sentence
    """
    blocks = [_mono(block, rate) for samples, sr in takes for block, rate, _ in _stretches(samples, sr)]
    loud = [features.mfcc(audio.trim(y)) for y in blocks if np.abs(y).max(initial=0) > 10 ** (QUIET_DB / 20)]
    if not loud:
        raise ValueError("nobody is heard in these takes; record a neutral sentence")
    return features.mean_and_sd(loud)


def decoded(emotion, gender):
    """Probabilities of the emotions, and of female and male, in words and in the original's code. dict

    >>> sure = np.array(networks()["emotion"].classes) == "happy"
    >>> answer = decoded(sure, [1, 0])
    >>> answer["emotion"], answer["gender"], answer["code"], answer["class"]
    ('happy', 'female', 3, 'female_happy')
    >>> answer["probabilities"]["happy"], answer["probabilities"]["sad"]
    (1.0, 0.0)
    """
    order = networks()["emotion"].classes
    p = {name: float(emotion[order.index(name)]) for name in EMOTIONS}
    who = networks()["gender"].classes[int(np.argmax(gender))]
    code = TEN.index(f"{who}_{max(CODED, key=p.__getitem__)}")
    return {"emotion": max(p, key=p.__getitem__), "gender": who, "code": code, "class": TEN[code],
            "probabilities": {name: round(value, 6) for name, value in p.items()}}


def table(answers):
    """Answers as text, a line a file, below it what speaks against it and the windows of a long one. str

    >>> answer = predict(ROOT / "data" / "this_coffee_sucks.flac")
    >>> print(table([answer | {"file": "coffee.flac"}]))
    file         emotion        p  gender  code  class
    coffee.flac  angry       0.62  male       5  male_angry
                 (unlike the speech it learned from: music, noise or another kind of recording; do not trust it)
    """
    names = [audio.plain(answer["file"]) for answer in answers]
    width = max(map(len, names))
    lines = [f"{'file':<{width}}  emotion        p  gender  code  class"]
    for name, answer in zip(names, answers, strict=True):
        p = f"{answer['probabilities'][answer['emotion']]:.2f}" if answer["emotion"] else "-"
        shown = [answer[key] if answer[key] is not None else "-" for key in ("emotion", "gender", "code", "class")]
        lines.append(f"{name:<{width}}  {shown[0]:<10} {p:>5}  {shown[1]:<6}  {shown[2]:>4}  {shown[3]}")
        lines += [f"{'':<{width}}  ({warning})" for warning in answer["warnings"]]
        lines += [f"{'':<{width}}  {one['emotion']:<10} {one['probability']:>5.2f}  from {one['start']:.0f} s"
                  for one in answer.get("windows", ())]
    return "\n".join(lines)


def _stretches(source, sr):
    """Samples in stretches as they were recorded: ([shape=(samples, channels)], Hz, start in s)."""
    if not isinstance(source, str | Path):
        left = [_samples(source, sr)]

        def read(count):
            part, left[0] = left[0][:count], left[0][count:]
            return part

        yield from ((block, sr, start) for start, block in audio.stretches(read, sr, WINDOW, HOP))
        return
    with audio.opened(Path(source)) as sound:
        found = 0
        for start, block in audio.stretches(lambda count: audio.samples(source, sound, count), sound.samplerate,
                                            WINDOW, HOP):
            if start > LONGEST:
                raise audio.AudioError(source, "lasts more than an hour", "cut it into parts")
            found = round(start * sound.samplerate) + len(block)
            yield block, sound.samplerate, start
        audio.check_complete(Path(source), sound.frames, found, sound.samplerate)
        if not found:
            raise audio.AudioError(source, "it holds no samples", "record it again")


def _samples(y, sr):
    """Samples of any kind as [shape=(samples, channels)], float32, full scale at 1. ValueError for what is none."""
    if not isinstance(sr, int | float | np.number) or not 100 <= sr <= 1e6:
        raise ValueError(f"sr={sr!r} is no sampling rate; give the samples' rate in Hz")
    y = np.asarray(y)
    y = y[:, None] if y.ndim == 1 else y
    if y.dtype.kind not in "fiu" or y.ndim != 2 or not y.size or y.shape[1] > y.shape[0]:
        raise ValueError(f"samples are {y.dtype} of shape {y.shape}; give numbers, (samples,) or (samples, channels)")
    if y.dtype.kind != "f":
        full = 2.0 ** (8 * y.dtype.itemsize - 1)
        y = y / full - (y.dtype.kind == "u")
    y = y.astype(np.float32)
    if not np.abs(y).max() <= 1e30:
        raise ValueError("samples hold NaN, infinity or nearly that; record them again")
    return y


def _mono(block, sr):
    y = audio.resampled(audio.mono(block), sr, SR)
    y = y - y.mean() if y.size else y  # a constant is no sound
    return y / max(1.0, float(np.abs(y).max(initial=0)))


def _hear(block, sr, start, own):
    """What one stretch says: probabilities, seconds of speech (0 where nobody is heard), and what speaks against it."""
    y, top = _mono(block, sr), np.abs(block).max(axis=0, initial=0)
    full = np.where(top > 0.99, top, np.inf)  # of each channel, if it gets there at all
    heard = {"start": start, "speech": 0.0, "seconds": len(block) / sr, "peak": float(np.abs(y).max(initial=0)),
             "clipped": np.mean(np.abs(block) >= 0.99 * full, axis=0).max(initial=0)}
    if heard["peak"] < 10 ** (QUIET_DB / 20) or heard["seconds"] < SHORTEST:
        return heard
    coefficients = features.mfcc(audio.trim(y, features.Settings().trim_db))
    heard["speech"] = len(coefficients) * features.Settings().hop_length / SR
    heard["strange"] = networks()["emotion"].strange(coefficients)
    if own is not None:
        coefficients = features.brought(coefficients, own, networks()["emotion"].arrays["neutral"])
    return heard | {name: network.predict_proba(coefficients) for name, network in networks().items()}


def _likeliest(emotion):
    best = int(np.argmax(emotion))
    return {"emotion": networks()["emotion"].classes[best], "probability": round(float(emotion[best]), 6)}


def _warnings(heard, spoken):
    """Sentences on what speaks against the answer."""
    seconds, found = [one["seconds"] for one in heard], []
    if max(seconds) < SHORTEST:
        found.append(f"too short: {max(seconds):.2f} s; record at least a word")
    elif not spoken:
        peak = 20 * np.log10(max(one["peak"] for one in heard) + 1e-12)
        found.append(f"silent: it never gets louder than {peak:.0f} dB re full scale; check the microphone")
    elif (longest := max(one["speech"] for one in spoken)) < SHORT:
        found.append(f"short: {longest:.2f} s between silences; record a sentence")
    if np.average([one["clipped"] for one in heard], weights=seconds) > CLIPPED:
        found.append("clipped: it reaches full scale; move back from the microphone or turn it down")
    strange = np.mean([one["strange"] > 1 for one in spoken]) if spoken else 0
    if strange > STRANGE:
        found.append(f"{'' if strange == 1 else 'in part '}unlike the speech it learned from: music, noise or another "
                     "kind of recording; do not trust it")
    return found
