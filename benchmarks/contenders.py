"""Implementations that run_benchmarks.py times, each in a process of its own: contenders.py NAME ARGUMENT...

A contender function loads its data and returns the timed function, a small input to warm it up, and its input. The
process then reads requests from standard input: ``warm-up``, ``run``, and ``save PATH``, which writes the result of the
last run; it replies to each with its duration in s. `extract_original` and `extract_opensmile` need the packages
of requirements.txt.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import joblib
import librosa
import numpy as np

from ser_utils import features
from ser_utils._utils.files import ROOT, write_checksums
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import find_recordings
from ser_utils.evaluation.experiment import fit_predict
from ser_utils.evaluation.splits import get_labels, speaker_independent
from ser_utils.features.spectral import mean_std
from ser_utils.live import deployed, load_model, predictor
from ser_utils.models.augment import pad_sequences
from ser_utils.models.classifier import _training_batches, use_single_thread
from ser_utils.models.registry import DEPLOYED, N_MFCC, get_model

N_JOBS, N_FOLDS, N_CLASSES = 2, 2, 8
N_EPOCHS = 4  # the published models are trained for 40
BATCH_SIZE, CROP_FRAMES = 16, 144  # of the published networks


def extract_mfcc(folder):
    """Extract MFCCs with ser_utils."""
    paths = find_recordings(Path(folder))
    return partial(_map_parallel, features.extract_mfcc, n_jobs=N_JOBS), paths[:8], paths


def _map_parallel(function, items, n_jobs):
    return list(parallel_map(function, items, desc="", n_jobs=n_jobs, progress=False))


def extract_librosa(folder):
    """Extract the same MFCCs with librosa, clip by clip, with the defaults of joblib."""
    paths = find_recordings(Path(folder))
    return lambda paths: joblib.Parallel(N_JOBS)(map(joblib.delayed(_librosa_mfcc), paths)), paths[:8], paths


def _librosa_mfcc(path):
    y, sr = librosa.load(path, sr=16000)
    y, _ = librosa.effects.trim(y, top_db=35)
    return librosa.feature.mfcc(y=y, sr=sr, n_fft=1024, hop_length=256, n_mels=64, n_mfcc=64, fmin=20.0).T


def extract_original(folder):
    """Extract the mean MFCC of each frame as the original project's notebook does, one file after another."""
    paths = find_recordings(Path(folder))
    return lambda paths: list(map(_original_contour, paths)), paths[:2], paths


def _original_contour(path):
    y, sr = librosa.load(path, res_type="kaiser_fast", duration=2.5, sr=22050 * 2, offset=0.5)
    return np.mean(librosa.feature.mfcc(y=y, sr=sr, n_mfcc=13), axis=0)


