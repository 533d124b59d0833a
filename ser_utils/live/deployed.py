"""The deployed models: ONNX files in models/, run with onnxruntime on one thread.

`WhisperModel` classifies the statistics of the Whisper encoder with a linear layer, `MFCCModel` the MFCCs with a CNN.
Both predict emotion and gender from the speech of one segment.
"""

import json
from functools import cache
from typing import NamedTuple

import numpy as np

from ser_utils import whisper
from ser_utils._utils.files import ROOT, printable, read_model
from ser_utils._utils.inference import open_session

MODELS_FOLDER = ROOT / "models"
TARGETS = ("emotion", "gender")
REMEDY = "restore it with `git checkout -- models`"
SR = 16000  # Hz


class ModelOutput(NamedTuple):
    """Output of a deployed model for one segment.

    Parameters
    ----------
    emotion : np.ndarray [shape=(8,)]
        Probabilities in the order of the model's `classes["emotion"]`.
    gender : np.ndarray [shape=(2,)]
        Probabilities in the order of the model's `classes["gender"]`.
    ood_score : float
        Out-of-distribution score; above 1 for segments unlike the training clips.
    """

    emotion: np.ndarray
    gender: np.ndarray
    ood_score: float


class OnnxModel:
    """An ONNX model and its metadata.

    Parameters
    ----------
    content : bytes
        Serialized ONNX model.

    Attributes
    ----------
    session : onnxruntime.InferenceSession
        Session on one thread of the CPU.
    metadata : dict
        Decoded entries of `metadata_props` in the file.
    """

    def __init__(self, content):
        # optimization would take 25 ms when loading and save 0.5 ms per clip
        self.session = open_session(content, optimize=False)
        entries = self.session.get_modelmeta().custom_metadata_map.items()
        self.metadata = {key: _decode_json(value) for key, value in entries}

    def run(self, **inputs):
        """Compute the outputs for one clip.

        Parameters
        ----------
        **inputs : np.ndarray
            Inputs by name, with a batch axis of length 1 where the model has one.

        Returns
        -------
        dict of np.ndarray
            Outputs by name, without batch axis.
        """
        outputs = self.session.run(None, {name: np.asarray(value, np.float32) for name, value in inputs.items()})
        return {output.name: value[0] for output, value in zip(self.session.get_outputs(), outputs, strict=True)}


class _DeployedModel:
    """Files of one front end, `NAME_emotion.onnx` and `NAME_gender.onnx`."""

    name: str
    stats_name: str  # metadata entry with the reference statistics of the training speakers

    def __init__(self):
        self.models = {target: OnnxModel(read_model(MODELS_FOLDER / f"{self.name}_{target}.onnx", REMEDY))
                      for target in TARGETS}
        self.classes = {target: model.metadata["classes"] for target, model in self.models.items()}
        self.metadata = self.models["emotion"].metadata
        self.neutral_stats = np.array(self.metadata[self.stats_name], np.float32)

    def check_stats(self, speaker_stats):
        """Raise a ValueError unless reference statistics of a speaker fit this model."""
        speaker_stats = np.asarray(speaker_stats)
        if speaker_stats.shape != self.neutral_stats.shape:
            raise ValueError(f"speaker_stats: shape {speaker_stats.shape}, not {self.neutral_stats.shape}; use "
                             f"enroll_speaker with model={self.name!r}")
        if not np.isfinite(speaker_stats).all():
            raise ValueError("speaker_stats contain NaN or infinite values; use enroll_speaker with "
                             f"model={self.name!r} again")
        return speaker_stats


class WhisperModel(_DeployedModel):
    """Linear classifiers on the statistics of the Whisper encoder.

    Attributes
    ----------
    classes : dict of str to list of str
        Emotions and genders in the order of the outputs.
    metadata : dict
        Metadata of the emotion model.
    neutral_stats : np.ndarray [shape=(4096,)], float32
        Reference statistics of the training speakers.

    Examples
    --------
    >>> from ser_utils import audio
    >>> from ser_utils.datasets import SAMPLES
    >>> speech = audio.trim(audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"))
    >>> model = load_model("whisper")
    >>> model.classes["emotion"][model.predict(speech).emotion.argmax()]
    'angry'
    """

    name, stats_name = "whisper", "neutral_mean"

    def __init__(self):
        super().__init__()
        self.input_shape = self.models["gender"].session.get_inputs()[0].shape[1:]  # layers, mean and SD, width
        whisper.load_encoder()  # a missing file is reported before any recording is read

    def predict(self, y, speaker_stats=None):
        """Predict emotion and gender of one segment.

        Parameters
        ----------
        y : np.ndarray [shape=(n,)]
            Speech at 16 kHz, trimmed.
        speaker_stats : np.ndarray [shape=(4096,)], optional
            Reference statistics of the speaker from `compute_speaker_stats`, for speaker adaptation.

        Returns
        -------
        ModelOutput
            Probabilities of the classes and out-of-distribution score.

        Raises
        ------
        ValueError
            If the reference statistics do not fit the model.
        """
        statistics = whisper.compute_statistics(y).reshape(1, *self.input_shape)
        offset = np.zeros_like(self.neutral_stats)
        if speaker_stats is not None:
            offset = self.metadata["adaptation_weight"] * (self.neutral_stats - self.check_stats(speaker_stats))
        emotion = self.models["emotion"].run(statistics=statistics, speaker_offset=offset)
        gender = self.models["gender"].run(statistics=statistics)
        return ModelOutput(emotion["probabilities"], gender["probabilities"], float(emotion["ood_score"]))

    def compute_speaker_stats(self, clips):
        """Compute reference statistics of a speaker.

        Parameters
        ----------
        clips : list of np.ndarray [shape=(n,)]
            Neutral speech at 16 kHz, trimmed.

        Returns
        -------
        np.ndarray [shape=(4096,)]
            Mean over the clips of the encoder's statistics.
        """
        return np.mean([whisper.compute_statistics(y) for y in clips], axis=0)


