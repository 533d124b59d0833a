"""Prediction over time: samples are fed as they arrive, a window is classified at every hop.

web/stream.js implements the same windows and decisions for the browser.
"""

from functools import partial
from pathlib import Path

import numpy as np

from ser_utils import audio
from ser_utils.live import predictor
from ser_utils.live.deployed import load_model

WINDOW_DURATION, HOP_DURATION = 3.0, 0.5  # s
PEAK_DURATION = 10.0  # s; a pause is relative to the highest peak of this time
MIN_PROBABILITY = 0.3  # on held-out corpora most predictions below it are wrong (notebook 05)
REASONS = ("silence", "short", "out of distribution", "low confidence")


class Stream:
    """Predict the emotion and the gender of a signal over time.

    Every `hop` seconds the last `window` seconds are classified. A window has no prediction if it is silent, a pause or
    contains too little speech; the prediction abstains if the window is out of distribution or no emotion is probable.

    Parameters
    ----------
    sr : int
        Sampling rate in Hz.
    model : {"whisper", "mfcc"}, default "whisper"
        Deployed model; see `load_model`.
    speaker_stats : np.ndarray, optional
        Reference statistics of the speaker from `enroll_speaker` with the same model.
    window : float, default 3
        Duration of a window in s, from 0.3 s to one hour.
    hop : float, default 0.5
        Distance between the starts of consecutive windows in s, at most `window`.

    Raises
    ------
    ValueError
        If the sampling rate does not lie between 100 and 1,000,000 Hz, a duration is out of range, the model is
        unknown, or the statistics are not those of the model.
    IntegrityError
        If a model file is missing or altered.

    See Also
    --------
    predict_stream : Predict a recording window by window.
    predict : Predict a recording as a whole.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y = audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")  # 3.9 s
    >>> stream = Stream(sr=16000)
    >>> windows = [window for start in range(0, len(y), 1000) for window in stream.feed(y[start:start + 1000])]
    >>> [(window["start"], window["emotion"]) for window in windows]
    [(0.0, 'angry'), (0.5, 'angry')]
    """

    def __init__(self, sr, model="whisper", speaker_stats=None, window=WINDOW_DURATION, hop=HOP_DURATION):
        if not (0 < hop <= window and predictor.MIN_DURATION <= window <= predictor.MAX_DURATION):
            raise ValueError(f"window={window} and hop={hop} s: the window must last {predictor.MIN_DURATION} s to one "
                             "hour, the hop at most as long")
        predictor.check_samples(np.zeros(1), sr)
        self.sr = sr
        self._deployed = load_model(model)
        self._speaker_stats = None if speaker_stats is None else self._deployed.check_stats(speaker_stats)
        self._size, self._hop = round(window * sr), max(1, round(hop * sr))
        self._buffer, self._start = None, 0  # samples from the start of the next window on
        self._n_windows, self._peaks = 0, []

    def feed(self, samples):
        """Add samples and predict the windows that they complete.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,) or (n, n_channels)]
            The next samples, floating-point with a full scale of 1, or integers, in blocks of any length of at least
            n_channels; none adds nothing.

        Returns
        -------
        list of dict
            Prediction of each completed window, as from `describe_window`.

        Raises
        ------
        ValueError
            If the samples are not real numbers, of more than two dimensions, of more channels than samples or of
            another number of channels than before, NaN, infinite or beyond 1e30.

        Examples
        --------
        >>> stream = Stream(sr=16000, window=1)
        >>> for _ in range(3):  # windows end at 1 s and 1.5 s
        ...     print([(window["start"], window["abstention"]) for window in stream.feed(np.zeros(8000))])
        []
        [(0.0, 'silence')]
        [(0.5, 'silence')]
        """
        if not np.size(samples):
            return []
        block = predictor.check_samples(samples, self.sr)
        if self._buffer is not None and block.shape[1] != self._buffer.shape[1]:
            raise ValueError(f"samples have {block.shape[1]} channels, earlier ones {self._buffer.shape[1]}; use a "
                             "stream for each number of channels")
        self._buffer = block if self._buffer is None else np.concatenate([self._buffer, block])
        windows = []
        while len(self._buffer) >= self._size:
            windows.append(self._predict(self._buffer[:self._size]))
            self._buffer, self._start = self._buffer[self._hop:], self._start + self._hop
        return windows

    def finish(self):
        """Predict the signal at its end if it is shorter than one window.

        Returns
        -------
        list of dict
            One prediction, or none if windows were completed or no samples were added.
        """
        if self._n_windows or self._buffer is None or not len(self._buffer):
            return []
        return [self._predict(self._buffer)]

    def _predict(self, block):
        segment = predictor.predict_segment(self._deployed, self._start / self.sr, block, self.sr, self._speaker_stats)
        n_recent = max(1, round(PEAK_DURATION * self.sr / self._hop))
        self._peaks = [*self._peaks, segment.peak][-n_recent:]
        self._n_windows += 1
        return describe_window(segment, self._deployed.classes, max(self._peaks))


