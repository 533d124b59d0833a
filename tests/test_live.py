"""Prediction from recordings and samples: shipped answers, any input, warnings, long files, enrollment, distortions."""

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

import ser_utils
from ser_utils import audio
from ser_utils._utils.files import ROOT, IntegrityError
from ser_utils.datasets.core import EMOTIONS, GENDER_EMOTIONS
from ser_utils.evaluation.metrics import confusion_matrix, recall_per_class
from ser_utils.evaluation.results import load_predictions
from ser_utils.live import decode_probabilities, distortions, enroll_speaker, format_table, load_models, predictor

SAMPLE = ROOT / "data" / "samples" / "ravdess" / "Actor_01" / "03-01-05-01-01-01-01.flac"
HEAVY = {"tensorflow", "keras", "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib", "tqdm", "onnx"}
KEYS = ["file", "emotion", "gender", "code", "class", "probabilities", "ood_score", "warnings"]
# Code, OOD score and probabilities in the order of EMOTIONS, from the NumPy implementation that the ONNX files
# replaced. These actors are among the training speakers.
SHIPPED = {
    "Actor_01/03-01-05-01-01-01-01":
        (5, 0.65389, [0.01748, 0.00431, 0.06862, 0.01167, 0.74543, 0.05001, 0.01837, 0.0841]),
    "Actor_02/03-01-03-01-01-01-02":
        (3, 0.77680, [0.40973, 0.00965, 0.55652, 0.00101, 0.01674, 0.00057, 0.00082, 0.00496]),
    "Actor_04/03-01-01-01-01-01-04":
        (3, 0.74511, [0.8385, 0.01593, 0.10738, 0.01567, 0.00325, 0.00558, 0.00128, 0.01242])}


@pytest.fixture(scope="module")
def speech():
    return audio.load(SAMPLE)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    return done.stdout.split()


def max_difference(answer, other):
    return max(abs(answer["probabilities"][name] - other["probabilities"][name]) for name in EMOTIONS)


@pytest.mark.parametrize("name", SHIPPED)
def test_predict_answers_of_the_shipped_models(samples, name):
    code, ood_score, probabilities = SHIPPED[name]
    answer = ser_utils.predict(samples / f"{name}.flac")
    assert list(answer) == KEYS
    assert list(answer["probabilities"]) == list(EMOTIONS)
    np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities, atol=2e-5)
    assert answer["emotion"] == EMOTIONS[int(np.argmax(probabilities))]
    assert answer["ood_score"] == pytest.approx(ood_score, abs=2e-5)
    assert (answer["code"], answer["class"]) == (code, GENDER_EMOTIONS[code])
    assert answer["class"].startswith(answer["gender"])


def test_predict_samples_equals_predict_file(speech):
    assert {**ser_utils.predict(speech, 16000), "file": None} == {**ser_utils.predict(SAMPLE), "file": None}


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("gender", ["female", "male"])
def test_decode_probabilities_codes_the_most_probable_of_the_ten_classes(emotion, gender):
    columns = load_models()["emotion"].classes
    p = np.full(8, 0.05)
    p[columns.index(emotion)], p[columns.index("happy")] = 0.6, max(0.1, p[columns.index("happy")])
    answer = decode_probabilities(p, [gender == "female", gender == "male"])
    coded = emotion if f"{gender}_{emotion}" in GENDER_EMOTIONS else "happy"
    assert (answer["emotion"], answer["class"]) == (emotion, f"{gender}_{coded}")
    assert GENDER_EMOTIONS[answer["code"]] == answer["class"]


@pytest.mark.parametrize(("suffix", "sr", "n_channels", "atol"), [
    ("wav", 16000, 1, 1e-3), ("wav", 96000, 2, 0.05), ("flac", 44100, 6, 0.05), ("ogg", 48000, 2, 0.25),
    ("mp3", 44100, 1, 0.25), ("wav", 8000, 1, None)])
def test_predict_formats_rates_and_channels(tmp_path, speech, suffix, sr, n_channels, atol):
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, np.repeat(audio.resample(speech, 16000, sr)[:, None], n_channels, axis=1), sr)
    answer, expected = ser_utils.predict(path), ser_utils.predict(speech, 16000)
    assert answer["gender"] == expected["gender"]
    if atol:  # half of the spectrum is missing at 8 kHz
        assert max_difference(answer, expected) < atol


def test_predict_does_not_depend_on_type_scale_or_offset(speech):
    expected = ser_utils.predict(speech, 16000)
    variants = [np.stack([speech, speech], axis=1), (speech * 32767).astype(np.int16), speech.astype(np.float64),
                (speech * 2147483647).astype(np.int32), speech + 0.01, (speech * 1e20).tolist(), 0.05 * speech]
    for samples in variants:
        assert max_difference(ser_utils.predict(samples, 16000), expected) < 0.02
    assert ser_utils.predict(np.full(9000, 128, np.uint8), 16000)["emotion"] is None


