"""Fit the weights of the ensemble on validation speakers, and evaluate it on the test speakers of RAVDESS.

    python scripts/fit_ensemble.py [--features DIR]

The members are trained on the training speakers of each fold and predict its validation speakers (cached in
build/runs). Their weights in the fold maximize the likelihood of these validation labels. With these weights the
published test predictions of the members are averaged and added to results/ravdess as `ensemble_weighted`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, concat_predictions, plan_runs, run_experiment
from ser_utils.evaluation.metrics import get_class_names
from ser_utils.features.store import RAVDESS_FEATURES, load_features

NAME = "ensemble_weighted"
MEMBERS = ("svm", "svm_egemaps", "svm_compare", "mlp", "lstm", "cnn", "tdnn", "crnn", "cnn_attention")
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
    """Average the members' probabilities; a member that was trained with one seed serves all seeds.

    Parameters
    ----------
    predictions : pd.DataFrame
        Test predictions of all members.
    weights : pd.DataFrame
        Columns fold, model and weight.

    Returns
    -------
    pd.DataFrame
    """
    columns = [name for name in predictions if name.startswith("p_")]
    n_seeds = predictions.groupby("model")["seed"].nunique()
    parts = []
    for seed in range(n_seeds.max()):
        is_seed = predictions["seed"] == predictions["model"].map(lambda model, seed=seed: seed % n_seeds[model])
        rows = predictions[is_seed].merge(weights, on=["fold", "model"])
        rows[columns] = rows[columns].mul(rows["weight"], axis=0)
        keys = [name for name in predictions if name not in ("model", "seed", *columns)]
        parts.append(rows.groupby(keys, sort=False)[columns].sum().reset_index().assign(model=NAME, seed=seed))
    return pd.concat(parts)[predictions.columns].round(dict.fromkeys(columns, 5))


def main():
    """Fit the weights, print them, and store the predictions of the ensemble with a log entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default=RAVDESS_FEATURES, help="RAVDESS features with egemaps and compare")
    options = parser.parse_args()
    data, folder = load_features(options.features), results.RESULTS / "ravdess"
    validation, _ = run_experiment(plan_runs(MEMBERS, clips=data.clips), options.features)
    weights = pd.concat([
        pd.DataFrame({"fold": fold, "model": MEMBERS, "weight": fit_weights(true_class_probabilities(rows).to_numpy())})
        for fold, rows in validation["emotion"].groupby("fold")]).round(4)
    write_atomic(folder / "ensemble_weights.csv", to_csv_bytes(weights))
    print(weights.pivot(index="model", columns="fold", values="weight").loc[list(MEMBERS)].to_string())
    stored = results.load_predictions(folder)
    is_member = stored["model"].isin(MEMBERS) & (stored["split"] == "speaker-independent")
    combined = combine(stored[is_member], weights)
    runs = [Run(NAME, "speaker-independent", "emotion", seed, fold, "test")
            for seed, fold in combined[["seed", "fold"]].drop_duplicates().itertuples(index=False)]
    log = results.log_test_access(folder, runs, data, settings=f"weights of {', '.join(MEMBERS)}: ensemble_weights.csv")
    results.save_predictions(folder, {"emotion": concat_predictions([stored[stored["model"] != NAME], combined])})
    results.log_test_scores(folder, log, [combined])
    print(Path(folder).name, log.iloc[-1][["model", "uar"]].to_dict())


if __name__ == "__main__":
    main()
