"""Evaluate models on distorted clips of unseen speakers, and the deployed MFCC models on EMO-DB.

    python scripts/evaluate_robustness.py RAVDESS EMODB [--features DIR ...] [--model NAME ...]

Needs the recordings of both corpora. Each model is trained once per fold, and predicts its test clips under every
condition of `ser_utils.distortions`, the CNNs also with enrollment. They are trained on RAVDESS speech (`cnn_robust`
with simulated channels), `whisper_robust` on the corpora given with --features: those whose licence permits
derivatives, RAVDESS included, with the features `whisper` and `whisper_distorted`. Writes results/robustness;
interrupted runs continue from build/robustness.
"""

import argparse
import hashlib
import io
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ser_utils import audio, distortions, whisper
from ser_utils._utils.files import CHECKSUM_FILE, read_csv, to_csv_bytes, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import load_clips
from ser_utils.distortions import CONDITIONS
from ser_utils.evaluation import results, splits
from ser_utils.evaluation.experiment import Run, build_predictions_table, cache_key
from ser_utils.features import spectral
from ser_utils.features.spectral import mfcc, mfcc_dynamics, speaker_normalize
from ser_utils.features.store import load_features
from ser_utils.live import load_model
from ser_utils.live.deployed import MODELS_FOLDER, SR
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.linear import balance_corpora
from ser_utils.models.registry import DEPLOYED, get_model

BUILD, RESULTS = Path("build/robustness"), results.RESULTS / "robustness"
WHISPER_MODEL = DEPLOYED["whisper"]["emotion"]
MODELS = (DEPLOYED["mfcc"]["emotion"], "cnn_attention", WHISPER_MODEL)
NORMALIZATIONS = ("speaker-normalized", "not normalized")  # conditions of the split enrollment-normalized
CROSS_CORPUS = [Run(model, "cross-corpus", target, 0, 0, "test") for target, model in DEPLOYED["mfcc"].items()]


def extract_distorted(seed_and_path, condition):
    """Compute the MFCCs and Whisper statistics of a recording under a condition."""
    seed, path = seed_and_path
    y = audio.trim(CONDITIONS[condition](audio.load(path), SR, seed))
    return mfcc(y), whisper.compute_statistics(y)


def compute_key():
    """Compute a hash of the code and the deployed models that the features of distorted clips depend on."""
    modules = distortions.__file__, audio.__file__, spectral.__file__, whisper.__file__, __file__
    sources = [MODELS_FOLDER / CHECKSUM_FILE, *map(Path, modules)]
    return hashlib.blake2b(b"".join(path.read_bytes() for path in sources), digest_size=4).hexdigest()


def load_condition(condition, folder, clips):
    """Load the MFCCs and Whisper statistics of all clips under a condition, or extract them from recordings."""
    path = BUILD / f"{condition.replace(' ', '_')}_{compute_key()}.npz"
    return load_or_extract(path, partial(extract_distorted, condition=condition), folder, clips)


def load_or_extract(path, extract, folder, clips):
    """Load MFCCs and further values of all RAVDESS clips, or extract and store them.

    Parameters
    ----------
    path : Path
        Stored arrays.
    extract : callable
        f((index, path of a recording)) returning MFCCs [shape=(n_frames, n_mfcc)] and an array.
    folder : str or Path
        Recordings, needed if nothing is stored.
    clips : pd.DataFrame

    Returns
    -------
    list of np.ndarray, np.ndarray
    """
    if not path.is_file():
        files = load_clips(folder, "ravdess").set_index("clip").loc[clips["clip"], "file"]
        sequences, values = zip(*parallel_map(extract, enumerate(Path(folder) / file for file in files),
                                              desc=path.stem, unit="clip", n_jobs=2), strict=True)
        np.savez(archive := io.BytesIO(), frames=np.concatenate(sequences), values=np.stack(values),
                 offsets=np.cumsum([len(x) for x in sequences]))
        write_atomic(path, archive.getvalue())
    with np.load(path, allow_pickle=False) as archive:
        return np.split(archive["frames"], archive["offsets"][:-1]), archive["values"]


