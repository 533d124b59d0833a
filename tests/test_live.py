"""Prediction from recordings and samples: shipped models, any input, warnings, long files, enrollment, distortions."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils import audio, distortions, predict, whisper
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS, SAMPLES
from ser_utils.evaluation.results import load_predictions
from ser_utils.live import deployed, enroll_speaker, format_predictions, load_model

SPEECH = audio.load(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
NOISE = np.random.default_rng(0).normal(0, 0.1, 32000)
KEYS = ["file", "emotion", "gender", "code", "class", "probabilities", "ood_score", "warnings"]
# Code, OOD score and probabilities of the MFCC models in the order of EMOTIONS, from the NumPy implementation that the
# ONNX files replaced. These actors are among the training speakers.
SHIPPED_MFCC = {
    "Actor_01/03-01-05-01-01-01-01":
        (5, 0.65389, [0.01748, 0.00431, 0.06862, 0.01167, 0.74543, 0.05001, 0.01837, 0.0841]),
    "Actor_02/03-01-03-01-01-01-02":
        (3, 0.77680, [0.40973, 0.00965, 0.55652, 0.00101, 0.01674, 0.00057, 0.00082, 0.00496]),
    "Actor_04/03-01-01-01-01-01-04":
        (3, 0.74511, [0.8385, 0.01593, 0.10738, 0.01567, 0.00325, 0.00558, 0.00128, 0.01242])}


def max_difference(prediction, other):
    return max(abs(prediction["probabilities"][name] - other["probabilities"][name]) for name in EMOTIONS)


@pytest.mark.parametrize("name", SHIPPED_MFCC)
def test_predict_reproduces_the_shipped_mfcc_models(samples, name):
    code, ood_score, probabilities = SHIPPED_MFCC[name]
    prediction = predict(samples / f"{name}.flac", model="mfcc")
    assert (list(prediction), list(prediction["probabilities"])) == (KEYS, list(EMOTIONS))
    np.testing.assert_allclose(list(prediction["probabilities"].values()), probabilities, atol=2e-5)
    assert prediction["ood_score"] == pytest.approx(ood_score, abs=2e-5)
    assert prediction["emotion"] == EMOTIONS[int(np.argmax(probabilities))]
    assert (prediction["code"], prediction["class"]) == (code, GENDER_EMOTIONS[code])
    assert prediction["class"].startswith(prediction["gender"])


@pytest.mark.parametrize(("suffix", "sr", "n_channels", "atol"), [
    ("wav", 16000, 1, 1e-3), ("wav", 96000, 2, 0.05), ("flac", 44100, 6, 0.05), ("ogg", 48000, 2, 0.25),
    ("mp3", 44100, 1, 0.25), ("wav", 8000, 1, 1)])  # half of the spectrum is missing at 8 kHz
def test_predict_is_consistent_across_formats_rates_and_channels(tmp_path, suffix, sr, n_channels, atol):
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, np.repeat(audio.resample(SPEECH, 16000, sr)[:, None], n_channels, axis=1), sr)
    prediction, expected = predict(path), predict(SPEECH, 16000)
    assert prediction["gender"] == expected["gender"]
    assert max_difference(prediction, expected) < atol


@pytest.mark.parametrize(("model", "atol"), [("mfcc", 0.02), ("whisper", 0.2)])
def test_predict_does_not_depend_on_type_scale_or_offset(model, atol):
    for samples in (np.stack([SPEECH, SPEECH], axis=1), (SPEECH * 32767).astype(np.int16), SPEECH.astype(np.float64),
                    (SPEECH * 2147483647).astype(np.int32), SPEECH + 0.01, (SPEECH * 1e20).tolist(), 0.05 * SPEECH):
        assert max_difference(predict(samples, 16000, model=model), predict(SPEECH, 16000, model=model)) < atol
    assert predict(np.full(9000, 128, np.uint8), 16000)["emotion"] is None


@settings(max_examples=15, deadline=None)
@given(duration=st.floats(0.001, 10), sr=st.sampled_from([4000, 8000, 11025, 44100, 192000]),
       n_channels=st.integers(1, 3), dtype=st.sampled_from(["int16", "uint8", "float32", "float64"]),
       gain=st.floats(0, 2), seed=st.integers(0, 9))
def test_predict_of_any_samples_returns_probabilities_or_warnings(duration, sr, n_channels, dtype, gain, seed):
    rng, n = np.random.default_rng(seed), max(n_channels, int(duration * sr))
    t = np.arange(n)[:, None] / sr
    y = np.clip(gain * (np.sin(2 * np.pi * 150 * t) * np.sin(7 * t) + rng.normal(0, 0.05, (n, n_channels))), -1, 1)
    if not dtype.startswith("float"):
        y = (y + (dtype == "uint8")) * (np.iinfo(dtype).max // 2)
    prediction = json.loads(json.dumps(predict(y.astype(dtype), sr)))
    if prediction["emotion"] is None:
        assert prediction["warnings"]
        assert [prediction[key] for key in KEYS[2:7]] == [None] * 5
    else:
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert prediction["emotion"] == max(prediction["probabilities"], key=prediction["probabilities"].get)
        assert prediction["ood_score"] >= 0


@pytest.mark.parametrize(("arguments", "message"), [
    ((np.zeros(100),), "sr=None"), ((np.zeros(100), "16000"), "sr='16000'"), ((np.zeros(100), np.inf), "sr=inf"),
    ((np.zeros((2, 3, 4)), 16000), r"\(2, 3, 4\)"), ((np.zeros((2, 9000)), 16000), r"\(2, 9000\)"),
    ((np.zeros(0), 16000), r"shape \(0,\); pass at least one"),
    ((None,), "source=None is neither a file"), ((b"abc",), "source=b'abc' .*str or Path"),
    (({}, 16000), "source={} is neither"), ((0.5, 16000), "source=0.5 is neither"),
    ((np.zeros(9000, complex), 16000), "complex"),
    ((np.full(9000, np.nan), 16000), "NaN"), ((np.zeros(9000), 16000, np.ones((2, 40))), r"\(2, 40\)"),
    ((np.zeros(9000), 16000, np.ones(64), "mfcc"), r"\(64,\).*'mfcc'"),
    ((np.zeros(9000), 16000, None, "cnn"), "'cnn'"), ((np.zeros(9000), 16000, np.full(4096, np.nan)), "NaN")])
def test_predict_rejects_invalid_samples_and_statistics(arguments, message):
    with pytest.raises(ValueError, match=message):
        predict(*arguments)


@pytest.mark.parametrize(("warning", "y", "has_prediction"), [
    ("silent", np.zeros(16000), False), ("silent", np.zeros(9 * 16000), False), ("silent", np.full(16000, 0.01), False),
    ("too short", SPEECH[20000:24000], False),
    ("short", np.concatenate([np.zeros(64000), SPEECH[20000:26000], np.zeros(96000)]), True),
    ("clipped", np.clip(40 * SPEECH, -1, 1), True),
    ("clipped", np.stack([np.clip(40 * SPEECH, -1, 1), 0 * SPEECH], axis=1), True),
    ("out of distribution", NOISE, True), ("out of distribution", np.sin(np.arange(32000) / 5), True),
    (None, SPEECH * 0.99 / np.abs(SPEECH).max(), True)])
def test_predict_warns_about_unsuitable_recordings(tmp_path, warning, y, has_prediction):
    soundfile.write(tmp_path / "a.wav", y, 16000, subtype="FLOAT")
    prediction = predict(tmp_path / "a.wav")
    assert prediction == predict(y, 16000) | {"file": prediction["file"]}
    assert any(text.startswith(warning) for text in prediction["warnings"]) if warning else not prediction["warnings"]
    assert (prediction["emotion"] is not None) == (prediction["ood_score"] is not None) == has_prediction


@pytest.mark.parametrize("suffix", ["mp3", "wav"])
def test_predict_rejects_truncated_files(tmp_path, suffix):
    path = tmp_path / f"long.{suffix}"
    soundfile.write(path, np.tile(SPEECH, 5), 16000)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(audio.AudioError, match="truncated"):
        predict(path)


def test_predict_divides_long_recordings_into_segments(tmp_path):
    y = np.concatenate([np.concatenate([SPEECH, np.zeros(32000, np.float32)])] * 6)
    soundfile.write(tmp_path / "long.wav", y, 16000, subtype="FLOAT")
    prediction = predict(tmp_path / "long.wav")
    assert prediction == predict(y, 16000) | {"file": prediction["file"]}
    starts = [window["start"] for window in prediction["windows"]]
    assert set(np.diff(starts)) <= {2.0, 4.0}
    assert all(0 < window["probability"] <= 1 and window["emotion"] in EMOTIONS for window in prediction["windows"])
    assert len(format_predictions([prediction]).splitlines()) == 2 + len(prediction["warnings"]) + len(starts)


def test_predict_ignores_pauses():
    hiss = np.random.default_rng(0).normal(0, 10 ** (-65 / 20), 20 * 16000).astype(np.float32)
    prediction = predict(np.concatenate([SPEECH, hiss]), 16000)
    assert prediction["emotion"] == predict(SPEECH, 16000)["emotion"]
    assert max(window["start"] for window in prediction["windows"]) <= len(SPEECH) / 16000


def test_predict_weights_segments_by_speech_duration():
    y = np.concatenate([np.tile(SPEECH, 2), np.zeros(3 * 16000, np.float32), SPEECH[::-1]])
    remaining = [y[:, None]]

    def read_block(n):
        block, remaining[0] = remaining[0][:n], remaining[0][n:]
        return block

    segments = [block[:, 0] for _, block in audio.stream_blocks(read_block, 16000, 4, 2)]
    weights = [len(audio.trim(segment - segment.mean())) for segment in segments]
    assert len(set(weights)) > 1
    p = np.average([list(predict(segment, 16000)["probabilities"].values()) for segment in segments], 0, weights)
    np.testing.assert_allclose(list(predict(y, 16000)["probabilities"].values()), p, atol=1e-4)


def test_predict_reads_long_files_in_bounded_memory(tmp_path):
    minute = np.resize(SPEECH, 8000 * 60)
    soundfile.write(tmp_path / "short.wav", minute, 8000)
    soundfile.write(tmp_path / "long.wav", np.concatenate([*[minute] * 3, np.zeros(8000 * 720)]), 8000)
    code = """import ser_utils
