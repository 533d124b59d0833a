"""From a recording to an answer without TensorFlow: equal to Keras, on any file, no guess where nobody speaks."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

import ser_utils
from ser_utils import audio, augment, corpora, distort, features, live, models, publish, runtime
from ser_utils.corpora import EMOTIONS
from ser_utils.sequence import SequenceClassifier

sys.path.insert(0, str(corpora.ROOT / "tools"))
import model_card
import train_live
import update_readme

COFFEE = corpora.ROOT / "data" / "this_coffee_sucks.flac"
HEAVY = ("tensorflow", "keras", "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib")


def run(*arguments, **options):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(corpora.ROOT)}, **options)


@pytest.fixture(scope="module")
def voice():
    return audio.load(COFFEE)


@pytest.mark.parametrize(("level", "views"), [(True, (0.0,)), (False, models.VIEWS)])
def test_numpy_says_what_keras_says(tmp_path, level, views):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(int(frames), 64)).astype(np.float32) * 20 for frames in (1, 2, 7, 31, 32, 33, 90, 150, 3000)]
    y = np.array(["a", "b", "c"] * 3)
    model = SequenceClassifier("cnn", {"width": 24}, n_mfcc=40, crop=64, epochs=2, batch_size=4, level=level,
                               views=views)
    train_live.export(model.fit(X, y), tmp_path / "network.npz")
    network = runtime.Network(tmp_path / "network.npz")
    assert network.classes == ["a", "b", "c"]
    np.testing.assert_allclose([network.predict_proba(x) for x in X], model.predict_proba(X), atol=1e-5)
    with pytest.raises(ValueError, match="'lstm' has no NumPy twin"):
        train_live.export(SequenceClassifier("lstm"), tmp_path / "other.npz")


def test_the_shipped_networks_are_the_live_recipes():
    networks = live.networks()
    assert sorted(networks["emotion"].classes) == sorted(EMOTIONS)
    assert networks["gender"].classes == ["female", "male"]
    assert sum((live.MODELS / f"live_{name}.npz").stat().st_size for name in networks) < 10e6
    for name, recipe in live.RECIPES.items():
        recipe, arrays = models.find(recipe).estimator(0), networks[name].arrays
        assert tuple(arrays["views"]) == recipe.views
        assert bool(arrays["level"]) == recipe.level
        assert arrays["kernel_0"].shape[1:] == (recipe.n_mfcc, recipe.options.get("width", 256))


def test_an_answer_holds_what_it_should(voice):
    answer = ser_utils.predict(COFFEE)
    assert list(answer) == ["file", "emotion", "gender", "code", "class", "probabilities", "warnings"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["emotion"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert corpora.TEN[answer["code"]] == answer["class"]
    assert answer["class"].startswith(answer["gender"])
    same = ser_utils.predict(voice, 16000)
    assert {**answer, "file": None} == {**same, "file": None}


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("gender", ["female", "male"])
def test_the_code_is_that_of_the_likeliest_emotion_that_has_one(emotion, gender):
    order = live.networks()["emotion"].classes
    p = np.full(8, 0.05)
    p[order.index(emotion)], p[order.index("happy")] = 0.6, max(0.1, p[order.index("happy")])
    answer = live.decoded(p, [gender == "female", gender == "male"])
    assert answer["emotion"] == emotion
    expected = emotion if emotion in live.CODED else "happy"
    assert answer["class"] == f"{gender}_{expected}"
    assert answer["code"] == corpora.TEN.index(f"{gender}_{expected}")


@pytest.mark.parametrize(("suffix", "sr", "channels", "apart"), [
    ("wav", 16000, 1, 1e-4), ("wav", 96000, 2, 0.05), ("flac", 44100, 6, 0.05), ("ogg", 48000, 2, 0.25),
    ("mp3", 44100, 1, 0.25), ("wav", 8000, 1, None)])
def test_any_format_rate_and_channels(tmp_path, voice, suffix, sr, channels, apart):
    path = tmp_path / f"voice.{suffix}"
    soundfile.write(path, np.repeat(audio.resampled(voice, 16000, sr)[:, None], channels, axis=1), sr)
    answer, plain = ser_utils.predict(path), ser_utils.predict(voice, 16000)
    assert answer["gender"] == plain["gender"]
    if apart:  # at 8 kHz half of the sound is gone: another clip
        assert answer["emotion"] == plain["emotion"]
        assert max(abs(answer["probabilities"][name] - plain["probabilities"][name]) for name in EMOTIONS) < apart


def test_samples_of_any_kind(voice):
    plain = ser_utils.predict(voice, 16000)["probabilities"]
    kinds = (np.stack([voice, voice], axis=1), (voice * 32767).astype(np.int16), (voice * 2147483647).astype(np.int32),
             voice.astype(np.float64), voice + 0.01, (voice * 1e20).tolist())
    for samples in (*kinds, 0.02 * voice, 2.0 * voice):  # louder or softer by up to 34 dB is the same to it
        found = ser_utils.predict(samples, 16000)["probabilities"]
        assert max(abs(found[name] - plain[name]) for name in plain) < 0.02
    assert ser_utils.predict(np.full(9000, 128, np.uint8), 16000)["emotion"] is None


@pytest.mark.parametrize(("samples", "sr", "message"), [
    (np.zeros(100), None, "give the samples' rate"), (np.zeros(100), "16000", "give the samples' rate"),
    (np.zeros(100), np.inf, "give the samples' rate"), (np.zeros((2, 3, 4)), 16000, "give numbers"),
    (np.zeros((2, 9000)), 16000, "give numbers"), (np.zeros(0), 16000, "give numbers"), (None, 16000, "give numbers"),
    (np.zeros(9000, complex), 16000, "give numbers"), (np.full(9000, np.nan), 16000, "NaN")])
def test_bad_samples_get_a_sentence(samples, sr, message):
    with pytest.raises(ValueError, match=message):
        ser_utils.predict(samples, sr)


def test_it_says_so_where_nobody_speaks(tmp_path, voice):
    rng = np.random.default_rng(0)

    def warned(samples, word):
        soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
        of_file, of_samples = ser_utils.predict(tmp_path / "a.wav"), ser_utils.predict(samples, 16000)
        assert of_file["warnings"] == of_samples["warnings"]
        assert any(warning.startswith(word) for warning in of_file["warnings"]), of_file["warnings"]
        return of_file["emotion"]

    for seconds in (1, 9):
        assert warned(np.zeros(seconds * 16000), "silent") is None
    assert warned(np.full(16000, 0.01), "silent") is None  # a constant is no sound
    assert warned(voice[8000:11000], "too short") is None
    assert warned(np.clip(40 * voice, -1, 1), "clipped")
    assert warned(np.stack([np.clip(40 * voice, -1, 1), 0 * voice], axis=1), "clipped")
    for strange in (rng.normal(0, 0.1, 32000), np.sin(np.arange(32000) / 5)):
        assert warned(strange, "unlike")
    hardly = ser_utils.predict(voice * 0.9 / np.abs(voice).max(), 16000)
    assert not any(warning.startswith("clipped") for warning in hardly["warnings"])


def test_pauses_say_nothing(voice):
    hiss = np.random.default_rng(0).normal(0, 10 ** (-65 / 20), 20 * 16000).astype(np.float32)
    alone, among = ser_utils.predict(voice, 16000), ser_utils.predict(np.concatenate([voice, hiss]), 16000)
    assert among["emotion"] == alone["emotion"]
    assert max(one["start"] for one in among["windows"]) <= len(voice) / 16000
    word = ser_utils.predict(np.concatenate([0 * hiss[:64000], voice[8000:14000], 0 * hiss[:96000]]), 16000)
    assert any(warning.startswith("short") for warning in word["warnings"])


def test_a_file_that_lies_about_its_length_is_refused(tmp_path, voice):
    soundfile.write(tmp_path / "long.mp3", np.tile(voice, 15), 16000)
    cut = (tmp_path / "long.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(cut[:len(cut) // 2])
    soundfile.write(tmp_path / "long.wav", np.tile(voice, 15), 16000)
    cut = (tmp_path / "long.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(cut[:len(cut) // 2])
    for name in ("cut.mp3", "cut.wav"):
        with pytest.raises(audio.AudioError, match="truncated"):
            ser_utils.predict(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(0, 3000), length=st.integers(2, 300), share=st.integers(1, 4))
def test_stretches_cover_every_sample_once_and_the_overlap_twice(samples, length, share):
    y, hop = np.arange(samples, dtype=np.float32)[:, None], max(1, length // share)
    left = [y]

    def read(count):
        part, left[0] = left[0][:count], left[0][count:]
        return part

    made = list(audio.stretches(read, 10, length / 10, hop / 10))
    if samples <= 2 * length:
        assert len(made) == 1
    for start, block in made:
        np.testing.assert_array_equal(block, y[round(10 * start):round(10 * start) + len(block)])
        assert len(block) <= (2 if len(made) == 1 else 1) * length
    covered = np.concatenate([block[:, 0] for _, block in made])
    np.testing.assert_array_equal(np.unique(covered), y[:, 0])


def test_getting_used_to_a_speaker(voice):
    own = live.accustomed([(voice, 16000), (np.zeros(16000), 16000)])
    assert own.shape == (2, 64)
    np.testing.assert_array_equal(own, live.accustomed([(voice, 16000)]))
    answer = ser_utils.predict(voice, 16000, own)
    assert answer["probabilities"] != ser_utils.predict(voice, 16000)["probabilities"]
    for nothing in ([], [(np.zeros(16000), 16000)]):
        with pytest.raises(ValueError, match="record a neutral sentence"):
            live.accustomed(nothing)


def test_a_long_recording_is_heard_in_windows(tmp_path, voice):
    pause = np.zeros(32000, np.float32)
    long = np.concatenate([np.concatenate([voice, pause])] * 6)
    path = tmp_path / "long.wav"
    soundfile.write(path, long, 16000)
    answer, of_samples = ser_utils.predict(path), ser_utils.predict(long, 16000)
    assert answer["windows"] == of_samples["windows"]
    starts = [one["start"] for one in answer["windows"]]
    assert starts == sorted(set(starts))
    assert starts[-1] <= len(long) / 16000
    assert all(0 < one["probability"] <= 1 for one in answer["windows"])
    assert len(answer["windows"]) >= 6


def test_a_long_file_in_bounded_memory(tmp_path, voice):
    path, minute = tmp_path / "long.wav", np.resize(voice, 8000 * 60)
    with soundfile.SoundFile(path, "w", 8000, 1) as sound:
        for _ in range(15):
            sound.write(minute)
    code = ("import ser_utils\n"
            "top = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
            f"ser_utils.predict({str(COFFEE)!r}); before = top()\n"
            f"print(len(ser_utils.predict({str(path)!r})['windows']), (top() - before) / 1024)")
    count, grown = run("-c", code).stdout.split()
    assert int(count) == 449
    assert float(grown) < 20  # MB; as float32 at 16 kHz the file is 58


def test_predicting_imports_nothing_heavy():
    code = f"import sys, ser_utils; ser_utils.predict({str(COFFEE)!r}); print([m for m in {HEAVY} if m in sys.modules])"
    assert run("-c", code).stdout.strip() == "[]"
    code = (f"import sys; from ser_utils import cli; cli.main(['predict', {str(COFFEE)!r}]);"
            f"print([m for m in {HEAVY} if m in sys.modules])")
    assert run("-c", code).stdout.strip().splitlines()[-1] == "[]"


def test_the_command_answers_skips_what_is_bad_and_speaks_json(tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF nonsense")
    odd = ("x" * 300 + ".wav", tmp_path / "a.raw", tmp_path / "nowhere.wav")
    (tmp_path / "a.raw").write_bytes(b"12345678")
    done = run("-m", "ser_utils", "predict", COFFEE, bad, tmp_path, *odd, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split() == ["file", "emotion", "p", "gender", "code", "class"]
    assert str(COFFEE) in done.stdout
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["left out"] * 5
    done = run("-m", "ser_utils", "predict", COFFEE, COFFEE, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [ser_utils.predict(COFFEE)] * 2
    assert run("-m", "ser_utils", "predict", bad, "--json", cwd=tmp_path).stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"a.raw", "bad.wav"}  # nothing is written


def test_a_microphone_leaves_features_that_are_still_speech(voice):
    rng = np.random.default_rng(0)
    clip = features.mfcc(audio.trim(voice))
    for _ in range(30):
        heard = augment.through_microphone(clip, rng)
        assert heard.dtype == np.float32
        assert heard.shape[1] == 64
        assert 0.5 * len(clip) <= len(heard) <= len(clip) + 120
        mel = features.log_mel(heard)
        assert mel.max() - mel.min() <= features.Settings().top_db + 0.01
    levelled = augment.levelled(clip)
    np.testing.assert_allclose(augment.levelled(clip + 7 * np.eye(1, 64)), levelled, atol=1e-4)
    assert levelled[:, 0].max() == pytest.approx(0, abs=1e-4)


def test_what_was_measured_is_what_was_published():
    measured, published = publish.load(publish.PUBLISHED / "live"), publish.load()
    for model in ("cnn", "cnn_live"):
        plain = measured.query("model == @model and protocol == 'not used to the speaker'").set_index("clip")
        same = published[(published[publish.KEYS] == [model, "speaker-independent", "emotion"]).all(axis=1)]
        same = same[same["seed"] == 0].set_index("clip").loc[plain.index]
        columns = [f"p_{name}" for name in EMOTIONS]
        np.testing.assert_allclose(plain[columns], same[columns], atol=2e-3)
    conditions = measured[measured["protocol"].isin(list(distort.CONDITIONS))]
    assert (conditions.groupby(["model", "protocol"])["clip"].nunique() == 1440).all()
    assert (conditions.groupby("clip")["fold"].nunique() == 1).all()


def test_a_microphone_costs_little():
    measured = publish.load(publish.PUBLISHED / "live").query("model == 'cnn_live'")
    columns = [f"p_{name}" for name in EMOTIONS]
    found = {name: 100 * recall_score(rows["emotion"], np.array(EMOTIONS)[rows[columns].to_numpy().argmax(axis=1)],
                                      average="macro") for name, rows in measured.groupby("protocol")
             if name in distort.CONDITIONS}
    assert found["clean"] == pytest.approx(found["12 dB softer"], abs=0.5)
    assert found["clean"] == pytest.approx(found["12 dB louder"], abs=1)  # in part clipped
    assert found["noise at 20 dB"] > found["clean"] - 4
    assert found["telephone"] > found["clean"] - 8
    card = model_card.CARD.read_text(encoding="utf-8")
    assert re.search(rf"\| telephone \| .*\| {found['telephone']:.1f} \|", card)
    assert update_readme.filled(card, model_card.parts()) == card


def test_calibration_against_its_definition():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 4000)
    right = (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)  # calibrated by construction
    assert train_live.calibration_error(p, right) < 0.03
    sharp = train_live.cooled(p, 0.5)
    assert train_live.calibration_error(sharp, right) > 0.1
    assert train_live.fitted_temperature(sharp, right) == pytest.approx(2, abs=0.1)
    assert train_live.calibration_error(np.eye(4)[right], (right + 1) % 4) == pytest.approx(1)
