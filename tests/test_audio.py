"""Reading, resampling and trimming of recordings; rejection of unusable files."""

import pickle
from pathlib import Path

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


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100])
def test_load_equals_librosa(samples, sr):
    path = samples / "Actor_01" / "03-01-05-01-01-01-01.flac"
    y = audio.load(path, sr)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, librosa.load(path, sr=sr)[0], atol=1e-6)


def test_load_averages_channels(tmp_path):
    left, right = sine(), 0.5 * sine()
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), SR, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav", SR), (left + right) / 2, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30000), top_db=st.sampled_from([20, 35, 60]))
def test_trim_equals_librosa(seed, n, top_db):
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(n), np.linspace(0, n, 7), rng.random(7) ** 8)
    y = (rng.normal(size=n) * envelope).astype(np.float32)
    trimmed = audio.trim(y, top_db)
    np.testing.assert_array_equal(trimmed, librosa.effects.trim(y, top_db=top_db)[0])
    assert np.shares_memory(y, trimmed)


@settings(max_examples=100, deadline=None)
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
    if n > 2 * block:
        assert [start for start, _ in blocks] == [hop * i for i in range(len(blocks))]
        assert all(len(part) == block for _, part in blocks[:-1])


@pytest.mark.parametrize("level_db", [-3, -60])
def test_level_does_not_affect_trimming(tmp_path, level_db):
    soundfile.write(tmp_path / "a.wav", sine(amplitude=10 ** (level_db / 20)), SR)
    assert audio.trim(audio.load(tmp_path / "a.wav")).size > 0.9 * SR


def write_truncated_flac(path):
    soundfile.write(path, sine() + np.random.default_rng(0).normal(0, 0.01, SR), SR, format="FLAC")
    path.write_bytes(path.read_bytes()[:9000])


def write_truncated_wav(path, n_bytes):
    soundfile.write(path, sine(), SR)
    path.write_bytes(path.read_bytes()[:n_bytes])


def write_flac_with_length(path, n):
    """A complete FLAC whose header states another number of samples; 0 means unknown, as stream encoders write."""
    soundfile.write(path, sine(), SR, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0 | n >> 32  # STREAMINFO: 36 bits up to byte 25
    data[22:26] = (n & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)


UNUSABLE = {
    "flac of 19 hours": (lambda path: write_flac_with_length(path, 1 << 30), "truncated|not a readable"),
    "flac of unknown length": (lambda path: write_flac_with_length(path, 0), "not a readable"),
    "truncated flac": (write_truncated_flac, "truncated|not a readable"),
    "truncated wav": (lambda path: write_truncated_wav(path, 12000), "truncated"),
    "header only": (lambda path: write_truncated_wav(path, 44), "truncated"),
    "empty file": (lambda path: path.write_bytes(b""), "0 bytes"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), SR), "no samples"),
    "silent": (lambda path: soundfile.write(path, np.zeros(SR), SR), "silent"),
    "constant": (lambda path: soundfile.write(path, np.full(SR, 0.5), SR), "silent"),
    "NaN": (lambda path: soundfile.write(path, np.full(SR, np.nan), SR, subtype="FLOAT"), "NaN"),
    "beyond full scale": (lambda path: soundfile.write(path, 1000 * sine(), SR, subtype="FLOAT"), "full scale"),
    "not audio": (lambda path: path.write_text("this is a text\n" * 100), "not a readable recording"),
    "too short": (lambda path: soundfile.write(path, sine(0.05), SR), "0.05 s"),
    "too long": (lambda path: soundfile.write(path, sine(61), SR), "more than 60 s"),
    "low rate": (lambda path: soundfile.write(path, sine(), 2000), "2000 Hz"),
    "many channels": (lambda path: soundfile.write(path, np.tile(sine()[:, None], 17), SR), "17 channels"),
    "folder": (lambda path: path.mkdir(), "cannot be opened"),
    "missing": (lambda path: None, "cannot be opened"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_load_rejects_unusable_files(tmp_path, kind):
    write, reason = UNUSABLE[kind]
    path = tmp_path / "line\nbreak.wav"
    write(path)
    with pytest.raises(audio.AudioError, match=reason) as caught:
        audio.load(path)
    assert (caught.value.path, bool(caught.value.remedy)) == (str(path), True)
    assert "line\\nbreak.wav" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_load_accepts_wav_with_data_in_a_comment(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(), SR)
    content, comment = path.read_bytes(), b"LIST\x1a\0\0\0INFOICMT\x0e\0\0\0my data: take 1"[:34]
    path.write_bytes(content[:12] + comment + content[12:])
    assert len(audio.load(path)) == SR


def test_audio_error_survives_pickling():
    error = pickle.loads(pickle.dumps(audio.AudioError(Path("a.wav"), "silent", "record it again")))
    assert (str(error), error.remedy) == ("a.wav: silent; record it again", "record it again")