def build_table(run, condition, clips, rows, p, classes, ood_score=None):
    """Build the predictions table of a condition from probabilities p [shape=(n_rows, n_classes)]."""
    p = pd.DataFrame(p, columns=list(classes)).reindex(columns=splits.sort_classes(classes))
    table = build_predictions_table(run, clips, rows, rows, p.round(4)).assign(
        train_corpus="multiple" if run.model == WHISPER_MODEL else "ravdess")
    table.insert(table.columns.get_loc("seed"), "condition", condition)
    if ood_score is not None:
        table.insert(table.columns.get_loc("label") + 1, "ood_score", np.round(ood_score, 3))
    return table


def list_runs(model, fold):
    """List (condition, Run) of all predictions of a fold."""
    if model == WHISPER_MODEL:
        run = Run(model, "speaker-independent-multi-corpus", "emotion", 0, fold, "test")
        return [(condition, run) for condition in CONDITIONS]
    splits_by_condition = dict.fromkeys(CONDITIONS, "speaker-independent") | dict.fromkeys(
        NORMALIZATIONS, "enrollment-normalized")
    return [(condition, Run(model, split, "emotion", 0, fold, "test"))
            for condition, split in splits_by_condition.items()]


def evaluate_fold(model_and_fold, folders):
    """Train a model without the test speakers of a fold and store their predictions under all conditions."""
    model, fold = model_and_fold
    features = load_features(folders if model == WHISPER_MODEL else None)
    path = BUILD / f"{model}_{fold}_{cache_key(model, features)}_{compute_key()}.csv"
    if path.is_file():
        return path
    use_single_thread()
    evaluate = evaluate_whisper if model == WHISPER_MODEL else evaluate_cnn
    write_atomic(path, to_csv_bytes(pd.concat(evaluate(model, fold, features))))
    return path


def evaluate_whisper(model, fold, features):
    """Train the classifier on the Whisper encoder with several corpora; return the predictions tables of a fold."""
    from export_onnx import compute_pca_reference, reconstruction_error

    ravdess, spec = load_features(), get_model(model)
    split = splits.SPLITS["speaker-independent-multi-corpus"](features.clips)[fold]
    train = np.sort([*split.train, *split.validation])
    clips, X = features.clips.iloc[train].reset_index(drop=True), features.get_input(spec.input_type)[train]
    labels = splits.get_labels(clips).astype(str)
    classifier = spec.build(0).fit(X, labels, sample_weight=balance_corpora(clips["corpus"], labels),
                                   speakers=clips["speaker"].to_numpy())
    limit = load_model("whisper").metadata["ood_limit"]
    reference = compute_pca_reference(X.reshape(-1, X.shape[-1]))._replace(limit=limit)
    test, tables = splits.speaker_independent(ravdess.clips)[fold].test, []
    for condition, run in list_runs(model, fold):
        statistics = load_condition(condition, None, ravdess.clips)[1][test]
        p = classifier.predict_proba(statistics[:, None])
        tables.append(build_table(run, condition, ravdess.clips, test, p, classifier.classes_,
                                  reconstruction_error(statistics, reference)))
    return tables


def fit_cnn(model, fold, features):
    """Train a CNN on the RAVDESS clips without the test speakers of a fold; return it, the training and test rows."""
    split = splits.speaker_independent(features.clips)[fold]
    train = np.sort([*split.train, *split.validation])
    y = splits.get_labels(features.clips).astype(str)[train]
    return get_model(model).build(0).fit([features.sequences[row] for row in train], y), train, split.test


def evaluate_cnn(model, fold, features):
    """Train a CNN on the MFCCs of RAVDESS; return the predictions tables of a fold."""
    from export_onnx import compute_ood_reference, ood_distance

    classifier, train, test_rows = fit_cnn(model, fold, features)
    limit = load_model("mfcc").metadata["ood_limit"]
    X = [features.sequences[row] for row in train]
    reference = compute_ood_reference(X, seed=fold)._replace(limit=limit)
    tables = []
    for condition, run in list_runs(model, fold):
        sequences, test = select_test(condition, features, train, fold, test_rows)
        ood_score = [ood_distance(mfcc_dynamics(x), reference) for x in sequences]
        tables.append(build_table(run, condition, features.clips, test, classifier.predict_proba(sequences),
                                  classifier.classes_, ood_score))
    return tables


