"""The synthetic corpus: its voices differ, and its emotions order as the literature says. Nothing here is about people.

Orders of anger, fear, happiness, sadness and tenderness (calm): Juslin & Laukka 2003 (doi:10.1037/0033-2909.129.5.770).
"""

import numpy as np
import pytest
import soundfile

from conftest import MINIATURE
from ser_utils import corpora, store


@pytest.fixture(scope="module")
def table(miniature):
    return store.load(miniature).clips


def test_it_is_whole_small_and_named_as_ravdess(table):
    assert table.groupby(["speaker", "emotion", "statement"]).size().shape == (8 * 8 * 2,)
    assert set(table["corpus"]) == {"ravdess (synthetic)"}
    assert table["gender"].value_counts().to_dict() == {"male": 64, "female": 64}
    assert sum(path.stat().st_size for path in MINIATURE.rglob("*")) < 4e6


# (measure, emotions from most to least): every step holds for at least seven of the eight voices
ORDERS = {
    "pitch level": ("f0_median", [("fearful", "neutral"), ("angry", "neutral"),
                                  ("happy", "neutral"), ("neutral", "sad")]),
    "pitch range": ("f0_range", [("angry", "neutral"), ("happy", "neutral"), ("neutral", "sad"),
                                  ("angry", "fearful"), ("neutral", "calm")]),
    "duration": ("speech_duration", [("sad", "calm"), ("calm", "neutral"), ("neutral", "happy"), ("happy", "fearful"),
                                     ("neutral", "angry")]),
    "loudness": ("level", [("angry", "happy"), ("happy", "neutral"), ("neutral", "fearful"), ("neutral", "calm"),
                           ("calm", "sad")]),
    "brightness": ("centroid", [("angry", "happy"), ("happy", "neutral"), ("neutral", "calm"), ("calm", "sad")]),
}


@pytest.mark.parametrize("cue", ORDERS)
def test_cues_order_as_the_literature_says(table, cue):
    measure, pairs = ORDERS[cue]
    by_voice = table.pivot_table(index="speaker", columns="emotion", values=measure, aggfunc="median")
    for more, less in pairs:
        assert (by_voice[more] > by_voice[less]).sum() >= 7, (more, less)


def test_voices_differ_in_pitch_and_in_resonance(table, miniature):
    neutral = table[table["emotion"] == "neutral"].groupby("speaker")["f0_median"].median()
    women = [speaker for speaker in neutral.index if int(speaker) % 2 == 0]
    assert neutral[women].min() > neutral.drop(women).max()
    assert (np.diff(np.sort(neutral)) > 1).all()
    made = store.load(miniature)
    envelope = np.stack([x[:, 1:14].mean(axis=0) for x in made.sequences])
    # a clip's mean envelope lies nearer to its own voice's others than to the nearest other voice's, mostly
    centre = {s: envelope[(table["speaker"] == s).to_numpy()].mean(axis=0) for s in neutral.index}
    nearest = [min(centre, key=lambda s: np.linalg.norm(centre[s] - row)) for row in envelope]
    assert (np.array(nearest) == table["speaker"]).mean() > 0.5


def test_it_sounds_like_speech(table):
    assert table["voiced"].between(0.4, 0.98).all()
    assert table["speech_duration"].between(0.8, 3.5).all()
    assert table["centroid"].between(300, 3500).all()


def test_the_coffee_is_there_and_loud():
    y, sr = soundfile.read(corpora.ROOT / "data" / "this_coffee_sucks.flac")
    assert sr == 16000
    assert 0.8 < len(y) / sr < 3
    assert 20 * np.log10(np.sqrt(np.mean(y**2))) > -32
