"""Figures: contrast of colors, and labels and values drawn."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from colorspacious import cspace_convert, deltaE
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from ser_utils import plotting
from ser_utils.datasets.core import EMOTIONS
from ser_utils.models.registry import MODELS

PALETTES = {"models": plotting.MODEL_COLORS, "pretrained": plotting.PRETRAINED_COLORS,
            "emotions": plotting.EMOTION_COLORS, "genders": plotting.GENDER_COLORS,
            "others": dict(enumerate(plotting.COLORS))}
VISION = (None, "deuteranomaly", "protanomaly", "tritanomaly")
MIN_CONTRAST = 3  # on white, WCAG 2.2, success criterion 1.4.11
MIN_DIFFERENCE = 12  # CAM02-UCS; 2 is just noticeable


def simulate_vision(color, deficiency):
    """The sRGB color as seen with a complete color vision deficiency (Machado et al. 2009)."""
    rgb = np.array(to_rgb(color))
    space = {"name": "sRGB1+CVD", "cvd_type": deficiency, "severity": 100}
    return rgb if deficiency is None else np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)


def lightness(color, deficiency):
    return cspace_convert(simulate_vision(color, deficiency), "sRGB1", "CAM02-UCS")[0]


def contrast_on_white(color):
    return 1.05 / (cspace_convert(to_rgb(color), "sRGB1", "XYZ1")[1] + 0.05)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_colors_contrast_with_white_and_differ_under_color_vision_deficiencies(palette):
    assert min(map(contrast_on_white, palette.values())) >= MIN_CONTRAST
    for deficiency in VISION:
        colors = [simulate_vision(color, deficiency) for color in palette.values()]
        assert min(deltaE(*pair, input_space="sRGB1") for pair in combinations(colors, 2)) > MIN_DIFFERENCE


@pytest.mark.parametrize("deficiency", VISION)
def test_colormaps_are_monotone_in_lightness(deficiency):
    sequential, diverging = (np.diff([lightness(color, deficiency) for color in colormaps[name](np.linspace(0, 1, 21))])
                             for name in (plotting.SEQUENTIAL_CMAP, plotting.DIVERGING_CMAP))
    assert (sequential < 0).all()
    assert (diverging * np.repeat([1, -1], 10) > 0).all()


def test_get_style_is_unique_for_known_names():
    assert list(plotting.EMOTION_COLORS) == list(EMOTIONS)
    colors = plotting.MODEL_COLORS | plotting.PRETRAINED_COLORS
    assert set(colors) < {*MODELS, "ensemble", "ensemble_weighted", "fusion"}  # others get one of `COLORS`
    for palette in (colors, plotting.EMOTION_COLORS, plotting.GENDER_COLORS):
        assert len({plotting.get_style(name)["marker"] for name in palette}) == len(palette)


def test_plot_confusion_matrix_shows_percentages_or_counts():
    cm, classes = np.array([[3, 1, 0], [0, 999, 1], [0, 0, 0]]), ["sad", "female_calm", "calm"]
    ax = plotting.plot_confusion_matrix(cm, classes)
    assert [text.get_text() for text in ax.texts] == [
        "75", "(3)", "25", "(1)", "0", "0", "100", "(999)", "<1", "(1)", "0", "0", "0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "sad (n = 4)", "female calm (n = 1,000)", "calm (n = 0)"]
    counts = plotting.plot_confusion_matrix(cm, classes, normalize=False, colorbar=True)
    assert [text.get_text() for text in counts.texts] == ["3", "1", "0", "0", "999", "1", "0", "0", "0"]


def test_plot_recall_per_class_draws_intervals_for_unseen_speakers_only():
    p = np.tile([1, 1, 1, 0, 0, 0], 2)
    predictions = pd.DataFrame({"model": "cnn", "speaker": [*"abcdef"] * 2, "label": ["sad"] * 6 + ["calm"] * 6,
                                "p_sad": p, "p_calm": 1 - p})
    unseen_lines, random_lines = (plotting.plot_recall_per_class(predictions.assign(split=split)).containers[0].lines
                                  for split in ("speaker-independent", "random-split"))
    np.testing.assert_allclose(unseen_lines[0].get_ydata(), [50, 50])
    low, high = unseen_lines[2][0].get_segments()[0][:, 1]
    assert 0 <= low < 50 < high <= 100
    assert not random_lines[2]


def test_plot_training_curves_uses_percentages_and_the_model_color():
    loss, accuracy = plotting.plot_training_curves({"svm": {"loss": [2.0, 1.0], "accuracy": [0.1, 0.5]}}, chance=0.125)
    assert loss.lines[0].get_color() == plotting.MODEL_COLORS["svm"]
    np.testing.assert_allclose([line.get_ydata() for line in accuracy.lines], [[10, 50], [12.5, 12.5]])


def test_plot_mel_spectrogram_labels_frequencies():
    sr, frequency = 16000, 2000
    ax = plotting.plot_mel_spectrogram(np.sin(2 * np.pi * frequency * np.arange(sr) / sr), colorbar=False)
    ticks = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert ax.images[0].get_array().mean(axis=1).argmax() == pytest.approx(ticks[str(frequency)], abs=0.5)
