"""Data augmentation of MFCC sequences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils.features.spectral import FeatureConfig, mel_frequencies, mel_to_mfcc, mfcc, mfcc_to_mel
from ser_utils.models import augment
from ser_utils.models.augment import Augment, ChannelAugment

N_MELS = 32
SEEDS = {"seed": st.integers(0, 99), "n_frames": st.integers(1, 60)}


def random_mel(seed, n_frames, n_mels=N_MELS):
    return np.random.default_rng(seed).normal(-40, 10, (n_frames, n_mels)).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    """MFCCs of one second of noise, with a pause in the middle."""
    y = np.random.default_rng(0).normal(size=16000)
    y[6000:9000] *= 1e-3
    return mfcc(y)


def test_zero_augment_returns_input():
    rng, x = np.random.default_rng(0), np.ones((30, N_MELS), np.float32)
    y, mask = np.eye(30, dtype=np.float32), np.ones((30, 1))
    assert Augment().transform(x, rng) is x
    assert Augment().time_mask(x, rng) is x
    assert Augment().mixup(x, mask, y, rng)[0] is x


@settings(max_examples=20, deadline=None)
@given(**SEEDS)
def test_transform_gain_adds_one_value_to_all_bands(seed, n_frames):
    mel = random_mel(seed, n_frames)
    gain = mfcc_to_mel(Augment(max_gain_db=6).transform(mel_to_mfcc(mel), np.random.default_rng(seed))) - mel
    np.testing.assert_allclose(gain, gain.mean(), atol=1e-3)
    assert abs(gain.mean()) <= 6.01


@settings(max_examples=20, deadline=None)
@given(**SEEDS)
def test_transform_tempo_changes_length_within_limit(seed, n_frames):
    x = mel_to_mfcc(random_mel(seed, n_frames))
    length = len(Augment(max_tempo=0.2).transform(x, np.random.default_rng(seed)))
    assert abs(np.log(length / max(n_frames, 2))) <= 0.2 + 1 / n_frames


@settings(max_examples=20, deadline=None)
@given(**SEEDS, warp=st.floats(-0.3, 0.3))
def test_vtlp_interpolates_between_bands(seed, n_frames, warp):
    mel = random_mel(seed, n_frames)
    bent = mfcc_to_mel(augment.vtlp(mel_to_mfcc(mel), warp))
    frequencies = mel_frequencies(FeatureConfig(n_mels=N_MELS, n_mfcc=N_MELS))
    source = frequencies * np.exp(-round(warp * augment.VTLP_STEPS) / augment.VTLP_STEPS)
    np.testing.assert_allclose(bent, [np.interp(source, frequencies, frame) for frame in mel], atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(**SEEDS)
def test_time_mask_zeros_two_intervals(seed, n_frames):
    x = 1 + np.abs(random_mel(seed, n_frames))
    masked = Augment(max_mask_frames=10).time_mask(x, np.random.default_rng(seed))
    is_masked = (masked == 0).all(axis=1)
    np.testing.assert_array_equal(masked[~is_masked], x[~is_masked])
    assert is_masked.sum() <= 20
    assert (np.diff(np.r_[0, is_masked, 0].astype(int)) == 1).sum() <= 2  # intervals


def test_mixup_weights_clips_and_labels_alike():
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


def test_normalize_level_removes_gain(clip):
    level = augment.normalize_level(clip)
    np.testing.assert_allclose(augment.normalize_level(clip + 7 * np.eye(1, 64, dtype=np.float32)), level, atol=1e-4)
    assert level[:, 0].max() == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(level[:, 1:], clip[:, 1:])


def test_simulate_channel_returns_valid_features(clip):
    config, rng = FeatureConfig(), np.random.default_rng(0)
    for _ in range(50):
        x = augment.simulate_channel(clip, rng)
        mel = mfcc_to_mel(x)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert 1 <= len(x) < len(clip) + 2 * augment.MAX_SILENCE_FRAMES
        assert mel.max() - mel.min() <= config.top_db + 0.01


def test_simulate_channel_adds_noise_at_given_snr(clip, monkeypatch):
    for name in ("REVERBERATION", "CUTOFF", "TELEPHONE", "NOISE", "CODEC"):
        monkeypatch.setattr(augment, f"{name}_PROBABILITY", 0)
    monkeypatch.setattr(augment, "ENVELOPE_SD_DB", 0)
    rng, bandwidths = np.random.default_rng(0), np.gradient(mel_frequencies())
    np.testing.assert_allclose(augment.simulate_channel(clip, rng), clip, atol=0.01)  # the silence is trimmed again
    monkeypatch.setattr(augment, "NOISE_PROBABILITY", 1)
    monkeypatch.setattr(augment, "SNR_DECADES", (1, 1))
    clean, noisy = ((10 ** (mfcc_to_mel(x) / 10) @ bandwidths).sum()
                    for x in (clip, augment.simulate_channel(clip, rng)))
    assert 10 * np.log10(clean / (noisy - clean)) == pytest.approx(10, abs=1)


def test_channel_augment_applies_channel_with_given_probability(clip):
    rng = np.random.default_rng(0)
    n_changed = sum(ChannelAugment(channel_probability=0.5).transform(clip, rng) is not clip for _ in range(100))
    assert 35 <= n_changed <= 65


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_pad_sequences_keeps_sequences_and_marks_padding(lengths):
    sequences = [random_mel(seed, n_frames, 3) for seed, n_frames in enumerate(lengths)]
    x, mask = augment.pad_sequences(sequences)
    assert x.shape[1] % 32 == 0
    assert x.shape[1] - max(lengths) < 32
    assert not x[mask[..., 0] == 0].any()
    for row, sequence in enumerate(sequences):
        np.testing.assert_array_equal(x[row][mask[row, :, 0] == 1], sequence)
