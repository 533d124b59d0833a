"""Select the layers of the Whisper encoder and the regularization of its classifier, without test speakers.

    python scripts/select_whisper_layers.py WEIGHTS RECORDINGS

WEIGHTS as for build_whisper_encoder.py; RECORDINGS is the RAVDESS folder. For each set of layers, the mean and standard
deviation of the hidden states over time are standardized and classified by logistic regression, in the split
"selection-cv" (see select_model.py). Writes results/ravdess/whisper_layers.csv: the UAR available to each fold.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from build_whisper_encoder import N_LAYERS, build_encoder, export_float, load_weights, quantize, set_weights
from select_model import selection_table
from tqdm import tqdm

from ser_utils import audio
from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation.experiment import Run, build_predictions_table, fit_predict
from ser_utils.evaluation.results import RESULTS
from ser_utils.evaluation.splits import SPLITS, get_labels
from ser_utils.features.store import load_features
from ser_utils.models.registry import whisper_logreg

LAYER_SETS = [(layer,) for layer in range(N_LAYERS + 1)] + [(3, 4), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 4, 5)]
REGULARIZATION = (0.001, 0.003, 0.01)  # values of C


def extract_all_layers(weights, folder, clips):
    """Compute mean and standard deviation over time of all layers, in 8 bits as in the shipped encoder.

    Parameters
    ----------
    weights : str
    folder : Path
        Recordings.
    clips : pd.DataFrame

    Returns
    -------
    np.ndarray [shape=(n_clips, N_LAYERS + 1, 1024)]
    """
    encoder = build_encoder(range(N_LAYERS + 1))
    set_weights(encoder, load_weights(weights))
    with tempfile.TemporaryDirectory() as temporary:
        export_float(encoder, Path(temporary, "float.onnx"))
        quantize(Path(temporary, "float.onnx"), Path(temporary, "encoder.onnx"), {})
        session = onnxruntime.InferenceSession(Path(temporary, "encoder.onnx").read_bytes())
    statistics = []
    for file in tqdm(clips["file"], desc="encoding", unit="clip"):
        y = audio.trim(audio.load(folder / file))
        statistics.append(session.run(["statistics"], {"waveform": y[None]})[0].reshape(N_LAYERS + 1, -1))
    return np.stack(statistics)


def evaluate(X, clips, name, **params):
    """Predict the test groups of "selection-cv" with logistic regression.

    Parameters
    ----------
    X : np.ndarray [shape=(n_clips, n_features)]
    clips : pd.DataFrame
    name : str
        Value of the column `model`.
    **params
        Parameters of `whisper_logreg`.

    Returns
    -------
    pd.DataFrame
        Predictions table.
    """
    y, tables = get_labels(clips, "emotion"), []
    for split in SPLITS["selection-cv"](clips):
        classifier = whisper_logreg(**params)
        p, _ = fit_predict(classifier, X, y, split.train, split.validation)
        run = Run(name, "selection-cv", "emotion", 0, split.fold)
        probabilities = pd.DataFrame(p, columns=classifier.classes_)
        tables.append(build_predictions_table(run, clips, split.train, split.validation, probabilities))
    return pd.concat(tables, ignore_index=True)


def main():
    """Evaluate all sets of layers, write the table, and print it with the selected layers of each fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS", help="as for build_whisper_encoder.py")
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS", help="folder of RAVDESS")
    options = parser.parse_args()
    clips = load_features().clips
    statistics = extract_all_layers(options.weights, options.recordings, clips)
    tables = []
    for layers in tqdm(LAYER_SETS, desc="layers", unit="set"):
        X, name = statistics[:, layers].reshape(len(clips), -1), " ".join(map(str, layers))
        tables += [evaluate(X, clips, f"{name}; C={C}", C=C) for C in REGULARIZATION]
    table = selection_table(pd.concat(tables), clips).reset_index(names="layers")
    table.insert(1, "C", table["layers"].str.extract("C=(.*)", expand=False).astype(float))
    table["layers"] = table["layers"].str.partition(";")[0]
    write_atomic(RESULTS / "ravdess" / "whisper_layers.csv", to_csv_bytes(table))
    print(table.to_string(index=False))
    print("selected layers of each fold:", {fold: tuple(table.loc[table[fold].idxmax(), ["layers", "C"]])
                                   for fold in table.filter(like="fold")})


if __name__ == "__main__":
    main()
