"""The Whisper encoder: comparison with librosa and NumPy, input lengths, stored statistics, damaged files."""

import shutil

import numpy as np
import pytest
from scipy.special import erf, softmax

from ser_utils import audio, whisper
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.datasets.core import SAMPLES
from ser_utils.features import load_features
from ser_utils.features.store import extract_extra_features

SPEECH = audio.trim(audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"))


def n_frames(n_samples):
    """Two spectrogram frames of 160 samples per frame."""
    return -(-(n_samples // 160) // 2)


@pytest.fixture
def clear_encoder_cache():
    whisper.load_encoder.cache_clear()
    yield
    whisper.load_encoder.cache_clear()


def test_statistics_are_mean_and_sd_of_the_hidden_states():
    states = whisper.compute_hidden_states(SPEECH)
    assert states.shape == (4, n_frames(len(SPEECH)), 512)
    expected = np.stack([states.mean(axis=1), states.std(axis=1)], axis=1)
    np.testing.assert_allclose(whisper.compute_statistics(SPEECH).reshape(4, 2, 512), expected, atol=2e-3)


@pytest.mark.parametrize("n", [0, 1, 4799, 4801, 4960, 16000 * 40])
def test_hidden_states_of_any_length_are_finite(n):
    states = whisper.compute_hidden_states(np.random.default_rng(0).normal(0, 0.1, n))
    assert np.isfinite(states).all()
    assert states.shape[1] == n_frames(max(n, 4800))


def test_shipped_features_equal_those_of_the_recordings():
    data = load_features()
    stored = data.get_input("whisper")
    row = data.clips["clip"].tolist().index("03-01-05-01-01-01-01")
    difference = np.abs(whisper.compute_statistics(SPEECH) - stored[row]) / stored.std(axis=0)
    assert np.median(difference) < 0.05  # 8 bits for the range of 1440 clips
    assert np.quantile(difference, 0.99) < 0.2


def test_sequences_are_stored_and_aligned(samples, small_features_folder, tmp_path):
    folder = shutil.copytree(small_features_folder, tmp_path / "features")
    data = extract_extra_features(samples, folder, ["whisper_sequences"], n_jobs=1, progress=False)
    row = data.clips["clip"].tolist().index("03-01-05-01-01-01-01")
    np.testing.assert_allclose(data.get_input("whisper_sequences")[row], whisper.compute_sequence(SPEECH), rtol=1e-3,
                               atol=1e-3)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged")])
def test_missing_or_altered_encoder_error_names_file_and_remedy(tmp_path, monkeypatch, clear_encoder_cache, damage):
    folder = shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.setattr(whisper, "ENCODER", folder / "whisper_encoder.onnx")
    damage(whisper.ENCODER)
    with pytest.raises(IntegrityError, match=r"whisper_encoder\.onnx: .*build_whisper_encoder\.py") as error:
        whisper.compute_hidden_states(SPEECH)
    assert "\n" not in str(error.value)


def test_log_mel_equals_librosa():
    import build_whisper_encoder as build
    import librosa

    mel = librosa.feature.melspectrogram(y=SPEECH, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect")
    expected = np.log10(np.maximum(mel[:, :-1], 1e-10))
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    np.testing.assert_allclose(build._LogMel()(SPEECH[None]).numpy()[0].T, expected, atol=1e-3)


def test_transformer_block_equals_numpy():
    import build_whisper_encoder as build

    inputs = build.keras.Input((None, 512))
    model = build.keras.Model(inputs, build.transformer_block(inputs, "layers.0"))
    rng = np.random.default_rng(0)
    weights = {f"{layer.name}.{part}": rng.normal(0, 0.05, value.shape[::-1]).astype(np.float32)
               for layer in model.layers for part, value in zip(("weight", "bias"), layer.get_weights(), strict=False)}
    build.set_weights(model, weights)

    def norm(x, name):
        x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        return x * weights[f"layers.0.{name}.weight"] + weights[f"layers.0.{name}.bias"]

    def dense(x, name):
        return x @ weights[f"layers.0.{name}.weight"].T + weights[f"layers.0.{name}.bias"]

    x = rng.normal(size=(20, 512)).astype(np.float32)
    y = norm(x, "self_attn_layer_norm")
    query, key, value = (dense(y, f"self_attn.{part}_proj").reshape(20, 8, 64).swapaxes(0, 1) for part in "qkv")
    attention = softmax(query @ key.swapaxes(1, 2) / 8, axis=-1)
    hidden = x + dense((attention @ value).swapaxes(0, 1).reshape(20, 512), "self_attn.out_proj")
    y = dense(norm(hidden, "final_layer_norm"), "fc1")
    expected = hidden + dense(y * 0.5 * (1 + erf(y / np.sqrt(2))), "fc2")
    np.testing.assert_allclose(model(x[None]).numpy()[0], expected, atol=1e-3)


def test_set_weights_names_missing_weights():
    import build_whisper_encoder as build

    inputs = build.keras.Input((None, 512))
    with pytest.raises(ValueError, match=r"no weights of layers\.0\.self_attn_layer_norm"):
        build.set_weights(build.keras.Model(inputs, build.transformer_block(inputs, "layers.0")), {})
