"""Train the deployed classifiers on the Whisper encoder and export them to models/.

    python scripts/train_whisper_models.py --features DIR ... [--sounds RECORDING ...]

Each DIR contains the features of one corpus with `whisper` and `whisper_distorted` (ser extract). The configuration is
`whisper_robust`, trained on the corpora whose licence permits derivatives. Temperature and calibration error come from
the published predictions of held-out corpora (split "leave-one-corpus-out-open"): each corpus, training corpora
included, is predicted by a model trained without it. The limit of the out-of-distribution score is computed likewise.
Each RECORDING without speech, such as music, is added to the evaluation of out-of-distribution detection. Writes
whisper_emotion.onnx, whisper_gender.onnx, whisper_info.json and SHA256SUMS.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from nonspeech_sounds import load_sounds
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

import ser_utils
from ser_utils import whisper
from ser_utils._utils.files import write_atomic, write_model_checksums
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation import metrics, results, splits
from ser_utils.features.store import load_features
from ser_utils.live.deployed import MODELS_FOLDER, TARGETS
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.linear import balance_corpora
from ser_utils.models.registry import DEPLOYED, get_model

SPLIT = "leave-one-corpus-out-open"
QUANTILE = 0.95  # of the clips of each held-out corpus, at most 5 % exceed the limit


def fit_calibration(predictions):
    """Fit a temperature on the predictions of held-out corpora.

    Parameters
    ----------
    predictions : pd.DataFrame
        A test corpus per fold; its probabilities are renormalized over the classes that it shares with the training
        corpora.

    Returns
    -------
    dict
        `temperature`, the geometric mean of those of the corpora; `ece_uncalibrated`; `ece_calibrated`, each corpus
        with the temperature of the others. Both errors are means over the corpora.
    """
    tables = {}
    for corpus, rows in predictions.groupby("test_corpus"):
        names = list(metrics.get_class_names(rows))
        tables[corpus] = (rows[[f"p_{name}" for name in names]].to_numpy(), rows["label"].map(names.index).to_numpy())
    log_temperatures = {corpus: np.log(metrics.fit_temperature(*table)) for corpus, table in tables.items()}
    calibrated = []
    for corpus, (p, y_index) in tables.items():
        others = np.mean([value for other, value in log_temperatures.items() if other != corpus])
        p = metrics.apply_temperature(p, np.exp(others))
        calibrated.append(metrics.expected_calibration_error(p, y_index))
    uncalibrated = [metrics.expected_calibration_error(*table) for table in tables.values()]
    return {"temperature": float(np.exp(np.mean(list(log_temperatures.values())))),
            "ece_uncalibrated": float(np.mean(uncalibrated)), "ece_calibrated": float(np.mean(calibrated))}


def evaluate_ood(features, sounds):
    """Compute the limit of the out-of-distribution score on held-out corpora, and evaluate detection of other sounds.

    Parameters
    ----------
    features : FeatureSet
        Of all corpora.
    sounds : dict of str to list of np.ndarray [shape=(n,)]
        Waveforms at 16 kHz without speech, by kind.

    Returns
    -------
    reference : PCAReference
        Of all training clips; its limit is the highest of the 95th percentiles of the held-out corpora.
    info : dict
        `ood_limit`; `ood_false_positive_rate`: by corpus, the share of its clips above the limit of the other corpora;
        `ood_detection`: by kind of sound, AUROC against the clips of a held-out corpus, mean over the corpora, and
        share above the limit.
    """
    import export_onnx

    X, errors = features.get_input("whisper+whisper_distorted"), {}
    statistics = {kind: np.stack([whisper.compute_statistics(y) for y in clips])
                  for kind, clips in tqdm(sounds.items(), desc="sounds without speech", unit="kind")}
    auroc: dict[str, list] = {kind: [] for kind in sounds}
    for split in tqdm(splits.SPLITS[SPLIT](features.clips), desc="out of distribution", unit="corpus"):
        reference = export_onnx.compute_pca_reference(X[split.train].reshape(-1, X.shape[-1]))
        [corpus] = features.clips["corpus"].iloc[split.test].unique()
        speech = errors[corpus] = export_onnx.reconstruction_error(X[split.test, 0], reference)
        for kind, values in statistics.items():
            scores = np.concatenate([speech, export_onnx.reconstruction_error(values, reference)])
            auroc[kind].append(roc_auc_score(np.repeat([0, 1], [len(speech), len(values)]), scores))
    quantiles = {corpus: float(np.quantile(values, QUANTILE)) for corpus, values in errors.items()}
    rates = {corpus: float(np.mean(values > max(value for other, value in quantiles.items() if other != corpus)))
             for corpus, values in errors.items()}
    limit, rows = max(quantiles.values()), np.flatnonzero(splits.is_deployable(features.clips))
    reference = export_onnx.compute_pca_reference(X[rows].reshape(-1, X.shape[-1]))._replace(limit=limit)
    detection = {kind: {"auroc": float(np.mean(auroc[kind])), "flagged_fraction": float(np.mean(
        export_onnx.reconstruction_error(values, reference) > 1))} for kind, values in statistics.items()}
    return reference, {"ood_limit": limit, "ood_false_positive_rate": rates, "ood_detection": detection}


def train_and_export(target, features, folder, **options):
    """Train the classifier of one target on the corpora whose licence permits derivatives and write its ONNX file.

    Parameters
    ----------
    target : {"emotion", "gender"}
    features : FeatureSet
    folder : Path
    **options
        Temperature and reference for `build_linear_model`.
    """
    import export_onnx

    rows = np.flatnonzero(splits.is_deployable(features.clips, target))
    if not len(rows):
        raise ValueError(f"corpus {', '.join(features.clips['corpus'].unique())}: no licence permits derivatives; "
                         "pass --features of a corpus that may train a shipped model")
    clips, spec = features.clips.iloc[rows].reset_index(drop=True), get_model(DEPLOYED["whisper"][target])
    X, labels = features.get_input(spec.input_type)[rows], splits.get_labels(clips, target).astype(str)
    classifier = spec.build(0).fit(X, labels, sample_weight=balance_corpora(clips["corpus"], labels),
                                   speakers=clips["speaker"].to_numpy())
    corpora = [DATASETS[name] for name in clips["corpus"].unique()]
    metadata = {
        "model": spec.name, "classes": classifier.classes_.tolist(), "input": "statistics of whisper_encoder.onnx",
        "temperature": options.get("temperature", 1.0),
        "training_data": "; ".join(f"{corpus.title}, {(clips['corpus'] == corpus.name).sum()} clips"
                                   for corpus in corpora),
        "licence": "CC BY-NC-SA 4.0; " + "; ".join(f"{corpus.title}: {corpus.licence}" for corpus in corpora),
        "citation": " ".join(dict.fromkeys(corpus.citation for corpus in corpora)), "version": ser_utils.__version__}
    if target == "emotion":
        metadata |= {"ood_limit": options["pca_reference"].limit, "adaptation_weight": classifier.adaptation_weight,
                     "neutral_mean": classifier.neutral_mean_.astype(float).round(4).tolist()}
    model = export_onnx.build_linear_model(classifier, **options)
    export_onnx.export_onnx(model, folder / f"whisper_{target}.onnx", metadata)


def main(arguments=None):
    """Evaluate calibration and out-of-distribution detection, train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", required=True, metavar="DIR", help="features of a corpus")
    parser.add_argument("--sounds", nargs="*", type=Path, default=[], metavar="RECORDING",
                        help="a recording without speech")
    parser.add_argument("--out", type=Path, default=MODELS_FOLDER, metavar="DIR", help="folder of the models")
    options = parser.parse_args(arguments)
    use_single_thread()
    features, predictions = load_features(options.features), results.load_predictions(results.MULTI_CORPUS)
    is_held_out = (predictions[["model", "split"]] == [DEPLOYED["whisper"]["emotion"], SPLIT]).all(axis=1)
    if not is_held_out.any():
        parser.error(f"no predictions of held-out corpora; run ser evaluate --model {DEPLOYED['whisper']['emotion']} "
                     f"--split {SPLIT} --test first")
    options.out.mkdir(parents=True, exist_ok=True)
    info = fit_calibration(predictions[is_held_out])
    reference, detection = evaluate_ood(features, load_sounds(options.sounds))
    for target in TARGETS:
        more = {"temperature": info["temperature"], "pca_reference": reference} if target == "emotion" else {}
        train_and_export(target, features, options.out, **more)
    write_atomic(options.out / "whisper_info.json", (json.dumps(info | detection, indent=1) + "\n").encode())
    write_model_checksums(options.out)


if __name__ == "__main__":
    main()
