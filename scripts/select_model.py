"""Compare configurations by cross-validation over pairs of folds.

    python scripts/select_model.py cnn cnn_attention my.module:Estimator

In the split "selection-cv" every pair of test groups is predicted by models trained on all other speakers. The model
for fold k can be selected on predictions of other groups by models trained without group k, independently of the test
speakers of fold k. One configuration for all folds depends on all of them. Gains are relative to the first model,
paired by speaker.
"""

import argparse

import numpy as np
import pandas as pd

from ser_utils.evaluation.experiment import plan_runs, run_experiment
from ser_utils.evaluation.metrics import confusion_matrix, unweighted_average_recall
from ser_utils.evaluation.splits import speaker_independent
from ser_utils.features.store import load_features


def selection_rows(predictions, group):
    """Select the predictions that are available for model selection in one fold.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of the split "selection-cv".
    group : set of str
        Test speakers of the fold.

    Returns
    -------
    pd.DataFrame
        Rows of other speakers, predicted by models that were trained on neither them nor the group.
    """
    excludes_group = predictions.groupby("fold")["speaker"].agg(lambda speakers: group <= set(speakers))
    return predictions[predictions["fold"].map(excludes_group) & ~predictions["speaker"].isin(group)]


def selection_table(predictions, clips):
    """Compute the UAR of each model by fold, and its gain over the first model.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of the split "selection-cv", first model first.
    clips : pd.DataFrame
        Clips table.

    Returns
    -------
    pd.DataFrame
        One row per model, in per cent: UAR on the predictions available to each fold, their mean, mean gain per speaker
        and its standard error.
    """
    groups = {f"fold {split.fold}": set(clips["speaker"].iloc[split.test]) for split in speaker_independent(clips)}
    results, reference = {}, None
    for model, part in predictions.groupby("model", sort=False):
        uar = {fold: compute_uar(selection_rows(part, group)) for fold, group in groups.items()}
        by_speaker = pd.Series({speaker: compute_uar(rows) for speaker, rows in part.groupby("speaker")})
        reference = by_speaker if reference is None else reference
        gain = by_speaker - reference
        results[model] = {**uar, "mean": np.mean(list(uar.values())), "gain": gain.mean(), "SE of gain": gain.sem()}
    return pd.DataFrame(results).T.round(1)


def compute_uar(predictions):
    """Compute the UAR in per cent."""
    return 100 * unweighted_average_recall(confusion_matrix(predictions))


def main():
    """Train the models without stored predictions, then print the table and the selected model of each fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+", help="name in the model registry, or module:Estimator")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="default: 0")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: all cores)")
    options = parser.parse_args()
    clips = load_features().clips
    runs = plan_runs(options.model, ["selection-cv"], seeds=options.seed, clips=clips)
    predictions = run_experiment(runs, n_jobs=options.jobs)[0]["emotion"]
    table = selection_table(predictions.sort_values("model", key=lambda names: names.map(options.model.index)), clips)
    print(table.to_string())
    print("selected model of each fold:", table.filter(like="fold").idxmax().to_dict())


if __name__ == "__main__":
    main()
