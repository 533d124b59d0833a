"""The Whisper encoder: parity with a NumPy reference, lengths, stored statistics, and damaged files."""

import shutil

import numpy as np
import pytest

from ser_utils import audio, whisper
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.datasets.core import SAMPLES
from ser_utils.features import load_features
from ser_utils.features.store import extract_extra_features

SPEECH = audio.trim(audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"))


@pytest.fixture
def no_encoder():
    whisper.load_encoder.cache_clear()
    yield
    whisper.load_encoder.cache_clear()


def test_statistics_are_mean_and_sd_of_the_hidden_states():
    states = whisper.hidden_states(SPEECH)
    assert states.shape == (4, len(SPEECH) // 320 + (len(SPEECH) % 320 > 160), 512)
    expected = np.stack([states.mean(axis=1), states.std(axis=1)], axis=1)
    np.testing.assert_allclose(whisper.compute_statistics(SPEECH).reshape(4, 2, 512), expected, atol=2e-3)


@pytest.mark.parametrize("n", [0, 1, 4799, 4801, 4960, 16000 * 40])
def test_any_length(n):
    states = whisper.hidden_states(np.random.default_rng(0).normal(0, 0.1, n))
    assert np.isfinite(states).all()
    assert states.shape[1] == -(-(max(n, 4800) // 160) // 2)


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
    np.testing.assert_allclose(data.get_input("whisper_sequences")[row], whisper.compute_sequence(SPEECH), rtol=1e-3)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged")])
def test_missing_or_altered_encoder_is_named(tmp_path, monkeypatch, no_encoder, damage):
    folder = shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.setattr(whisper, "ENCODER", folder / "whisper_encoder.onnx")
    damage(whisper.ENCODER)
    with pytest.raises(IntegrityError, match=r"whisper_encoder\.onnx: .*build_whisper_encoder\.py") as error:
        whisper.hidden_states(SPEECH)
    assert "\n" not in str(error.value)
