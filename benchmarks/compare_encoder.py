"""Compare the Whisper encoder with `transformers` on the same weights: hidden states, run time and size.

Also compares the UAR of `whisper_logreg` before and after quantization.

    build/bench/bin/python -m pip install torch transformers
    build/bench/bin/python benchmarks/compare_encoder.py WEIGHTS RAVDESS

WEIGHTS as for scripts/build_whisper_encoder.py; RAVDESS is the folder of its recordings. `make build/bench/ready`
creates the environment. Writes benchmarks/encoder.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

from build_whisper_encoder import build_encoder, export_float, load_weights, quantize, set_weights  # noqa: E402
from run_benchmarks import describe_machine  # noqa: E402
from select_model import selection_table  # noqa: E402

from ser_utils import audio  # noqa: E402
from ser_utils._utils.files import write_atomic  # noqa: E402
from ser_utils._utils.inference import open_session  # noqa: E402
from ser_utils.datasets.core import SAMPLES  # noqa: E402
from ser_utils.evaluation.experiment import Run, build_predictions_table, fit_predict  # noqa: E402
from ser_utils.evaluation.splits import SPLITS, get_labels  # noqa: E402
from ser_utils.features.store import load_features  # noqa: E402
from ser_utils.models.registry import get_model  # noqa: E402

LAYERS = (2, 3, 4, 5)
SR, PADDED, FRAME = 16000, 30 * 16000, 320  # Hz; samples: transformers requires 30 s; samples per hidden state
N_CLIPS, N_TURNS, N_COLD = 12, 15, 5
COLD_REFERENCE = """
import sys, numpy as np, torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder
encoder = WhisperEncoder(WhisperConfig(**{config})).eval()
features = WhisperFeatureExtractor()(np.zeros(48000), sampling_rate=16000, return_tensors="pt").input_features
with torch.no_grad():
    encoder(features, output_hidden_states=True)
"""
CONFIG = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
          "num_mel_bins": 80}


def load_reference(weights):
    """Load weights into the encoder of `transformers`; return a function from a waveform to states [4, 1500, 512]."""
    encoder = WhisperEncoder(WhisperConfig(**CONFIG)).eval()
    positions = sinusoids(*encoder.embed_positions.weight.shape).half().float()  # 16 bits in OpenAI's weights
    weights = {"embed_positions.weight": positions} | {
        name: torch.tensor(value) for name, value in weights.items() if "k_proj.bias" not in name}  # those are zero
    keys = encoder.load_state_dict(weights, strict=False)
    if keys.unexpected_keys or not {"layer_norm.weight", "layer_norm.bias"}.issuperset(keys.missing_keys):
        raise ValueError(f"weights do not fit the encoder: {keys}; pass the weights of Whisper-base")
    extractor = WhisperFeatureExtractor()

    @torch.no_grad()
    def compute(y):
        features = extractor(y, sampling_rate=SR, return_tensors="pt").input_features
        states = encoder(features, output_hidden_states=True).hidden_states
        return np.stack([states[layer][0].numpy() for layer in LAYERS])

    return compute


def compare_states(clips, reference, sessions):
    """Compute the largest RMS difference over the clips, in standard deviations of the layer.

    "float32": of the encoder in 32 bits from the reference, on clips padded to 30 s; the padding is not compared.
    "int8": of the quantized encoder from that in 32 bits, on clips without padding.
    """
    errors = {name: [] for name in sessions}
    for y in tqdm(clips, desc="hidden states", unit="clip"):
        n_frames = -(-len(y) // FRAME)
        padded = run_encoder(sessions["float32"], np.pad(y, (0, PADDED - len(y))))
        errors["float32"].append(relative_error(padded[:, :n_frames], reference(y)[:, :n_frames]))
        errors["int8"].append(relative_error(run_encoder(sessions["int8"], y), run_encoder(sessions["float32"], y)))
    return {name: float(max(values)) for name, values in errors.items()}


def run_encoder(session, y):
    """Compute the hidden states [4, n_frames, 512] of a waveform."""
    return session.run(["hidden_states"], {"waveform": y[None]})[0][0]


def relative_error(states, expected):
    """Compute the largest RMS difference over the layers, in standard deviations of the layer."""
    return (np.sqrt(np.square(states - expected).mean(axis=(1, 2))) / expected.std(axis=(1, 2))).max()


def measure_times(y, reference, sessions):
    """Measure the median time in ms of each encoder over alternating turns, on one thread."""
    padded = np.pad(y, (0, PADDED - len(y)))
    tasks = {"transformers, 30 s": lambda: reference(y)}
    for name, session in sessions.items():
        for label, waveform in (("3 s", y), ("30 s", padded)):
            tasks[f"{name}, {label}"] = lambda session=session, waveform=waveform: session.run(
                ["statistics"], {"waveform": waveform[None]})
    times = {name: [] for name in tasks}
    for turn in range(N_TURNS + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:  # the first turn warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def measure_cold(recording):
    """Measure the median time in s of a new process from its start to the end of one prediction."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = {f"ser predict --model {model}": [sys.executable, "-m", "ser_utils", "predict", "--model", model,
                                                 str(recording)] for model in ("whisper", "mfcc")}
    commands["transformers, encoder alone"] = [sys.executable, "-c", COLD_REFERENCE.format(config=CONFIG)]
    times = {name: [] for name in commands}
    for _ in range(N_COLD):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def measure_warm(recording):
    """Measure the median time in ms of `ser_utils.predict` in a running process."""
    from ser_utils import predict

    result = {}
    for model in ("whisper", "mfcc"):
        times = []
        for _ in range(N_TURNS):
            start = time.perf_counter()
            predict(recording, model=model)
            times.append(1000 * (time.perf_counter() - start))
        result[model] = float(np.median(times[1:]))
    return result


