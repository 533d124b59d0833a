"""Evaluate `cnn_attention` and `cnn_robust` on distorted clips of unseen speakers, and the deployed models on EMO-DB.

    python scripts/evaluate_robustness.py RAVDESS EMODB

Needs the recordings of both corpora. Both models are trained once per fold on clean clips, and predict its test clips
under every condition of `ser_utils.live.distortions` and with enrollment. Writes results/robustness; interrupted runs
continue from build/robustness.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ser_utils import audio
from ser_utils._utils.files import read_csv, to_csv_bytes, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import load_clips
from ser_utils.evaluation import results, splits
from ser_utils.evaluation.experiment import Run, build_predictions_table, cache_key
from ser_utils.features.spectral import mfcc, mfcc_dynamics, speaker_normalize
from ser_utils.features.store import load_features
from ser_utils.live.distortions import CONDITIONS
from ser_utils.live.predictor import SR, load_models
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.registry import DEPLOYED, get_model

BUILD, RESULTS = Path("build/robustness"), results.RESULTS / "robustness"
MODELS = ("cnn_robust", "cnn_attention")
NORMALIZATIONS = ("speaker-normalized", "not normalized")  # conditions of the split enrollment-normalized
CROSS_CORPUS = [Run(model, "cross-corpus", target, 0, 0, "test") for target, model in DEPLOYED.items()]


def extract_distorted(seed_and_path, condition):
    """MFCCs of a recording under a condition."""
    seed, path = seed_and_path
    return mfcc(audio.trim(CONDITIONS[condition](audio.load(path), SR, seed)))


def load_condition(condition, folder, clips):
    """Load the MFCCs of all clips under a condition, or extract them from the recordings in a folder."""
    path = BUILD / f"{condition.replace(' ', '_')}.npz"
    if not path.is_file():
        files = load_clips(folder, "ravdess").set_index("clip").loc[clips["clip"], "file"]
        sequences = list(parallel_map(partial(extract_distorted, condition=condition),
                                      enumerate(Path(folder) / file for file in files), desc=condition, unit="clip"))
        with path.open("wb") as file:
            np.savez(file, frames=np.concatenate(sequences), offsets=np.cumsum([len(x) for x in sequences]))
    with np.load(path, allow_pickle=False) as archive:
        return np.split(archive["frames"], archive["offsets"][:-1])


def build_table(run, condition, clips, rows, p, classes, ood_score):
    """Build the predictions table of a condition from probabilities p [shape=(n_rows, n_classes)]."""
    p = pd.DataFrame(p, columns=list(classes)).reindex(columns=splits.sort_classes(classes))
    table = build_predictions_table(run, clips, rows, rows, p.round(4)).assign(train_corpus="ravdess")
    table.insert(table.columns.get_loc("seed"), "condition", condition)
    table.insert(table.columns.get_loc("label") + 1, "ood_score", np.round(ood_score, 3))
    return table


def list_runs(model, fold):
    """(condition, Run) of all predictions of a fold."""
    splits_by_condition = dict.fromkeys(CONDITIONS, "speaker-independent") | dict.fromkeys(
        NORMALIZATIONS, "enrollment-normalized")
    return [(condition, Run(model, split, "emotion", 0, fold, "test"))
            for condition, split in splits_by_condition.items()]


def evaluate_fold(model_and_fold):
    """Train a model without the test speakers of a fold and store its predictions of them under all conditions."""
    from export_onnx import compute_ood_reference, ood_distance

    model, fold = model_and_fold
    features = load_features()
    path = BUILD / f"{model}_{fold}_{cache_key(model, features)}.csv"
    if path.is_file():
        return path
    use_single_thread()
    split = splits.speaker_independent(features.clips)[fold]
    train = np.sort([*split.train, *split.validation])
    sequences = features.sequences
    X, y = [sequences[row] for row in train], splits.get_labels(features.clips).astype(str)[train]
    classifier = get_model(model).build(0).fit(X, y)
    limit = load_models()["emotion"].metadata["ood_limit"]
    reference = compute_ood_reference(X, seed=fold)._replace(limit=limit)
    tables = []
    for condition, run in list_runs(model, fold):
        sequences, test = select_test(condition, features, train, fold, split.test)
        ood_score = [ood_distance(mfcc_dynamics(x), reference) for x in sequences]
        tables.append(build_table(run, condition, features.clips, test, classifier.predict_proba(sequences),
                                  classifier.classes_, ood_score))
    write_atomic(path, to_csv_bytes(pd.concat(tables)))
    return path


def select_test(condition, features, train, fold, test):
    """Sequences of the test clips under a condition, and their rows; enrollment clips are not tested."""
    if condition in CONDITIONS:
        sequences = load_condition(condition, None, features.clips)
    else:
        split = splits.SPLITS["enrollment-normalized"](features.clips)[fold]
        test, sequences = split.test, features.sequences
        if condition == "speaker-normalized":
            sequences = speaker_normalize(sequences, features.clips["speaker"].to_numpy(), split.norm_index, train)
    return [sequences[row] for row in test], test


def evaluate_emodb(folder):
    """Predict EMO-DB with the deployed models: the gender of all clips, the emotion of those that RAVDESS has."""
    clips, models, tables = load_clips(folder, "emodb"), load_models(), []
    y = [audio.trim(audio.load(Path(folder) / file)) for file in clips["file"]]
    outputs = {target: [model.run(clip) for clip in tqdm(y, desc=f"EMO-DB, {target}")]
               for target, model in models.items()}
    for run in CROSS_CORPUS:
        rows = np.flatnonzero(clips["emotion"].isin(models["emotion"].classes) | (run.target == "gender"))
        p, ood_score = ([outputs[target][row][name] for row in rows]
                        for target, name in ((run.target, "probabilities"), ("emotion", "ood_score")))
        tables.append(build_table(run, "clean", clips, rows, p, models[run.target].classes, ood_score))
    return tables


def log_access(features):
    """Log the test-set evaluations before they begin."""
    pairs = [pair for model in MODELS for fold in range(5) for pair in list_runs(model, fold)]
    for condition in (*CONDITIONS, *NORMALIZATIONS):
        runs = [run for name, run in pairs if name == condition]
        results.log_test_access(RESULTS, runs, features, condition=condition)
    return results.log_test_access(RESULTS, CROSS_CORPUS, features, condition="clean", corpus="emodb")


def main(arguments=None):
    """Log the access, evaluate, and write the predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", type=Path, help="folder of its recordings")
    parser.add_argument("emodb", type=Path, help="folder of its recordings")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args(arguments)
    for folder in (BUILD, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    results.require_committed(RESULTS)
    features = load_features()
    log = log_access(features)
    for condition in CONDITIONS:
        load_condition(condition, options.ravdess, features.clips)
    folds = [(model, fold) for fold in range(5) for model in MODELS]
    paths = list(parallel_map(evaluate_fold, folds, desc="folds", unit="fold", n_jobs=options.jobs))
    emodb_emotion, gender = evaluate_emodb(options.emodb)
    tables = {"emotion": pd.concat([*map(read_csv, paths), emodb_emotion], ignore_index=True), "gender": gender}
    results.save_predictions(RESULTS, tables)
    results.log_test_scores(RESULTS, log, tables.values())


if __name__ == "__main__":
    main()