def extract_opensmile(folder):
    """Extract the functionals eGeMAPSv02 with openSMILE."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals, num_workers=N_JOBS)
    paths = list(map(str, find_recordings(Path(folder))))
    return lambda paths: smile.process_files(paths).to_numpy(), paths[:2], paths


def extract_features(folder, *options):
    """Extract and save all features as `ser extract` does; option "no-f0"."""
    def extract(folder):
        with tempfile.TemporaryDirectory() as out:
            f0 = "no-f0" not in options
            return features.extract_features(folder, out, f0=f0, n_jobs=N_JOBS, progress=False)[0].frames

    return extract, min(Path(folder).iterdir()), folder


def load_features(folder):
    """Load extracted features."""
    out = Path(folder).with_name("features")
    features.extract_features(folder, out, f0=False, n_jobs=N_JOBS, progress=False)
    return lambda out: features.load_features(out).frames, out, out


def _load_training_set():
    """Load MFCCs and emotions of the first training set of RAVDESS."""
    data = features.load_features()
    rows, sequences = speaker_independent(data.clips)[0].train, data.sequences
    return [sequences[row] for row in rows], get_labels(data.clips)[rows].astype(str)


def train_classifier(name):
    """Train as `SequenceClassifier.fit` does: random crops, augmentation, one thread."""
    use_single_thread()
    X, y = _load_training_set()
    classifier = get_model(name).build(0).set_params(epochs=1).fit(X, y)
    batches = _training_batches(classifier, X, classifier._one_hot(y))
    return lambda n_epochs: classifier.network_.fit(batches, epochs=n_epochs, verbose=0), 1, N_EPOCHS


def train_padded(name, threads):
    """Train with `model.fit` on arrays padded to the longest clip; threads "one" or "default"."""
    if threads == "one":
        use_single_thread()
    model, arrays, targets = _build_padded(name, *_load_training_set())
    return lambda n_epochs: model.fit(arrays, targets, BATCH_SIZE, n_epochs, verbose=0), 1, N_EPOCHS


def _build_padded(name, X, y, n_frames=None, learning_rate=1e-3, **options):
    """Build a compiled network, its input arrays and one-hot targets."""
    from ser_utils.models.networks import NETWORKS, keras

    keras.utils.set_random_seed(0)
    mean, sd = mean_std(X)
    arrays = pad_sequences([((x - mean) / sd)[:, :N_MFCC] for x in X], n_frames)
    model = NETWORKS[name](N_MFCC, N_CLASSES, **options)
    model.compile(keras.optimizers.AdamW(learning_rate, weight_decay=1e-2, clipnorm=1.0),
                  keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy"], jit_compile=False)
    return model, arrays, np.eye(N_CLASSES, dtype=np.float32)[np.unique(y, return_inverse=True)[1]]


def train_short_clips(name, padding):
    """Train one epoch on clips of at most `CROP_FRAMES` frames, padded to `padding` times as many; return the loss."""
    X, y = _load_training_set()
    rows = [row for row, x in enumerate(X) if len(x) <= CROP_FRAMES]
    model, arrays, targets = _build_padded(  # a low learning rate, so that rounding errors do not grow
        name, [X[row] for row in rows], y[rows], int(padding) * CROP_FRAMES, learning_rate=1e-5, dropout=0.0)

    def train(n_epochs):
        return model.fit(arrays, targets, BATCH_SIZE, n_epochs, shuffle=False, verbose=0).history.get("loss")

    return train, 0, 1


def train_folds(n_jobs):
    """Train one epoch of `cnn_attention` on each of two folds and predict, in `n_jobs` processes of one thread each."""
    folds = range(N_FOLDS)  # also for warm-up, so that each process has imported TensorFlow
    return partial(_map_parallel, _train_fold, n_jobs=int(n_jobs)), folds, folds


def _train_fold(fold):
    use_single_thread()
    data = features.load_features()
    split = speaker_independent(data.clips)[fold]
    classifier = get_model("cnn_attention").build(0).set_params(epochs=1)
    return fit_predict(classifier, data.sequences, get_labels(data.clips), split.train, split.validation)[0]


def prepare_models(folder):
    """Save both deployed CNNs, trained for one epoch on 16 clips, as ONNX and as pickled classifiers."""
    return _save_models, Path(folder), Path(folder)


def _save_models(folder):
    sys.path.insert(0, str(ROOT / "scripts"))
    import export_onnx

    folder.mkdir()
    clips = features.load_features().sequences[:16]
    for target, name in DEPLOYED["mfcc"].items():
        y = np.resize(load_model("mfcc").classes[target], len(clips))
        classifier = get_model(name).build(0).set_params(epochs=1).fit(clips, y)
        model = export_onnx.build_inference_model(classifier, ood_reference=export_onnx.compute_ood_reference(clips))
        metadata = export_onnx.describe_model(classifier, name, neutral_mean_std=mean_std(clips).tolist())
        export_onnx.export_onnx(model, folder / f"mfcc_{target}.onnx", metadata)
        joblib.dump(classifier, folder / f"{target}.joblib")
    write_checksums(folder, [f"mfcc_{target}.onnx" for target in DEPLOYED["mfcc"]])


def predict_onnx(path, folder):
    """Predict with `ser_utils.predict` and the models of a folder; return the probabilities of the emotions."""
    deployed.MODELS_FOLDER = Path(folder)

    def predict(path):
        return [p for _, p in sorted(predictor.predict(path, model="mfcc")["probabilities"].items())]

    return predict, path, path


def predict_keras(path, folder):
    """Predict the same with Keras and TensorFlow."""
    classifiers = [joblib.load(Path(folder, f"{target}.joblib")) for target in DEPLOYED["mfcc"]]

    def predict(path):
        mfcc = features.extract_mfcc(path)
        emotion, _ = (classifier.predict_proba([mfcc])[0] for classifier in classifiers)
        return emotion

    return predict, path, path


def main(name, *arguments):
    """Prepare one contender and process the requests."""
    (function, small_input, full_input), result = globals()[name](*arguments), None
    for line in sys.stdin:
        request, _, path = line.strip().partition(" ")
        start = time.perf_counter()
        if request == "save":
            np.save(path, np.concatenate([np.ravel(part) for part in result]))
        else:
            result = function(small_input if request == "warm-up" else full_input)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
