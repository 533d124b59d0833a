"""Compare the original project's training schedule of `original_cnn` with the faster one of this project.

    python scripts/compare_training_schedules.py        about an hour on one core

Trains the network on the training clips of the random split with RMSprop at the original learning rate of 1e-5 for 700
epochs, and with the settings of the model registry. Writes the training loss per epoch to
results/ravdess/training_schedules.csv.
"""

import argparse

import pandas as pd

from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils.evaluation.results import RESULTS
from ser_utils.evaluation.splits import get_labels, random_split
from ser_utils.features.store import load_features
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.registry import get_model

OUT = RESULTS / "ravdess" / "training_schedules.csv"
LEARNING_RATE = 1e-5  # of the original project


def main():
    """Train with both schedules and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=700, help="of the original schedule (default: 700)")
    options = parser.parse_args()
    use_single_thread()
    data = load_features()
    y = get_labels(data.clips, "gender_emotion")
    train = random_split(data.clips, "gender_emotion")[0].train
    X, y = list(data.contours[train][..., None]), y[train].astype(str)
    schedules = {"quick": {}, "full": {"learning_rate": LEARNING_RATE, "epochs": options.epochs}}
    tables = []
    for schedule, params in schedules.items():
        classifier = get_model("original_cnn").build(0).set_params(progress=True, **params)
        loss = classifier.fit(X, y).history_["loss"]
        tables.append(pd.DataFrame({"schedule": schedule, "epoch": range(1, len(loss) + 1), "loss": loss}))
        print(tables[-1].tail(1).to_string(index=False))
    write_atomic(OUT, to_csv_bytes(pd.concat(tables).round(4)))


if __name__ == "__main__":
    main()