for name in ("short.wav", "long.wav"):
    print(len(ser_utils.predict(name)["windows"]), open("/proc/self/status").read().split("VmHWM:")[1].split()[0])"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                             env=os.environ | {"PYTHONPATH": str(ROOT)})
    _, before, n_windows, after = map(int, process.stdout.split())
    assert n_windows == 90
    assert after - before < 8 * 1024  # kB; the samples alone would be 57,600 as float32 at 16 kHz


@pytest.mark.parametrize("model", deployed.MODELS)
def test_enroll_speaker_changes_the_prediction(samples, model):
    recordings = [(audio.load(path), 16000) for path in sorted(samples.glob("Actor_01/*.flac"))[:2]]
    stats = enroll_speaker([*recordings, (np.zeros(16000), 16000)], model)
    speech = [audio.trim(y - y.mean()) for y, _ in recordings]
    if model == "mfcc":
        frames = np.concatenate([load_model("mfcc").compute_mfcc(y) for y in speech])
        expected = [frames.mean(axis=0), frames.std(axis=0)]
    else:
        expected = np.mean([whisper.compute_statistics(y) for y in speech], axis=0)
    np.testing.assert_allclose(stats, expected, atol=2e-3)
    plain, adapted = (predict(SPEECH, 16000, one, model) for one in (None, stats))
    assert max_difference(adapted, plain) > 0.01
    if model == "whisper":
        metadata, y = load_model(model).metadata, audio.trim(SPEECH - SPEECH.mean())
        offset = metadata["adaptation_weight"] * (np.array(metadata["neutral_mean"]) - stats)
        shifted = (whisper.compute_statistics(y) + offset).reshape(1, 4, 2, 512)  # on the statistics themselves
        p = load_model(model).models["emotion"].run(statistics=shifted, speaker_offset=0 * offset)["probabilities"]
        expected = dict(zip(load_model(model).classes["emotion"], p, strict=True))
        assert adapted["probabilities"] == pytest.approx(expected, abs=1e-3)
    assert (adapted["ood_score"], adapted["gender"]) == (plain["ood_score"], plain["gender"])
    assert max_difference(predict(SPEECH, 16000, load_model(model).neutral_stats, model), plain) < 1e-5
    with pytest.raises(ValueError, match="no speech"):
        enroll_speaker([], model)
    with pytest.raises(ValueError, match=r"recordings\[1\] is not a pair"):
        enroll_speaker([*recordings[:1], recordings[1][0]], model)


