"""Networks, SequenceClassifier and the model registry."""

import os
import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from ser_utils.models import Augment, SequenceClassifier, get_model, pad_sequences, use_single_thread, vtlp
from ser_utils.models.classifier import THREAD_VARIABLES, WARMUP_EPOCHS
from ser_utils.models.registry import ABLATIONS, MODELS, TTA_WARPS

WIDTH = 16  # filters or units, and coefficients of a clip
NETWORK_PARAMS = {"mlp": {"units": WIDTH}, "lstm": {"units": 8}, "cnn": {"width": WIDTH}, "tdnn": {"width": WIDTH},
                  "crnn": {"width": WIDTH, "lstm_units": 8}, "cnn_attention": {"width": WIDTH}}
ARCHITECTURES = {name: (name, params) for name, params in NETWORK_PARAMS.items()} | {
    "lstm, last output": ("lstm", {"units": 8, "pooling": "last"}),
    "forward lstm": ("lstm", {"units": 8, "bidirectional": False}),
    "crnn of an ablation": ("crnn", {"width": WIDTH, "lstm_units": 8, "residual": False, "pooling": "average"})}


def make_clips(n_clips=24, seed=0):
    """Clips of three classes that differ in mean and modulation frequency; half of them are "sad"."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for row in range(n_clips):
        label, n_frames = (0, 1, 2, 2)[row % 4], int(rng.integers(20, 90))
        modulation = np.sin(np.arange(n_frames)[:, None] * (0.2 + 0.5 * label) + rng.random(WIDTH) * 6)
        X.append((modulation + label + 0.3 * rng.normal(size=(n_frames, WIDTH))).astype(np.float32))
        y.append(("calm", "angry", "sad")[label])
    return X, np.array(y)


def make_classifier(network="mlp", **params):
    """A small classifier; with epochs=0, `fit` builds the network without tracing a training step."""
    defaults = {"network_kwargs": {"units": WIDTH, "dropout": 0}, "epochs": 0, "crop_frames": 96, "batch_size": 8}
    return SequenceClassifier(network, **{**defaults, **params})


@pytest.fixture(scope="module")
def clips():
    return make_clips()


@pytest.fixture(scope="module")
def trained_tdnn(clips):
    """A trained TDNN."""
    return make_classifier("tdnn", epochs=12, learning_rate=3e-3, network_kwargs={"width": WIDTH},
                           augment=Augment(0.1, 0.1, 3.0, 8, 0.2)).fit(*clips)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request, clips):
    """Each architecture with random weights, batch normalization included."""
    network, params = ARCHITECTURES[request.param]
    model = make_classifier(network, network_kwargs={**params, "dropout": 0}).fit(*clips)
    rng = np.random.default_rng(0)
    model.network_.set_weights([w + rng.uniform(0, 0.3, w.shape) for w in model.network_.get_weights()])
    return model


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=2, max_size=8), seed=st.integers(0, 99))
@example(lengths=[1, 3750], seed=0)  # one minute
def test_predict_proba_is_invariant_to_padding_and_batch(architecture, lengths, seed):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n_frames, WIDTH)).astype(np.float32) for n_frames in lengths]
    proba = architecture.predict_proba(X)
    np.testing.assert_allclose(proba, np.concatenate([architecture.predict_proba([x]) for x in X]), atol=1e-5)
    order = rng.permutation(len(X))
    np.testing.assert_allclose(architecture.predict_proba([X[row] for row in order]), proba[order], atol=1e-5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])  # True: batch statistics
def test_network_ignores_values_on_padding(architecture, clips, training):
    x, mask = architecture.prepare(clips[0][:4])
    expected = architecture.network_([x, mask], training=training).numpy()
    corrupted = np.where(mask > 0, x, 1e3).astype(np.float32)
    np.testing.assert_allclose(architecture.network_([corrupted, mask], training=training).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_output_of_lstm_ignores_padding(bidirectional):
    from ser_utils.models.networks import lstm

    network = lstm(WIDTH, 3, units=8, bidirectional=bidirectional, pooling="last")
    X = [np.random.default_rng(0).normal(size=(n_frames, WIDTH)).astype(np.float32) for n_frames in (1, 9, 30)]
    unpadded = [network([x[None], np.ones((1, len(x), 1), np.float32)])[0] for x in X]
    np.testing.assert_allclose(network(pad_sequences(X, 64)), unpadded, atol=1e-6)


def test_fit_separates_classes(trained_tdnn):
    X_test, y_test = make_clips(32, seed=1)
    assert (trained_tdnn.predict(X_test) == y_test).mean() > 0.8
    assert trained_tdnn.history_["loss"][-1] < trained_tdnn.history_["loss"][0]


def test_fit_depends_on_random_state_and_not_on_validation_data(trained_tdnn, clips):
    same = clone(trained_tdnn).fit(*clips, validation_data=make_clips(9, seed=5))
    for expected, weight in zip(trained_tdnn.network_.get_weights(), same.network_.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert same.history_["loss"] == trained_tdnn.history_["loss"]
    assert len(same.history_["val_accuracy"]) == 12
    other = clone(trained_tdnn).set_params(random_state=1).fit(*clips)
    assert np.abs(other.predict_proba(clips[0]) - trained_tdnn.predict_proba(clips[0])).max() > 1e-3


def test_standardize_uses_training_frames_only(trained_tdnn, clips):
    frames = np.concatenate(clips[0])
    trained_tdnn.predict_proba([x + 100 for x in clips[0]])
    np.testing.assert_allclose(trained_tdnn.mean_, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(trained_tdnn.scale_, frames.std(axis=0), rtol=1e-5)
    x, mask = trained_tdnn.prepare(clips[0])
    np.testing.assert_allclose(x[mask[..., 0] > 0].std(axis=0), 1, atol=1e-4)


def with_params(classifier, **params):
    """A copy of a trained classifier with other parameters for prediction."""
    return pickle.loads(pickle.dumps(classifier)).set_params(**params)


def test_prior_correction_divides_by_class_frequencies(trained_tdnn, clips):
    expected = with_params(trained_tdnn, prior_correction=False).predict_proba(clips[0]) / [0.25, 0.25, 0.5]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(trained_tdnn.predict_proba(clips[0]), expected, rtol=1e-4)


def test_tta_warps_average_probabilities(trained_tdnn, clips):
    X, plain = clips[0], with_params(trained_tdnn, prior_correction=False)
    p_average = with_params(plain, tta_warps=(0.0, 0.1)).predict_proba(X)
    p_warped = plain.predict_proba([vtlp(x, 0.1) for x in X])
    assert np.abs(p_warped - plain.predict_proba(X)).max() > 1e-4
    np.testing.assert_allclose(p_average, (plain.predict_proba(X) + p_warped) / 2, atol=1e-6)


@pytest.mark.parametrize("normalize_level", [False, True])
def test_normalize_level_makes_predictions_invariant_to_gain(trained_tdnn, clips, normalize_level):
    model, gain = with_params(trained_tdnn, normalize_level=normalize_level), 5 * np.eye(1, WIDTH, dtype=np.float32)
    difference = np.abs(model.predict_proba([x + gain for x in clips[0]]) - model.predict_proba(clips[0])).max()
    assert (difference < 1e-4) == normalize_level


@pytest.mark.parametrize(("cv", "n_jobs"), [
    ([(np.arange(12), np.arange(24))], 1), pytest.param(2, 2, marks=pytest.mark.slow)])  # 2: in loky processes
def test_cross_val_predict_in_pipeline(clips, cv, n_jobs):
    mlp = make_classifier("mlp", epochs=1, progress=True)
    proba = cross_val_predict(make_pipeline("passthrough", mlp), *clips, cv=cv, method="predict_proba", n_jobs=n_jobs)
    np.testing.assert_allclose(proba @ np.ones(3), np.ones(24), atol=1e-5)


def test_classifier_accepts_a_function_as_network(clips):
    from ser_utils.models.networks import mlp

    by_name, by_function = (make_classifier(network).fit(*clips).predict_proba(clips[0]) for network in ("mlp", mlp))
    np.testing.assert_array_equal(by_function, by_name)


@pytest.mark.parametrize(("change", "params", "message"), [
    (lambda X, y: ([], y), {}, "X is empty"),
    (lambda X, y: (X[:-1], y), {}, "23 clips and y has 24"),
    (lambda X, y: ([X[0][:, :3], *X[1:]], y), {}, r"X\[1\].*\(n_frames, 3\)"),
    (lambda X, y: ([X[0][:0], *X[1:]], y), {}, r"X\[0\].*at least one frame"),
    (lambda X, y: ([X[0] * np.nan, *X[1:]], y), {}, r"X\[0\].*NaN"),
    (lambda X, y: (X, y, (X[:1], ["happy"])), {}, "happy"),
    (lambda X, y: (X, y), {"network": "transformer"}, "network='transformer'"),
    (lambda X, y: (X, y), {"optimizer": "sgd"}, "optimizer='sgd'"),
])
def test_fit_rejects_invalid_input_and_parameters(clips, change, params, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(*change(*clips))


@pytest.mark.parametrize(("change", "params", "message"), [
    *((lambda X, y: (X, y), {name: value}, f"{name}={value!r} must be") for name, value in (
        ("n_mfcc", 0), ("n_mfcc", 4.0), ("crop_frames", 0), ("crop_frames", 92), ("crop_frames", None), ("epochs", -1),
        ("epochs", 1.5), ("batch_size", 0), ("learning_rate", 0), ("learning_rate", -1e-3),
        ("learning_rate", float("nan")), ("learning_rate", "fast"))),
    (lambda X, y: (X, y), {"n_mfcc": WIDTH + 1}, "n_mfcc=17 exceeds the 16"),
    (lambda X, y: (X, ["calm"] * len(X)), {}, r"1 class \(calm\)"),
    (lambda X, y: ([1.0, 2.0], ["calm", "sad"]), {}, r"X\[0\] has shape \(\)"),
    (lambda X, y: (np.ones((2, WIDTH)), ["calm", "sad"]), {}, r"X\[0\] has shape \(16,\)"),
    (lambda X, y: ([np.ones((9, 0))] * 2, ["calm", "sad"]), {}, r"X\[0\] has shape \(9, 0\)"),
])
def test_fit_checks_parameters_and_input_before_it_imports_keras(clips, monkeypatch, change, params, message):
    monkeypatch.setitem(sys.modules, "ser_utils.models.networks", None)  # an import would raise ImportError
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(*change(*clips))


@pytest.mark.parametrize("name", [*MODELS, *ABLATIONS])
def test_parameters_of_the_registry_are_in_range(name):
    model = get_model(name).build(0)
    if isinstance(model, SequenceClassifier):
        model._check_parameters()


@pytest.mark.parametrize("method", ["predict", "predict_proba", "prepare"])
def test_unfitted_classifier_raises_not_fitted_error(clips, method):
    with pytest.raises(NotFittedError):
        getattr(make_classifier(), method)(clips[0])


def test_original_cnn_has_the_original_layers_and_pads_short_clips():
    X = list(np.random.default_rng(0).normal(size=(20, 216, 1)).astype(np.float32))
    model = get_model("original_cnn").build(0).set_params(epochs=0).fit(X, np.arange(20) % 10)
    names = ("filters", "rate", "units", "pool_size")
    sizes = [getattr(layer, name) for layer in model.network_.layers for name in names if hasattr(layer, name)]
    assert sizes == [128, 128, 0.1, (8,), 128, 128, 128, 0.2, 128, 10]
    assert all(layer.kernel_size == (5,) and layer.activation.__name__ == "relu"
               for layer in model.network_.layers if hasattr(layer, "filters"))
    assert type(model.network_.optimizer).__name__ == "RMSprop"
    assert model.predict_proba([X[0][:200]]).shape == (1, 10)


@pytest.mark.parametrize(("max_steps", "n_epochs"), [(None, 6), (17, 5), (1, 1)])
def test_max_steps_limits_the_epochs(clips, max_steps, n_epochs):
    from ser_utils.models.networks import keras, layers, masked_mean

    def build_linear(n_mfcc, n_classes):
        frames, mask = keras.Input((None, n_mfcc)), keras.Input((None, 1))
        return keras.Model([frames, mask], layers.Dense(n_classes, "softmax")(masked_mean(frames, mask)))

    model = make_classifier(build_linear, network_kwargs=None, epochs=6, max_steps=max_steps).fit(*clips)
    assert len(model.history_["loss"]) == n_epochs
    assert model.network_.optimizer.iterations == 3 * n_epochs
    if n_epochs > WARMUP_EPOCHS:  # the cosine decay ends with the last epoch
        assert float(model.network_.optimizer.learning_rate) == pytest.approx(0.01 * model.learning_rate)


def test_masked_mean_and_functionals_match_numpy():
    from ser_utils.models.networks import EPSILON, functionals, masked_mean

    rng = np.random.default_rng(0)
    X = [rng.normal(3, 2, size=(n_frames, 5)).astype(np.float32) for n_frames in (1, 2, 20, 33)]
    x, mask = pad_sequences(X)
    x = np.where(mask > 0, x, 1e3).astype(np.float32)  # the result must not depend on the padding
    np.testing.assert_allclose(masked_mean(x, mask), [clip.mean(axis=0) for clip in X], rtol=1e-5)
    changes = [np.square(np.diff(clip, axis=0)).sum(axis=0) / max(1, len(clip) - 1) for clip in X]
    expected = [np.concatenate([clip.mean(axis=0), np.sqrt(clip.var(axis=0) + EPSILON), np.sqrt(change + EPSILON)])
                for clip, change in zip(X, changes, strict=True)]
    np.testing.assert_allclose(functionals(x, mask), expected, rtol=1e-4)


def test_attentive_pooling_matches_numpy():
    from ser_utils.models.networks import EPSILON, AttentiveStatisticsPooling

    x, mask = pad_sequences([np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)])
    pooling = AttentiveStatisticsPooling(units=4)
    statistics = pooling(x, mask).numpy()[0]
    hidden, hidden_bias, score, score_bias = (weight.numpy() for weight in pooling.weights)
    x = x[0, :20]
    weights = np.exp(np.tanh(x @ hidden + hidden_bias) @ score + score_bias)
    mean = np.average(x, axis=0, weights=weights[:, 0])
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights[:, 0]) + EPSILON)
    np.testing.assert_allclose(statistics, np.concatenate([mean, sd]), atol=1e-5)


@pytest.mark.parametrize(("base", "last"), [("cnn", "cnn_attention"), ("lstm", "crnn")])
def test_ablation_steps_lead_from_the_baseline_to_the_full_network(base, last):
    names = [base, *(name for name in ABLATIONS if name.startswith(f"{base}+"))]
    assert [name.rpartition("+")[0] for name in names] == ["", *names[:-1]]
    steps = [get_model(name).build(seed=3) for name in names]
    for before, after in pairwise(steps):
        assert repr(before) != repr(after)
        assert after.tta_warps == before.tta_warps == (0.0,)
    X, y = [np.ones((8, 64), np.float32)] * 2, ["calm", "sad"]
    last_step, full_network = (model.set_params(epochs=0).fit(X, y)
                               for model in (steps[-1].set_params(tta_warps=TTA_WARPS), get_model(last).build(seed=3)))
    without_network = {"network": None, "network_kwargs": None}  # compared by its layers
    assert repr(clone(last_step).set_params(**without_network)) == repr(
        clone(full_network).set_params(**without_network))
    assert last_step.network_.to_json() == full_network.network_.to_json()


@pytest.mark.parametrize("name", [name for name in ABLATIONS if not name.startswith("svm+")])
def test_ablation_networks_accept_their_arguments(name):
    X = [np.zeros((8, 64), np.float32)] * 2
    model = get_model(name).build(0).set_params(epochs=0).fit(X, ["calm", "sad"])
    assert model.predict_proba(X).shape == (2, 2)


def test_svm_calibrations_differ_in_the_method_only():
    temperature, sigmoid = (get_model(name).build(0)[-1] for name in ("svm", "svm+sigmoid"))
    assert (temperature.method, sigmoid.method) == ("temperature", "sigmoid")
    assert repr(temperature.set_params(method="sigmoid")) == repr(sigmoid)


@pytest.mark.parametrize("name", ["nowhere:Model", "numpy:nothing", "sklearn.svm:LinearSVC",
                                  "sklearn.ensemble:VotingClassifier"])
def test_get_model_rejects_unusable_names(name):
    with pytest.raises(ValueError, match=name):
        get_model(name)


FRESH_PROCESS = """
import os, pickle, sys
before = dict(os.environ)
import ser_utils.models
assert "tensorflow" not in sys.modules and os.environ == before
trained_tdnn, unfitted, X = pickle.load(open(sys.argv[1], "rb"))
content = pickle.dumps((trained_tdnn.predict_proba(X), repr(unfitted), set(os.environ) - set(before)))
open(sys.argv[1], "wb").write(content)
"""


def test_pickle_loads_in_fresh_process_without_side_effects(trained_tdnn, clips, tmp_path):
    path = tmp_path / "classifiers.pickle"
    path.write_bytes(pickle.dumps((trained_tdnn, clone(trained_tdnn), clips[0])))
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("KERAS_", "TF_", "OMP_", "CUDA_"))}
    process = subprocess.run([sys.executable, "-c", FRESH_PROCESS, path], capture_output=True, text=True,
                             env=environment, check=True)
    proba, params, variables = pickle.loads(path.read_bytes())
    np.testing.assert_allclose(proba, trained_tdnn.predict_proba(clips[0]), atol=1e-6)
    assert params == repr(trained_tdnn)
    assert {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"} <= variables
    assert not variables & {"CUDA_VISIBLE_DEVICES", *THREAD_VARIABLES}
    assert process.stderr == ""


def test_use_single_thread_sets_variables_and_warns_after_tensorflow_import(monkeypatch):
    import ser_utils.models.networks  # noqa: F401

    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    with pytest.warns(RuntimeWarning, match="TensorFlow"):
        use_single_thread()
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}
