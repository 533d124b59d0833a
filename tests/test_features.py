"""MFCCs and descriptors: comparison with librosa, invariants for any signal, invalid input."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from ser_utils import audio
from ser_utils.features import descriptors, spectral
from ser_utils.features.spectral import FeatureConfig

CONFIGS = [
    FeatureConfig(),
    FeatureConfig(sr=22050, n_fft=2048, hop_length=512, n_mels=128, n_mfcc=40, fmin=0.0),
    FeatureConfig(sr=8000, n_fft=512, hop_length=80, n_mels=24, n_mfcc=24, fmin=50.0, top_db=60.0),
    descriptors.CONTOUR_CONFIG,
]


@st.composite
def signals(draw):
    """A square wave of random F0 in white noise, with a random gain from -60 to 0 dB."""
    n = draw(st.integers(400, 20000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = np.sign(np.sin(rng.uniform(0.03, 0.2) * np.arange(n))) * rng.random() + rng.normal(0, 0.1, n)
    return (y * 10 ** (draw(st.floats(-60, 0)) / 20)).astype(np.float32)


def librosa_mfcc(y, config):
    mel = librosa.feature.melspectrogram(y=y, sr=config.sr, n_fft=config.n_fft, n_mels=config.n_mels,
                                         hop_length=config.hop_length, fmin=config.fmin)
    return librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=config.top_db), n_mfcc=config.n_mfcc).T


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_mfcc_and_mel_bands_equal_librosa(samples, config):
    y = audio.load(samples / "Actor_01" / "03-01-05-01-01-01-01.flac", config.sr)
    np.testing.assert_allclose(spectral.mfcc(y, config), librosa_mfcc(y, config), atol=1e-3)
    expected = librosa.mel_frequencies(config.n_mels + 2, fmin=config.fmin, fmax=config.sr / 2)[1:-1]
    np.testing.assert_allclose(spectral.mel_frequencies(config), expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(signals())
@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
def test_mfcc_of_any_signal_equals_librosa_and_is_invertible(y):
    coefficients = spectral.mfcc(y)
    np.testing.assert_allclose(coefficients, librosa_mfcc(y, FeatureConfig()), atol=1e-3)
    mel = spectral.log_mel_spectrogram(y)
    np.testing.assert_allclose(spectral.mfcc_to_mel(coefficients), mel, atol=1e-3)
    np.testing.assert_allclose(spectral.mel_to_mfcc(mel), coefficients, atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_mfcc_of_signals_shorter_than_the_window_has_one_frame_per_hop():
    for n in (1, 300):
        assert spectral.mfcc(np.ones(n)).shape == (1 + n // 256, 64)


@settings(max_examples=15, deadline=None)
@given(n_frames=st.integers(1, 80), width=st.sampled_from([3, 5, 9]), seed=st.integers(0, 99))
def test_delta_equals_librosa(n_frames, width, seed):
    c = np.random.default_rng(seed).normal(size=(n_frames, 5)).astype(np.float32)
    expected = librosa.feature.delta(c, width=width, axis=0, mode="nearest")
    np.testing.assert_allclose(spectral.delta(c, width), expected, atol=1e-5)


def test_functionals_are_mean_sd_rms_of_deltas_and_log_length():
    c = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    x = spectral.functionals([c, c[:5]], n_mfcc=4)
    deltas = librosa.feature.delta(c[:, :4], axis=0, mode="nearest")[4:-4]
    expected = [c[:, :4].mean(axis=0), c[:, :4].std(axis=0), np.sqrt(np.mean(deltas**2, axis=0)), [np.log(50)]]
    np.testing.assert_allclose(x[0], np.concatenate(expected), atol=1e-6)
    assert (x[1, 8:12] == 0).all()  # too short for a delta of 9 frames


def test_mfcc_dynamics_are_invariant_to_gain_and_channel():
    clip = np.random.default_rng(0).normal(0, 10, (50, 64)).astype(np.float32)
    channel = np.random.default_rng(1).normal(0, 10, 64).astype(np.float32)
    np.testing.assert_allclose(spectral.mfcc_dynamics(clip + channel), spectral.mfcc_dynamics(clip), atol=1e-4)
    np.testing.assert_allclose(spectral.mfcc_dynamics(np.ones((50, 64))), np.log(spectral.DYNAMICS_OFFSET), rtol=1e-6)


def test_speaker_normalize_equals_standard_scaler():
    rng, speakers = np.random.default_rng(0), np.array(["a", "a", "b", "b", "c", "c"])
    sequences = [rng.normal(size=(30 + row, 4)) * (1 + row) + row for row in range(6)]
    norm_index, train_index = np.array([0, 2, 4]), np.array([0, 1, 2, 3])
    normalized = spectral.speaker_normalize(sequences, speakers, norm_index, train_index)
    scalers = {name: StandardScaler().fit(sequences[row]) for name, row in zip("abc", norm_index, strict=True)}
    mean, sd = (np.mean([getattr(scalers[name], kind) for name in "ab"], axis=0) for kind in ("mean_", "scale_"))
    for speaker, before, after in zip(speakers, sequences, normalized, strict=True):
        np.testing.assert_allclose(after, scalers[speaker].transform(before) * sd + mean, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="speaker c"):
        spectral.speaker_normalize(sequences, speakers, norm_index[:2], train_index)


def test_mfcc_mean_contour_equals_the_original_project(samples):
    path = samples / "Actor_03" / "03-01-04-01-01-01-03.flac"
    y, _ = librosa.load(path, sr=44100, offset=0.5, duration=2.5)
    expected = librosa.feature.mfcc(y=y, sr=44100, n_mfcc=13).mean(axis=0)[:216]
    contour = descriptors.mfcc_mean_contour(*audio.read(path))
    np.testing.assert_allclose(contour, np.pad(expected, (0, 216 - len(expected))), atol=1e-3)


def test_compute_descriptors_of_a_synthetic_vowel():
    sr = 16000
    t = np.arange(2 * sr) / sr
    f0 = 150 * 2 ** (np.sin(2 * np.pi * t) * 3 / 12)  # 150 Hz ± 3 semitones
    phase = 2 * np.pi * np.cumsum(f0) / sr
    speech = sum(np.sin(k * phase) / k for k in range(1, 12)).astype(np.float32)
    speech *= 10 ** (-30 / 20) / np.sqrt(np.mean(speech**2))
    values = descriptors.compute_descriptors(np.pad(speech, sr // 2), speech, sr)
    assert list(values) == list(descriptors.DESCRIPTORS)
    assert [values["duration"], values["speech_duration"]] == pytest.approx([3, 2])
    assert values["level_dbfs"] == pytest.approx(-30, abs=0.05)
    assert values["f0_median"] == pytest.approx(150, rel=0.02)
    assert values["f0_range"] == pytest.approx(2 * 3 * np.sin(0.4 * np.pi), abs=0.4)
    assert values["voiced_fraction"] > 0.9


@pytest.mark.parametrize(("y", "message"), [
    (np.zeros(0), "empty"), (np.zeros((2, 16000)), r"\(2, 16000\)"), (np.zeros(16000, np.int16), "int16"),
    (np.full(16000, np.nan), "NaN"), (np.full(16000, np.inf), "infinite")])
def test_mfcc_rejects_invalid_samples(y, message):
    for function in (spectral.mfcc, spectral.log_mel_spectrogram):
        with pytest.raises(ValueError, match=message):
            function(y)


@pytest.mark.parametrize(("call", "message"), [
    (lambda c: spectral.delta(c, 8), "width=8"), (lambda c: spectral.delta(c, 1), "width=1"),
    (lambda c: spectral.delta(c[0]), r"\(8,\)"), (lambda c: spectral.delta(c[:0]), r"\(0, 8\)"),
    (lambda c: spectral.functionals([]), "empty"), (lambda c: spectral.functionals([c], 0), "n_mfcc=0"),
    (lambda c: spectral.functionals(c), r"sequences\[0\].*\(8,\)"),
    (lambda c: spectral.functionals([c, c[:, :4]]), r"sequences\[1\].*\(20, 4\)"),
    (lambda c: spectral.functionals([c, c[:0]]), r"sequences\[1\].*\(0, 8\)"),
    (lambda c: spectral.mel_to_mfcc(c, 9), "n_mfcc=9"), (lambda c: spectral.mfcc_to_mel(c, 7), "n_mels=7"),
    (lambda c: FeatureConfig(sr=0), "sr=0"), (lambda c: FeatureConfig(n_fft=1024.0), r"n_fft=1024\.0"),
    (lambda c: FeatureConfig(fmin=9000), "fmin=9000"), (lambda c: FeatureConfig(top_db=-1), "top_db=-1")])
def test_features_reject_invalid_input_and_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0).normal(size=(20, 8)))