class MFCCModel(_DeployedModel):
    """CNNs on MFCCs, trained from scratch.

    Attributes
    ----------
    classes : dict of str to list of str
        Emotions and genders in the order of the outputs.
    metadata : dict
        Metadata of the emotion model.
    neutral_stats : np.ndarray [shape=(2, 64)], float32
        Reference statistics of the training speakers.

    Examples
    --------
    >>> from ser_utils import audio
    >>> from ser_utils.datasets import SAMPLES
    >>> speech = audio.trim(audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"))
    >>> model = load_model("mfcc")
    >>> model.classes["emotion"][model.predict(speech).emotion.argmax()]
    'angry'
    """

    name, stats_name = "mfcc", "neutral_mean_std"

    def predict(self, y, speaker_stats=None):
        """Predict emotion and gender of one segment.

        Parameters
        ----------
        y : np.ndarray [shape=(n,)]
            Speech at 16 kHz, trimmed.
        speaker_stats : np.ndarray [shape=(2, 64)], optional
            Reference statistics of the speaker from `compute_speaker_stats`, for speaker adaptation.

        Returns
        -------
        ModelOutput
            Probabilities of the classes and out-of-distribution score.

        Raises
        ------
        ValueError
            If the reference statistics do not fit the model.
        """
        scale, offset = np.ones(self.neutral_stats.shape[1]), np.zeros(self.neutral_stats.shape[1])
        if speaker_stats is not None:
            mean, std = self.check_stats(speaker_stats)
            scale = self.neutral_stats[1] / std
            offset = self.neutral_stats[0] - mean * scale
        emotion, gender = (self.models[target].run(waveform=y[None], speaker_scale=scale, speaker_offset=offset)
                           for target in TARGETS)
        return ModelOutput(emotion["probabilities"], gender["probabilities"], float(emotion["ood_score"]))

    def compute_speaker_stats(self, clips):
        """Compute reference statistics of a speaker.

        Parameters
        ----------
        clips : list of np.ndarray [shape=(n,)]
            Neutral speech at 16 kHz, trimmed.

        Returns
        -------
        np.ndarray [shape=(2, 64)]
            Mean and SD of each MFCC over all frames.
        """
        frames = np.concatenate([self.compute_mfcc(y) for y in clips])
        return np.stack([frames.mean(axis=0), np.maximum(frames.std(axis=0), 1e-6)])

    def compute_mfcc(self, y):
        """Compute the MFCCs of speech with the ONNX file.

        Parameters
        ----------
        y : np.ndarray [shape=(n,)]
            Speech at 16 kHz.

        Returns
        -------
        np.ndarray [shape=(n_frames, 64)], float32
            Coefficients.
        """
        one = np.ones(self.neutral_stats.shape[1])
        return self.models["emotion"].run(waveform=y[None], speaker_scale=one, speaker_offset=0 * one)["mfcc"]


MODELS = {model.name: model for model in (WhisperModel, MFCCModel)}


def load_model(name="whisper"):
    """Load a deployed model, once per process.

    Parameters
    ----------
    name : {"whisper", "mfcc"}, default "whisper"
        "whisper" for the classifiers on the Whisper encoder, trained on five corpora; "mfcc" for the CNNs trained from
        scratch on RAVDESS.

    Returns
    -------
    WhisperModel or MFCCModel
        The model, with the ONNX files of both targets.

    Raises
    ------
    ValueError
        If the name is unknown.
    IntegrityError
        If a file is missing or does not match its checksum.

    See Also
    --------
    ser_utils.live.predict : Predict a recording.

    Examples
    --------
    >>> load_model("mfcc").classes["emotion"]
    ['angry', 'calm', 'disgust', 'fearful', 'happy', 'neutral', 'sad', 'surprised']
    """
    if name not in MODELS:
        raise ValueError(f"model {printable(str(name))!r} is unknown; choose one of {', '.join(MODELS)}")
    return _load(name)


@cache
def _load(name):
    return MODELS[name]()


def _decode_json(text):
    try:
        return json.loads(text)
    except ValueError:  # plain text
        return text
