"""Reading recordings, and every way in which they can be bad."""

import os

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils import audio

SR = 16000


def tone(seconds=1.0, sr=SR, level=0.1):
    return (level * np.sin(2 * np.pi * 220 * np.arange(int(seconds * sr)) / sr)).astype(np.float32)


def test_stereo_is_averaged_and_the_rate_is_the_one_asked_for(tmp_path):
    left, right = tone(), 0.5 * tone()
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), SR, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav", SR), (left + right) / 2, atol=1e-6)
    soundfile.write(tmp_path / "b.wav", tone(sr=48000), 48000, subtype="FLOAT")
    y = audio.load(tmp_path / "b.wav", SR)
    assert y.dtype == np.float32
    assert len(y) == SR
    np.testing.assert_allclose(y[1000:-1000], tone()[1000:-1000], atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(1, 30000), top_db=st.sampled_from([20, 35, 60]))
def test_trim_is_librosas(seed, samples, top_db):
    rng = np.random.default_rng(seed)
    y = (rng.normal(size=samples) * np.interp(np.arange(samples), np.linspace(0, samples, 7), rng.random(7) ** 8))
    y = y.astype(np.float32)
    np.testing.assert_array_equal(audio.trim(y, top_db), librosa.effects.trim(y, top_db=top_db)[0])


def header_only(path):
    soundfile.write(path, tone(), SR)
    path.write_bytes(path.read_bytes()[:44])


def cut_wav(path):
    soundfile.write(path, tone(), SR)
    path.write_bytes(path.read_bytes()[:12000])


def cut_flac(path):
    soundfile.write(path, tone() + np.random.default_rng(0).normal(0, 0.01, SR), SR, format="FLAC")
    path.write_bytes(path.read_bytes()[:9000])


def flac_of(total):
    """A whole FLAC whose header gives another number of samples; 0 is "unknown", as encoders of streams write."""
    def make(path):
        soundfile.write(path, tone(), SR, format="FLAC")
        data = bytearray(path.read_bytes())
        data[21] = data[21] & 0xF0 | total >> 32  # STREAMINFO: 36 bits, to the end of byte 25
        data[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
        path.write_bytes(data)
    return make


BAD = {
    "flac of 19 hours": (flac_of(1 << 30), "truncated|not a readable"),
    "flac of unknown length": (flac_of(0), "not a readable"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "zero-length": (lambda path: soundfile.write(path, np.zeros(0), SR), "no samples"),
    "header only": (header_only, "truncated"),
    "truncated": (cut_wav, "truncated"),
    "truncated flac": (cut_flac, "truncated|not a readable"),
    "silent": (lambda path: soundfile.write(path, np.zeros(SR), SR), "silent"),
    "nan": (lambda path: soundfile.write(path, np.full(SR, np.nan), SR, subtype="FLOAT"), "NaN"),
    "not audio": (lambda path: path.write_text("this is a text\n" * 100), "not a readable recording"),
    "too short": (lambda path: soundfile.write(path, tone(0.05), SR), "0.05 s"),
    "too long": (lambda path: soundfile.write(path, tone(61), SR), "more than 60 s"),
    "folder": (lambda path: path.mkdir(), "cannot be opened"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_says_which_why_and_what_helps(tmp_path, kind):
    make, reason = BAD[kind]
    path = tmp_path / "03-01-01-01-01-01-01.wav"
    make(path)
    with pytest.raises(audio.AudioError, match=reason) as caught:
        audio.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(audio.AudioError, match="cannot be opened"):
        audio.load(tmp_path / "none.wav")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_an_unreadable_file_says_so(tmp_path):
    path = tmp_path / "locked.wav"
    soundfile.write(path, tone(), SR)
    path.chmod(0)
    with pytest.raises(audio.AudioError, match="Permission denied"):
        audio.load(path)


def test_the_word_data_in_a_comment_is_not_the_data(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), SR)
    plain, text = path.read_bytes(), b"LIST\x1a\0\0\0INFOICMT\x0e\0\0\0my data: take 1"[:34]
    path.write_bytes(plain[:12] + text + plain[12:])
    assert len(audio.load(path)) == SR


@pytest.mark.parametrize("level_db", [-3, -60])
def test_level_alone_makes_nothing_bad(tmp_path, level_db):
    soundfile.write(tmp_path / "a.wav", tone(level=10 ** (level_db / 20)), SR)
    assert audio.trim(audio.load(tmp_path / "a.wav")).size > 0.9 * SR


def test_the_real_stereo_files(recordings):
    stereo = [p for p in recordings.rglob("*.flac") if soundfile.info(p).channels == 2]
    assert len(stereo) == 5
    assert all(audio.load(path).ndim == 1 for path in stereo)
