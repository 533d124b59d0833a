"""Additional features per clip: alignment by clip name, storage, and openSMILE functionals."""

import importlib.util
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from ser_utils import audio
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.features import extra_features, opensmile_functionals, store

pytestmark = pytest.mark.filterwarnings("ignore::ser_utils.datasets.DatasetWarning")


def compute_length(y, sr):
    return np.array([len(y), sr], np.float64)


@pytest.fixture
def folder(small_features_folder, tmp_path, monkeypatch):
    """A copy of the features of the samples, and an extractor "length"."""
    monkeypatch.setitem(extra_features.EXTRACTORS, "length", compute_length)
    return shutil.copytree(small_features_folder, tmp_path / "features")


def add_length(recordings, folder):
    return store.extract_extra_features(recordings, folder, ["length"], n_jobs=1, progress=False)


def test_extra_features_are_those_of_the_trimmed_recordings(samples, folder, small_features, monkeypatch):
    features = add_length(samples, folder)
    expected = [[len(audio.trim(audio.load(samples / file))), 16000] for file in features.clips["file"]]
    assert features.get_input("length").dtype == np.float32
    assert features.get_input("length").tolist() == expected
    assert features.digest == small_features.digest
    np.testing.assert_array_equal(store.load_features(folder).get_input("length"), expected)
    monkeypatch.setattr(store, "_extract_extra_clip", None)
    add_length(samples, folder)  # reuses the stored features


def test_extra_features_are_aligned_by_clip_name(folder, small_features):
    names, values = small_features.clips["clip"], np.arange(64).reshape(32, 2)
    extra_features.save_extra(folder, "length", names[::-1], values[::-1])
    store.files.write_checksums(folder, (*store.FILES, "length.npz"))
    np.testing.assert_array_equal(store.load_features(folder).extra["length"], values)
    extra_features.save_extra(folder, "length", names[1:], values[1:])
    store.files.write_checksums(folder, (*store.FILES, "length.npz"))
    with pytest.raises(ValueError, match=rf"clip {names[0]} is missing in .*length\.npz"):
        store.load_features(folder)


def test_clip_without_recording_is_named(samples, folder, tmp_path):
    shutil.copytree(samples / "Actor_01", tmp_path / "recordings")
    with pytest.raises(ValueError, match=r"clip 03-01-\S+-02 is missing in .*recordings"):
        add_length(tmp_path / "recordings", folder)
    assert not (folder / "length.npz").exists()


def test_damaged_extra_features_are_rejected_and_those_of_an_earlier_extraction_ignored(samples, folder):
    features = add_length(samples, folder)
    store.save_features(features, folder)
    assert store.load_features(folder).extra == {}
    add_length(samples, folder)
    (folder / "length.npz").write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=r"length\.npz.*ser extract"):
        store.load_features(folder)


def test_joined_features_contain_the_extra_features_of_all_parts(small_features):
    values = np.ones((32, 2), np.float32)
    first = replace(small_features, extra={"a": values, "b": values})
    second = replace(small_features, clips=small_features.clips.assign(corpus="my"), extra={"a": 2 * values})
    joined = store._concat([first, second])
    assert list(joined.extra) == ["a"]
    np.testing.assert_array_equal(joined.get_input("a"), np.concatenate([values, 2 * values]))


def test_get_input_returns_sequences_or_contours_and_names_missing_features(small_features):
    assert [len(sequence) for sequence in small_features.get_input("sequences")] == np.diff(
        small_features.offsets).tolist()
    contours = small_features.get_input("contours")
    assert (len(contours), contours[0].shape) == (32, (216, 1))
    with pytest.raises(ValueError, match=r"features 'compare' of ravdess are missing.*--dataset ravdess"):
        small_features.get_input("compare")
    with pytest.raises(ValueError, match="unknown features 'mfccs'; choose from"):
        small_features.get_input("mfccs")


def test_missing_opensmile_is_reported(samples, folder, monkeypatch, run_cli):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    opensmile_functionals._get_smile.cache_clear()
    with pytest.raises(ValueError, match=opensmile_functionals.REQUIREMENT):
        store.extract_extra_features(samples, folder, ["egemaps"], n_jobs=1, progress=False)
    assert opensmile_functionals.REQUIREMENT in (ROOT / "benchmarks" / "requirements.txt").read_text()
    status, _, stderr = run_cli("extract", samples, "--features", "gemaps")
    names = ", ".join(extra_features.EXTRACTORS)
    assert (status, stderr) == (2, f"error: unknown features 'gemaps'; choose from {names}\n")


@pytest.mark.skipif(not importlib.util.find_spec("opensmile"), reason=f"needs {opensmile_functionals.REQUIREMENT}")
@pytest.mark.parametrize(("name", "feature_set", "n"), [
    ("egemaps", "eGeMAPSv02", 88), ("compare", "ComParE_2016", 6373)])
def test_functionals_equal_opensmile(name, feature_set, n, samples):
    import opensmile

    y = audio.trim(audio.load(samples / "Actor_01" / "03-01-05-01-01-01-01.flac"))
    smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(y, 16000)
    opensmile_functionals._get_smile.cache_clear()
    values = extra_features.EXTRACTORS[name](y, 16000)
    assert (values.shape, values.dtype) == ((n,), np.float32)
    np.testing.assert_array_equal(values, expected.to_numpy()[0])
    assert np.isfinite(extra_features.EXTRACTORS[name](y[:100], 16000)).all()  # too short for openSMILE


def test_several_features_are_stacked(small_features):
    clean, distorted = np.random.default_rng(0).normal(size=(2, len(small_features.clips), 3))
    data = replace(small_features, extra={"whisper": clean, "whisper_distorted": distorted})
    np.testing.assert_array_equal(data.get_input("whisper+whisper_distorted")[:, 1], distorted)
    assert data.has_input("whisper+whisper_distorted")
    assert not data.has_input("whisper+egemaps")
    with pytest.raises(ValueError, match="--features whisper egemaps"):
        data.get_input("whisper+egemaps")