@pytest.mark.parametrize(("model", "name", "is_missing"), [
    ("mfcc", "mfcc_gender.onnx", True), ("mfcc", "SHA256SUMS", True), ("mfcc", "mfcc_gender.onnx", False),
    ("whisper", "whisper_gender.onnx", True), ("whisper", "whisper_emotion.onnx", False)])
def test_load_model_rejects_missing_and_altered_files(tmp_path, monkeypatch, model, name, is_missing):
    monkeypatch.setattr(deployed, "MODELS_FOLDER", shutil.copytree(ROOT / "models", tmp_path / "models"))
    path = tmp_path / "models" / name
    path.unlink() if is_missing else path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(IntegrityError, match=rf"{tmp_path}.*git checkout") as excinfo:
        deployed._load.__wrapped__(model)  # without the cache
    assert "\n" not in str(excinfo.value)


@pytest.mark.parametrize("condition", distortions.CONDITIONS)
def test_distortions_keep_length_and_type(condition):
    y, repeated = (distortions.CONDITIONS[condition](SPEECH, 16000, 3) for _ in range(2))
    assert (y.shape, y.dtype) == (SPEECH.shape, np.float32)
    assert np.array_equal(y, SPEECH) == (condition == "clean")
    np.testing.assert_array_equal(y, repeated)