def compare_accuracy(folder, sessions):
    """Compute the UAR (%) of `whisper_logreg` in the split "selection-cv" with the statistics of each encoder."""
    clips = load_features().clips
    labels, tables = get_labels(clips), []
    for name, session in sessions.items():
        X = np.stack([session.run(["statistics"], {"waveform": audio.trim(audio.load(folder / file))[None]})[0].ravel()
                      for file in tqdm(clips["file"], desc=name, unit="clip")])
        for fold in tqdm(SPLITS["selection-cv"](clips), desc=f"{name}, selection-cv", unit="fold"):
            estimator = get_model("whisper_logreg").build(0)
            p, _ = fit_predict(estimator, X, labels, fold.train, fold.validation)
            tables.append(build_predictions_table(
                Run(name, "selection-cv", "emotion", 0, fold.fold, "validation"), clips, fold.train, fold.validation,
                pd.DataFrame(p, columns=estimator.classes_)))
    return selection_table(pd.concat(tables), clips)["mean"].to_dict()


def main():
    """Build both encoders, compare them and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS", help="as for scripts/build_whisper_encoder.py")
    parser.add_argument("ravdess", type=Path, metavar="RAVDESS", help="folder of the recordings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    files = load_features().clips["file"]
    clips = [audio.load(options.ravdess / file) for file in files.iloc[::len(files) // N_CLIPS]]
    with tempfile.TemporaryDirectory() as temporary:
        paths = {"float32": Path(temporary, "float.onnx"), "int8": Path(temporary, "int8.onnx")}
        encoder = build_encoder(LAYERS)
        set_weights(encoder, weights)
        export_float(encoder, paths["float32"])
        quantize(paths["float32"], paths["int8"], {})
        sizes = {name: path.stat().st_size / 1e6 for name, path in paths.items()}
        sessions = {name: open_session(path.read_bytes()) for name, path in paths.items()}
    sizes["transformers, encoder in float32"] = 4 * sum(value.size for value in weights.values()) / 1e6
    reference, y = load_reference(weights), np.resize(clips[0], 3 * SR)
    recording = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"
    result = {
        "machine": describe_machine(),
        "rms_difference_in_sd": compare_states(clips, reference, sessions), "size_mb": sizes,
        "time_ms": measure_times(y, reference, sessions), "warm_ms": measure_warm(recording),
        "cold_s": measure_cold(recording), "uar": compare_accuracy(options.ravdess, sessions)}
    write_atomic(HERE / "encoder.json", (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
