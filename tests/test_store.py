"""Features of a corpus: the shipped RAVDESS features, cached extraction, unusable recordings, damaged files."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_utils import datasets
from ser_utils._utils.files import CHECKSUM_FILE, ROOT, IntegrityError
from ser_utils.features import descriptors, spectral, store

pytestmark = pytest.mark.filterwarnings("ignore::ser_utils.datasets.DatasetWarning")
F0_COLUMNS = ["f0_median", "f0_range", "voiced_fraction"]


def extract(folder, out, *, f0=False, **kwargs):
    return store.extract_features(folder, out, f0=f0, n_jobs=1, progress=False, **kwargs)


@pytest.fixture
def folder(samples, tmp_path):
    """A folder of two usable recordings and two unusable ones."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("03-01-05-01-01-01-02.flac", "03-01-02-01-01-01-02.flac"):
        shutil.copy(samples / "Actor_02" / name, folder)
    (folder / "03-01-01-01-01-01-03.wav").touch()
    soundfile.write(folder / "03-01-01-01-01-01-05.wav", np.zeros(16000), 16000)
    return folder


def test_ravdess_features_are_complete(ravdess):
    assert ravdess.digest == "f9608bad"  # every published result depends on it
    assert ravdess.config == spectral.FeatureConfig()
    assert ravdess.frames.dtype == ravdess.contours.dtype == np.float32
    assert ravdess.clips.columns.tolist() == datasets.CLIP_COLUMNS + list(descriptors.DESCRIPTORS)
    assert ravdess.clips.drop(columns=F0_COLUMNS).notna().all(axis=None)
    n_frames = 1 + ravdess.clips["speech_duration"].to_numpy() * 16000 / 256
    assert (np.abs(np.diff(ravdess.offsets) + 0.5 - n_frames) <= 0.5 + 1 / 16).all()  # durations are rounded to 1 ms


def test_ravdess_features_equal_a_fresh_extraction(recordings, ravdess):
    info = json.loads((store.RAVDESS_FEATURES / "feature_config.json").read_text())
    sd = ravdess.frames.std(axis=0)
    for row in (0, 777, 1439):
        coefficients, contour, values, _ = store._extract_clip(recordings / ravdess.clips["file"][row], ravdess.config)
        error = np.abs(coefficients - ravdess.sequences[row]) / sd
        assert error.max() <= info["max_quantization_error_sd"] + 1e-4
        np.testing.assert_allclose(contour, ravdess.contours[row], atol=info["max_contour_quantization_error"] + 1e-3)
        for name, value in values.items():
            assert value == pytest.approx(ravdess.clips[name][row], abs=2e-3, nan_ok=True)


def test_extracted_clips_equal_extract_mfcc(samples, small_features):
    for row in (0, 15, 31):
        expected = spectral.extract_mfcc(samples / small_features.clips["file"][row])
        step = np.ptp(expected, axis=0) / 255
        assert (np.abs(small_features.sequences[row] - expected) <= step / 2 * 1.01 + 1e-5).all()


def test_saved_features_equal_loaded_features(small_features, tmp_path):
    store.save_features(small_features, tmp_path)
    loaded = store.load_features(tmp_path)
    pd.testing.assert_frame_equal(loaded.clips, small_features.clips)
    assert loaded.config == small_features.config
    np.testing.assert_array_equal(loaded.offsets, small_features.offsets)
    np.testing.assert_allclose(loaded.frames, small_features.frames, atol=1e-3)
    np.testing.assert_allclose(loaded.contours, small_features.contours, atol=1e-3)


def test_digest_depends_on_features_names_and_lengths(small_features):
    clips = small_features.clips
    changes = ({}, {"frames": small_features.frames + 1}, {"clips": clips.assign(clip="x" + clips["clip"])},
               {"offsets": small_features.offsets + 1}, {"contours": small_features.contours + 1})
    digests = [replace(small_features, **change).digest for change in changes]
    assert digests[0] == small_features.digest
    assert len(set(digests)) == len(changes)


