"""Attribution: occlusion, integrated gradients and the published attributions."""

import compute_attributions
import numpy as np
import pytest
from scipy.special import expit

from ser_utils import explain
from ser_utils.evaluation.results import RESULTS, load_predictions
from ser_utils.features.spectral import mel_to_mfcc, mfcc, mfcc_to_mel
from ser_utils.models.augment import Augment
from ser_utils.models.classifier import SequenceClassifier

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("region", "axis", "index"), [(np.s_[:, 8:12], 0, 2), (np.s_[30:40, :], 1, 3)])
def test_occlusion_finds_the_region_of_a_known_model(region, axis, index):
    clip = mfcc(RNG.normal(size=120 * 256 - 1).astype(np.float32))

    def predict_proba(X):
        p = expit([mfcc_to_mel(x)[region].mean() / 10 for x in X])
        return np.stack([p, 1 - p], axis=1)

    attributions, opposite = (explain.occlusion(predict_proba, clip, i, np.full(64, -20.0)) for i in (0, 1))
    expected = mfcc_to_mel(clip)[region].mean() / 10 + 2
    assert attributions[axis][index] == pytest.approx(expected, rel=1e-3)
    assert np.abs(np.delete(attributions[axis], index)).max() < 1e-3 * abs(expected)
    assert attributions[1].sum() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(opposite[0], -attributions[0], atol=1e-3)


def test_sum_over_blocks_preserves_the_sum():
    values = RNG.normal(size=(97, 64))
    blocks = explain.sum_over_blocks(values)
    assert blocks.shape == (explain.N_BANDS, explain.N_SEGMENTS)
    np.testing.assert_allclose(blocks.sum(axis=1), values.sum(axis=0).reshape(16, 4).sum(axis=1))


def test_integrated_gradients_satisfy_completeness():
    X = [mfcc(RNG.normal(size=40 * 256).astype(np.float32) * scale) for scale in (0.01, 1) * 4]
    classifier = SequenceClassifier("tdnn", n_mfcc=20, crop_frames=32, epochs=2, batch_size=4,
                                    learning_rate=1e-2, augment=Augment(max_log_tempo=0, max_mask_frames=0),
                                    prior_correction=False).fit(X, np.array(["soft", "loud"] * 4))
    baseline = mfcc_to_mel(np.concatenate(X)).mean(axis=0)
    attribution, difference = compute_attributions.integrated_gradients(classifier, X[0], 1, baseline, 64)
    assert attribution.sum() == pytest.approx(difference, rel=0.02)
    constant = np.tile(mel_to_mfcc(baseline), (len(X[0]), 1))
    at_clip, at_baseline = explain.log_odds(classifier.predict_proba([X[0], constant])[:, 1])
    assert abs(difference) > 0.5
    assert difference == pytest.approx(at_clip - at_baseline, abs=1e-3)


def test_published_attributions_match_the_published_predictions():
    with np.load(RESULTS / "ravdess" / "attributions.npz", allow_pickle=False) as arrays:
        arrays = dict(arrays)
    predictions = load_predictions("ravdess")
    test_clips = predictions[(predictions["model"] == compute_attributions.MODEL)
                             & (predictions["split"] == "speaker-independent")]
    assert sorted(arrays["clip"]) == sorted(test_clips["clip"].unique())
    assert arrays["max_probability_difference"] < 1e-4  # probabilities are stored with five digits
    mean_sum = np.abs(arrays["integrated_gradients"].astype(float).sum(axis=(1, 2))).mean()
    assert arrays["mean_completeness_error"] < 0.05 * mean_sum
    for name, shape in (("band_occlusion", (16,)), ("time_occlusion", (12,)), ("integrated_gradients", (16, 12))):
        assert arrays[name].shape == (1440, *shape)
        assert np.isfinite(arrays[name]).all()
