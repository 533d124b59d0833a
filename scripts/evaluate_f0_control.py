"""Evaluate how much `cnn_attention` relies on F0: predict clips of unseen speakers resynthesized with a changed F0.

    python scripts/evaluate_f0_control.py RAVDESS

Needs the recordings of RAVDESS and Praat (`pip install praat-parselmouth==0.4.7` [1]_; GPL, used by this script alone).
Each trimmed clip is resynthesized by PSOLA [2]_, which changes F0 and approximately preserves duration and spectral
envelope, and scaled to the RMS of the original. `CONDITIONS` are the original clip, a resynthesis with unchanged F0
(the control for artifacts of PSOLA), a constant F0 at the median of the clip, and a contour shifted by four semitones
up or down. The control contains fewer artifacts than the other conditions, which also move the pitch marks.

The network is trained on the original clips of each speaker-independent fold with seed 0, as published, and predicts
the test clips under every condition. Writes predictions and f0.csv, the F0 measured on the clips of each condition, to
results/f0_control; interrupted runs continue from build/f0_control.

References
----------
.. [1] Y. Jadoul, B. Thompson and B. de Boer, "Introducing Parselmouth: A Python interface to Praat", Journal of
   Phonetics 71, 2018.
.. [2] E. Moulines and F. Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
   using diphones", Speech Communication 9(5-6), 1990.
"""

import argparse
import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from evaluate_robustness import build_table, fit_cnn, load_or_extract

from ser_utils import audio
from ser_utils._utils.files import read_csv, to_csv_bytes, write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.evaluation import results
from ser_utils.evaluation.experiment import Run, cache_key
from ser_utils.features import spectral
from ser_utils.features.spectral import mfcc
from ser_utils.features.store import load_features
from ser_utils.models.classifier import use_single_thread

MODEL = "cnn_attention"
BUILD, RESULTS = Path("build/f0_control"), results.RESULTS / "f0_control"
SR = 16000
MIN_F0, MAX_F0, F0_STEP = 60, 600, 0.01  # Hz, Hz, s
# Praat formula of the F0 contour (None: no resynthesis) and shift in semitones
CONDITIONS = {"original": (None, 0), "resynthesized": ("self", 0), "flat F0": ("{median}", 0),
              "F0 +4 semitones": ("self * 2^(4/12)", 4), "F0 −4 semitones": ("self * 2^(-4/12)", -4)}


def resynthesize(y, sr, formula):
    """Change the F0 of a clip by PSOLA.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int
        Sampling rate in Hz.
    formula : str
        Praat formula of F0 in Hz; "self" is the F0 of the clip and "{median}" its median.

    Returns
    -------
    np.ndarray [shape=(n,)], float32
        With the RMS of `y`; `y` itself if Praat detects no voiced frame.
    """
    from parselmouth import Sound
    from parselmouth.praat import call

    manipulation = call(Sound(y.astype(np.float64), sr), "To Manipulation", F0_STEP, MIN_F0, MAX_F0)
    contour = call(manipulation, "Extract pitch tier")
    n_points = call(contour, "Get number of points")
    if not n_points:
        return y
    median = np.median([call(contour, "Get value at index", index + 1) for index in range(n_points)])
    call(contour, "Formula", formula.format(median=median))
    call([contour, manipulation], "Replace pitch tier")
    y_changed = call(manipulation, "Get resynthesis (overlap-add)").values[0]
    return (y_changed * np.sqrt(np.mean(np.square(y, dtype=np.float64)) / np.mean(y_changed ** 2))).astype(np.float32)


def measure_f0(y, sr, shift=0):
    """Measure the median F0 in Hz and its standard deviation in semitones over the voiced frames of a clip.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int
        Sampling rate in Hz.
    shift : float, default 0
        Semitones by which the search range is shifted.

    Returns
    -------
    tuple of float
        NaN if the clip has no voiced frame.
    """
    from parselmouth import Sound

    factor = 2 ** (shift / 12)
    pitch = Sound(y.astype(np.float64), sr).to_pitch(F0_STEP, MIN_F0 * factor, MAX_F0 * factor)
    f0 = pitch.selected_array["frequency"]
    f0 = f0[f0 > 0]
    return (np.median(f0), 12 * np.log2(f0).std()) if len(f0) else (np.nan, np.nan)


def extract(index_and_path, condition):
    """Compute the MFCCs of a recording under a condition, and median and standard deviation of its F0 [shape=(2,)]."""
    _, path = index_and_path
    y, (formula, shift) = audio.trim(audio.load(path, SR)), CONDITIONS[condition]
    y = y if formula is None else resynthesize(y, SR, formula)
    return mfcc(y), np.array(measure_f0(y, SR, shift))


def compute_key():
    """Compute a hash of the source code that the features depend on."""
    sources = (audio.__file__, spectral.__file__, __file__)
    return hashlib.blake2b(b"".join(Path(path).read_bytes() for path in sources), digest_size=4).hexdigest()


def load_condition(condition, folder, clips):
    """Load the MFCCs of all clips under a condition and their F0 [shape=(n_clips, 2)], or extract both."""
    path = BUILD / f"{list(CONDITIONS).index(condition)}_{compute_key()}.npz"
    return load_or_extract(path, partial(extract, condition=condition), folder, clips)


def list_runs():
    """List one Run per fold."""
    return [Run(MODEL, "speaker-independent", "emotion", 0, fold, "test") for fold in range(5)]


def evaluate_fold(run):
    """Train the network of a fold and store its predictions for the test clips under all conditions."""
    features = load_features()
    path = BUILD / f"{run.fold}_{cache_key(MODEL, features)}_{compute_key()}.csv"
    if path.is_file():
        return path
    use_single_thread()
    classifier, _, test = fit_cnn(MODEL, run.fold, features)
    tables = []
    for condition in CONDITIONS:
        sequences, _ = load_condition(condition, None, features.clips)
        p = classifier.predict_proba([sequences[row] for row in test])
        tables.append(build_table(run, condition, features.clips, test, p, classifier.classes_))
    write_atomic(path, to_csv_bytes(pd.concat(tables)))
    return path


def main():
    """Log the access, evaluate, and write the predictions and the F0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", type=Path, help="folder of the RAVDESS recordings")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args()
    for folder in (BUILD, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    results.require_committed(RESULTS)
    features, f0 = load_features(), []
    for condition in CONDITIONS:
        values = load_condition(condition, options.ravdess, features.clips)[1].round(2)
        f0.append(pd.DataFrame({"clip": features.clips["clip"], "condition": condition, "f0_median": values[:, 0],
                                "f0_sd_semitones": values[:, 1]}))
    write_atomic(RESULTS / "f0.csv", to_csv_bytes(pd.concat(f0)))
    for condition in CONDITIONS:
        log = results.log_test_access(RESULTS, list_runs(), features, condition=condition)
    paths = parallel_map(evaluate_fold, list_runs(), desc="folds", unit="fold", n_jobs=options.jobs)
    table = pd.concat(map(read_csv, paths), ignore_index=True)
    results.save_predictions(RESULTS, {"emotion": table})
    results.log_test_scores(RESULTS, log, [table])


if __name__ == "__main__":
    main()
