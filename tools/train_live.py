"""Train the networks that ship, on all RAVDESS speakers, into models/: python tools/train_live.py [MUSIC ...]

Their recipes are `cnn_live` and `gender_live` of `ser_utils.models`; what is said of them comes from the published
rows of these recipes, in which nobody tested was trained on. EMO-DB has no part in it. MUSIC, or any other recording
that is no speech, is only measured.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from ser_utils import audio, augment, features, files, live, models, publish, runtime, scores, splits, store

COPIES = 2  # of every clip, through microphones, among those that speech is compared with


def export(classifier, path, **more):
    """Write a fitted `SequenceClassifier("cnn")` as arrays, batch normalisation folded into the convolutions.

    `more` are further arrays to keep beside the weights. Raises ValueError for any other network.
    """
    if classifier.network != "cnn":
        raise ValueError(f"network={classifier.network!r} has no NumPy twin in ser_utils/runtime.py; export a cnn")
    arrays, weighted = {}, [layer for layer in classifier.network_.layers if layer.get_weights()]
    for number, (convolution, norm) in enumerate(zip(weighted[:8:2], weighted[1:8:2], strict=True)):
        gamma, beta, mean, variance = norm.get_weights()
        gain = gamma / np.sqrt(variance + norm.epsilon)
        arrays[f"kernel_{number}"], arrays[f"bias_{number}"] = convolution.get_weights()[0] * gain, beta - mean * gain
    arrays |= dict(zip(("attend", "attend_bias", "score", "score_bias"), weighted[8].get_weights(), strict=True))
    arrays |= dict(zip(("dense", "dense_bias"), weighted[9].get_weights(), strict=True))
    arrays |= {"mean": classifier.mean_, "scale": classifier.scale_, "views": classifier.views,
               "level": classifier.level,
               "shares": classifier.shares_ if classifier.balanced else np.ones(len(classifier.shares_)),
               "classes": classifier.classes_.astype(str)}
    np.savez(path, **arrays, **more)


def cooled(p, temperature):
    """Probabilities at another temperature (Guo et al. 2017). Same shape."""
    p = np.maximum(p, 5e-6) ** (1 / temperature)
    return p / p.sum(axis=1, keepdims=True)


def fitted_temperature(p, right):
    """The temperature under which the right classes, by column, are likeliest. float"""
    rows = np.arange(len(p))
    return minimize_scalar(lambda t: -np.log(cooled(p, t)[rows, right]).mean(), bounds=(0.2, 5), method="bounded").x


def calibration_error(p, right, bins=10):
    """Expected calibration error: distance of confidence and accuracy, a mean over bins weighted by size. float"""
    sure, hit = p.max(axis=1), p.argmax(axis=1) == right
    which = np.minimum((sure * bins).astype(int), bins - 1)
    return sum(abs(sure[which == one].mean() - hit[which == one].mean()) * (which == one).mean()
               for one in np.unique(which))


def calibrated(rows):
    """The temperature of all out-of-fold predictions, and the calibration error before and after, a fold left out."""
    names = scores.classes(rows)
    p, right = rows[[f"p_{name}" for name in names]].to_numpy(), rows["emotion"].map(names.index).to_numpy()
    after = np.empty_like(p)
    for fold in rows["fold"].unique():
        mine = (rows["fold"] == fold).to_numpy()
        after[mine] = cooled(p[mine], fitted_temperature(p[~mine], right[~mine]))
    return {"temperature": fitted_temperature(p, right), "calibration_error_before": calibration_error(p, right),
            "calibration_error_after": calibration_error(after, right)}


def usual(sequences, seed):
    """What clips are like, as they are and through microphones: `runtime.restless` of each in units of their spread."""
    rng = np.random.default_rng(seed)
    moved = [augment.through_microphone(clip, rng) for _ in range(COPIES) for clip in sequences]
    table = np.stack([runtime.restless(clip) for clip in (*sequences, *moved)])
    return {"usual": (table / table.std(axis=0)).astype(np.float16), "spread": table.std(axis=0)}


def noises(seed=0, count=100):
    """Sounds that are no speech, synthetic, three seconds each. dict of kind to list of [shape=(frames, 64)]"""
    rng, t = np.random.default_rng(seed), np.arange(3 * 16000) / 16000
    spectrum = np.maximum(np.fft.rfftfreq(len(t), 1 / 16000), 20)

    def coloured():
        return np.fft.irfft(np.fft.rfft(rng.normal(size=len(t))) * spectrum ** -rng.uniform(0, 1), len(t))

    def hum():
        return sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * 50 * k * t + rng.uniform(0, 6)) for k in range(1, 12)) \
            + rng.normal(0, 0.01, len(t))

    def music():
        y = np.zeros(len(t))
        for start in np.arange(0, 3, rng.choice([0.15, 0.25, 0.5])):
            since, fall, dull = np.maximum(t - start, 0), rng.uniform(2, 8), rng.uniform(1, 2)
            loud = np.exp(-fall * since) * (t >= start) * np.minimum(1, 100 * since)
            for pitch in 110 * 2 ** (rng.integers(0, 36, rng.integers(1, 4)) / 12):
                y += loud * sum(np.sin(2 * np.pi * pitch * k * since) / k ** dull for k in range(1, 8))
        return y

    return {name: [features.mfcc(audio.trim(y / np.abs(y).max() / 2)) for y in (make() for _ in range(count))]
            for name, make in (("coloured noise", coloured), ("mains hum", hum), ("notes", music))}


def pieces(path):
    """Features of a recording in stretches of three seconds."""
    with audio.opened(path) as sound:
        for _, y in audio.stretches(lambda n: sound.read(n, dtype="float32", always_2d=True), sound.samplerate, 3, 3):
            yield features.mfcc(audio.trim(audio.resampled(y.mean(axis=1), sound.samplerate, live.SR)))


def limit(data, recordings=(), share=0.05):
    """The distance that a share of unseen speakers' clips exceeds, their share by fold when the others set it, and how
    well it tells speech from synthetic noises and from recordings of anything else, in stretches of three seconds.
    """
    others = noises() | {Path(path).name: list(pieces(Path(path))) for path in recordings}
    speech, apart = {}, {name: [] for name in others}
    for fold in tqdm(splits.speaker_independent(data.clips), desc="limit", unit="fold"):
        known = usual([data.sequences[row] for row in (*fold.train, *fold.validation)], fold.fold)
        speech[fold.fold] = np.array([runtime.distance(data.sequences[row], **known) for row in fold.test])
        for name, sounds in others.items():
            apart[name].append(np.array([runtime.distance(sound, **known) for sound in sounds]))
    top = np.quantile(np.concatenate(list(speech.values())), 1 - share)
    about = {name: {"auroc": np.mean([roc_auc_score(np.repeat([0, 1], [len(a), len(b)]), np.concatenate([a, b]))
                                      for a, b in zip(speech.values(), found, strict=True)]),
                    "flagged": np.mean(np.concatenate(found) > top)} for name, found in apart.items()}
    left = [np.quantile(np.concatenate([v for k, v in speech.items() if k != fold]), 1 - share) for fold in speech]
    return top, {"unlike_speech": about, "flagged_by_fold": [np.mean(one > other) for one, other in
                                                             zip(speech.values(), left, strict=True)]}


def neutral(data):
    """Mean over the speakers of mean and SD of each coefficient in the clips that `few-shot` knows. [shape=(2, 64)]"""
    known = data.clips.iloc[splits.PROTOCOLS["few-shot"](data.clips)[0].known]
    return np.mean([features.mean_and_sd([data.sequences[row] for row in part.index])
                    for _, part in known.groupby("speaker")], axis=0).astype(np.float32)


def main():
    """Train both networks, and write them and what is known of them."""
    data, published = store.load(), publish.load()
    rows = published[(published[publish.KEYS] == ["cnn_live", "speaker-independent", "emotion"]).all(axis=1)]
    top, found = limit(data, sys.argv[1:])
    about = calibrated(rows) | found
    live.MODELS.mkdir(exist_ok=True)
    for name, recipe in live.RECIPES.items():
        classifier = models.find(recipe).estimator(0).set_params(progress=True)
        classifier.fit(data.sequences, splits.label(data.clips, name).astype(str))
        more = {"temperature": about["temperature"], "neutral": neutral(data), **usual(data.sequences, 0),
                "limit": top} if name == "emotion" else {}
        export(classifier, live.MODELS / f"live_{name}.npz", **more)
    (live.MODELS / "live.json").write_text(json.dumps(about, indent=1) + "\n")
    files.seal(live.MODELS, ["live.json", *(f"live_{name}.npz" for name in live.RECIPES)])


if __name__ == "__main__":
    main()
