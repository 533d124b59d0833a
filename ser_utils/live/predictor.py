"""Prediction of emotion and gender from a recording with onnxruntime, and enrollment of a speaker.

A deployed model computes the probabilities from a trimmed waveform at 16 kHz (`ser_utils.live.deployed`). This module
decodes, resamples and trims, splits long recordings into segments, adds warnings, and returns no prediction without
speech. It imports neither TensorFlow nor librosa, pandas or scikit-learn, so that a single prediction starts fast.
"""

from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from reprlib import repr as short_repr

import numpy as np

from ser_utils import audio
from ser_utils._utils.files import printable
from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS
from ser_utils.live.deployed import SR, ModelOutput, load_model

SEGMENT_DURATION, SEGMENT_HOP = 4.0, 2.0  # s, for recordings longer than two segments
MIN_DURATION, MAX_DURATION = 0.3, 3600.0  # s
MIN_SPEECH_DURATION = 0.6  # s after trimming; shorter speech gets a warning
MIN_PEAK = 10 ** (-60 / 20)  # -60 dBFS; no speech in segments whose peak is below it
PAUSE_THRESHOLD_DB = -35  # segments whose peak is this far below the highest peak are pauses, as in trimming
# of full scale; in a channel whose peak exceeds it, samples within 1 % of the peak count as clipped
CLIPPING_THRESHOLD = 0.99
MAX_CLIPPED_FRACTION = 0.001  # of the samples
MAX_OOD_FRACTION = 0.25  # of the segments; some clips of unseen speakers or corpora have ood_score > 1
FIVE_EMOTIONS = tuple(name.removeprefix("female_") for name in GENDER_EMOTIONS[:5])


@dataclass
class Segment:
    """A part of a recording and the output of the model for it.

    Parameters
    ----------
    start : float
        Start in the recording in s.
    duration : float
        Duration in s.
    peak : float
        Highest absolute sample; full scale is 1.
    clipped_fraction : float
        Share of the samples at full scale.
    speech_duration : float, default 0
        Duration after trimming in s; 0 without output.
    output : ModelOutput, optional
        Output of the model; None if the segment is silent or too short.
    """

    start: float
    duration: float
    peak: float
    clipped_fraction: float
    speech_duration: float = 0.0
    output: ModelOutput | None = None


