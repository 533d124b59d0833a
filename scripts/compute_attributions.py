"""Compute which frequency bands and time segments `cnn_attention` relies on; writes results/ravdess/attributions.npz.

    python scripts/compute_attributions.py

Retrains the model on each speaker-independent fold with seed 0, compares its probabilities with the published ones,
and attributes the log-odds of the true class of each test clip by occlusion (`ser_utils.explain`) and by integrated
gradients. The baseline of both is the mean log-mel spectrum of the training clips. Test-time augmentation is switched
off. The test clips are used neither for model selection nor for a score.
"""

import argparse
import io

import numpy as np

from ser_utils import explain
from ser_utils._utils.files import write_atomic
from ser_utils._utils.parallel import parallel_map
from ser_utils.evaluation.results import RESULTS, load_predictions
from ser_utils.evaluation.splits import get_labels, speaker_independent
from ser_utils.features.spectral import dct_matrix, mel_frequencies, mfcc_to_mel
from ser_utils.features.store import load_features
from ser_utils.models.classifier import use_single_thread
from ser_utils.models.registry import get_model

MODEL, SEED, SPLIT = "cnn_attention", 0, "speaker-independent"
N_STEPS = 32
OUT = RESULTS / "ravdess" / "attributions.npz"


def integrated_gradients(classifier, sequence, class_index, baseline, n_steps=N_STEPS):
    """Attribute the log-odds of a class to the cells of a clip's log-mel spectrogram.

    Parameters
    ----------
    classifier : SequenceClassifier
        Fitted, without test-time augmentation.
    sequence : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip, as many as mel bands.
    class_index : int
        Column of the class.
    baseline : np.ndarray [shape=(n_mels,)]
        Log-mel spectrum in dB.
    n_steps : int, default=32
        Number of points on the path from the baseline to the clip (midpoint rule).

    Returns
    -------
    attribution : np.ndarray [shape=(n_frames, n_mels)]
        Attribution of each cell in nats. The sum approximates `difference` (completeness).
    difference : float
        Log-odds of the clip minus log-odds of the baseline in nats.

    References
    ----------
    Sundararajan M, Taly A, Yan Q (2017). Axiomatic attribution for deep networks. ICML 2017, 3319-3328.
    """
    import tensorflow as tf

    x, mask = classifier.prepare([sequence])
    path = ((np.arange(n_steps) + 0.5) / n_steps).astype(np.float32)[:, None, None] * x
    with tf.GradientTape() as tape:
        path = tf.convert_to_tensor(path)
        tape.watch(path)
        p = _probability(classifier, path, np.repeat(mask, n_steps, axis=0), class_index)
        log_odds = tf.math.log(p) - tf.math.log1p(-p)
    gradient = tape.gradient(log_odds, path).numpy().mean(axis=0)[:len(sequence)]
    ends = np.concatenate([0 * x, x])  # zero is the mean of the training frames, the baseline
    at_baseline, at_clip = explain.log_odds(
        _probability(classifier, ends, np.repeat(mask, 2, axis=0), class_index).numpy())
    mfcc_per_mel = dct_matrix(*[sequence.shape[1]] * 2)[:len(classifier.mean_)]
    attribution = (mfcc_to_mel(sequence) - baseline) * ((gradient / classifier.scale_) @ mfcc_per_mel)
    return attribution, at_clip - at_baseline


def _probability(classifier, x, mask, class_index):
    """Probability of a class after prior correction, as a tensor."""
    import tensorflow as tf

    p = classifier.network_([tf.convert_to_tensor(x), tf.convert_to_tensor(mask)], training=False)
    p /= classifier.class_prior_.astype(np.float32)
    return tf.clip_by_value(p[:, class_index] / tf.reduce_sum(p, axis=1), 1e-7, 1 - 1e-7)


def attribute_fold(fold):
    """Compute the arrays of attributions.npz and `row`, of the clips table, for the test clips of one fold."""
    use_single_thread()
    data = load_features()
    split, y = speaker_independent(data.clips)[fold], get_labels(data.clips).astype(str)
    train = np.sort([*split.train, *split.validation])
    classifier = get_model(MODEL).build(SEED).fit([data.sequences[row] for row in train], y[train])
    X = [data.sequences[row] for row in split.test]
    published = load_predictions("ravdess").query("model == @MODEL and seed == @SEED and split == @SPLIT")
    published = published.set_index("clip")[[f"p_{name}" for name in classifier.classes_]]
    published = published.loc[data.clips["clip"].iloc[split.test]].to_numpy()
    difference = np.abs(classifier.predict_proba(X) - published).max()
    classifier.set_params(tta_warps=(0.0,))
    baseline = mfcc_to_mel(np.concatenate([data.sequences[row] for row in train])).mean(axis=0)
    results = []
    for x, class_index in zip(X, np.searchsorted(classifier.classes_, y[split.test]), strict=True):
        attribution, expected_sum = integrated_gradients(classifier, x, class_index, baseline)
        results.append((*explain.occlusion(classifier.predict_proba, x, class_index, baseline),
                        explain.sum_over_blocks(attribution), abs(attribution.sum() - expected_sum)))
    bands, segments, gradients, errors = map(np.stack, zip(*results, strict=True))
    return {"row": split.test, "band_occlusion": bands, "time_occlusion": segments, "integrated_gradients": gradients,
            "max_probability_difference": difference, "mean_completeness_error": errors.mean()}


def main():
    """Compute all folds and write the arrays."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = load_features()
    folds = list(parallel_map(attribute_fold, range(5), desc="folds", unit="fold", n_jobs=2))
    rows = np.concatenate([fold["row"] for fold in folds])
    order = np.argsort(rows)
    arrays = {name: np.concatenate([fold[name] for fold in folds])[order].astype(np.float16)
              for name in ("band_occlusion", "time_occlusion", "integrated_gradients")}
    arrays["clip"] = data.clips["clip"].to_numpy()[rows[order]].astype(str)
    frequencies = mel_frequencies(data.config)
    bands = explain.split_range(len(frequencies), explain.N_BANDS)
    arrays["band_frequencies"] = np.array([frequencies[band].mean() for band in bands])
    arrays["max_probability_difference"] = np.max([fold["max_probability_difference"] for fold in folds])
    arrays["mean_completeness_error"] = np.mean([fold["mean_completeness_error"] for fold in folds])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(OUT, buffer.getvalue())
    print(f"{OUT.name}: {len(rows)} clips; largest difference from a published probability "
          f"{arrays['max_probability_difference']:.4f}; mean completeness error "
          f"{arrays['mean_completeness_error']:.3f} nats")


if __name__ == "__main__":
    main()
