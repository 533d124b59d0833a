"""Train the deployed MFCC models on all RAVDESS clips and export them to models/.

    python scripts/train_mfcc_models.py [RECORDING ...]

Writes mfcc_emotion.onnx, mfcc_gender.onnx, mfcc_info.json and SHA256SUMS. The configurations are `cnn_robust` and
`cnn_robust_gender`, both with the network `cnn_attention`. Temperature, calibration error and the limit of the
out-of-distribution score come from clips of unseen speakers. Each RECORDING, a file without speech such as music, is
added to the evaluation of out-of-distribution detection. EMO-DB is not used.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from nonspeech_sounds import load_sounds
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from ser_utils._utils.files import write_atomic, write_model_checksums
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation import metrics, results, splits
from ser_utils.features.spectral import mean_std, mfcc, mfcc_dynamics
from ser_utils.features.store import load_features
from ser_utils.live.deployed import MODELS_FOLDER
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.registry import DEPLOYED, get_model

FALSE_POSITIVE_RATE = 0.05  # share of clips of unseen speakers above the limit


def fit_calibration(predictions):
    """Fit the temperature on out-of-fold predictions.

    Parameters
    ----------
    predictions : pd.DataFrame

    Returns
    -------
    dict
        `temperature`, fitted on all folds; `ece_uncalibrated`; `ece_calibrated`, each fold with the temperature of the
        others.
    """
    names = metrics.get_class_names(predictions)
    p = predictions[[f"p_{name}" for name in names]].to_numpy()
    y_index = predictions["label"].map(names.index).to_numpy()
    calibrated = np.empty_like(p)
    for fold in predictions["fold"].unique():
        test = (predictions["fold"] == fold).to_numpy()
        temperature = metrics.fit_temperature(p[~test], y_index[~test])
        calibrated[test] = metrics.apply_temperature(p[test], temperature)
    return {"temperature": metrics.fit_temperature(p, y_index),
            "ece_uncalibrated": metrics.expected_calibration_error(p, y_index),
            "ece_calibrated": metrics.expected_calibration_error(calibrated, y_index)}


def evaluate_ood(features, recordings=()):
    """Compute the limit of the out-of-distribution score, and evaluate the detection of sounds without speech.

    Parameters
    ----------
    features : FeatureSet
    recordings : sequence of str or Path
        Recordings without speech.

    Returns
    -------
    limit : float
        Distance exceeded by 5 % of the clips of unseen speakers.
    info : dict
        `ood_detection`: AUROC and share of segments above the limit, by kind of sound;
        `ood_false_positive_rate_by_fold`: share of a fold's clips above the limit of the other folds.
    """
    from export_onnx import compute_ood_reference, ood_distance

    sequences = features.sequences
    dynamics = [mfcc_dynamics(sequence) for sequence in sequences]
    sounds = {name: [mfcc_dynamics(mfcc(y)) for y in clips] for name, clips in load_sounds(recordings).items()}
    speech, other = [], {name: [] for name in sounds}
    for split in tqdm(splits.speaker_independent(features.clips), desc="out of distribution", unit="fold"):
        train = [sequences[row] for row in (*split.train, *split.validation)]
        reference = compute_ood_reference(train, seed=split.fold)
        speech.append(np.array([ood_distance(dynamics[row], reference) for row in split.test]))
        for name, segments in sounds.items():
            other[name].append(np.array([ood_distance(segment, reference) for segment in segments]))
    limit, *limits = (float(np.quantile(np.concatenate(speech[:fold] + speech[fold + 1:]), 1 - FALSE_POSITIVE_RATE))
                      for fold in (len(speech), *range(len(speech))))  # of all folds, and without each fold
    detection = {name: {"auroc": float(np.mean([
        roc_auc_score(np.repeat([0, 1], [len(a), len(b)]), np.concatenate([a, b]))
        for a, b in zip(speech, distances, strict=True)])),
        "flagged_fraction": float(np.mean(np.concatenate(distances) > limit))} for name, distances in other.items()}
    rates = [float(np.mean(distances > limit)) for distances, limit in zip(speech, limits, strict=True)]
    return limit, {"ood_detection": detection, "ood_false_positive_rate_by_fold": rates}


def compute_neutral_mean_std(features):
    """Average mean and SD of the MFCCs of the enrollment clips over the speakers [shape=(2, n_mfcc)]."""
    enrollment = features.clips.iloc[splits.SPLITS["enrollment-normalized"](features.clips)[0].norm_index]
    sequences = features.sequences
    return np.mean([mean_std([sequences[row] for row in clips.index])
                    for _, clips in enrollment.groupby("speaker")], axis=0).astype(np.float32)


def train_and_export(target, features, folder, temperature, limit):
    """Train the model of one target on all clips and write its ONNX file.

    Parameters
    ----------
    target : {"emotion", "gender"}
    features : FeatureSet
    folder : Path
    temperature, limit : float
        Used for emotion.
    """
    import export_onnx

    if excluded := [name for name in features.clips["corpus"].unique()
                    if name not in DATASETS or not DATASETS[name].allows_derivatives]:
        raise ValueError(f"corpus {', '.join(excluded)}: no open licence for derivatives; train shipped models "
                         "without it")
    labels = splits.get_labels(features.clips, target).astype(str)
    classifier = get_model(DEPLOYED["mfcc"][target]).build(0).set_params(max_steps=None, progress=True)
    classifier = classifier.fit(features.sequences, labels)
    options, more = {}, {}
    if target == "emotion":
        reference = export_onnx.compute_ood_reference(features.sequences)._replace(limit=limit)
        options = {"temperature": temperature, "ood_reference": reference}
        more = {"neutral_mean_std": compute_neutral_mean_std(features).tolist()}
    model = export_onnx.build_inference_model(classifier, features.config, **options)
    metadata = export_onnx.describe_model(classifier, DEPLOYED["mfcc"][target], features.config, **options, **more)
    export_onnx.export_onnx(model, folder / f"mfcc_{target}.onnx", metadata)


def main(arguments=None):
    """Evaluate calibration and out-of-distribution detection, train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path, metavar="RECORDING", help="a recording without speech")
    parser.add_argument("--out", type=Path, default=MODELS_FOLDER, metavar="DIR", help="folder of the models")
    options = parser.parse_args(arguments)
    use_single_thread()
    features, predictions = load_features(), results.load_predictions("ravdess", "emotion")
    is_deployed = (predictions[["model", "split"]] == [DEPLOYED["mfcc"]["emotion"], "speaker-independent"]).all(axis=1)
    info = fit_calibration(predictions[is_deployed])
    limit, detection = evaluate_ood(features, options.recordings)
    options.out.mkdir(parents=True, exist_ok=True)
    for target in DEPLOYED["mfcc"]:
        train_and_export(target, features, options.out, info["temperature"], limit)
    write_atomic(options.out / "mfcc_info.json", (json.dumps(info | detection, indent=1) + "\n").encode())
    write_model_checksums(options.out)


if __name__ == "__main__":
    main()