def predict(source, sr=None, speaker_stats=None, model="whisper"):
    """Predict emotion and gender from a recording or samples.

    Recordings longer than 8 s are predicted in segments of 4 s every 2 s; probabilities and score are means over the
    segments with speech, weighted by the duration of the speech.

    Parameters
    ----------
    source : str, Path or np.ndarray [shape=(n,) or (n, n_channels)]
        A file that libsndfile reads, 0.3 s to one hour, or samples: floating-point with a full scale of 1, or integers,
        which `check_samples` divides by the full scale of their type.
    sr : int, optional
        Sampling rate of the samples in Hz; required for samples, not used for a file.
    speaker_stats : np.ndarray, optional
        Reference statistics of the speaker from `enroll_speaker` with the same model, for speaker adaptation.
    model : {"whisper", "mfcc"}, default "whisper"
        Deployed model; see `load_model`.

    Returns
    -------
    dict
        `file`; `emotion` and `gender`; `class`, the most probable of the ten classes given the predicted gender, and
        `code`, its index (0–9); `probabilities` by emotion; `ood_score`, above 1 for recordings unlike the training
        clips (with "mfcc" also for 5 % of the clips of unseen speakers, with "whisper" for 0 to 35 % of the clips of an
        unseen corpus); `warnings`, a list of sentences; and for long recordings `windows`, a list of `start` in s,
        `emotion` and its `probability` of each segment. Returns no prediction without speech: `windows` is then empty,
        and all other values but `file` and `warnings` are None.

    Raises
    ------
    AudioError
        If the recording cannot be opened or decoded, is empty, truncated or longer than one hour, or contains NaN,
        infinite or implausibly large samples.
    ValueError
        If `source` is neither a file nor samples, `check_samples` rejects the samples or their sampling rate, the
        statistics are not those of the model, or the model is unknown.
    IntegrityError
        If a model file is missing or altered.

    See Also
    --------
    enroll_speaker : Compute reference statistics of a speaker.
    predict_stream : Predict a recording window by window.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> prediction = predict(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> prediction["emotion"], prediction["code"], prediction["class"]
    ('angry', 5, 'male_angry')
    >>> predict([0.1, 0.2])
    Traceback (most recent call last):
    ValueError: sr=None is not a sampling rate; pass that of the samples, in Hz
    """
    deployed, is_file = load_model(model), isinstance(source, str | Path)
    speaker_stats = None if speaker_stats is None else deployed.check_stats(speaker_stats)
    blocks = _show_progress(_split_segments(source, sr), Path(source).name if is_file else "samples")
    segments = [predict_segment(deployed, start, block, rate, speaker_stats) for start, block, rate in blocks]
    pause_peak = max(segment.peak for segment in segments) * 10 ** (PAUSE_THRESHOLD_DB / 20)
    speech_segments = [segment for segment in segments if segment.speech_duration and segment.peak > pause_peak]
    prediction = {"file": str(source) if is_file else "samples", "emotion": None, "gender": None, "code": None,
                  "class": None, "probabilities": None, "ood_score": None,
                  "warnings": _collect_warnings(segments, speech_segments)}
    if speech_segments:
        weights = [segment.speech_duration for segment in speech_segments]
        emotion, gender, ood_score = (np.average(values, axis=0, weights=weights) for values in
                                      zip(*(segment.output for segment in speech_segments), strict=True))
        prediction |= decode_probabilities(*(dict(zip(deployed.classes[target], map(float, p), strict=True))
                                             for target, p in (("emotion", emotion), ("gender", gender))))
        prediction["ood_score"] = round(float(ood_score), 6)
        if prediction["emotion"] not in FIVE_EMOTIONS:
            prediction["warnings"].append(
                f"{prediction['emotion']} has no code in the ten-class task; {prediction['code']} is the code of the "
                f"most probable emotion among {', '.join(FIVE_EMOTIONS)}")
    if len(segments) > 1:
        emotions = [segment.output.emotion for segment in speech_segments]
        prediction["windows"] = [{"start": segment.start, "emotion": deployed.classes["emotion"][p.argmax()],
                                  "probability": round(float(p.max()), 6)}
                                 for segment, p in zip(speech_segments, emotions, strict=True)]
    return prediction


def enroll_speaker(recordings, model="whisper"):
    """Compute reference statistics of a speaker from neutral recordings, for speaker adaptation.

    Parameters
    ----------
    recordings : list of tuple (y, sr)
        Samples, as for `predict`, and sampling rate in Hz of each recording.
    model : {"whisper", "mfcc"}, default "whisper"
        Deployed model that will use the statistics.

    Returns
    -------
    np.ndarray
        For "whisper", the mean of the encoder's statistics [shape=(4096,)]; for "mfcc", mean and SD of each MFCC
        [shape=(2, 64)].

    Raises
    ------
    ValueError
        If a recording is not a pair, `check_samples` rejects its samples or sampling rate, no recording contains
        speech, or the model is unknown.

    See Also
    --------
    predict : Predict emotion and gender with these statistics.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y = audio.load(SAMPLES / "Actor_01" / "03-01-01-01-01-01-01.flac")
    >>> enroll_speaker([(y, 16000)]).shape
    (4096,)
    >>> enroll_speaker([(0 * y, 16000)])
    Traceback (most recent call last):
    ValueError: these recordings contain no speech; record a neutral sentence
    """
    recordings = list(recordings)
    for row, recording in enumerate(recordings):
        if not isinstance(recording, tuple | list) or len(recording) != 2:
            raise ValueError(f"recordings[{row}] is not a pair (y, sr); pass samples and sampling rate, as audio.read "
                             "returns them")
    blocks = (_normalize_input(block, rate) for y, sr in recordings for _, block, rate in _split_segments(y, sr))
    speech = [audio.trim(y) for y in blocks if _peak(y) >= MIN_PEAK]
    if not speech:
        raise ValueError("these recordings contain no speech; record a neutral sentence")
    return load_model(model).compute_speaker_stats(speech)


