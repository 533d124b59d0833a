"""Data augmentation of MFCC sequences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils.features.spectral import FeatureConfig, mel_frequencies, mel_to_mfcc, mfcc_to_mel
from ser_utils.models import augment
from ser_utils.models.augment import Augment

N_MELS = 32
SEEDS = {"seed": st.integers(0, 99), "n_frames": st.integers(1, 60)}


def random_mel(seed, n_frames, n_mels=N_MELS):
    return np.random.default_rng(seed).normal(-40, 10, (n_frames, n_mels)).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    """MFCCs with a pause in the middle."""
    mel = random_mel(0, 60, 64) / 4
    mel[22:34] -= 60
    return mel_to_mfcc(np.maximum(mel, mel.max() - FeatureConfig().top_db))


@settings(max_examples=20, deadline=None)
@given(**SEEDS)
def test_transform_gain_adds_one_value_to_all_bands(seed, n_frames):
    mel = random_mel(seed, n_frames)
    gain = mfcc_to_mel(Augment(max_gain_db=6).transform(mel_to_mfcc(mel), np.random.default_rng(seed))) - mel
    np.testing.assert_allclose(gain, gain.mean(), atol=1e-3)
    assert abs(gain.mean()) <= 6.01


@settings(max_examples=20, deadline=None)
@given(**SEEDS, warp=st.floats(-0.3, 0.3))
def test_vtlp_interpolates_between_bands(seed, n_frames, warp):
    mel = random_mel(seed, n_frames)
    warped_mel = mfcc_to_mel(augment.vtlp(mel_to_mfcc(mel), warp))
    frequencies = mel_frequencies(FeatureConfig(n_mels=N_MELS, n_mfcc=N_MELS))
    source = frequencies * np.exp(-round(warp * augment.VTLP_STEPS) / augment.VTLP_STEPS)
    np.testing.assert_allclose(warped_mel, [np.interp(source, frequencies, frame) for frame in mel], atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(**SEEDS)
def test_time_mask_zeros_two_intervals(seed, n_frames):
    x = 1 + np.abs(random_mel(seed, n_frames))
    masked = Augment(max_mask_frames=10).time_mask(x, np.random.default_rng(seed))
    is_masked = (masked == 0).all(axis=1)
    np.testing.assert_array_equal(masked[~is_masked], x[~is_masked])
    assert is_masked.sum() <= 20
    assert (np.diff(np.r_[0, is_masked, 0].astype(int)) == 1).sum() <= 2  # intervals


def test_mixup_applies_the_same_weights_to_clips_and_labels():
    y = np.eye(12, dtype=np.float32)
    mask = np.ones((12, 5, 1), np.float32)
    mask[:6, 3:] = 0  # padding
    x = y[:, None] * mask  # the clip is its label
    mixed, mixed_mask, mixed_y = Augment(mixup_alpha=0.5).mixup(x, mask, y, np.random.default_rng(0))
    np.testing.assert_allclose(mixed[:, :3], np.repeat(mixed_y[:, None], 3, axis=1), atol=1e-6)
    np.testing.assert_allclose(mixed_y.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(mixed_y.argmax(axis=1), np.arange(12))
    assert not mixed[mixed_mask[..., 0] == 0].any()
    assert (mixed_mask >= mask).all()


def test_simulate_channel_returns_valid_features(clip):
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = augment.simulate_channel(clip, rng)
        mel = mfcc_to_mel(x)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert 1 <= len(x) < len(clip) + 2 * augment.MAX_PADDING_FRAMES
        assert mel.max() - mel.min() <= FeatureConfig().top_db + 0.01


def test_simulate_channel_adds_noise_at_given_snr(clip, monkeypatch):
    for name in ("REVERBERATION", "CUTOFF", "TELEPHONE", "NOISE", "CODEC"):
        monkeypatch.setattr(augment, f"{name}_PROBABILITY", 0)
    monkeypatch.setattr(augment, "ENVELOPE_SD_DB", 0)
    rng, bandwidths = np.random.default_rng(0), np.gradient(mel_frequencies())
    np.testing.assert_allclose(augment.simulate_channel(clip, rng), clip, atol=0.01)  # the silence is trimmed again
    monkeypatch.setattr(augment, "NOISE_PROBABILITY", 1)
    monkeypatch.setattr(augment, "SNR_RANGE_DB", (10, 10))
    clean, noisy = ((10 ** (mfcc_to_mel(x) / 10) @ bandwidths).sum()
                    for x in (clip, augment.simulate_channel(clip, rng)))
    assert 10 * np.log10(clean / (noisy - clean)) == pytest.approx(10, abs=1)