def select_test(condition, features, train, fold, test):
    """Select the sequences of the test clips under a condition, and their rows, without enrollment clips."""
    if condition in CONDITIONS:
        sequences, _ = load_condition(condition, None, features.clips)
    else:
        split = splits.SPLITS["enrollment-normalized"](features.clips)[fold]
        test, sequences = split.test, features.sequences
        if condition == "speaker-normalized":
            sequences = speaker_normalize(sequences, features.clips["speaker"].to_numpy(), split.norm_index, train)
    return [sequences[row] for row in test], test


def evaluate_emodb(folder):
    """Predict EMO-DB with the deployed CNNs: the gender of all clips, the emotion of those with a RAVDESS class."""
    clips, model, tables = load_clips(folder, "emodb"), load_model("mfcc"), []
    outputs = [model.predict(audio.trim(audio.load(Path(folder) / file))) for file in tqdm(clips["file"], "EMO-DB")]
    for run in CROSS_CORPUS:
        rows = np.flatnonzero(clips["emotion"].isin(model.classes["emotion"]) | (run.target == "gender"))
        p, ood_score = ([getattr(outputs[row], name) for row in rows] for name in (run.target, "ood_score"))
        tables.append(build_table(run, "clean", clips, rows, p, model.classes[run.target], ood_score))
    return tables


def log_access(models, folders):
    """Log the test-set evaluations before they begin."""
    log = None
    for model in models:
        features = load_features(folders if model == WHISPER_MODEL else None)
        pairs = [pair for fold in range(5) for pair in list_runs(model, fold)]
        for condition in (*CONDITIONS, *NORMALIZATIONS):
            if runs := [run for name, run in pairs if name == condition]:
                log = results.log_test_access(RESULTS, runs, features, condition=condition)
    if MODELS[0] in models:
        log = results.log_test_access(RESULTS, CROSS_CORPUS, load_features(), condition="clean", corpus="emodb")
    return log


def main(arguments=None):
    """Log the access, evaluate, and write the predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", type=Path, help="folder of the RAVDESS recordings")
    parser.add_argument("emodb", type=Path, help="folder of the EMO-DB recordings")
    parser.add_argument("--features", nargs="*", default=[], metavar="DIR",
                        help="features of the training corpora of whisper_robust, RAVDESS included")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="default: all; results of "
                        "other models stay unchanged")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args(arguments)
    for folder in (BUILD, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    if WHISPER_MODEL in options.model and len(options.features) < 2:
        parser.error(f"{WHISPER_MODEL} needs --features DIR DIR ...: RAVDESS and the other training corpora")
    results.require_committed(RESULTS)
    features = load_features()
    log = log_access(options.model, options.features)
    for condition in CONDITIONS:
        load_condition(condition, options.ravdess, features.clips)
    folds = [(model, fold) for fold in range(5) for model in options.model]
    paths = list(parallel_map(partial(evaluate_fold, folders=options.features), folds, desc="folds", unit="fold",
                              n_jobs=options.jobs))
    tables = {"emotion": pd.concat(map(read_csv, paths), ignore_index=True)}
    if MODELS[0] in options.model:
        emotion, tables["gender"] = evaluate_emodb(options.emodb)
        tables["emotion"] = pd.concat([tables["emotion"], emotion], ignore_index=True)
    evaluated = dict(tables)
    if results.has_predictions(RESULTS):
        stored = results.load_predictions(RESULTS)
        other_models = stored[~stored["model"].isin(options.model)]
        tables["emotion"] = pd.concat([other_models, tables["emotion"]], ignore_index=True)
    results.save_predictions(RESULTS, tables)
    results.log_test_scores(RESULTS, log, evaluated.values())


if __name__ == "__main__":
    main()
