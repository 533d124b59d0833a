"""Attribution: occlusion, integrated gradients and the published attributions."""


import compute_attributions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from ser_utils import explain
from ser_utils.evaluation.results import RESULTS, load_predictions
from ser_utils.features.spectral import mel_to_mfcc, mfcc, mfcc_to_mel
from ser_utils.models.augment import Augment
from ser_utils.models.classifier import SequenceClassifier

RNG = np.random.default_rng(0)


@given(st.integers(1, 500), st.integers(1, 40))
def test_split_range_partitions_into_nearly_equal_parts(n, n_parts):
    parts = explain.split_range(n, n_parts)
    assert [index for part in parts for index in range(*part.indices(n))] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert len(sizes) == n_parts
    assert max(sizes) - min(sizes) <= 1


def test_log_odds_equal_scipy_logit_and_are_finite():
    p = np.array([0.1, 0.5, 0.999])
    np.testing.assert_allclose(explain.log_odds(p), logit(p), rtol=1e-12)
    assert np.isfinite(explain.log_odds([0.0, 1.0])).all()


@pytest.mark.parametrize(("region", "band", "segment"), [(np.s_[:, 8:12], 2, None), (np.s_[30:40, :], None, 3)])
def test_occlusion_finds_the_region_of_a_known_model(region, band, segment):
    clip = mfcc(RNG.normal(size=120 * 256 - 1).astype(np.float32))
    assert len(clip) == 120

    def predict_proba(X):
        p = expit([mfcc_to_mel(x)[region].mean() / 10 for x in X])
        return np.stack([p, 1 - p], axis=1)

    baseline = np.full(64, -20.0)
    bands, segments = explain.occlusion(predict_proba, clip, 0, baseline)
    expected = mfcc_to_mel(clip)[region].mean() / 10 + 2
    values, index, others = (bands, band, segments) if segment is None else (segments, segment, None)
    assert values[index] == pytest.approx(expected, rel=1e-3)
    assert np.abs(np.delete(values, index)).max() < 1e-3 * abs(expected)
    if others is not None:
        assert others.sum() == pytest.approx(expected, rel=1e-3)
    opposite, _ = explain.occlusion(predict_proba, clip, 1, baseline)
    np.testing.assert_allclose(opposite, -bands, atol=1e-3)


def test_sum_over_blocks_preserves_the_sum():
    values = RNG.normal(size=(97, 64))
    blocks = explain.sum_over_blocks(values)
    assert blocks.shape == (explain.N_BANDS, explain.N_SEGMENTS)
    np.testing.assert_allclose(blocks.sum(axis=1), values.sum(axis=0).reshape(16, 4).sum(axis=1))


def test_integrated_gradients_satisfy_completeness():
    rng = np.random.default_rng(2)
    X = [mfcc(rng.normal(size=40 * 256).astype(np.float32) * scale) for scale in (0.01, 1) * 8]
    y = np.array(["soft", "loud"] * 8)
    classifier = SequenceClassifier("cnn", {"width": 16}, n_mfcc=20, crop_frames=32, epochs=6, batch_size=4,
                                    learning_rate=1e-2, augment=Augment(max_tempo=0, max_mask_frames=0),
                                    prior_correction=False).fit(X, y)
    baseline = mfcc_to_mel(np.concatenate(X)).mean(axis=0)
    for x, class_index in ((X[0], 1), (X[1], 0)):
        attribution, difference = compute_attributions.integrated_gradients(classifier, x, class_index, baseline, 64)
        assert attribution.shape == (len(x), 64)
        assert abs(difference) > 0.5
        assert attribution.sum() == pytest.approx(difference, rel=0.02)
        constant = np.tile(mel_to_mfcc(baseline), (len(x), 1))
        at_clip, at_baseline = explain.log_odds(classifier.predict_proba([x, constant])[:, class_index])
        assert difference == pytest.approx(at_clip - at_baseline, abs=1e-3)


def test_published_attributions_match_the_published_predictions():
    with np.load(RESULTS / "ravdess" / "attributions.npz", allow_pickle=False) as arrays:
        arrays = dict(arrays)
    tested = load_predictions("ravdess").query("model == 'cnn' and split == 'speaker-independent'")
    assert sorted(arrays["clip"]) == sorted(tested["clip"].unique())
    assert arrays["max_probability_difference"] < 1e-4  # probabilities are stored with five digits
    mean_sum = np.abs(arrays["integrated_gradients"].astype(float).sum(axis=(1, 2))).mean()
    assert arrays["mean_completeness_error"] < 0.05 * mean_sum
    for name, shape in (("band_occlusion", (16,)), ("time_occlusion", (12,)), ("integrated_gradients", (16, 12))):
        assert arrays[name].shape == (1440, *shape)
        assert np.isfinite(arrays[name]).all()