def predict_segment(deployed, start, block, sr, speaker_stats=None):
    """Predict one segment of a recording.

    Parameters
    ----------
    deployed : WhisperModel or MFCCModel
        Deployed model, as `load_model` returns it.
    start : float
        Start of the segment in the recording in s.
    block : np.ndarray [shape=(n, n_channels)]
        Samples.
    sr : int
        Sampling rate in Hz.
    speaker_stats : np.ndarray, optional
        Reference statistics of the speaker, as for `predict`.

    Returns
    -------
    Segment
        The segment, with the output of the model unless it is silent or too short.
    """
    y, channel_peak = _normalize_input(block, sr), np.abs(block).max(axis=0, initial=0)
    clipping_level = np.where(channel_peak > CLIPPING_THRESHOLD, CLIPPING_THRESHOLD * channel_peak, np.inf)
    clipped_fraction = np.mean(np.abs(block) >= clipping_level, axis=0).max(initial=0)
    segment = Segment(start, len(block) / sr, _peak(y), clipped_fraction)
    if segment.peak < MIN_PEAK or segment.duration < MIN_DURATION:
        return segment
    speech = audio.trim(y)
    segment.speech_duration = len(speech) / SR
    segment.output = deployed.predict(speech, speaker_stats)
    return segment


def check_samples(y, sr):
    """Check samples and convert them to float32 with full scale 1.

    Parameters
    ----------
    y : np.ndarray [shape=(n,) or (n, n_channels)]
        Samples: floating-point with a full scale of 1, or integers, which are divided by the full scale of their type.
    sr : int
        Sampling rate in Hz, from 100 to 1,000,000.

    Returns
    -------
    np.ndarray [shape=(n, n_channels)], float32
        Converted samples, one column per channel.

    Raises
    ------
    ValueError
        If the sampling rate is missing or out of range, or the samples are none, not real numbers, of more than two
        dimensions, of more channels than samples, NaN, infinite or beyond 1e30.

    Examples
    --------
    >>> check_samples(np.array([0, 16384, -32768], np.int16), sr=16000).ravel().tolist()
    [0.0, 0.5, -1.0]
    """
    if not isinstance(sr, int | float | np.number) or not 100 <= sr <= 1e6:
        raise ValueError(f"sr={sr!r} is not a sampling rate; pass that of the samples, in Hz")
    samples = np.asarray(y)
    y = samples[:, None] if samples.ndim == 1 else samples
    if y.dtype.kind not in "fiu" or y.ndim != 2 or not y.size or y.shape[1] > y.shape[0]:
        raise ValueError(f"samples are {y.dtype} of shape {samples.shape}; pass at least one number, of shape (n,) or "
                         "(n, n_channels) with n >= n_channels")
    if y.dtype.kind != "f":
        y = y / 2.0 ** (8 * y.dtype.itemsize - 1) - (y.dtype.kind == "u")
    y = y.astype(np.float32)
    if not np.abs(y).max() <= 1e30:
        raise ValueError("samples contain NaN, infinite or huge values; record them again")
    return y


def decode_probabilities(emotion, gender):
    """Convert the probabilities of emotions and genders to names and to one of the ten classes.

    Parameters
    ----------
    emotion : dict of str to float
        Probability of each of the eight emotions.
    gender : dict of str to float
        Probability of "female" and "male".

    Returns
    -------
    dict
        `emotion`, `gender`, `code`, `class` and `probabilities`, as `predict` returns them.

    Examples
    --------
    >>> prediction = decode_probabilities(dict.fromkeys(EMOTIONS, 0.0) | {"happy": 1.0}, {"female": 0.9, "male": 0.1})
    >>> prediction["emotion"], prediction["gender"], prediction["code"], prediction["class"]
    ('happy', 'female', 3, 'female_happy')
    """
    speaker_gender = max(gender, key=gender.__getitem__)
    code = GENDER_EMOTIONS.index(f"{speaker_gender}_{max(FIVE_EMOTIONS, key=emotion.__getitem__)}")
    return {"emotion": max(EMOTIONS, key=emotion.__getitem__), "gender": speaker_gender, "code": code,
            "class": GENDER_EMOTIONS[code], "probabilities": {name: round(emotion[name], 6) for name in EMOTIONS}}


