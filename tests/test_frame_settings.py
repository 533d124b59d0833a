"""Comparison of window and hop lengths: the functionals of each setting and the published table."""

import compare_frame_settings
import numpy as np
import pandas as pd
import pytest

from ser_utils import features
from ser_utils.datasets import SAMPLES
from ser_utils.models.registry import N_MFCC

RECORDING = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"


def test_functionals_of_the_published_setting_are_those_of_the_svm():
    configs = [compare_frame_settings.build_config(*setting) for setting in ((64, 16), (32, 8))]
    published, other = compare_frame_settings.compute_functionals(RECORDING, configs)
    expected = features.functionals([features.extract_mfcc(RECORDING)], N_MFCC)[0]
    np.testing.assert_allclose(published, expected, rtol=1e-4, atol=1e-4)
    assert np.exp(other[-1]) == pytest.approx(2 * np.exp(published[-1]), abs=2)  # half the hop: twice the frames


def test_published_frame_settings(ravdess):
    table = pd.read_csv(compare_frame_settings.OUT)
    assert list(table) == ["window_ms", "hop_ms", "n_mels", "n_mfcc", "fold", "uar"]
    settings = table.groupby(["window_ms", "hop_ms"], sort=False)["fold"].agg(list)
    assert list(settings.index) == list(compare_frame_settings.SETTINGS)
    assert all(folds == [0, 1, 2, 3, 4] for folds in settings)
    assert table["uar"].between(0.25, 0.8).all()
    X = features.functionals(ravdess.sequences, N_MFCC)
    published = table.query("window_ms == 64 and hop_ms == 16")["uar"]  # from recordings, without quantization
    np.testing.assert_allclose(published, compare_frame_settings.compute_validation_uar(X, ravdess.clips), atol=0.03)
