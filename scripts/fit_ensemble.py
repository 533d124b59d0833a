"""Fit the weights of the ensemble on validation speakers of RAVDESS, and evaluate it on test speakers.

    python scripts/fit_ensemble.py --features RAVDESS_DIR [EMODB_DIR]

The members are trained on the training speakers of each RAVDESS fold and predict its validation speakers (cached in
build/runs). Their weights in the fold maximize the likelihood of these validation labels. With these weights the
published test predictions of the members, averaged over their seeds, are added to results/ravdess as
`ensemble_weighted`. In results/emodb, the mean weights over the RAVDESS folds are used. The features must include
egemaps and compare.
"""

import argparse

import numpy as np
import pandas as pd

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, concat_predictions, plan_runs, run_experiment
from ser_utils.evaluation.metrics import get_class_names, summarize
from ser_utils.features.store import load_features

NAME = "ensemble_weighted"
MEMBERS = ("svm", "svm_egemaps", "svm_compare", "mlp", "cnn", "tdnn", "crnn", "cnn_attention")
SPLITS = {"ravdess": "speaker-independent", "emodb": "leave-one-speaker-out"}
PSEUDO_CLIPS = 10  # per member, of a symmetric Dirichlet prior on the weights
N_ITERATIONS = 300


def fit_weights(p_true, pseudo_clips=PSEUDO_CLIPS):
    """Fit the weights of a linear opinion pool by expectation maximization.

    Parameters
    ----------
    p_true : np.ndarray [shape=(n_clips, n_members)]
        Probability that each member assigns to the true class.
    pseudo_clips : float >= 0
        Strength of the prior towards equal weights.

    Returns
    -------
    np.ndarray [shape=(n_members,)]
        Positive weights that sum to 1.

    References
    ----------
    A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
    Journal of the Royal Statistical Society B 39(1), 1977.
    """
    n_clips, n_members = p_true.shape
    weights = np.full(n_members, 1 / n_members)
    for _ in range(N_ITERATIONS):
        responsibilities = weights * p_true
        responsibilities /= responsibilities.sum(axis=1, keepdims=True)
        weights = (responsibilities.sum(axis=0) + pseudo_clips) / (n_clips + n_members * pseudo_clips)
    return weights


def true_class_probabilities(predictions):
    """Probability of the true class of each clip (rows) by member (columns)."""
    columns = [f"p_{name}" for name in get_class_names(predictions)]
    p = predictions[columns].to_numpy()
    index = predictions["label"].map(lambda name: columns.index(f"p_{name}")).to_numpy()
    table = predictions[["clip", "model"]].assign(p=np.maximum(p[np.arange(len(p)), index], 1e-4))
    return table.pivot(index="clip", columns="model", values="p")[list(MEMBERS)]


def combine(predictions, weights):
    """Average the probabilities of each member over its seeds, then those of the members with their weights.

    Parameters
    ----------
    predictions : pd.DataFrame
        Test predictions of all members.
    weights : pd.DataFrame
        Columns fold, model and weight.

    Returns
    -------
    pd.DataFrame
        Predictions of `ensemble_weighted`, seed 0.
    """
    columns = [name for name in predictions if name.startswith("p_")]
    keys = [name for name in predictions if name not in ("model", "seed", *columns)]
    members = predictions.groupby(["model", *keys], sort=False)[columns].mean().reset_index()
    members = members.merge(weights, on=["fold", "model"])
    members[columns] = members[columns].mul(members["weight"], axis=0)
    combined = members.groupby(keys, sort=False)[columns].sum().reset_index().assign(model=NAME, seed=0)
    return combined[predictions.columns].round(dict.fromkeys(columns, 5))


def evaluate(data, weights):
    """Store the predictions of the ensemble on one corpus, and log the test-set evaluation.

    Parameters
    ----------
    data : FeatureSet
        Features of the corpus.
    weights : pd.DataFrame
        Columns fold, model and weight.

    Returns
    -------
    float
        UAR.
    """
    corpus = results.corpus_name(data.clips)
    folder, split = results.RESULTS / corpus, SPLITS[corpus]
    stored = results.load_predictions(folder)
    rows = stored[stored["model"].isin(MEMBERS) & (stored["split"] == split)]
    if set(weights["fold"]) != set(rows["fold"]):  # of another corpus
        mean = weights.groupby("model", sort=False)["weight"].mean().reset_index()
        weights = rows[["fold"]].drop_duplicates().merge(mean, how="cross")
    combined = combine(rows, weights)
    runs = [Run(NAME, split, "emotion", 0, fold, "test") for fold in combined["fold"].unique()]
    log = results.log_test_access(folder, runs, data, settings=f"{', '.join(MEMBERS)}; ravdess/ensemble_weights.csv")
    results.save_predictions(folder, {"emotion": concat_predictions([stored[stored["model"] != NAME], combined])})
    results.log_test_scores(folder, log, [combined])
    return float(summarize(combined)["uar"].iloc[-1])


def main():
    """Fit and print the weights, and evaluate the ensemble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", required=True, metavar="DIR", help="RAVDESS first")
    ravdess, *others = parser.parse_args().features
    data = load_features(ravdess)
    validation, _ = run_experiment(plan_runs(MEMBERS, clips=data.clips), ravdess)
    weights = pd.concat([
        pd.DataFrame({"fold": fold, "model": MEMBERS, "weight": fit_weights(true_class_probabilities(rows).to_numpy())})
        for fold, rows in validation["emotion"].groupby("fold")]).round(4)
    write_atomic(results.RESULTS / "ravdess" / "ensemble_weights.csv", to_csv_bytes(weights))
    print(weights.pivot(index="model", columns="fold", values="weight").loc[list(MEMBERS)].to_string())
    for one in (data, *map(load_features, others)):
        print(f"{results.corpus_name(one.clips)}: {NAME} {100 * evaluate(one, weights):.1f} % UAR")


if __name__ == "__main__":
    main()
