"""Resynthesis with a changed F0, and the published predictions of resynthesized clips."""

import evaluate_f0_control
import numpy as np
import pandas as pd
import pytest
from evaluate_f0_control import CONDITIONS, SR

from ser_utils import audio
from ser_utils.datasets import SAMPLES
from ser_utils.evaluation import metrics
from ser_utils.evaluation.results import load_predictions

RECORDING = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"


@pytest.mark.parametrize(("condition", "shift"), [("resynthesized", 0), ("flat F0", 0), ("F0 +4 semitones", 4),
                                                  ("F0 −4 semitones", -4)])
def test_resynthesize_changes_f0_and_preserves_length_and_rms(condition, shift):
    pytest.importorskip("parselmouth", reason="needs Praat: pip install praat-parselmouth==0.4.7")
    y = audio.trim(audio.load(RECORDING, SR))
    y_changed = evaluate_f0_control.resynthesize(y, SR, CONDITIONS[condition][0])
    assert y_changed.shape == y.shape
    assert np.std(y_changed) == pytest.approx(np.std(y), rel=1e-3)
    (median, sd), (new_median, new_sd) = (evaluate_f0_control.measure_f0(*args) for args in (
        (y, SR), (y_changed, SR, shift)))
    assert 12 * np.log2(new_median / median) == pytest.approx(shift, abs=0.5)
    assert new_sd < 0.5 if condition == "flat F0" else new_sd == pytest.approx(sd, rel=0.4)


def test_clips_without_voiced_frames_are_unchanged():
    pytest.importorskip("parselmouth", reason="needs Praat: pip install praat-parselmouth==0.4.7")
    silence = np.zeros(SR, np.float32)
    np.testing.assert_array_equal(evaluate_f0_control.resynthesize(silence, SR, "{median}"), silence)
    assert np.isnan(evaluate_f0_control.measure_f0(silence, SR)).all()


def test_published_predictions_cover_all_conditions_and_reproduce_the_uar_of_the_model():
    predictions = load_predictions("f0_control")
    published = load_predictions("ravdess").query("model == 'cnn_attention' and seed == 0 and "
                                                  "split == 'speaker-independent'")
    assert set(predictions["condition"]) == set(CONDITIONS)
    for _, rows in predictions.groupby("condition"):
        assert sorted(rows["clip"]) == sorted(published["clip"])
    original = predictions[predictions["condition"] == "original"]
    uar, expected = (metrics.summarize(rows)["uar"].item() for rows in (original, published))
    assert uar == pytest.approx(expected, abs=0.01)  # retrained on another processor


def test_published_f0_confirms_the_manipulation():
    f0 = pd.read_csv(evaluate_f0_control.RESULTS / "f0.csv").set_index(["condition", "clip"])
    median = f0["f0_median"].unstack("condition")
    assert len(median) == 1440
    shift = 12 * np.log2(median.div(median["original"], axis=0)).median()
    assert all(shift[condition] == pytest.approx(expected, abs=0.2) for condition, (_, expected) in CONDITIONS.items())
    sd = f0["f0_sd_semitones"].groupby("condition").median()
    assert sd["flat F0"] < 0.3 < 1 < sd["resynthesized"]