def test_extraction_reports_unusable_recordings_and_is_cached(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, errors = extract(folder, out, f0=True)
    assert first.clips["clip"].tolist() == ["03-01-02-01-01-01-02", "03-01-05-01-01-01-02"]
    assert first.clips[F0_COLUMNS].notna().all(axis=None)
    assert [error.path for error in errors] == [str(path) for path in sorted(folder.glob("*.wav"))]
    monkeypatch.setattr(store, "_extract_clip", None)
    cached, cached_errors = extract(folder, out, f0=True)
    pd.testing.assert_frame_equal(cached.clips, first.clips)
    assert cached.digest == first.digest
    assert list(map(str, cached_errors)) == list(map(str, errors))


@pytest.mark.parametrize(("copy", "used", "reason"), [
    ("03-01-05-01-01-02-02", ["03-01-02-01-01-01-02", "03-01-05-01-01-01-02"], "identical to 03-01-05-01-01-01-02"),
    ("03-01-06-01-01-01-02", ["03-01-02-01-01-01-02"],
     "different emotions: 03-01-05-01-01-01-02 angry, 03-01-06-01-01-01-02 fearful")])
def test_identical_recordings_are_used_once_and_with_two_emotions_not_at_all(folder, tmp_path, copy, used, reason):
    """Also in another file format; the reports are cached."""
    y, sr = soundfile.read(folder / "03-01-05-01-01-01-02.flac", dtype="int16")
    soundfile.write(folder / f"{copy}.wav", y, sr)
    (folder / "noise.wav").touch()
    features, errors = extract(folder, tmp_path / "out")
    assert features.clips["clip"].tolist() == used
    rejected = {path.stem for path in folder.iterdir()} - set(used)
    assert sorted(Path(error.path).stem for error in errors) == sorted(rejected)
    assert all(reason in error.reason for error in errors if "identical" in error.reason)
    assert sum("identical" in error.reason for error in errors) == 3 - len(used)
    assert sum("silent" in error.reason for error in errors) == 1
    assert json.loads((tmp_path / "out" / "feature_config.json").read_text())["errors"] == [
        [error.path, error.reason, error.remedy] for error in errors]
    assert list(map(str, extract(folder, tmp_path / "out")[1])) == list(map(str, errors))


def test_known_duplicate_of_ravdess_is_not_rejected(samples, tmp_path):
    for name in ("03-01-03-01-02-01-07.flac", "03-01-03-01-02-02-07.flac"):
        shutil.copy(samples / "Actor_02" / "03-01-03-01-01-01-02.flac", tmp_path / name)
    features, errors = extract(tmp_path, tmp_path / "out")
    assert len(features.clips) == 2
    assert not errors


def test_defective_recordings_of_crema_d_are_rejected(tmp_path):
    folder = Path(os.environ.get("SER_CORPORA", ROOT.parent / "shared" / "corpora")) / "crema-d"
    if not folder.is_dir():
        pytest.skip(f"needs the recordings of CREMA-D in {folder}, or another parent folder in SER_CORPORA")
    unusable = ["1006_TIE_HAP_XX", "1006_TIE_NEU_XX", "1013_WSI_DIS_XX", "1013_WSI_SAD_XX", "1017_IWW_ANG_XX",
                "1017_IWW_FEA_XX", "1076_MTI_SAD_XX"]
    (tmp_path / "crema-d").mkdir()
    for name in (*unusable, "1001_DFA_ANG_XX"):
        shutil.copy(next(folder.rglob(f"{name}.wav")), tmp_path / "crema-d")
    features, errors = extract(tmp_path / "crema-d", tmp_path / "out", dataset="crema-d")
    assert features.clips["clip"].tolist() == ["1001_DFA_ANG_XX"]
    assert [Path(error.path).stem for error in errors] == unusable


def test_changed_input_is_extracted_again(folder, tmp_path, monkeypatch):
    def count_extractions(**kwargs):
        extracted = []
        with monkeypatch.context() as patch:
            patch.setattr(store, "_extract_clip", lambda path, **_: extracted.append(path) or (*result[:-1], path))
            extract(folder, tmp_path / "out", **kwargs)
        return len(extracted)

    result = store._extract_clip(folder / "03-01-05-01-01-01-02.flac", spectral.FeatureConfig(), f0=False)
    config = spectral.FeatureConfig(n_mfcc=20)
    assert [count_extractions(**kwargs) for kwargs in ({}, {}, {"config": config}, {"config": config})] == [4, 0, 4, 0]
    soundfile.write(folder / "03-01-01-01-01-01-05.wav", np.ones(16000) / 2, 16000)  # of the same size
    assert [count_extractions(config=config), count_extractions(config=config)] == [4, 0]
    monkeypatch.setattr(store, "FEATURES_VERSION", store.FEATURES_VERSION + 1)
    assert count_extractions(config=config) == 4


@pytest.mark.parametrize("name", [*store.FILES, CHECKSUM_FILE])
def test_damaged_or_missing_features_are_rejected_and_extracted_again(name, folder, tmp_path):
    out = tmp_path / "out"
    first, _ = extract(folder, out)
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    for damaged, error in ((content[name][:9] + b"!" + content[name][10:], IntegrityError), (None, FileNotFoundError)):
        (out / name).unlink() if damaged is None else (out / name).write_bytes(damaged)
        with pytest.raises(error, match=rf"(?s){re.escape(str(out))}.*ser extract"):
            store.load_features(out)
        assert extract(folder, out)[0].digest == first.digest
        assert {path.name: path.read_bytes() for path in out.iterdir()} == content


def test_extraction_without_usable_recordings_raises_an_error(tmp_path):
    (tmp_path / "03-01-01-01-01-01-03.wav").touch()
    with pytest.raises(datasets.DatasetError, match="none of 1 recordings"):
        extract(tmp_path, tmp_path / "out")


def test_load_features_joins_several_folders(ravdess, small_features, tmp_path):
    clips = small_features.clips
    store.save_features(replace(small_features, clips=clips.assign(corpus="ravdess-song")), tmp_path / "song")
    store.save_features(replace(small_features, clips=clips.assign(corpus="my", speaker=None)), tmp_path / "my")
    folders = [store.RAVDESS_FEATURES, tmp_path / "song", tmp_path / "my"]
    parts, joined = list(map(store.load_features, folders)), store.load_features(folders)
    assert joined.clips["clip"].is_unique
    assert joined.clips["clip"].iloc[-1].startswith("my/")
    assert joined.clips["speaker"].nunique() == 24  # RAVDESS speech and song have the same speakers
    assert joined.clips["speaker"].isna().sum() == 32
    for row, (part, index) in {0: (0, 0), 1439: (0, 1439), 1440: (1, 0), 1471: (1, 31), 1503: (2, 31)}.items():
        np.testing.assert_array_equal(joined.sequences[row], parts[part].sequences[index])
        np.testing.assert_array_equal(joined.contours[row], parts[part].contours[index])
    with pytest.raises(ValueError, match="once"):
        store.load_features([tmp_path / "my"] * 2)
