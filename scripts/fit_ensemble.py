"""Combine models with weights fitted on the other folds, and add the results as `ensemble_weighted` and `fusion`.

    python scripts/fit_ensemble.py --features RAVDESS_DIR [EMODB_DIR]
    python scripts/fit_ensemble.py --features RAVDESS_DIR --validation DIR
    python scripts/fit_ensemble.py --features DIR ... --join

The members are the models with published test predictions of a corpus, each averaged over its seeds: those on MFCCs and
openSMILE functionals for `ensemble_weighted`, these and the models with the Whisper encoder for `fusion`. Their
probabilities are combined by a logarithmic opinion pool, a weighted geometric mean. The weights for a fold maximize the
likelihood of the labels of the other folds, whose speakers are training speakers of the fold. Unlike in nested
stacking, the members' predictions of these speakers come from models whose training set includes the test speakers of
the fold, so the weights are not strictly independent of them. Predictions and weights are stored in results/<corpus>.

With --validation, the ten classes of the random split are combined instead. Its single fold has a validation set, on
which the weights are fitted; DIR holds the members' predictions of it (ser evaluate --split random-split --target
gender_emotion --out DIR).

With --join, the predictions of held-out corpora are combined: each corpus is a fold, its weights come from the others.
RAVDESS speech and song have the same actors, so the weights of one are not independent of the speakers of the other.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, concat_predictions
from ser_utils.evaluation.metrics import MIN_PROBABILITY, summarize
from ser_utils.features.store import load_features

MEMBERS = ("svm", "svm_egemaps", "svm_compare", "mlp", "lstm", "cnn", "tdnn", "crnn", "cnn_attention", "cnn_robust",
           "cnn_robust_gender")
ENSEMBLES = {"ensemble_weighted": MEMBERS, "fusion": (*MEMBERS, "whisper_logreg", "whisper_mlp", "whisper_attention")}
ABSENT = -1e4  # log probability of a class that does not occur in the test corpus
SPLITS = {"ravdess": "speaker-independent", "emodb": "leave-one-speaker-out",
          results.MULTI_CORPUS: "leave-one-corpus-out"}


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
        pooled = log_softmax(np.einsum("imc,m->ic", log_p, weights), axis=1)
        gradient = log_p[rows, :, y_index] - np.einsum("imc,ic->im", log_p, np.exp(pooled))
        return -pooled[rows, y_index].mean(), -gradient.mean(axis=0)

    n_members = log_p.shape[1]
    result = minimize(loss, np.full(n_members, 1 / n_members), jac=True, bounds=[(0, None)] * n_members)
    if not result.success:
        raise RuntimeError(f"the weights of the ensemble did not converge: {result.message}")
    return result.x


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


def stack_members(members):
    """Arrange the predictions of the members by clip.

    Parameters
    ----------
    members : pd.DataFrame
        As from `average_seeds`.

    Returns
    -------
    clips : pd.DataFrame
        One row per clip, without probabilities; seed 0.
    names : list of str
        Names of the members.
    log_p : np.ndarray [shape=(n_clips, n_members, n_classes)]
    y_index : np.ndarray [shape=(n_clips,)], int
    """
    columns = [name for name in members if name.startswith("p_")]
    tables = {model: rows.sort_values("clip", ignore_index=True) for model, rows in members.groupby("model")}
    clips = next(iter(tables.values())).drop(columns=columns).assign(seed=0)
    if different := [model for model, rows in tables.items() if not rows["clip"].equals(clips["clip"])]:
        raise ValueError(f"{', '.join(different)} and {next(iter(tables))} have predictions of different clips; "
                         "evaluate all folds of each member")
    p = np.stack([rows[columns] for rows in tables.values()], axis=1)
    log_p = np.where(np.isnan(p), ABSENT, np.log(np.maximum(p, MIN_PROBABILITY)))
    y_index = clips["label"].map(lambda name: columns.index(f"p_{name}")).to_numpy()
    return clips, list(tables), log_p, y_index


def combine(members, name, validation=None):
    """Pool the members of each fold with weights fitted on the other folds, or on a validation set.

    Parameters
    ----------
    members : pd.DataFrame
        Test predictions, as from `average_seeds`.
    name : str
        Name of the ensemble, for the column `model`.
    validation : pd.DataFrame, optional
        Predictions of the same members for the validation set.

    Returns
    -------
    predictions : pd.DataFrame
        One row per clip, seed 0.
    weights : pd.DataFrame
        A row per fold, a column per member.
    """
    columns = [column for column in members if column.startswith("p_")]
    clips, names, log_p, y_index = stack_members(members)
    if validation is not None:
        if not len(validation):
            raise ValueError("no validation predictions of any member; evaluate the members with ser evaluate --out")
        _, validation_names, *validation_data = stack_members(validation)
        if validation_names != names:
            raise ValueError(f"validation predictions are of {', '.join(validation_names)}, test predictions of "
                             f"{', '.join(names)}; evaluate the same models on both")
    p, weights = np.empty((len(clips), len(columns))), {}
    for fold in sorted(clips["fold"].unique()):
        is_test = (clips["fold"] == fold).to_numpy()
        fit_data = (log_p[~is_test], y_index[~is_test]) if validation is None else validation_data
        weights[fold] = fit_weights(*fit_data)
        p[is_test] = pool(log_p[is_test], weights[fold])
    table = pd.DataFrame.from_dict(weights, orient="index", columns=names).rename_axis("fold").round(4)
    is_absent = members[members["model"] == names[0]].sort_values("clip")[columns].isna().to_numpy()
    return clips.assign(model=name).join(pd.DataFrame(np.where(is_absent, np.nan, p.round(5)), columns=columns)), table


def evaluate(name, data, target, split, validation=None):
    """Fit the weights of one ensemble, corpus and target, and store the predictions with a log entry.

    Parameters
    ----------
    name : str
        A key of `ENSEMBLES`.
    data : FeatureSet
        Features of the corpus.
    target : str
    split : str
    validation : pd.DataFrame, optional
        As for `combine`.

    Returns
    -------
    weights : pd.DataFrame
        A row per fold, a column per member.
    uar : float
    """
    folder = results.RESULTS / results.corpus_name(data.clips)
    stored = results.load_predictions(folder, target)
    results.require_committed(folder)
    members = average_seeds(stored[stored["model"].isin(ENSEMBLES[name]) & (stored["split"] == split)])
    runs = [Run(name, split, target, 0, fold, "test") for fold in members["fold"].unique()]
    settings = f"logarithmic opinion pool of {', '.join(sorted(members['model'].unique()))}"
    log = results.log_test_access(folder, runs, data, settings=settings)
    predictions, weights = combine(members, name, validation)
    write_atomic(folder / f"weights_{name}_{target}.csv", to_csv_bytes(weights.reset_index()))
    other_rows = stored[~((stored["model"] == name) & (stored["split"] == split))]
    results.save_predictions(folder, {target: concat_predictions([other_rows, predictions[stored.columns]])})
    results.log_test_scores(folder, log, [predictions])
    return weights, summarize(predictions)["uar"].iloc[-1]


def plan_ensembles(corpus):
    """List the ensembles of a corpus whose members have predictions.

    Parameters
    ----------
    corpus : str

    Returns
    -------
    list of (name, target, split)
    """
    targets = [target for target in ("emotion", "gender") if results.has_predictions(corpus, target)]
    targets = targets[:1] if corpus == results.MULTI_CORPUS else targets  # one model for gender
    models = {target: set(results.load_predictions(corpus, target)["model"]) for target in targets}
    return [(name, target, SPLITS[corpus]) for name, members in ENSEMBLES.items() for target in targets
            if name == "ensemble_weighted" or models[target] & set(members).difference(MEMBERS)]


def main():
    """Combine the models of each corpus, and print mean weights and UAR."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", required=True, metavar="DIR", help="RAVDESS, EMO-DB or, with --join, "
                        "all corpora")
    parser.add_argument("--join", action="store_true", help="combine the predictions of held-out corpora")
    parser.add_argument("--validation", metavar="DIR", help="predictions of the validation set of the random split")
    options = parser.parse_args()
    for data in map(load_features, [options.features] if options.join else options.features):
        corpus, validation = results.corpus_name(data.clips), None
        plan = plan_ensembles(corpus)
        if options.validation:
            validation = results.load_predictions(options.validation, "gender_emotion")
            validation = average_seeds(validation[validation["model"].isin(MEMBERS)])
            plan = [("ensemble_weighted", "gender_emotion", "random-split")]
        for name, target, split in plan:
            weights, uar = evaluate(name, data, target, split, validation)
            print(f"{name}, {corpus}, {target}: {100 * uar:.1f} % UAR; "
                  f"mean weights {weights.mean().round(2).to_dict()}")


if __name__ == "__main__":
    main()
