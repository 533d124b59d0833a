"""Does a quicker schedule end where the original project's did? Train `original_cnn` both ways on the same clips.

    python tools/original_schedule.py        (about an hour on one core)

Writes results/ravdess/original_schedule.csv: training loss by epoch of the original's recipe (RMSprop 1e-5 with decay
1e-6, batch 16, 700 epochs) and of the one `ser_utils.models` uses. Only training clips of the random split are touched.
"""

import sys

import pandas as pd

from ser_utils import models, publish, splits, store


def main(epochs=700):
    """Train both and write the table."""
    data = store.load()
    y = splits.label(data.clips, "gender_emotion")
    rows = splits.random_split(data.clips, "gender_emotion")[0].train
    X, y = list(data.contours[rows][..., None]), y[rows].astype(str)
    quick = models.find("original_cnn").estimator(0).set_params(progress=True)
    full = models.find("original_cnn").estimator(0).set_params(
        progress=True, learning_rate=1e-5, epochs=epochs)
    losses = {name: estimator.fit(X, y).history_["loss"] for name, estimator in {"quick": quick, "full": full}.items()}
    table = pd.concat([pd.DataFrame({"schedule": name, "epoch": range(1, len(loss) + 1), "loss": loss})
                       for name, loss in losses.items()])
    table.round(4).to_csv(publish.PUBLISHED / "ravdess" / "original_schedule.csv", index=False, lineterminator="\n")
    print(table.groupby("schedule").tail(1).to_string(index=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
