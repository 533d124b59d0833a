"""Features from a pretrained encoder: hidden states of the first layers of Whisper-base, run with onnxruntime.

models/whisper_encoder.onnx computes the log-mel spectrogram and the layers from a waveform at 16 kHz
(scripts/build_whisper_encoder.py).
"""

from functools import lru_cache

import numpy as np

from ser_utils import audio
from ser_utils._utils import files
from ser_utils._utils.inference import open_session

ENCODER = files.ROOT / "models" / "whisper_encoder.onnx"
REMEDY = ("restore it with `git checkout -- models`, or build it with `python scripts/build_whisper_encoder.py "
          "openai/whisper-base`")
SR = 16000  # Hz
MIN_DURATION = 0.3  # s


@lru_cache(maxsize=1)
def load_encoder():
    """Load the encoder, once per process.

    Returns
    -------
    onnxruntime.InferenceSession
        Input `waveform [shape=(1, n_samples)]`, at least 0.3 s at 16 kHz. Outputs `hidden_states [shape=(1, n_layers,
        n_frames, 512)]`, 50 frames per second, and their mean and standard deviation over time, `statistics
        [shape=(1, n_layers, 2, 512)]`.

    Raises
    ------
    IntegrityError
        If the file is missing or does not match its checksum.
    """
    return open_session(files.read_model(ENCODER, REMEDY))


def compute_hidden_states(y, sr=SR):
    """Compute the hidden states of the Whisper encoder for one clip.

    The encoder is that of Whisper-base [1]_.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples. Clips shorter than 0.3 s are padded with zeros.
    sr : int, default 16000
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(n_layers, n_frames, 512)]
        Hidden states of layers 2 to 5, 50 frames per second; float32.

    See Also
    --------
    compute_statistics : Compute their mean and standard deviation.
    compute_sequence : Compute them at 25 frames per second.

    References
    ----------
    .. [1] A. Radford et al., "Robust speech recognition via large-scale weak supervision", ICML, 2023,
       arXiv:2212.04356.

    Examples
    --------
    >>> compute_hidden_states(np.zeros(16000)).shape
    (4, 50, 512)
    """
    return _run("hidden_states", y, sr)


def compute_statistics(y, sr=SR):
    """Compute mean and standard deviation over time of the hidden states of one clip.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples.
    sr : int, default 16000
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(4096,)]
        Layer by layer, 512 means, then 512 standard deviations; float32.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> y = audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> statistics, states = compute_statistics(y), compute_hidden_states(y)
    >>> np.allclose(statistics.reshape(4, 2, 512)[:, 0], states.mean(axis=1), atol=1e-3)
    True
    """
    return _run("statistics", y, sr).ravel()


def compute_sequence(y, sr=SR):
    """Compute the hidden states of one clip at 25 frames per second, all layers side by side.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples.
    sr : int, default 16000
        Sampling rate in Hz.

    Returns
    -------
    np.ndarray [shape=(n_frames, 2048)]
        Means of pairs of frames of `compute_hidden_states`; float32.

    Examples
    --------
    >>> compute_sequence(np.zeros(16000)).shape
    (25, 2048)
    """
    states = compute_hidden_states(y, sr)
    n_layers, n_frames, width = states.shape
    pairs = states[:, :n_frames // 2 * 2].reshape(n_layers, n_frames // 2, 2, width)
    return pairs.mean(axis=2).transpose(1, 0, 2).reshape(n_frames // 2, n_layers * width)


def _run(output, y, sr):
    y = audio.resample(y, sr, SR)
    y = np.pad(y, (0, max(0, round(MIN_DURATION * SR) - len(y)))).astype(np.float32)
    return load_encoder().run([output], {"waveform": y[None]})[0][0]
