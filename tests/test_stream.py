"""Prediction over time: independence of block size, abstention on silence and noise, bounded memory."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import ser_utils
from ser_utils import audio
from ser_utils.datasets.core import SAMPLES
from ser_utils.live import Stream, predict_stream, stream

SPEECH = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"
SR = 16000


@pytest.fixture(scope="module")
def speech():
    return audio.load(SPEECH)


def run(stream, y, size):
    windows = [window for start in range(0, len(y), size) for window in stream.feed(y[start:start + size])]
    return windows + stream.finish()


@settings(max_examples=8, deadline=None)
@given(size=st.integers(100, 40_000))
def test_windows_do_not_depend_on_the_size_of_the_blocks(speech, size):
    assert run(Stream(SR, "mfcc"), speech, size) == run(Stream(SR, "mfcc"), speech, len(speech))


@pytest.mark.parametrize("model", ["whisper", "mfcc"])
def test_window_equals_predict_on_its_samples(speech, model):
    windows = run(Stream(SR, model), speech, 1600)
    assert [window["start"] for window in windows] == [0, 0.5]
    for window in windows:
        start = round(window["start"] * SR)
        expected = ser_utils.predict(speech[start:start + 3 * SR], SR, model=model)
        assert window["probabilities"] == expected["probabilities"]
        assert window["code"] == expected["code"]


@pytest.mark.parametrize(("y", "abstention"), [
    (np.zeros(4 * SR), "silence"),
    (np.pad(0.1 * np.sin(np.arange(SR // 4)), (SR, 3 * SR)), "short"),
    (0.1 * np.random.default_rng(0).normal(size=4 * SR), "out of distribution")])
def test_stream_abstains_on_silence_short_sounds_and_noise(y, abstention):
    assert run(Stream(SR), y, SR)[0]["abstention"] == abstention


def test_stream_abstains_at_low_confidence_and_in_pauses(speech, monkeypatch):
    monkeypatch.setattr(stream, "MIN_PROBABILITY", 1.0)
    windows = run(Stream(SR), np.concatenate([speech, 0.001 * speech]), SR)
    assert windows[0]["abstention"] == "low confidence"
    assert windows[0]["probabilities"]
    assert windows[-1]["abstention"] == "silence"


def test_shorter_signal_is_one_window_and_empty_blocks_are_ignored(speech):
    stream = Stream(SR)
    assert stream.feed(speech[:0]) == stream.finish() == []
    assert stream.feed(speech[:SR]) == stream.feed([]) == []
    assert [window["duration"] for window in stream.finish()] == [1.0]
    stream = Stream(SR)
    stream.feed(speech[SR:SR + 3200])
    assert [window["abstention"] for window in stream.finish()] == ["short"]


def test_buffer_is_bounded(speech):
    stream = Stream(SR, "mfcc")
    for _ in range(20):
        stream.feed(np.resize(speech, 10 * SR))
    assert len(stream._buffer) < 3 * SR
    assert len(stream._peaks) == 20


@pytest.mark.parametrize(("arguments", "message"), [
    ({"hop": 0}, "hop"), ({"hop": 4}, "hop"), ({"window": 1e-5, "hop": 1e-5}, "window"),
    ({"window": float("inf")}, "window"), ({"sr": 0}, "sampling rate"), ({"model": "gru"}, "unknown"),
    ({"speaker_stats": np.zeros(3)}, "shape")])
def test_stream_rejects_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stream(**{"sr": SR} | arguments)


def test_feed_rejects_another_number_of_channels():
    stream = Stream(SR, "mfcc")
    stream.feed(np.zeros((100, 2)))
    with pytest.raises(ValueError, match="1 channels, earlier ones 2"):
        stream.feed(np.zeros(100))


def test_predict_stream_command_prints_a_json_line_per_window(run_cli, tmp_path, speech):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(speech, 3), SR)
    status, stdout, stderr = run_cli("predict", "--stream", "--model", "mfcc", path)
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert (status, stderr) == (0, "")
    assert [{"file": str(path), **window} for window in predict_stream(path, "mfcc")] == lines
    assert [line["start"] for line in lines] == [0.5 * index for index in range(len(lines))]
    assert len(lines) == 1 + (3 * len(speech) - 3 * SR) // (SR // 2)
    path.write_bytes(b"")
    status, stdout, stderr = run_cli("predict", "--stream", path)
    assert (status, stdout) == (1, "")
    assert "the file is empty" in stderr
