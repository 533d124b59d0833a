"""Features of a corpus: the RAVDESS features of this repository, cached extraction, bad recordings, damaged files."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_utils import datasets
from ser_utils._utils.files import CHECKSUM_FILE, IntegrityError
from ser_utils.features import descriptors, spectral, store

pytestmark = pytest.mark.filterwarnings("ignore::ser_utils.datasets.DatasetWarning")
F0_COLUMNS = ["f0_median", "f0_range", "voiced_fraction"]


def extract(folder, out, *args, **kwargs):
    return store.extract_features(folder, out, *args, n_jobs=1, progress=False, **kwargs)


def flip_bit(path, seed=0):
    rng, content = np.random.default_rng(seed), bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


@pytest.fixture
def mixed(samples, tmp_path):
    """A folder of two usable recordings and four unusable ones."""
    folder = tmp_path / "recordings"
    for name in ("03-01-05-01-01-01-02.flac", "03-01-02-01-01-01-02.flac"):
        (folder / name).mkdir(parents=True)
        shutil.copy(samples / "Actor_02" / name, folder / name)
    (folder / "03-01-01-01-01-01-03.wav").touch()
    (folder / "03-01-01-01-01-01-04.wav").write_text("text")
    soundfile.write(folder / "03-01-01-01-01-01-05.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "03-01-01-01-01-01-06.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    return folder


def test_ravdess_features_are_complete(ravdess):
    assert ravdess.digest == "f9608bad"  # every published result depends on it
    assert ravdess.config == spectral.FeatureConfig()
    assert ravdess.frames.shape == (ravdess.offsets[-1], 64)
    assert ravdess.contours.shape == (1440, descriptors.CONTOUR_FRAMES)
    assert ravdess.frames.dtype == ravdess.contours.dtype == np.float32
    assert ravdess.clips.columns.tolist() == datasets.CLIP_COLUMNS + list(descriptors.DESCRIPTORS)
    assert ravdess.clips.drop(columns=F0_COLUMNS).notna().all(axis=None)
    n_frames = 1 + ravdess.clips["speech_duration"].to_numpy() * 16000 / 256
    assert (np.abs(np.diff(ravdess.offsets) + 0.5 - n_frames) <= 0.5 + 1 / 16).all()  # durations are rounded to 1 ms


def test_ravdess_features_equal_a_fresh_extraction(recordings, ravdess):
    info = json.loads((store.RAVDESS_FEATURES / "feature_config.json").read_text())
    sd = ravdess.frames.std(axis=0)
    for row in range(0, 1440, 360):
        coefficients, contour, values = store._extract_clip(recordings / ravdess.clips["file"][row], ravdess.config)
        error = np.abs(coefficients - ravdess.sequences[row]) / sd
        assert error.max() <= info["max_quantization_error_sd"] + 1e-4
        np.testing.assert_allclose(contour, ravdess.contours[row], atol=info["max_contour_quantization_error"] + 1e-3)
        for name, value in values.items():
            assert value == pytest.approx(ravdess.clips[name][row], abs=2e-3, nan_ok=True)


@pytest.mark.slow
def test_quantization_does_not_change_scores(recordings, ravdess):
    """The SVM on validation speakers, with the stored bytes and with the original values."""
    from joblib import Parallel, delayed
    from sklearn.metrics import recall_score

    from ser_utils.evaluation.splits import get_labels, speaker_independent
    from ser_utils.models.registry import get_model

    paths = [recordings / file for file in ravdess.clips["file"]]
    exact = Parallel(2)(delayed(spectral.extract_mfcc)(path, ravdess.config) for path in paths)
    y, differing, uars = get_labels(ravdess.clips).astype(str), [], []
    for split in speaker_independent(ravdess.clips)[:3]:
        predicted = [get_model("svm").build(0).fit([X[row] for row in split.train], y[split.train])
                     .predict([X[row] for row in split.validation]) for X in (ravdess.sequences, exact)]
        uars.append([recall_score(y[split.validation], labels, average="macro") for labels in predicted])
        differing.append((predicted[0] != predicted[1]).mean())
    assert np.mean(differing) < 0.02
    assert np.abs(np.diff(np.mean(uars, axis=0))) < 0.01


def test_quantization_error_is_at_most_half_a_step():
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) * [1, 10, 100, 1e-3, 0, 5] + 7
    data, step, low = store._quantize(values.astype(np.float32))
    assert data.dtype == np.uint8
    assert (np.abs(data * step + low - values) <= step / 2 * 1.01 + 1e-5).all()


def test_extracted_clips_keep_their_order(samples, small_features):
    for row in (0, 15, 31):
        expected = spectral.extract_mfcc(samples / small_features.clips["file"][row])
        step = np.ptp(expected, axis=0) / 255
        assert (np.abs(small_features.sequences[row] - expected) <= step / 2 * 1.01 + 1e-5).all()


def test_save_and_load_round_trip(small_features, tmp_path):
    store.save_features(small_features, tmp_path)
    loaded = store.load_features(tmp_path)
    pd.testing.assert_frame_equal(loaded.clips, small_features.clips)
    assert loaded.config == small_features.config
    np.testing.assert_array_equal(loaded.offsets, small_features.offsets)
    np.testing.assert_allclose(loaded.frames, small_features.frames, atol=1e-3)
    np.testing.assert_allclose(loaded.contours, small_features.contours, atol=1e-3)


def test_digest_depends_on_features_and_names(small_features):
    changed = small_features.clips.assign(clip="x" + small_features.clips["clip"])
    same, other = (store.FeatureSet(clips, small_features.frames, small_features.offsets, small_features.contours,
                                    small_features.config) for clips in (small_features.clips, changed))
    assert same.digest == small_features.digest != other.digest


def test_extraction_reports_unusable_recordings_and_caches_results(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, errors = extract(mixed, out)
    assert first.clips["clip"].tolist() == ["03-01-02-01-01-01-02", "03-01-05-01-01-01-02"]
    assert first.clips[F0_COLUMNS].notna().all(axis=None)
    assert [error.path for error in errors] == [str(path) for path in sorted(mixed.glob("*.wav"))]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_extract_clip", None)
        cached, cached_errors = extract(mixed, out)
    pd.testing.assert_frame_equal(cached.clips, first.clips)
    assert cached.digest == first.digest
    assert list(map(str, cached_errors)) == list(map(str, errors))


def test_changed_input_is_extracted_again(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, _ = extract(mixed, out, f0=False)
    assert first.clips[F0_COLUMNS].isna().all(axis=None)
    config = spectral.FeatureConfig(n_mfcc=20)
    assert extract(mixed, out, config=config, f0=False)[0].frames.shape[1] == 20
    soundfile.write(mixed / "03-01-01-01-01-01-05.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    assert len(extract(mixed, out, config=config, f0=False)[0].clips) == 3
    monkeypatch.setattr(store, "FEATURES_VERSION", store.FEATURES_VERSION + 1)
    monkeypatch.setattr(store, "_extract_clip", None)  # called: the cached features are of another version
    with pytest.raises(TypeError):
        extract(mixed, out, config=config, f0=False)


@pytest.mark.parametrize("name", [*store.FILES, CHECKSUM_FILE])
def test_damaged_features_are_rejected_and_extracted_again(name, mixed, tmp_path):
    out = tmp_path / "out"
    first, _ = extract(mixed, out, f0=False)
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    flip_bit(out / name)
    with pytest.raises(IntegrityError, match="extract the features"):
        store.load_features(out)
    assert extract(mixed, out, f0=False)[0].digest == first.digest
    assert {path.name: path.read_bytes() for path in out.iterdir()} == content


def test_extraction_without_usable_recordings(tmp_path):
    with pytest.raises(datasets.DatasetError, match="no RAVDESS"):
        extract(tmp_path, tmp_path / "out")
    (tmp_path / "03-01-01-01-01-01-03.wav").touch()
    with pytest.raises(datasets.DatasetError, match="none of 1 recordings"):
        extract(tmp_path, tmp_path / "out", f0=False)


@pytest.mark.parametrize("missing", [CHECKSUM_FILE, "feature_config.json"])
def test_load_without_features(missing, small_features_folder, tmp_path):
    folder = shutil.copytree(small_features_folder, tmp_path / "features")
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"no features .{missing} is missing.; extract"):
        store.load_features(folder)


def test_custom_recordings(samples, tmp_path):
    paths = sorted(samples.rglob("*.flac"))[:2]
    pd.DataFrame({"file": paths, "emotion": ["joy", "sad"]}).to_csv(tmp_path / "custom.csv", index=False)
    features, errors = extract(tmp_path / "custom.csv", tmp_path / "out", "custom", f0=False)
    assert not errors
    assert features.clips["emotion"].tolist() == ["happy", "sad"]
    joined = store.load_features([tmp_path / "out", store.RAVDESS_FEATURES])
    assert joined.clips["speaker"].isna().sum() == 2
    assert joined.clips["speaker"][2] == "ravdess/01"


def test_load_joins_several_folders(ravdess, small_features, tmp_path):
    other = store.FeatureSet(small_features.clips.assign(corpus="ravdess-song"), small_features.frames,
                             small_features.offsets, small_features.contours, small_features.config)
    store.save_features(other, tmp_path)
    other, joined = store.load_features(tmp_path), store.load_features([store.RAVDESS_FEATURES, tmp_path])
    assert joined.clips["clip"].is_unique
    assert joined.clips["clip"].iloc[-1].startswith("ravdess-song/")
    assert joined.clips["speaker"].nunique() == 24  # RAVDESS speech and song have the same speakers
    sequences, contours = [*ravdess.sequences, *other.sequences], np.concatenate([ravdess.contours, other.contours])
    for row in (0, 1439, 1440, 1471):
        np.testing.assert_array_equal(joined.sequences[row], sequences[row])
    np.testing.assert_array_equal(joined.contours, contours)
    with pytest.raises(ValueError, match="give each corpus once"):
        store.load_features([tmp_path, tmp_path])
