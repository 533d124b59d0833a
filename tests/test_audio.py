"""Reading, resampling and trimming of recordings; rejection of unusable files."""

import io
import pickle

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils import audio

SR = 16000


def sine(seconds=1.0, amplitude=0.1):
    return (amplitude * np.sin(2 * np.pi * 220 * np.arange(int(seconds * SR)) / SR)).astype(np.float32)


def encode(y, sr=SR, **kwargs):
    soundfile.write(file := io.BytesIO(), y, sr, format=kwargs.pop("format", "WAV"), **kwargs)
    return file.getvalue()


@pytest.mark.parametrize("sr", [8000, 16000, 44100])
def test_load_equals_librosa(samples, tmp_path, sr):
    path = samples / "Actor_01" / "03-01-05-01-01-01-01.flac"
    (tmp_path / "stereo.wav").write_bytes(encode(np.stack([sine(), np.roll(sine(0.5, 0.3), 9).repeat(2)], axis=1)))
    for file in (path, tmp_path / "stereo.wav"):
        y = audio.load(file, sr)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, librosa.load(file, sr=sr)[0], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30000), top_db=st.sampled_from([20, 35, 60]))
def test_trim_equals_librosa(seed, n, top_db):
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(n), np.linspace(0, n, 7), rng.random(7) ** 8)
    y = (rng.normal(size=n) * envelope).astype(np.float32)
    trimmed = audio.trim(y, top_db)
    np.testing.assert_array_equal(trimmed, librosa.effects.trim(y, top_db=top_db)[0])
    assert np.shares_memory(y, trimmed)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 300), block=st.integers(1, 40), overlap=st.floats(0, 0.9), data=st.data())
def test_stream_blocks_covers_signal_without_gaps(n, block, overlap, data):
    hop = max(1, round(block * (1 - overlap)))
    y, position = np.arange(n, dtype=float)[:, None], 0

    def read(count):
        nonlocal position
        position += count
        return y[position - count:position]

    blocks = list(audio.stream_blocks(read, 1, block, hop))
    assert all(np.array_equal(part, y[int(start):int(start) + len(part)]) for start, part in blocks)
    assert set(np.concatenate([part for _, part in blocks])[:, 0]) == set(range(n))
    assert n <= 2 * block or all(len(part) == block for _, part in blocks[:-1])


def flac_with_length(n):
    """A complete FLAC whose header states another number of samples; 0 means unknown, as stream encoders write."""
    data = bytearray(encode(sine(), format="FLAC"))
    data[21] = data[21] & 0xF0 | n >> 32  # STREAMINFO: 36 bits up to byte 25
    data[22:26] = (n & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


UNUSABLE = {
    "flac of 19 hours": (flac_with_length(1 << 30), "truncated|not a readable"),
    "flac of unknown length": (flac_with_length(0), "not a readable"),
    "truncated flac": (encode(np.random.default_rng(0).normal(0, 0.1, SR), format="FLAC")[:9000],
                       "truncated|not a readable"),
    "truncated wav": (encode(sine())[:12000], "truncated"),
    "header only": (encode(sine())[:44], "truncated"),
    "empty file": (b"", "0 bytes"),
    "no samples": (encode(np.zeros(0)), "no samples"),
    "silent": (encode(np.zeros(SR)), "silent"),
    "constant": (encode(np.full(SR, 0.5)), "silent"),
    "NaN": (encode(np.full(SR, np.nan), subtype="FLOAT"), "NaN"),
    "beyond full scale": (encode(1000 * sine(), subtype="FLOAT"), "full scale"),
    "not audio": (b"this is a text\n" * 100, "not a readable"),
    "too short": (encode(sine(0.05)), r"0\.05 s"),
    "too long": (encode(sine(61)), "more than 60 s"),
    "low rate": (encode(sine(), 2000), "2000 Hz"),
    "many channels": (encode(np.tile(sine()[:, None], 17)), "17 channels"),
    "folder": ("folder", "cannot be opened"), "missing": (None, "cannot be opened"),
}


@pytest.mark.parametrize(("content", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_load_rejects_unusable_files(tmp_path, content, reason):
    path = tmp_path / "line\n\x1b[31mbreak.wav"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(audio.AudioError, match=reason) as excinfo:
        audio.load(path)
    error = pickle.loads(pickle.dumps(excinfo.value))  # as between processes
    assert (error.path, bool(error.remedy), str(error)) == (str(path), True, str(excinfo.value))
    assert r"line\n\x1b[31mbreak.wav" in str(error)  # one line, without terminal codes


def test_load_accepts_quiet_recordings_and_data_in_a_comment(tmp_path):
    content, comment = encode(sine(amplitude=1e-3)), b"LIST\x1a\0\0\0INFOICMT\x0e\0\0\0my data: take 1"[:34]
    (tmp_path / "a.wav").write_bytes(content[:12] + comment + content[12:])
    y = audio.load(tmp_path / "a.wav")
    assert len(y) == SR
    assert audio.trim(y).size > 0.9 * SR


def test_trim_returns_silence_whole_and_rejects_invalid_input():
    assert audio.trim(np.zeros(SR)).size == SR
    for y, arguments, message in ((np.zeros((2, SR)), {}, r"\(2, 16000\)"), (np.zeros(0), {}, "empty"),
                                  (np.zeros(SR, np.int16), {}, "int16"), (np.full(SR, np.nan), {}, "NaN"),
                                  (sine(), {"top_db": 0}, "top_db=0"), (sine(), {"hop_length": 0}, "hop_length=0"),
                                  (sine(), {"frame_length": 511}, "frame_length=511")):
        with pytest.raises(ValueError, match=message):
            audio.trim(y, **arguments)


@pytest.mark.parametrize("sr", [0, -16000, None, "16000", float("nan")])
def test_load_rejects_invalid_sampling_rates(samples, sr):
    with pytest.raises(ValueError, match="not a sampling rate"):
        audio.load(samples / "Actor_01" / "03-01-05-01-01-01-01.flac", sr)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: audio.frame(np.zeros((SR, 2)), 512, 128), r"\(16000, 2\)"), (lambda: audio.frame(0.5, 512, 128), r"\(\)"),
    (lambda: audio.to_mono(np.zeros((2, SR, 2))), r"\(2, 16000, 2\)"), (lambda: audio.to_mono(0.5), r"\(\)"),
    (lambda: audio.to_mono(np.zeros((SR, 0))), r"\(16000, 0\)"),
    *((lambda dtype=dtype: audio.resample(np.zeros(SR, dtype), SR, 8000), dtype)
      for dtype in ("int16", "int64", "uint8", "complex64", "float16")),
    (lambda: audio.resample([0, 1], SR, SR), "int64")])
def test_signal_functions_reject_invalid_samples(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_to_mono_returns_one_channel_as_it_is():
    y = sine()
    for samples in (y, y[:, None]):
        np.testing.assert_array_equal(audio.to_mono(samples), y)