def format_predictions(predictions):
    """Format predictions as text: one line per file, followed by its warnings and segments.

    Parameters
    ----------
    predictions : list of dict
        Predictions as `predict` returns them.

    Returns
    -------
    str
        Table as plain text.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> prediction = predict(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> prediction["probabilities"]["angry"] = 0.75
    >>> print(format_predictions([prediction | {"file": "angry.flac"}]))
    file        emotion        p  gender  code  class
    angry.flac  angry       0.75  male       5  male_angry
    """
    names = [printable(prediction["file"]) for prediction in predictions]
    width = max(map(len, names))
    lines = [f"{'file':<{width}}  emotion        p  gender  code  class"]
    for name, prediction in zip(names, predictions, strict=True):
        p = f"{prediction['probabilities'][prediction['emotion']]:.2f}" if prediction["emotion"] else "-"
        emotion, gender, code, label = ("-" if prediction[key] is None else prediction[key]
                                        for key in ("emotion", "gender", "code", "class"))
        lines.append(f"{name:<{width}}  {emotion:<10} {p:>5}  {gender:<6}  {code:>4}  {label}")
        lines += [f"{'':<{width}}  ({warning})" for warning in prediction["warnings"]]
        lines += [f"{'':<{width}}  {part['emotion']:<10} {part['probability']:>5.2f}  from {part['start']:.0f} s"
                  for part in prediction.get("windows", ())]
    return "\n".join(lines)


def _split_segments(source, sr):
    """Yield (start in s, samples [shape=(n, n_channels)], sr) of each segment of a file or array."""
    if not isinstance(source, str | Path):
        if not np.ndim(source):
            raise ValueError(f"source={short_repr(source)} is neither a file (str or Path) nor samples (array of shape "
                             "(n,) or (n, n_channels)); pass one of them")
        rest = [check_samples(source, sr)]

        def read(n):
            block, rest[0] = rest[0][:n], rest[0][n:]
            return block

        yield from ((start, block, sr) for start, block in audio.stream_blocks(read, sr, SEGMENT_DURATION, SEGMENT_HOP))
        return
    path = Path(source)
    with audio.open_audio(path) as sound:
        n_read, sr, read = 0, sound.samplerate, partial(audio.read_samples, path, sound)
        for start, block in audio.stream_blocks(read, sr, SEGMENT_DURATION, SEGMENT_HOP):
            if start > MAX_DURATION:
                raise audio.AudioError(path, "longer than one hour", "cut it into parts")
            n_read = round(start * sr) + len(block)
            yield start, block, sr
        audio.check_not_truncated(path, sound.frames, n_read, sr)
        if not n_read:
            raise audio.AudioError(path, "it contains no samples", "record it again")


def _show_progress(segments, name):
    """Progress bar over the segments of a long recording."""
    first, second = next(segments), next(segments, None)
    yield first
    if second is not None:
        from tqdm import tqdm  # not at a cold start

        yield from tqdm(chain([second], segments), name, initial=1, unit=" segments", delay=2, leave=False,
                        disable=None)


def _normalize_input(block, sr):
    """Mono at 16 kHz without DC, peak at most 1."""
    y = audio.resample(audio.to_mono(block), sr, SR)
    y = y - y.mean() if y.size else y
    return y / max(1.0, _peak(y))


def _peak(y):
    return float(np.abs(y).max(initial=0))


def _collect_warnings(segments, speech_segments):
    durations, messages = [segment.duration for segment in segments], []
    if max(durations) < MIN_DURATION:
        messages.append(f"too short: {max(durations):.2f} s; record at least {MIN_DURATION} s")
    elif not speech_segments:
        peak = max(segment.peak for segment in segments)
        level = f"the peak is {20 * np.log10(peak):.0f} dBFS" if peak > 0 else "all samples are zero"
        messages.append(f"silent: {level}; check the microphone")
    elif (longest := max(segment.speech_duration for segment in speech_segments)) < MIN_SPEECH_DURATION:
        messages.append(f"short: {longest:.2f} s of speech after trimming silence; record a sentence")
    if np.average([segment.clipped_fraction for segment in segments], weights=durations) > MAX_CLIPPED_FRACTION:
        messages.append("clipped: samples reach full scale; reduce the input gain or move away from the microphone")
    ood_fraction = np.mean([segment.output.ood_score > 1 for segment in speech_segments]) if speech_segments else 0
    if ood_fraction > MAX_OOD_FRACTION:
        part = "" if ood_fraction == 1 else f" in {100 * ood_fraction:.0f} % of the segments"
        messages.append(f"out of distribution{part}: unlike the training speech (music, noise or another kind of "
                        "recording); do not rely on this prediction")
    return messages
