"""What the published CNN's answers rest on: python tools/measure_evidence.py

Writes results/ravdess/evidence.npz. Trains the CNN again, fold by fold with seed 0, notes how far its answers are from
the published ones, and asks for every test clip what its own emotion rests on: by covering bands and parts
(`ser_utils.evidence`), and by integrated gradients (Sundararajan et al. 2017), both in nats of log-odds and against the
mean log-mel spectrum of the training clips. Of the five views of a clip, the one that is not warped. Nothing is chosen
by it, and no score comes of it.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from joblib import delayed

from ser_utils import evidence, features, files, models, publish, splits, store
from ser_utils.parallel import each

MODEL, SEED = "cnn", 0
STEPS = 32  # of the path from the mean spectrum to the clip
OUT = publish.PUBLISHED / "ravdess" / "evidence.npz"


def gradients(model, sequence, target, usual, steps=STEPS):
    """Integrated gradients of a class's log-odds over a clip's log-mel spectrogram. [shape=(frames, n_mels)], nats

    They sum to the difference between the log-odds of the clip and those of `usual` in its place, up to the rule of
    midpoints with so many steps. Also returns that difference.
    """
    import tensorflow as tf

    (standard,) = model._standardised([sequence])
    x, mask = model._padded([standard])
    path = ((np.arange(steps) + 0.5) / steps).astype(np.float32)[:, None, None] * x
    with tf.GradientTape() as tape:
        path = tf.convert_to_tensor(path)
        tape.watch(path)
        p = _probability(model, path, np.repeat(mask, steps, axis=0), target)
        odds = tf.math.log(p) - tf.math.log1p(-p)
    slope = tape.gradient(odds, path).numpy().mean(axis=0)[:len(sequence)]
    both = np.concatenate([0 * x, x])
    ends = evidence.log_odds(_probability(model, both, np.repeat(mask, 2, axis=0), target).numpy())
    to_mel = features.dct_matrix(*[sequence.shape[1]] * 2)[:len(model.mean_)]
    return (features.log_mel(sequence) - usual) * ((slope / model.scale_) @ to_mel), ends[1] - ends[0]


def _probability(model, x, mask, target):
    import tensorflow as tf

    x, mask = tf.convert_to_tensor(x), tf.convert_to_tensor(mask)
    p = model.network_([x, mask], training=False) / model.shares_.astype(np.float32)
    return tf.clip_by_value(p[:, target] / tf.reduce_sum(p, axis=1), 1e-7, 1 - 1e-7)


def fold_of(number):
    """Of one fold: its test rows, evidence by band, by part and by both, and how far it is from what is published."""
    data = store.load()
    split = splits.speaker_independent(data.clips)[number]
    learned, y = np.sort([*split.train, *split.validation]), splits.label(data.clips).astype(str)
    model = models.find(MODEL).estimator(SEED).fit([data.sequences[row] for row in learned], y[learned])
    X = [data.sequences[row] for row in split.test]
    apart = np.abs(model.predict_proba(X) - published(data.clips["clip"].iloc[split.test], model.classes_)).max()
    model.set_params(views=(0.0,))
    usual = features.log_mel(np.concatenate([data.sequences[row] for row in learned])).mean(axis=0)
    found, off = [], []
    for x, target in zip(X, np.searchsorted(model.classes_, y[split.test]), strict=True):
        attributed, whole = gradients(model, x, target, usual)
        off.append(abs(attributed.sum() - whole))
        found.append((*evidence.occlusion(model.predict_proba, x, target, usual), evidence.pooled(attributed)))
    return split.test, *(np.stack(part) for part in zip(*found, strict=True)), apart, np.mean(off)


def published(clips, classes):
    """The committed probabilities of these clips by the same model, seed and protocol. [shape=(clips, n_classes)]"""
    table = publish.load(publish.PUBLISHED / "ravdess").query(
        "model == @MODEL and seed == @SEED and protocol == 'speaker-independent' and labels == 'emotion'")
    return table.set_index("clip").loc[clips, [f"p_{name}" for name in classes]].to_numpy()


def main():
    """Measure all folds, and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = store.load()
    rows, bands, parts, both, apart, off = zip(*each(
        map(delayed(fold_of), range(5)), 5, "folds", "fold", jobs=2), strict=True)
    order = np.argsort(np.concatenate(rows))
    kept = {name: np.concatenate(found)[order].astype(np.float16)
            for name, found in {"bands": bands, "parts": parts, "gradients": both}.items()}
    kept["clip"] = data.clips["clip"].to_numpy()[np.concatenate(rows)[order]].astype(str)
    centres = features.mel_centres(data.settings)
    kept["hertz"] = np.array([centres[cut].mean() for cut in evidence.cuts(len(centres), evidence.BANDS)])
    kept["apart"], kept["off"] = np.max(apart), np.mean(off)
    content = io.BytesIO()
    np.savez_compressed(content, **kept)
    files.write(OUT, content.getvalue())
    print(f"{Path(OUT).name}: {len(order)} clips; furthest from a published probability {np.max(apart):.4f}; "
          f"integrated gradients miss their sum by {np.mean(off):.3f} nats on average")


if __name__ == "__main__":
    main()
