"""Export deployed models to ONNX.

A fitted SequenceClassifier becomes one graph from the 16 kHz waveform to calibrated probabilities. Inside the graph:
MFCCs as `ser_utils.features.mfcc`, speaker normalization, out-of-distribution score, frequency warps of the test-time
augmentation, level normalization, standardization, padding, the network, mean over the warps, prior correction and
temperature scaling.

Outside the graph (`ser_utils.live.predictor`): decoding, mean of the channels, resampling to 16 kHz, DC removal,
limiting the peak to 1, trimming of silence, segments of long recordings, warnings and abstention.

A linear classifier on the statistics of the Whisper encoder becomes a graph from these statistics to calibrated
probabilities (`build_linear_model`).

Importing this module imports TensorFlow.
"""

import json
import math
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

import ser_utils
from ser_utils._utils.files import write_atomic
from ser_utils.datasets.core import DATASETS
from ser_utils.features.spectral import DYNAMICS_OFFSET, FeatureConfig, dct_matrix, mel_filterbank, mfcc_dynamics
from ser_utils.models.augment import simulate_channel, vtlp
from ser_utils.models.networks import keras, layers, ops

N_DYNAMICS, DELTA_WIDTH = 20, 9  # MFCCs described by the out-of-distribution score, and frames of their slope
N_NEIGHBORS = 30  # with fewer neighbors, a single noisy reference clip would make all noise in distribution
N_COMPONENTS = 32  # of the reconstruction error
N_HIDDEN_LAYERS = 4  # in the statistics of the Whisper encoder: layers 2 to 5
N_SIMULATED = 2  # copies of each reference clip through simulated channels
PAD_MULTIPLE = 32  # as `pad_sequences`; strided convolutions depend on it
MIN_POWER = 1e-10
EXAMPLE_SAMPLES = 4000
DYNAMIC_AXES = {"waveform": ("batch", "samples"), "statistics": ("batch",), "probabilities": ("batch",),
                "mfcc": ("batch", "frames"), "ood_score": ("batch",)}


class OODReference(NamedTuple):
    """MFCC dynamics of the training clips, and the distance from them that counts as out of distribution.

    Parameters
    ----------
    dynamics : np.ndarray [shape=(n_clips, 40)], float16
        `mfcc_dynamics` of each clip, divided by `scale`.
    scale : np.ndarray [shape=(40,)]
        Standard deviation over the clips.
    limit : float, default 1
        Distance at which the score is 1.
    """

    dynamics: np.ndarray
    scale: np.ndarray
    limit: float = 1.0


def compute_ood_reference(sequences, seed=0):
    """Compute the MFCC dynamics of training clips, without and with simulated channels.

    Parameters
    ----------
    sequences : list of np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of full order.
    seed : int, default 0

    Returns
    -------
    OODReference
        Its limit is 1.
    """
    rng = np.random.default_rng(seed)
    simulated = [simulate_channel(sequence, rng) for _ in range(N_SIMULATED) for sequence in sequences]
    dynamics = np.stack([mfcc_dynamics(sequence) for sequence in (*sequences, *simulated)])
    scale = dynamics.std(axis=0)
    return OODReference((dynamics / scale).astype(np.float16), scale)


def ood_distance(dynamics, reference):
    """Compute the mean distance of a clip to its nearest reference clips.

    Parameters
    ----------
    dynamics : np.ndarray [shape=(40,)]
        `mfcc_dynamics` of the clip.
    reference : OODReference

    Returns
    -------
    float
        In units of `reference.limit`.

    Examples
    --------
    >>> clips = [np.random.default_rng(row).normal(size=(80, 64)).astype(np.float32) for row in range(40)]
    >>> reference = compute_ood_reference(clips)
    >>> distances = [ood_distance(mfcc_dynamics(gain * clips[0]), reference) for gain in (1, 10)]
    >>> distances[0] < distances[1]
    True
    """
    distances = np.linalg.norm(dynamics / reference.scale - reference.dynamics, axis=1)
    return float(np.sort(distances)[:N_NEIGHBORS].mean()) / reference.limit