@settings(max_examples=25, deadline=None)
@given(duration=st.floats(0.001, 12), sr=st.sampled_from([4000, 8000, 11025, 44100, 192000]),
       n_channels=st.integers(1, 3), dtype=st.sampled_from(["int16", "uint8", "float32", "float64"]),
       gain=st.floats(0, 2), seed=st.integers(0, 9))
def test_predict_any_samples(duration, sr, n_channels, dtype, gain, seed):
    rng, n = np.random.default_rng(seed), max(n_channels, int(duration * sr))
    t = np.arange(n)[:, None] / sr
    y = np.clip(gain * (np.sin(2 * np.pi * 150 * t) * np.sin(7 * t) + rng.normal(0, 0.05, (n, n_channels))), -1, 1)
    if not dtype.startswith("float"):
        y = (y + (dtype == "uint8")) * (np.iinfo(dtype).max // 2)
    y = y.astype(dtype)
    answer = json.loads(json.dumps(ser_utils.predict(y, sr)))
    assert list(answer)[:8] == KEYS
    if answer["emotion"] is None:
        assert answer["warnings"]
        assert [answer[key] for key in KEYS[2:7]] == [None] * 5
    else:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["emotion"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["ood_score"] >= 0


@pytest.mark.parametrize(("samples", "sr", "message"), [
    (np.zeros(100), None, "sr=None"), (np.zeros(100), "16000", "sr='16000'"), (np.zeros(100), np.inf, "sr=inf"),
    (np.zeros((2, 3, 4)), 16000, "pass numbers"), (np.zeros((2, 9000)), 16000, "pass numbers"),
    (np.zeros(0), 16000, "pass numbers"), (None, 16000, "pass numbers"),
    (np.zeros(9000, complex), 16000, "pass numbers"), (np.full(9000, np.nan), 16000, "NaN")])
def test_predict_rejects_bad_samples(samples, sr, message):
    with pytest.raises(ValueError, match=message):
        ser_utils.predict(samples, sr)


NOISE = np.random.default_rng(0).normal(0, 0.1, 32000)


@pytest.mark.parametrize(("name", "make", "is_answered"), [
    ("silent", lambda y: np.zeros(16000), False), ("silent", lambda y: np.zeros(9 * 16000), False),
    ("silent", lambda y: np.full(16000, 0.01), False), ("too short", lambda y: y[20000:24000], False),
    ("short", lambda y: np.concatenate([np.zeros(64000), y[20000:26000], np.zeros(96000)]), True),
    ("clipped", lambda y: np.clip(40 * y, -1, 1), True),
    ("clipped", lambda y: np.stack([np.clip(40 * y, -1, 1), 0 * y], axis=1), True),
    ("out of distribution", lambda y: NOISE, True),
    ("out of distribution", lambda y: np.sin(np.arange(32000) / 5), True)])
def test_predict_warns(tmp_path, speech, name, make, is_answered):
    soundfile.write(tmp_path / "a.wav", make(speech), 16000, subtype="FLOAT")
    answer = ser_utils.predict(tmp_path / "a.wav")
    assert answer["warnings"] == ser_utils.predict(make(speech), 16000)["warnings"]
    assert any(warning.startswith(name) for warning in answer["warnings"])
    assert (answer["emotion"] is not None) == is_answered
    assert (answer["ood_score"] is not None) == is_answered


def test_predict_does_not_warn_of_full_scale_without_clipping(speech):
    assert ser_utils.predict(speech * 0.99 / np.abs(speech).max(), 16000)["warnings"] == []


@pytest.mark.parametrize("suffix", ["mp3", "wav"])
def test_predict_rejects_truncated_files(tmp_path, speech, suffix):
    path = tmp_path / f"long.{suffix}"
    soundfile.write(path, np.tile(speech, 5), 16000)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(audio.AudioError, match="truncated"):
        ser_utils.predict(path)


def test_predict_long_recordings_in_windows(tmp_path, speech):
    y = np.concatenate([np.concatenate([speech, np.zeros(32000, np.float32)])] * 6)
    soundfile.write(tmp_path / "long.wav", y, 16000, subtype="FLOAT")
    answer = ser_utils.predict(tmp_path / "long.wav")
    assert answer == ser_utils.predict(y, 16000) | {"file": answer["file"]}
    starts = [window["start"] for window in answer["windows"]]
    assert starts == sorted(set(starts))
    assert set(np.diff(starts)) <= {2.0, 4.0}
    assert all(0 < window["probability"] <= 1 and window["emotion"] in EMOTIONS for window in answer["windows"])
    assert len(format_table([answer]).splitlines()) == 2 + len(answer["warnings"]) + len(starts)


def test_predict_ignores_pauses(speech):
    hiss = np.random.default_rng(0).normal(0, 10 ** (-65 / 20), 20 * 16000).astype(np.float32)
    answer, expected = ser_utils.predict(np.concatenate([speech, hiss]), 16000), ser_utils.predict(speech, 16000)
    assert answer["emotion"] == expected["emotion"]
    assert max(window["start"] for window in answer["windows"]) <= len(speech) / 16000


def test_predict_long_files_in_bounded_memory(tmp_path, speech):
    minute = np.resize(speech, 8000 * 60)
    for n_minutes in (1, 10):
        with soundfile.SoundFile(tmp_path / f"{n_minutes}.wav", "w", 8000, 1) as sound:
            for _ in range(n_minutes):
                sound.write(minute)
    n_windows, growth = run_python(
        "import ser_utils\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        f"ser_utils.predict({str(tmp_path / '1.wav')!r}); before = peak()\n"
        f"print(len(ser_utils.predict({str(tmp_path / '10.wav')!r})['windows']), (peak() - before) / 1024)")
    assert int(n_windows) == 299
    assert float(growth) < 15  # MB; the samples alone would be 38 as float32 at 16 kHz


def test_predict_imports_no_heavy_package():
    assert run_python(f"import sys, ser_utils; ser_utils.predict({str(SAMPLE)!r})\n"
                      f"print(*{HEAVY} & set(sys.modules))") == []


def test_enroll_speaker_changes_the_prediction(samples, speech):
    takes = [(audio.load(path), 16000) for path in sorted(samples.glob("Actor_01/*.flac"))[:2]]
    stats = enroll_speaker([*takes, (np.zeros(16000), 16000)])
    np.testing.assert_array_equal(stats, enroll_speaker(takes))
    frames = np.concatenate([load_models()["emotion"].run(audio.trim(y))["mfcc"] for y, _ in takes])
    np.testing.assert_allclose(stats, [frames.mean(axis=0), frames.std(axis=0)], atol=2e-3)
    adapted, plain = ser_utils.predict(speech, 16000, stats), ser_utils.predict(speech, 16000)
    assert max_difference(adapted, plain) > 0.01
    assert adapted["ood_score"] == plain["ood_score"]


def test_predict_with_the_reference_statistics_equals_predict_without(speech):
    reference = np.array(load_models()["emotion"].metadata["neutral_mean_std"])
    assert max_difference(ser_utils.predict(speech, 16000, reference), ser_utils.predict(speech, 16000)) < 1e-5


@pytest.mark.parametrize("takes", [[], [(np.zeros(16000), 16000)]])
def test_enroll_speaker_rejects_takes_without_speech(takes):
    with pytest.raises(ValueError, match="no speech"):
        enroll_speaker(takes)


def test_predict_rejects_malformed_speaker_stats(speech):
    with pytest.raises(ValueError, match=r"shape \(2, 40\)"):
        ser_utils.predict(speech, 16000, np.ones((2, 40)))


@pytest.mark.parametrize("damage", ["missing file", "missing checksums", "altered"])
def test_load_models_rejects_missing_and_altered_files(tmp_path, monkeypatch, damage):
    folder = tmp_path / "models"
    shutil.copytree(ROOT / "models", folder)
    if damage == "altered":
        (folder / "gender.onnx").write_bytes((folder / "gender.onnx").read_bytes() + b"0")
    else:
        (folder / ("gender.onnx" if damage == "missing file" else "SHA256SUMS")).unlink()
    monkeypatch.setattr(predictor, "MODELS_FOLDER", folder)
    load_models.cache_clear()
    try:
        with pytest.raises(IntegrityError, match=rf"{tmp_path}.*restore it with") as caught:
            ser_utils.predict(SAMPLE)
        assert "\n" not in str(caught.value)
    finally:
        load_models.cache_clear()


@pytest.mark.parametrize("condition", distortions.CONDITIONS)
def test_distortions_keep_length_and_type(speech, condition):
    y = distortions.CONDITIONS[condition](speech, 16000, 3)
    assert (y.shape, y.dtype) == (speech.shape, np.float32)
    assert np.array_equal(y, speech) == (condition == "clean")
    np.testing.assert_array_equal(y, distortions.CONDITIONS[condition](speech, 16000, 3))


@pytest.mark.parametrize("model", ["cnn", "cnn_robust"])
def test_robustness_predictions_without_distortion_equal_the_published_ones(model):
    robustness = load_predictions("robustness").query("model == @model and condition == 'not normalized'")
    published = load_predictions("ravdess").query(
        "model == @model and split == 'speaker-independent' and seed == 0").set_index("clip")
    columns = [f"p_{name}" for name in EMOTIONS]
    np.testing.assert_allclose(robustness[columns], published.loc[robustness["clip"], columns], atol=2e-3)


def test_robustness_of_the_deployed_model():
    rows = load_predictions("robustness").query("model == 'cnn_robust' and split == 'speaker-independent'")
    uar = {name: 100 * recall_per_class(confusion_matrix(part)).mean() for name, part in rows.groupby("condition")}
    assert set(uar) == set(distortions.CONDITIONS)
    assert uar["-12 dB"] == pytest.approx(uar["clean"], abs=0.5)
    assert uar["+12 dB"] == pytest.approx(uar["clean"], abs=1)
    assert uar["noise, 20 dB SNR"] > uar["clean"] - 4
    assert uar["telephone"] > uar["clean"] - 8
