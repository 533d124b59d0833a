"""Compare window and hop lengths of the MFCC extraction by the validation UAR of an SVM.

    python scripts/compare_frame_settings.py RAVDESS        a few minutes on two cores

Needs the recordings of RAVDESS. For each setting, the SVM of notebook 02 is trained on the functionals of the training
speakers of each speaker-independent fold, and evaluated on the two validation speakers. The test speakers are not used.
The number of mel bands is the same for all windows: with 16 ms no mel filter is empty, although 12 of 64 contain a
single FFT bin. The delta coefficients are regressions over nine frames, so their time span grows with the hop, from
72 ms at a hop of 8 ms to 576 ms at 64 ms. Writes results/ravdess/frame_settings.csv.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_utils import audio
from ser_utils._utils.files import to_csv_bytes, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.datasets.core import load_clips
from ser_utils.evaluation.results import RESULTS
from ser_utils.evaluation.splits import speaker_independent
from ser_utils.features.spectral import FeatureConfig, functionals, mel_filterbank, mfcc
from ser_utils.features.store import load_features
from ser_utils.models.registry import N_MFCC

# (window, hop) in ms: four windows at a hop of 16 ms, four hops at a window of 64 ms, and a common setting of speech
# recognition
SETTINGS = ((16, 16), (32, 16), (64, 16), (128, 16), (64, 8), (64, 32), (64, 64), (32, 8))
OUT = RESULTS / "ravdess" / "frame_settings.csv"


def build_config(window_ms, hop_ms):
    """Build the FeatureConfig of a window and a hop length in ms, otherwise as in the published features."""
    samples_per_ms = FeatureConfig.sr // 1000
    return FeatureConfig(n_fft=window_ms * samples_per_ms, hop_length=hop_ms * samples_per_ms, n_mfcc=N_MFCC)


def compute_functionals(path, configs):
    """Compute the functionals of a recording for each configuration [shape=(n_configs, 3 * n_mfcc + 1)]."""
    y = audio.trim(audio.load(path))
    return functionals([mfcc(y, config) for config in configs])


def compute_validation_uar(X, clips):
    """Train the SVM on the training speakers of each fold and compute the UAR on its validation speakers."""
    folds = [(split.train, split.validation) for split in speaker_independent(clips)]
    svm = make_pipeline(StandardScaler(), SVC(C=10, gamma=0.3 / X.shape[1], class_weight="balanced"))
    return cross_val_score(svm, X, clips["emotion"], cv=folds, scoring="balanced_accuracy")


def main():
    """Extract the functionals of all settings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", type=Path, help="folder of its recordings")
    options = parser.parse_args()
    clips, configs = load_features().clips, [build_config(*setting) for setting in SETTINGS]
    if not all(mel_filterbank(config).any(axis=1).all() for config in configs):
        raise ValueError(f"n_mels={FeatureConfig.n_mels}: a mel filter contains no FFT bin; reduce n_mels")
    files = load_clips(options.ravdess, "ravdess").set_index("clip").loc[clips["clip"], "file"]
    X = np.stack(list(parallel_map(partial(compute_functionals, configs=configs),
                                   (options.ravdess / file for file in files), desc="functionals", unit="clip",
                                   n_jobs=2)))
    table = pd.concat([pd.DataFrame({
        "window_ms": window_ms, "hop_ms": hop_ms, "n_mels": config.n_mels, "n_mfcc": config.n_mfcc,
        "fold": range(5), "uar": compute_validation_uar(X[:, index], clips).round(4)})
        for index, ((window_ms, hop_ms), config) in enumerate(zip(SETTINGS, configs, strict=True))])
    write_atomic(OUT, to_csv_bytes(table))
    print(table.groupby(["window_ms", "hop_ms"])["uar"].agg(["mean", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