def build_inference_model(classifier, config=FeatureConfig(), temperature=1.0, ood_reference=None):
    """Build the Keras model from waveform to probabilities.

    Parameters
    ----------
    classifier : SequenceClassifier
        Fitted, with a network for sequences of any length.
    config : FeatureConfig
        Configuration of the MFCCs it was fitted on. `n_fft` must be a multiple of `hop_length`.
    temperature : float > 0, default 1
        Probabilities are raised to 1 / temperature and renormalized.
    ood_reference : OODReference, optional
        Adds the output `ood_score`.

    Returns
    -------
    keras.Model
        Inputs `waveform [shape=(batch, n_samples)]`, `speaker_scale` and `speaker_offset [shape=(n_mfcc,)]`. Outputs
        `probabilities [shape=(batch, n_classes)]`, `mfcc [shape=(batch, n_frames, n_mfcc)]`, before speaker
        normalization, and `ood_score [shape=(batch,)]`.

    Raises
    ------
    ValueError
        If the network has inputs of fixed length, or the configuration cannot be framed in blocks.
    """
    if classifier.network_.input_shape[0][1] is not None:
        raise ValueError(f"network={classifier.network!r} has inputs of fixed length; export one for any length")
    if config.n_fft % config.hop_length:
        raise ValueError(f"n_fft={config.n_fft} is not a multiple of hop_length={config.hop_length}; choose a multiple")
    waveform = keras.Input((None,), name="waveform")
    scale, offset = (keras.Input(batch_shape=(config.n_mfcc,), name=f"speaker_{name}") for name in ("scale", "offset"))
    mfcc = _MFCC(config, name="mfcc")(waveform)
    probabilities = classifier.network_(_Preprocessing(classifier, name="preprocessing")(mfcc * scale + offset))
    outputs = {"probabilities": _calibrate(probabilities, classifier, temperature), "mfcc": mfcc}
    if ood_reference is not None:
        outputs["ood_score"] = _OODScore(ood_reference, name="ood_score")(mfcc)
    return keras.Model([waveform, scale, offset], outputs, name="inference")


def describe_model(classifier, name, config=FeatureConfig(), temperature=1.0, ood_reference=None, **more):
    """Describe an exported model for the metadata of its file.

    Parameters
    ----------
    classifier : SequenceClassifier
    name : str
        Its name in `ser_utils.models.MODELS`.
    config : FeatureConfig
    temperature : float
    ood_reference : OODReference, optional
    **more
        Further entries.

    Returns
    -------
    dict
    """
    ravdess = DATASETS["ravdess"]
    limit = {} if ood_reference is None else {"ood_limit": float(ood_reference.limit)}
    return {
        "model": name, "classes": classifier.classes_.tolist(), "feature_config": asdict(config),
        "temperature": temperature, "tta_warps": list(classifier.tta_warps), **limit, **more,
        "training_data": f"{ravdess.title}, all {ravdess.n_clips} clips of {ravdess.n_speakers} speakers",
        "preprocessing": f"outside the graph: mean of the channels, resampling to {config.sr} Hz, DC removal, peak "
                         f"limited to 1, trimming {config.trim_db:.0f} dB below the loudest frame of 2048 samples",
        "licence": ravdess.licence, "citation": ravdess.citation, "version": ser_utils.__version__}


