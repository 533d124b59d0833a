"""What an answer rests on: covering finds what a model looks at and nothing else, gradients add up."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from ser_utils import augment, corpora, evidence, features, publish, sequence

sys.path.insert(0, str(corpora.ROOT / "tools"))
RNG = np.random.default_rng(0)


@given(st.integers(1, 500), st.integers(1, 40))
def test_cuts_cover_everything_once_in_nearly_equal_parts(length, count):
    cuts = evidence.cuts(length, count)
    assert [row for cut in cuts for row in range(*cut.indices(length))] == list(range(length))
    sizes = [cut.stop - cut.start for cut in cuts]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_log_odds_are_scipys_and_stay_finite():
    p = np.array([0.1, 0.5, 0.999])
    np.testing.assert_allclose(evidence.log_odds(p), logit(p), rtol=1e-12)
    assert np.isfinite(evidence.log_odds([0.0, 1.0])).all()


@pytest.mark.parametrize(("look", "band", "part"), [(np.s_[:, 8:12], 2, None), (np.s_[30:40, :], None, 3)])
def test_covering_finds_what_a_model_looks_at(look, band, part):
    clip = features.mfcc(RNG.normal(size=120 * 256 - 1).astype(np.float32))
    assert len(clip) == 120

    def predict_proba(X):
        p = expit([features.log_mel(x)[look].mean() / 10 for x in X])
        return np.stack([p, 1 - p], axis=1)

    usual = np.full(64, -20.0)
    bands, parts = evidence.occlusion(predict_proba, clip, 0, usual)
    before = features.log_mel(clip)[look].mean() / 10
    if band is not None:
        assert bands[band] == pytest.approx(before + 2, rel=1e-3)
        assert np.abs(np.delete(bands, band)).max() < 1e-3 * abs(before + 2)
        assert parts.sum() == pytest.approx(before + 2, rel=1e-3)
    else:
        assert parts[part] == pytest.approx(before + 2, rel=1e-3)
        assert np.abs(np.delete(parts, part)).max() < 1e-3 * abs(before + 2)
    against, _ = evidence.occlusion(predict_proba, clip, 1, usual)
    np.testing.assert_allclose(against, -bands, atol=1e-3)


def test_pooling_keeps_the_sum():
    values = RNG.normal(size=(97, 64))
    assert evidence.pooled(values).shape == (evidence.BANDS, evidence.PARTS)
    assert evidence.pooled(values).sum() == pytest.approx(values.sum())
    np.testing.assert_allclose(evidence.pooled(values).sum(axis=1),
                               [values[:, 4 * band:4 * band + 4].sum() for band in range(16)])


def test_integrated_gradients_add_up_to_the_difference():
    import measure_evidence

    X = [features.mfcc(RNG.normal(size=40 * 256).astype(np.float32) * scale) for scale in (0.01, 1) * 8]
    y = np.array(["quiet", "loud"] * 8)
    model = sequence.SequenceClassifier("cnn", {"width": 16}, n_mfcc=20, crop=32, epochs=6, batch_size=4,
                                        learning_rate=1e-2, augment=augment.Augment(tempo=0, mask=0), balanced=False)
    model.fit(X, y)
    usual = features.log_mel(np.concatenate(X)).mean(axis=0)
    for x, target in ((X[0], 1), (X[1], 0)):
        found, whole = measure_evidence.gradients(model, x, target, usual, steps=256)
        assert found.shape == (len(x), 64)
        assert abs(whole) > 0.5
        assert found.sum() == pytest.approx(whole, rel=0.02)
        odds = evidence.log_odds(model.predict_proba([x])[0, target])
        average = features.cepstrum(usual)
        nothing = evidence.log_odds(model.predict_proba([np.tile(average, (len(x), 1))])[0, target])
        assert whole == pytest.approx(odds - nothing, abs=1e-3)


def test_the_published_evidence_is_of_the_published_network():
    with np.load(publish.PUBLISHED / "ravdess" / "evidence.npz", allow_pickle=False) as kept:
        found = {name: kept[name] for name in kept.files}
    tested = publish.load().query("model == 'cnn' and protocol == 'speaker-independent' and labels == 'emotion'")
    assert sorted(found["clip"]) == sorted(tested["clip"].unique())
    assert found["apart"] < 1e-4  # four digits are kept
    assert found["off"] < 0.05 * np.abs(found["gradients"].astype(float).sum(axis=(1, 2))).mean()
    for name, shape in (("bands", (16,)), ("parts", (12,)), ("gradients", (16, 12))):
        assert found[name].shape == (1440, *shape)
        assert np.isfinite(found[name]).all()
