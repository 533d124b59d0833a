"""Choose the weight of the speaker adaptation of the Whisper models, without any test speaker.

    python scripts/select_adaptation.py

In the split "nested-cv" (see select_model.py), `whisper_logreg` is trained on all clips of the training speakers. The
statistics of a validation speaker are shifted by the weight times the difference between the neutral mean of the
training speakers and the mean of the speaker's enrollment clips, which are not evaluated. Writes
results/ravdess/speaker_adaptation.csv: the UAR available to each fold.
"""

import numpy as np
import pandas as pd
from select_model import selection_table
from tqdm import tqdm
from train_whisper_models import compute_neutral_mean

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation.experiment import Run, build_predictions_table
from ser_utils.evaluation.results import RESULTS
from ser_utils.evaluation.splits import SPLITS, get_labels
from ser_utils.features.store import load_features
from ser_utils.models.registry import get_model

MODEL, WEIGHTS = "whisper_logreg", (0.0, 0.25, 0.5, 0.75, 1.0)


def compute_shifts(neutral_mean, X, speakers, enrollment):
    """Compute the difference between a neutral mean and the mean of the enrollment clips of each clip's speaker.

    Parameters
    ----------
    neutral_mean : np.ndarray [shape=(n_features,)]
    X : np.ndarray [shape=(n_clips, n_features)]
    speakers : np.ndarray of str [shape=(n_clips,)]
    enrollment : np.ndarray of int
        Rows of the enrollment clips of all speakers.

    Returns
    -------
    np.ndarray [shape=(n_clips, n_features)]
    """
    names, index = np.unique(speakers, return_inverse=True)
    means = np.stack([X[enrollment[speakers[enrollment] == name]].mean(axis=0) for name in names])
    return neutral_mean - means[index]


def main():
    """Train once per fold, predict with every weight and write the table."""
    features = load_features()
    X, labels = features.get_input("whisper"), get_labels(features.clips)
    speakers = features.clips["speaker"].to_numpy()
    enrollment = SPLITS["enrollment-normalized"](features.clips)[0].norm_index
    tables = []
    for fold in tqdm(SPLITS["nested-cv"](features.clips), desc="nested-cv", unit="fold"):
        classifier = get_model(MODEL).build(0).fit(X[fold.train], labels[fold.train].astype(str))
        neutral_mean = compute_neutral_mean(X, features.clips.iloc[fold.train])
        shifts = compute_shifts(neutral_mean, X, speakers, enrollment)
        rows = np.setdiff1d(fold.validation, enrollment)
        for weight in WEIGHTS:
            p = pd.DataFrame(classifier.predict_proba(X[rows] + weight * shifts[rows]), columns=classifier.classes_)
            run = Run(f"{MODEL}, weight {weight}", "nested-cv", "emotion", 0, fold.fold, "validation")
            tables.append(build_predictions_table(run, features.clips, fold.train, rows, p))
    table = selection_table(pd.concat(tables), features.clips)
    write_atomic(RESULTS / "ravdess" / "speaker_adaptation.csv", to_csv_bytes(table.reset_index()))
    print(table.to_string())


if __name__ == "__main__":
    main()
