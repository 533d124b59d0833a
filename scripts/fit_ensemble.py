"""Combine all models with weights fitted on the other folds, and add the result as `ensemble_weighted`.

    python scripts/fit_ensemble.py --features RAVDESS_DIR [EMODB_DIR]

The members are the models with published test predictions of a corpus, each averaged over its seeds. Their
probabilities are combined by a logarithmic opinion pool, a weighted geometric mean. The weights for a fold maximize the
likelihood of the labels of the other folds, whose speakers are training speakers of the fold. As in cross-fitted
stacking, the members' predictions of these speakers come from models that were trained without them, but with the test
speakers of the fold. Predictions and weights are stored in results/<corpus>.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import softmax

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, concat_predictions
from ser_utils.evaluation.metrics import MIN_PROBABILITY, summarize
from ser_utils.features.store import load_features

NAME = "ensemble_weighted"
MEMBERS = ("svm", "svm_egemaps", "svm_compare", "mlp", "lstm", "cnn", "tdnn", "crnn", "cnn_attention", "cnn_robust",
           "cnn_robust_gender")
SPLITS = {"ravdess": "speaker-independent", "emodb": "leave-one-speaker-out"}


def pool(log_p, weights):
    """Combine probabilities by a weighted geometric mean (logarithmic opinion pool).

    Parameters
    ----------
    log_p : np.ndarray [shape=(n_clips, n_members, n_classes)]
        Log probabilities of the members.
    weights : np.ndarray [shape=(n_members,)]

    Returns
    -------
    np.ndarray [shape=(n_clips, n_classes)]
        Probabilities.

    References
    ----------
    C. Genest and J. V. Zidek, "Combining probability distributions: A critique and an annotated bibliography",
    Statistical Science 1(1), 1986.
    """
    return softmax(np.einsum("imc,m->ic", log_p, weights), axis=1)


def fit_weights(log_p, y_index):
    """Fit the weights of `pool` by maximum likelihood.

    Parameters
    ----------
    log_p : np.ndarray [shape=(n_clips, n_members, n_classes)]
        Log probabilities of the members.
    y_index : np.ndarray [shape=(n_clips,)], int
        True class of each clip.

    Returns
    -------
    np.ndarray [shape=(n_members,)]
        Weights of 0 or more. Their sum is an inverse temperature.
    """
    rows = np.arange(len(y_index))

    def loss(weights):
        p = pool(log_p, weights)
        gradient = log_p[rows, :, y_index] - np.einsum("imc,ic->im", log_p, p)
        return -np.log(p[rows, y_index]).mean(), -gradient.mean(axis=0)

    n_members = log_p.shape[1]
    return minimize(loss, np.full(n_members, 1 / n_members), jac=True, bounds=[(0, None)] * n_members).x


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
    return predictions.groupby(keys, sort=False, dropna=False)[columns].mean().reset_index()


def combine(members):
    """Pool the members of each fold with weights fitted on the other folds.

    Parameters
    ----------
    members : pd.DataFrame
        As from `average_seeds`.

    Returns
    -------
    predictions : pd.DataFrame
        One row per clip, model `NAME` and seed 0.
    weights : pd.DataFrame
        A row per fold, a column per member.
    """
    columns = [name for name in members if name.startswith("p_")]
    tables = {model: rows.sort_values("clip", ignore_index=True) for model, rows in members.groupby("model")}
    predictions = next(iter(tables.values())).drop(columns=columns).assign(model=NAME, seed=0)
    if different := [model for model, rows in tables.items() if not rows["clip"].equals(predictions["clip"])]:
        raise ValueError(f"predictions of {', '.join(different)} are of other clips; evaluate all folds of each member")
    log_p = np.log(np.maximum(np.stack([rows[columns] for rows in tables.values()], axis=1), MIN_PROBABILITY))
    y_index = predictions["label"].map(lambda name: columns.index(f"p_{name}")).to_numpy()
    p, weights = np.empty((len(predictions), len(columns))), {}
    for fold in sorted(predictions["fold"].unique()):
        is_test = (predictions["fold"] == fold).to_numpy()
        weights[fold] = fit_weights(log_p[~is_test], y_index[~is_test])
        p[is_test] = pool(log_p[is_test], weights[fold])
    table = pd.DataFrame.from_dict(weights, orient="index", columns=list(tables)).rename_axis("fold").round(4)
    return predictions.join(pd.DataFrame(p.round(5), columns=columns)), table


def evaluate(data, target):
    """Fit the weights of one corpus and target, and store the predictions with a log entry.

    Parameters
    ----------
    data : FeatureSet
        Features of the corpus.
    target : str

    Returns
    -------
    weights : pd.DataFrame
        A row per fold, a column per member.
    uar : float
    """
    corpus = results.corpus_name(data.clips)
    folder, split = results.RESULTS / corpus, SPLITS[corpus]
    stored = results.load_predictions(folder, target)
    results.require_committed(folder)
    members = average_seeds(stored[stored["model"].isin(MEMBERS) & (stored["split"] == split)])
    runs = [Run(NAME, split, target, 0, fold, "test") for fold in members["fold"].unique()]
    settings = f"logarithmic opinion pool of {', '.join(sorted(members['model'].unique()))}"
    log = results.log_test_access(folder, runs, data, settings=settings)
    predictions, weights = combine(members)
    write_atomic(folder / f"ensemble_weights_{target}.csv", to_csv_bytes(weights.reset_index()))
    kept = stored[~((stored["model"] == NAME) & (stored["split"] == split))]
    results.save_predictions(folder, {target: concat_predictions([kept, predictions[stored.columns]])})
    results.log_test_scores(folder, log, [predictions])
    return weights, summarize(predictions)["uar"].iloc[-1]


def main():
    """Combine the models of each corpus, and print mean weights and UAR."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", required=True, metavar="DIR", help="RAVDESS or EMO-DB")
    for data in map(load_features, parser.parse_args().features):
        corpus = results.corpus_name(data.clips)
        for target in ("emotion", "gender"):
            if results.has_predictions(corpus, target):
                weights, uar = evaluate(data, target)
                print(f"{corpus}, {target}: {100 * uar:.1f} % UAR; mean weights {weights.mean().round(2).to_dict()}")


if __name__ == "__main__":
    main()