class PCAReference(NamedTuple):
    """Principal components of the training clips, and the reconstruction error that counts as out of distribution.

    Parameters
    ----------
    mean, scale : np.ndarray [shape=(n_features,)]
        Standardization of the features.
    components : np.ndarray [shape=(n_components, n_features)]
    error : float
        Mean squared reconstruction error of the standardized training clips.
    limit : float, default 1
        Reconstruction error, relative to `error`, at which the score is 1.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    error: float
    limit: float = 1.0


def compute_pca_reference(X):
    """Compute the principal components of training clips for the out-of-distribution score.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_features)]

    Returns
    -------
    PCAReference
        Its limit is 1.

    References
    ----------
    H. Hoffmann, "Kernel PCA for novelty detection", Pattern Recognition 40(3), 2007: the reconstruction error of PCA as
    a novelty score.
    """
    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = (X - mean) / scale
    components = PCA(N_COMPONENTS, svd_solver="randomized", random_state=0).fit(Z).components_
    reference = PCAReference(mean, scale, components.astype(np.float32), 1.0)
    return reference._replace(error=float(reconstruction_error(X, reference).mean()))


def reconstruction_error(X, reference):
    """Compute the reconstruction error of clips by the principal components of the training clips.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_features)]
    reference : PCAReference

    Returns
    -------
    np.ndarray [shape=(n_clips,)]
        In units of `reference.error * reference.limit`.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)
    >>> X[:, 1:] = X[:, :1]  # all features are proportional
    >>> reference = compute_pca_reference(X + 0.01 * np.random.default_rng(1).normal(size=X.shape))
    >>> reconstruction_error(np.ones((1, 40)), reference) < 2 < reconstruction_error(np.eye(1, 40), reference)
    array([ True])
    """
    Z = (X - reference.mean) / reference.scale
    squares = np.square(Z).mean(axis=1) - np.square(Z @ reference.components.T).sum(axis=1) / Z.shape[1]
    return squares / (reference.error * reference.limit)


def build_linear_model(classifier, temperature=1.0, pca_reference=None):
    """Build the Keras model from the statistics of the Whisper encoder to probabilities.

    Parameters
    ----------
    classifier : AdaptiveLogisticRegression
        Fitted.
    temperature : float > 0, default 1
        The logits are divided by it.
    pca_reference : PCAReference, optional
        Adds the output `ood_score` and the input `speaker_offset`.

    Returns
    -------
    keras.Model
        Inputs `statistics [shape=(batch, n_layers, 2, width)]`, as the encoder returns them, and `speaker_offset
        [shape=(n_features,)]`, which is added to them for the probabilities alone. Outputs `probabilities
        [shape=(batch, n_classes)]` and `ood_score [shape=(batch,)]`.
    """
    scaler, regression = (step for _, step in classifier.pipeline_.steps)
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # two classes: the logit of the first one is 0
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    statistics = keras.Input((N_HIDDEN_LAYERS, 2, weights.shape[1] // (2 * N_HIDDEN_LAYERS)), name="statistics")
    inputs, x = [statistics], layers.Flatten()(statistics)
    z = x
    if pca_reference is not None:
        inputs.append(keras.Input(batch_shape=(weights.shape[1],), name="speaker_offset"))
        z = x + inputs[1]
    dense = layers.Dense(len(weights), activation="softmax", name="probabilities")
    outputs = {"probabilities": dense((z - _constant(scaler.mean_)) / _constant(scaler.scale_))}
    dense.set_weights([weights.T / temperature, bias / temperature])
    if pca_reference is not None:
        outputs["ood_score"] = _ReconstructionError(pca_reference, name="ood_score")(x)
    return keras.Model(inputs, outputs, name="linear")


def export_onnx(model, path, metadata):
    """Write an inference model as an ONNX file.

    Parameters
    ----------
    model : keras.Model
        From `build_inference_model`.
    path : str or Path
    metadata : dict
        Entries of the file's `metadata_props`; values that are not text are written as JSON.
    """
    import onnx

    shapes = {tensor.name: tensor.shape for tensor in model.inputs}
    # Keras exports only models that have been called
    model([np.ones([size or (1 if axis == 0 else EXAMPLE_SAMPLES) for axis, size in enumerate(shape)], np.float32)
           for shape in shapes.values()])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # Keras' own patch of tf2onnx for NumPy 2
        temporary = Path(folder, "model.onnx")
        model.export(str(temporary), format="onnx", verbose=False)
        exported = onnx.load(str(temporary))
    for value in (*exported.graph.input, *exported.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name.startswith("speaker_"):  # Keras takes the first axis of every input for the batch
            dims[0].dim_value = shapes[value.name][0]
        for dim, axis in zip(dims, DYNAMIC_AXES.get(value.name, ()), strict=False):
            dim.dim_param = axis
    onnx.helper.set_model_props(exported, {key: value if isinstance(value, str) else json.dumps(value)
                                           for key, value in metadata.items()})
    onnx.checker.check_model(exported)
    write_atomic(Path(path), exported.SerializeToString())


def _calibrate(probabilities, classifier, temperature):
    """Average over the warps, correct for the class prior and apply temperature scaling."""
    p = ops.mean(ops.reshape(probabilities, (-1, len(classifier.tta_warps), len(classifier.classes_))), axis=1)
    if classifier.prior_correction:
        p = p / classifier.class_prior_.astype(np.float32)
    p = ops.power(p, 1 / temperature)
    return p / ops.sum(p, axis=-1, keepdims=True)


class _MFCC(layers.Layer):
    """MFCCs of each waveform of a batch.

    The Fourier transform is factorized (Cooley and Tukey 1965): with n_fft = a * b, n = b * n1 + n2 and
    k = k1 + a * k2, two products with matrices of a and b rows replace one with n_fft rows, which would add 4 MB to
    the file.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config, n_fft = config, config.n_fft
        self.a = a = max(d for d in range(1, math.isqrt(n_fft) + 1) if n_fft % d == 0)
        self.b = b = n_fft // a
        k1, n2, k2 = np.arange(a), np.arange(b), np.arange(n_fft // 2 // a + 1)
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)  # periodic Hann
        self.inner = np.exp(-2j * np.pi * np.outer(k1, k1) / a)
        self.twiddle = np.exp(-2j * np.pi * np.outer(k1, n2) / n_fft)
        self.outer = np.exp(-2j * np.pi * np.outer(n2, k2) / b)
        filterbank = np.zeros((config.n_mels, len(k2) * a))
        filterbank[:, :n_fft // 2 + 1] = mel_filterbank(config)
        # rows in the order k1, k2 of the spectrum
        self.filterbank = filterbank.reshape(-1, len(k2), a).transpose(2, 1, 0).reshape(-1, config.n_mels)

    def call(self, waveform):
        mel = ops.matmul(self.compute_power(self.split_frames(waveform)), _constant(self.filterbank))
        decibels = 10 * ops.log10(ops.maximum(mel, MIN_POWER))
        decibels = ops.maximum(decibels, ops.max(decibels, axis=(1, 2), keepdims=True) - self.config.top_db)
        return ops.matmul(decibels, _constant(dct_matrix(self.config.n_mfcc, self.config.n_mels).T))

    def split_frames(self, waveform):
        """Divide waveforms [batch, samples] into frames [batch, frames, n_fft]."""
        hop_length, n_hops = self.config.hop_length, self.config.n_fft // self.config.hop_length
        y = ops.pad(waveform, ((0, 0), (self.config.n_fft // 2,) * 2))
        n_blocks = ops.shape(y)[1] // hop_length
        blocks = ops.reshape(y[:, :n_blocks * hop_length], (-1, n_blocks, hop_length))
        return ops.concatenate(_shift(blocks, n_hops), axis=-1)

    def compute_power(self, frames):
        """Compute power spectra [batch, frames, n_bins] of frames [batch, frames, n_fft]."""
        n_frames = ops.shape(frames)[1]
        x = ops.reshape(frames * _constant(self.window), (-1, n_frames, self.a, self.b))
        real, imag = (ops.matmul(_constant(part), x) for part in (self.inner.real, self.inner.imag))
        cos, sin = _constant(self.twiddle.real), _constant(self.twiddle.imag)
        real, imag = real * cos - imag * sin, real * sin + imag * cos
        cos, sin = _constant(self.outer.real), _constant(self.outer.imag)
        real, imag = (ops.matmul(real, cos) - ops.matmul(imag, sin), ops.matmul(real, sin) + ops.matmul(imag, cos))
        return ops.reshape(ops.square(real) + ops.square(imag), (-1, n_frames, len(self.filterbank)))


class _Preprocessing(layers.Layer):
    """Input of the network as `SequenceClassifier.predict_proba` prepares it, the warps of a clip side by side."""

    def __init__(self, classifier, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.scale, self.normalize_level = classifier.mean_, classifier.scale_, classifier.normalize_level
        identity = np.eye(classifier.n_features_in_, dtype=np.float32)
        warps = [vtlp(identity, warp) if warp else identity for warp in classifier.tta_warps]
        self.warps = np.stack(warps)[:, :, :len(self.mean)]

    def call(self, mfcc):
        x = ops.matmul(mfcc[:, None], _constant(self.warps))
        if self.normalize_level:
            x = x - ops.max(x[..., :1], axis=2, keepdims=True) * _constant(np.eye(1, len(self.mean)))
        x = (x - _constant(self.mean)) / _constant(self.scale)
        n_frames = ops.shape(x)[2]
        x = ops.reshape(x, (-1, n_frames, len(self.mean)))
        padding = ops.repeat(ops.zeros_like(x[:, :1]), PAD_MULTIPLE - 1, axis=1)
        n_padded = (n_frames + PAD_MULTIPLE - 1) // PAD_MULTIPLE * PAD_MULTIPLE
        mask = ops.concatenate([ops.ones_like(x[..., :1]), padding[..., :1]], axis=1)
        return ops.concatenate([x, padding], axis=1)[:, :n_padded], mask[:, :n_padded]


class _OODScore(layers.Layer):
    """`ood_distance` of the `mfcc_dynamics` of each clip of a batch."""

    def __init__(self, reference, **kwargs):
        super().__init__(**kwargs)
        self.reference = reference

    def call(self, mfcc):
        dynamics = self.compute_dynamics(mfcc[..., :N_DYNAMICS]) / _constant(self.reference.scale)
        squares = ops.square(dynamics[:, None] - _constant(self.reference.dynamics)[None])
        distances = ops.sqrt(ops.sum(squares, axis=-1))
        nearest, _ = ops.top_k(-distances, min(N_NEIGHBORS, len(self.reference.dynamics)))
        return ops.mean(-nearest, axis=-1) / self.reference.limit

    def compute_dynamics(self, mfcc):
        """Compute `mfcc_dynamics` [batch, 2 * n_mfcc] of clips [batch, frames, n_mfcc]."""
        steps = np.arange(DELTA_WIDTH) - DELTA_WIDTH // 2
        weights = (steps / (steps @ steps)).tolist()
        delta = sum(weight * part for weight, part in zip(weights, _shift(mfcc, DELTA_WIDTH), strict=True))
        n_deltas = ops.cast(ops.maximum(ops.shape(delta)[1], 1), "float32")  # none in clips shorter than the window
        delta_rms = ops.sqrt(ops.sum(ops.square(delta), axis=1) / n_deltas)
        return ops.log(ops.concatenate([ops.std(mfcc, axis=1), delta_rms], axis=-1) + DYNAMICS_OFFSET)


class _ReconstructionError(layers.Layer):
    """`reconstruction_error` of each clip of a batch."""

    def __init__(self, reference, **kwargs):
        super().__init__(**kwargs)
        self.reference = reference

    def call(self, x):
        z = (x - _constant(self.reference.mean)) / _constant(self.reference.scale)
        projection = ops.matmul(z, _constant(self.reference.components.T))
        squares = ops.mean(ops.square(z), axis=1) - ops.sum(ops.square(projection), axis=1) / z.shape[1]
        return squares / (self.reference.error * self.reference.limit)


def _shift(x, n):
    """Slice n equally long parts of x along time, each one frame later than the one before."""
    return [x[:, i:(i + 1 - n) or None] for i in range(n)]


def _constant(array):
    return np.asarray(array, np.float32)
