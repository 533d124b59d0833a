"""Plots: accessible colors and correct content."""

from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from colorspacious import cspace_convert, deltaE
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from ser_utils import plotting
from ser_utils.datasets.core import EMOTIONS
from ser_utils.models.registry import MODELS

matplotlib.use("Agg")
PALETTES = {"models": plotting.MODEL_COLORS, "emotions": plotting.EMOTION_COLORS, "genders": plotting.GENDER_COLORS,
            "others": dict(enumerate(plotting.COLORS))}
VISION = (None, "deuteranomaly", "protanomaly", "tritanomaly")
MIN_CONTRAST = 3  # on white, WCAG 2.2, success criterion 1.4.11
MIN_DIFFERENCE = 12  # CAM02-UCS; 2 is just noticeable


def simulate_vision(color, deficiency):
    """The sRGB color that a complete color vision deficiency leaves (Machado et al. 2009)."""
    rgb = np.array(to_rgb(color))
    space = {"name": "sRGB1+CVD", "cvd_type": deficiency, "severity": 100}
    return rgb if deficiency is None else np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)


def lightness(color, deficiency):
    return cspace_convert(simulate_vision(color, deficiency), "sRGB1", "CAM02-UCS")[0]


def contrast_on_white(color):
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


@pytest.mark.parametrize("deficiency", VISION)
@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_colors_differ_under_color_vision_deficiencies(palette, deficiency):
    for first, second in combinations(palette.values(), 2):
        pair = [simulate_vision(color, deficiency) for color in (first, second)]
        assert deltaE(*pair, input_space="sRGB1") > MIN_DIFFERENCE, (first, second)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_colors_contrast_with_white(palette):
    assert min(map(contrast_on_white, palette.values())) >= MIN_CONTRAST


@pytest.mark.parametrize("deficiency", VISION)
def test_colormaps_are_monotone_in_lightness(deficiency):
    sequential, diverging = ([lightness(color, deficiency) for color in colormaps[name](np.linspace(0, 1, 21))]
                             for name in (plotting.SEQUENTIAL_CMAP, plotting.DIVERGING_CMAP))
    assert (np.diff(sequential) < 0).all()
    assert (np.diff(diverging[:11]) > 0).all()
    assert (np.diff(diverging[10:]) < 0).all()


def test_get_style_is_unique_for_known_names():
    assert list(plotting.EMOTION_COLORS) == list(EMOTIONS)
    assert {*MODELS, "ensemble"} - set(plotting.MODEL_COLORS) == {"cnn_robust_gender"}
    for palette in (plotting.MODEL_COLORS, plotting.EMOTION_COLORS, plotting.GENDER_COLORS):
        assert len({plotting.get_style(name)["marker"] for name in palette}) == len(palette)
    assert plotting.get_style("cnn", 5) == plotting.get_style("cnn")
    assert plotting.get_style("other", 1) != plotting.get_style("other", 2)


def test_plot_confusion_matrix_shows_percentages_or_counts():
    cm = np.array([[3, 1, 0], [0, 999, 1], [0, 0, 0]])
    ax = plotting.plot_confusion_matrix(cm, ["sad", "female_calm", "calm"])
    assert [text.get_text() for text in ax.texts] == [
        "75", "(3)", "25", "(1)", "0", "0", "100", "(999)", "<1", "(1)", "0", "0", "0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "sad (n = 4)", "female calm (n = 1,000)", "calm (n = 0)"]
    counts = plotting.plot_confusion_matrix(cm, ["sad", "female_calm", "calm"], normalize=False, colorbar=True)
    assert [text.get_text() for text in counts.texts] == ["3", "1", "0", "0", "999", "1", "0", "0", "0"]


def test_plot_recall_per_class_draws_intervals_for_unseen_speakers_only():
    predictions = pd.DataFrame({"model": "cnn", "speaker": [*"abcdef"] * 2, "label": ["sad"] * 6 + ["calm"] * 6,
                                "p_sad": [1, 1, 1, 0, 0, 0] * 2, "p_calm": [0, 0, 0, 1, 1, 1] * 2})
    unseen = plotting.plot_recall_per_class(predictions.assign(split="speaker-independent"))
    np.testing.assert_allclose(unseen.containers[0].lines[0].get_ydata(), [50, 50])
    [[low, high]] = [segment[:, 1] for segment in unseen.containers[0].lines[2][0].get_segments()[:1]]
    assert 0 <= low < 50 < high <= 100
    random = plotting.plot_recall_per_class(predictions.assign(split="random-split"))
    assert not random.containers[0].lines[2]


def test_plot_training_curves_uses_the_model_color():
    history = {"loss": [2.0, 1.0], "accuracy": [0.1, 0.5], "val_loss": [2.1, 1.5]}
    loss, accuracy = plotting.plot_training_curves({"svm": history}, chance=0.125)
    assert {line.get_color() for line in loss.lines} == {plotting.MODEL_COLORS["svm"]}
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--"]
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [10, 50])
    assert accuracy.lines[1].get_label() == "chance"


def test_plot_mel_spectrogram_labels_frequencies():
    sr, frequency = 16000, 2000
    ax = plotting.plot_mel_spectrogram(np.sin(2 * np.pi * frequency * np.arange(sr) / sr), colorbar=False)
    ticks = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert ax.images[0].get_array().mean(axis=1).argmax() == pytest.approx(ticks[str(frequency)], abs=0.5)
