"""Figures: colours that keep their meaning and are told apart by every eye, and what the figures hold."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from colorspacious import cspace_convert, deltaE

from ser_utils import corpora, models, plots

matplotlib.use("Agg")
KINDS = {"models": plots.MODELS, "emotions": plots.EMOTIONS, "genders": plots.GENDERS}
EYES = (None, "deuteranomaly", "protanomaly", "tritanomaly")


def seen(colour, by):
    """SRGB of a colour as an eye sees it that lacks one kind of cone (Machado et al. 2009)."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    space = {"name": "sRGB1+CVD", "cvd_type": by, "severity": 100}
    return rgb if by is None else np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)


def lightness(colour, by=None):
    return cspace_convert(seen(colour, by), "sRGB1", "CAM02-UCS")[0]


@pytest.mark.parametrize("by", EYES)
@pytest.mark.parametrize("kind", KINDS)
def test_colours_of_one_kind_are_far_apart_for_every_eye(kind, by):
    """About 2 is the least difference that is seen at all; 10 is seen at a glance."""
    apart = {pair: deltaE(*(seen(KINDS[kind][name], by) for name in pair), input_space="sRGB1")
             for pair in combinations(KINDS[kind], 2)}
    assert min(apart.values()) > 12, min(apart, key=apart.get)


@pytest.mark.parametrize("kind", KINDS)
def test_no_colour_is_lost_on_white_and_marks_differ(kind):
    assert all(lightness(colour) < 88 for colour in KINDS[kind].values())
    assert len({plots.style(name)["marker"] for name in KINDS[kind]}) == len(KINDS[kind])


def test_every_emotion_and_every_model_that_is_drawn_has_its_own_style():
    assert list(plots.EMOTIONS) == list(corpora.EMOTIONS)
    assert {*models.MODELS, "average"} - set(plots.MODELS) == {"chance", "gender_live"}
    assert plots.style("cnn", 5) == plots.style("cnn") != plots.style("my.own:Model", 1)
    assert plots.style("my.own:Model", 1) != plots.style("my.own:Other", 2)


@pytest.mark.parametrize("by", EYES)
def test_scales_grow_lighter_all_along_or_away_from_the_middle(by):
    even = [lightness(colour, by) for colour in matplotlib.colormaps[plots.SEQUENTIAL](np.linspace(0, 1, 21))]
    assert (np.diff(even) > 0).all()
    signed = [lightness(colour, by) for colour in matplotlib.colormaps[plots.SIGNED](np.linspace(0, 1, 11))]
    assert (np.diff(signed[:6]) > 0).all()
    assert (np.diff(signed[5:]) < 0).all()
    ends = [seen(matplotlib.colormaps[plots.SIGNED](end), by) for end in (0.1, 0.9)]
    assert deltaE(*ends, input_space="sRGB1") > 12


def test_the_confusion_matrix_shows_shares_of_rows_or_counts():
    counts = np.array([[3, 1], [0, 5]])
    shares = plots.confusion(counts, ["sad", "female_calm"])
    assert [text.get_text() for text in shares.texts] == ["75", "25", "", "100"]
    assert [label.get_text() for label in shares.get_xticklabels()] == ["sad", "female calm"]
    plain = plots.confusion(counts, ["sad", "female_calm"], normalise=False)
    assert [text.get_text() for text in plain.texts] == ["3", "1", "0", "5"]


def test_training_curves_keep_each_models_colour():
    axes = plots.training_curves({"svm": {"loss": [2.0, 1.0], "accuracy": [0.1, 0.5], "val_loss": [2.1, 1.5]}})
    assert {line.get_color() for line in axes[0].lines} == {plots.MODELS["svm"]}
    assert [line.get_linestyle() for line in axes[0].lines] == ["-", "--"]
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), [10, 50])