def describe_window(segment, classes, recent_peak):
    """Convert the output for a window to class names, or state why the prediction abstains.

    Parameters
    ----------
    segment : predictor.Segment
        Window and the output of the model for it.
    classes : dict of str to list of str
        Emotions and genders in the order of the model.
    recent_peak : float
        Highest peak of the last 10 s.

    Returns
    -------
    dict
        `start` and `duration` in s; `emotion`, `gender`, `code`, `class`, `probabilities` and `ood_score`, None without
        output; `abstention`, None or one of `REASONS`. With the reasons "out of distribution" and "low confidence" the
        probabilities are present, but unreliable.
    """
    window = {"start": round(segment.start, 3), "duration": round(segment.duration, 3), "emotion": None, "gender": None,
              "code": None, "class": None, "probabilities": None, "ood_score": None, "abstention": None}
    if segment.peak >= predictor.MIN_PEAK and segment.duration < predictor.MIN_DURATION:
        return window | {"abstention": "short"}
    if segment.output is None or segment.peak <= recent_peak * 10 ** (predictor.PAUSE_THRESHOLD_DB / 20):
        return window | {"abstention": "silence"}
    if segment.speech_duration < predictor.MIN_SPEECH_DURATION:
        return window | {"abstention": "short"}
    emotion, gender, ood_score = segment.output
    window |= predictor.decode_probabilities(*(dict(zip(classes[target], map(float, p), strict=True))
                                               for target, p in (("emotion", emotion), ("gender", gender))))
    window["ood_score"] = round(float(ood_score), 6)
    if ood_score > 1:
        window["abstention"] = "out of distribution"
    elif max(window["probabilities"].values()) < MIN_PROBABILITY:
        window["abstention"] = "low confidence"
    return window


def predict_stream(path, model="whisper", speaker_stats=None):
    """Predict a recording of any length window by window, in bounded memory.

    Parameters
    ----------
    path : str or Path
        A file that libsndfile reads.
    model : {"whisper", "mfcc"}, default "whisper"
        Deployed model; see `load_model`.
    speaker_stats : np.ndarray, optional
        Reference statistics of the speaker from `enroll_speaker` with the same model.

    Yields
    ------
    dict
        Prediction of each window, as from `describe_window`.

    Raises
    ------
    AudioError
        If the recording cannot be opened or decoded, is empty or truncated, or contains NaN, infinite or implausibly
        large samples.
    ValueError
        If the model is unknown, or the statistics are not those of the model.
    IntegrityError
        If a model file is missing or altered.

    See Also
    --------
    Stream : Predict samples as they arrive.
    predict : Predict a recording as a whole.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> [window["class"] for window in predict_stream(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")]
    ['male_angry', 'male_angry']
    """
    path, n_read = Path(path), 0
    with audio.open_audio(path) as sound:
        stream, read = Stream(sound.samplerate, model, speaker_stats), partial(audio.read_samples, path, sound)
        while len(block := read(sound.samplerate)):
            n_read += len(block)
            yield from stream.feed(block)
        audio.check_not_truncated(path, sound.frames, n_read, sound.samplerate)
        if not n_read:
            raise audio.AudioError(path, "it contains no samples", "record it again")
        yield from stream.finish()
