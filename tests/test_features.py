"""MFCCs against librosa, and what must hold whatever the sound."""

import librosa
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MINIATURE
from ser_utils import audio, descriptors, features

VARIANTS = [
    features.Settings(),
    features.Settings(n_mfcc=13),
    features.Settings(sr=22050, n_fft=2048, hop_length=512, n_mels=128, n_mfcc=40, fmin=0.0),
    features.Settings(sr=8000, n_fft=256, hop_length=80, n_mels=24, n_mfcc=24, fmin=50.0, top_db=60.0),
    descriptors.CONTOUR_SETTINGS,
]
SOUNDS = st.tuples(st.integers(0, 2**32 - 1), st.integers(400, 20000), st.floats(-60, 0))


def sound(seed, samples, level_db):
    rng = np.random.default_rng(seed)
    pitch = rng.uniform(80, 400) * np.exp(0.2 * np.sin(np.arange(samples) * rng.uniform(1e-4, 1e-3)))
    y = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / 16000)) * rng.random() + rng.normal(0, 0.1, samples)
    return (y * 10 ** (level_db / 20)).astype(np.float32)


def librosa_mfcc(y, s):
    return librosa.feature.mfcc(y=y, sr=s.sr, n_mfcc=s.n_mfcc, n_fft=s.n_fft, hop_length=s.hop_length,
                                n_mels=s.n_mels, fmin=s.fmin).T


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_mfccs_are_librosas(variant):
    for path in sorted(MINIATURE.rglob("*-02-01-*.flac"))[::5]:
        y = audio.load(path, variant.sr)
        expected = librosa_mfcc(y, variant)
        if variant.top_db != 80:
            power = librosa.feature.melspectrogram(y=y, sr=variant.sr, n_fft=variant.n_fft, n_mels=variant.n_mels,
                                                   hop_length=variant.hop_length, fmin=variant.fmin)
            decibels = librosa.power_to_db(power, top_db=variant.top_db)
            expected = librosa.feature.mfcc(S=decibels, n_mfcc=variant.n_mfcc).T
        np.testing.assert_allclose(features.mfcc(y, variant), expected, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(SOUNDS)
@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
def test_mfccs_are_librosas_whatever_the_sound(given_sound):
    y = sound(*given_sound)
    for rfft in (np.fft.rfft, scipy.fft.rfft):
        np.testing.assert_allclose(features.mfcc(y, rfft=rfft), librosa_mfcc(y, features.Settings()), atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(SOUNDS)
def test_log_mel_comes_back_at_full_order(given_sound):
    y = sound(*given_sound)
    np.testing.assert_allclose(features.log_mel(features.mfcc(y)), features.mel_spectrogram(y), atol=1e-3)


def test_a_gain_moves_only_the_first_coefficient():
    y = audio.load(MINIATURE / "Actor_02" / "03-01-03-01-01-01-02.flac")
    moved = features.mfcc(4 * y) - features.mfcc(y)
    np.testing.assert_allclose(moved[:, 0], 20 * np.log10(4) * np.sqrt(64), rtol=1e-3)
    np.testing.assert_allclose(moved[:, 1:], 0, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 80), seed=st.integers(0, 99))
def test_deltas_are_librosas(frames, seed):
    c = np.random.default_rng(seed).normal(size=(frames, 5)).astype(np.float32)
    np.testing.assert_allclose(features.deltas(c), librosa.feature.delta(c.T, mode="nearest").T, atol=1e-5)


def test_pooled_statistics():
    c = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    row = features.pooled([c, c[:20]], n_mfcc=4)[0]
    slopes = librosa.feature.delta(c[:, :4].T, mode="nearest")
    np.testing.assert_allclose(row[:4], c[:, :4].mean(0), atol=1e-6)
    np.testing.assert_allclose(row[4:8], c[:, :4].std(0), atol=1e-6)
    np.testing.assert_allclose(row[8:12], np.sqrt(np.mean(slopes[:, 4:-4] ** 2, axis=1)), atol=1e-6)
    assert row[12] == pytest.approx(np.log(50))


@pytest.mark.parametrize(("wrong", "message"), [({"n_mfcc": 65}, "n_mfcc=65"), ({"hop_length": 0}, "hop_length=0")])
def test_impossible_settings_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        features.Settings(**wrong)


def test_the_contour_is_the_original_projects():
    path = MINIATURE / "Actor_03" / "03-01-04-01-01-01-03.flac"
    y, _ = librosa.load(path, sr=44100, res_type="soxr_hq", offset=0.5, duration=2.5)  # but for the resampler
    expected = librosa.feature.mfcc(y=y, sr=44100, n_mfcc=13).mean(axis=0)
    made = descriptors.contour(*audio.read(path))
    assert made.shape == (216,)
    np.testing.assert_allclose(made[:len(expected)], expected[:216], atol=1e-3)
    assert (made[len(expected):] == 0).all()


def test_descriptors_of_a_known_voice():
    sr, seconds = 16000, 2.0
    t = np.arange(int(sr * seconds)) / sr
    f0 = 150 * 2 ** (np.sin(2 * np.pi * t) * 3 / 12)  # 150 Hz, 3 semitones either way
    phase = 2 * np.pi * np.cumsum(f0) / sr
    y = sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32)
    y *= 10 ** (-30 / 20) / np.sqrt(np.mean(y**2))
    made = descriptors.describe(np.pad(y, sr // 2), y, sr)
    assert list(made) == list(descriptors.COLUMNS)
    assert made["duration"] == pytest.approx(3.0)
    assert made["speech_duration"] == pytest.approx(2.0)
    assert made["level"] == pytest.approx(-30, abs=0.05)
    assert made["f0_median"] == pytest.approx(150, rel=0.02)
    assert made["f0_range"] == pytest.approx(2 * 3 * np.sin(0.4 * np.pi), abs=0.4)
    assert made["voiced"] > 0.9