def test_random_channel_stays_in_range_and_depends_on_the_clip():
    for seed in range(40):
        y = distortions.simulate_random_channel(SPEECH, 16000, seed)
        assert y.dtype == np.float32
        assert len(y) > len(SPEECH) / 4
        assert 0 < np.abs(y).max() <= 1
    first, repeated, other = (distortions.simulate_random_channel(y, 16000) for y in (SPEECH, SPEECH, SPEECH[:-1]))
    np.testing.assert_array_equal(first, repeated)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert np.isfinite(distortions.simulate_random_channel(np.zeros(4000), 16000, 0)).all()


def test_robustness_predictions_without_distortion_equal_the_published_ones():
    columns, robustness = [f"p_{name}" for name in EMOTIONS], load_predictions("robustness")
    for _, rows in robustness[robustness["split"] != "cross-corpus"].groupby("model"):
        assert set(distortions.CONDITIONS) <= set(rows["condition"])
    rows = robustness.query("model == 'whisper_robust' and condition == 'clean'")
    expected = load_predictions("multi-corpus").query("split == 'speaker-independent-multi-corpus'").set_index("clip")
    np.testing.assert_allclose(rows[columns], expected.loc["ravdess/" + rows["clip"], columns], atol=0.05)  # 8 bits
    published = load_predictions("ravdess").query("split == 'speaker-independent' and seed == 0")
    for model in ("cnn_attention", "cnn_robust"):
        rows = robustness.query("model == @model and condition == 'not normalized'")
        expected = published[published["model"] == model].set_index("clip").loc[rows["clip"], columns]
        np.testing.assert_allclose(rows[columns], expected, atol=2e-3)
