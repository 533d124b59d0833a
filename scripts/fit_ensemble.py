"""Average all models with weights fitted on the other folds, and add the result as `ensemble_weighted`.

    python scripts/fit_ensemble.py --features RAVDESS_DIR [EMODB_DIR]

The members are the models with published test predictions of a corpus, each averaged over its seeds. The weights for a
fold maximize the likelihood of the labels of the other folds, whose speakers belong to the training side of the fold.
As in cross-fitted stacking, the members' predictions of these speakers come from models that were trained without
them. The weights are stored in results/<corpus>/ensemble_weights.csv, the predictions beside those of the members.
"""

import argparse

import numpy as np
import pandas as pd

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, concat_predictions
from ser_utils.evaluation.metrics import MIN_PROBABILITY, summarize
from ser_utils.features.store import load_features

NAME = "ensemble_weighted"
MEMBERS = ("svm", "svm_egemaps", "svm_compare", "mlp", "lstm", "cnn", "tdnn", "crnn", "cnn_attention", "cnn_robust")
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


def average_seeds(predictions):
    """Average the probabilities of each model over its seeds.

    Parameters
    ----------
    predictions : pd.DataFrame
        Rows of one split.

    Returns
    -------
    pd.DataFrame
        One row per model and clip, with the columns of `predictions` but seed.
    """
    columns = [name for name in predictions if name.startswith("p_")]
    keys = [name for name in predictions if name not in ("seed", *columns)]
    return predictions.groupby(keys, sort=False)[columns].mean().reset_index()


def combine(members, pseudo_clips=PSEUDO_CLIPS):
    """Average the members of each fold with weights fitted on the other folds.

    Parameters
    ----------
    members : pd.DataFrame
        As from `average_seeds`.
    pseudo_clips : float >= 0
        As in `fit_weights`.

    Returns
    -------
    predictions : pd.DataFrame
        One row per clip, model `NAME` and seed 0.
    weights : pd.DataFrame
        A row per fold, a column per member.
    """
    columns = [name for name in members if name.startswith("p_")]
    keys = [name for name in members if name not in ("model", *columns)]
    true_column = members["label"].map(lambda name: columns.index(f"p_{name}")).to_numpy()
    p_true = np.maximum(members[columns].to_numpy()[np.arange(len(members)), true_column], MIN_PROBABILITY)
    table = members[["fold", "clip", "model"]].assign(p=p_true).pivot(index=["fold", "clip"], columns="model",
                                                                      values="p")
    folds = table.index.get_level_values("fold")
    weights = pd.DataFrame({fold: fit_weights(table[folds != fold].to_numpy(), pseudo_clips)
                            for fold in folds.unique()}, index=table.columns).T.rename_axis("fold").round(4)
    row_weights = weights.stack().rename("weight").reset_index()
    weighted = members.merge(row_weights, on=["fold", "model"])
    weighted[columns] = weighted[columns].mul(weighted["weight"], axis=0)
    predictions = weighted.groupby(keys, sort=False)[columns].sum().reset_index().assign(model=NAME, seed=0)
    return predictions.round(dict.fromkeys(columns, 5)), weights


def main():
    """Fit the weights of each corpus, print them, and store the predictions with a log entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", required=True, metavar="DIR", help="RAVDESS or EMO-DB")
    for data in map(load_features, parser.parse_args().features):
        corpus = results.corpus_name(data.clips)
        folder, split = results.RESULTS / corpus, SPLITS[corpus]
        stored = results.load_predictions(folder)
        rows = stored[stored["model"].isin(MEMBERS) & (stored["split"] == split)]
        predictions, weights = combine(average_seeds(rows))
        write_atomic(folder / "ensemble_weights.csv", to_csv_bytes(weights.reset_index()))
        runs = [Run(NAME, split, "emotion", 0, fold, "test") for fold in weights.index]
        log = results.log_test_access(folder, runs, data, settings=f"{', '.join(weights)}; ensemble_weights.csv")
        kept = stored[~((stored["model"] == NAME) & (stored["split"] == split))]
        results.save_predictions(folder, {"emotion": concat_predictions([kept, predictions[stored.columns]])})
        results.log_test_scores(folder, log, [predictions])
        print(weights.mean().round(3).to_string())
        print(f"{corpus}: {100 * summarize(predictions)['uar'].iloc[-1]:.1f} % UAR")


if __name__ == "__main__":
    main()
