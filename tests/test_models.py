"""Networks, SequenceClassifier and the model registry."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from ser_utils.models import (
    DEPLOYED,
    MODELS,
    N_MFCC,
    Augment,
    SequenceClassifier,
    get_model,
    pad_sequences,
    use_single_thread,
    vtlp,
)
from ser_utils.models.classifier import THREAD_VARIABLES

WIDTH = 16  # filters, and coefficients of a clip


def make_clips(n_clips=24, seed=0):
    """Clips of three classes that differ in mean level and modulation frequency."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for row in range(n_clips):
        label, n_frames = row % 3, int(rng.integers(20, 90))
        modulation = np.sin(np.arange(n_frames)[:, None] * (0.2 + 0.5 * label) + rng.random(WIDTH) * 6)
        X.append((modulation + label + 0.3 * rng.normal(size=(n_frames, WIDTH))).astype(np.float32))
        y.append(("calm", "angry", "sad")[label])
    return X, np.array(y)


def make_classifier(network="mlp", **params):
    defaults = {"network_kwargs": {"width": WIDTH}, "epochs": 2, "crop_frames": 96, "batch_size": 8}
    return SequenceClassifier(network, **{**defaults, **params})


@pytest.fixture(scope="module")
def clips():
    return make_clips()


@pytest.fixture(scope="module")
def uneven_clips(clips):
    """The same clips with half of the labels "sad"."""
    return clips[0], np.where(np.arange(len(clips[1])) < 6, "sad", clips[1])


@pytest.fixture(scope="module")
def fitted_by_network(uneven_clips):
    """One classifier per architecture, fitted with augmentation."""
    return {name: make_classifier(name, augment=Augment(0.1, 0.1, 3.0, 8, 0.2)).fit(*uneven_clips)
            for name in ("mlp", "lstm", "cnn")}


@pytest.fixture(scope="module", params=["mlp", "lstm", "cnn"])
def architecture(request, fitted_by_network):
    """Each fitted classifier in turn."""
    return fitted_by_network[request.param]


@pytest.fixture(scope="module")
def fitted(fitted_by_network):
    """One fitted classifier, where the architecture does not matter."""
    return fitted_by_network["mlp"]


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_predict_proba_is_invariant_to_padding_and_batch(architecture, lengths, seed):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n_frames, WIDTH)).astype(np.float32) for n_frames in lengths]
    proba = architecture.predict_proba(X)
    np.testing.assert_allclose(proba, np.concatenate([architecture.predict_proba([x]) for x in X]), atol=1e-5)
    order = rng.permutation(len(X))
    np.testing.assert_allclose(architecture.predict_proba([X[row] for row in order]), proba[order], atol=1e-5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_network_ignores_values_on_padding(architecture, clips):
    x, mask = architecture.prepare(clips[0][:4])
    expected = architecture.network_([x, mask]).numpy()
    corrupted = np.where(mask > 0, x, 1e3).astype(np.float32)
    np.testing.assert_allclose(architecture.network_([corrupted, mask]).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 3750])
def test_predict_proba_accepts_one_frame_and_one_minute(architecture, n_frames):
    x = np.random.default_rng(0).normal(size=(n_frames, WIDTH)).astype(np.float32)
    proba = architecture.predict_proba([x])
    assert proba.shape == (1, 3)
    assert np.isfinite(proba).all()


def test_fit_separates_classes_and_not_permuted_labels(clips):
    X, y = clips
    model = make_classifier(epochs=12, learning_rate=3e-3).fit(X, y)
    X_test, y_test = make_clips(30, seed=1)
    assert (model.predict(X_test) == y_test).mean() > 0.8
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    assert len(model.history_["loss"]) == 12
    permuted = clone(model).fit(X, np.random.default_rng(3).permutation(y))
    assert (permuted.predict(X_test) == y_test).mean() < 0.6


def test_fit_depends_on_random_state_and_not_on_validation_data(fitted, uneven_clips):
    X, y = uneven_clips
    same = clone(fitted).fit(X, y, validation_data=make_clips(9, seed=5))
    for expected, weight in zip(fitted.network_.get_weights(), same.network_.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert same.history_["loss"] == fitted.history_["loss"]
    assert len(same.history_["val_accuracy"]) == 2
    other = clone(fitted).set_params(random_state=1).fit(X, y)
    assert np.abs(other.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3


def test_standardize_uses_training_frames_only(fitted, clips):
    frames = np.concatenate(clips[0])
    fitted.predict_proba([x + 100 for x in clips[0]])
    np.testing.assert_allclose(fitted.mean_, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fitted.scale_, frames.std(axis=0), rtol=1e-5)
    x, mask = fitted.prepare(clips[0])
    np.testing.assert_allclose(x[mask[..., 0] > 0].std(axis=0), 1, atol=1e-4)


def with_params(fitted, **params):
    """The same trained network with other parameters of prediction."""
    return pickle.loads(pickle.dumps(fitted)).set_params(**params)


def test_prior_correction_divides_by_class_frequencies(fitted, clips):
    expected = with_params(fitted, prior_correction=False).predict_proba(clips[0]) / fitted.class_prior_
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(clips[0]), expected, rtol=1e-4)
    assert fitted.class_prior_.tolist() == [6 / 24, 6 / 24, 12 / 24]


def test_tta_warps_average_probabilities(fitted, clips):
    X = clips[0]
    averaged = with_params(fitted, prior_correction=False, tta_warps=(0.0, 0.1)).predict_proba(X)
    plain = with_params(fitted, prior_correction=False)
    warped = plain.predict_proba([vtlp(x, 0.1) for x in X])
    assert np.abs(warped - plain.predict_proba(X)).max() > 1e-4
    np.testing.assert_allclose(averaged, (plain.predict_proba(X) + warped) / 2, atol=1e-6)


def test_normalize_level_makes_predictions_invariant_to_gain(fitted, clips):
    X, gain = clips[0], np.eye(1, WIDTH, dtype=np.float32)
    model = with_params(fitted, normalize_level=True)
    louder = model.predict_proba([x + 5 * gain for x in X])
    np.testing.assert_allclose(louder, model.predict_proba(X), atol=1e-4)
    assert np.abs(fitted.predict_proba([x + 5 * gain for x in X]) - fitted.predict_proba(X)).max() > 1e-3


def test_pickle_of_unfitted_classifier_keeps_params():
    model = make_classifier("lstm")
    assert repr(pickle.loads(pickle.dumps(model))) == repr(model)


def test_saved_network_loads_in_safe_mode(fitted, clips, tmp_path):
    from ser_utils.models.networks import keras

    fitted.network_.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    inputs = fitted.prepare(clips[0])
    np.testing.assert_allclose(loaded(inputs).numpy(), fitted.network_(inputs).numpy(), atol=1e-6)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])  # 2: in loky processes
def test_cross_val_predict_in_pipeline(clips, n_jobs):
    pipeline = make_pipeline("passthrough", make_classifier(epochs=1, progress=True))
    proba = cross_val_predict(pipeline, *clips, cv=2, method="predict_proba", n_jobs=n_jobs)
    assert proba.shape == (24, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_network_accepts_function(clips):
    def build(n_mfcc, n_classes, units):
        from ser_utils.models.networks import keras, layers

        inputs = keras.Input((None, n_mfcc)), keras.Input((None, 1))
        return keras.Model(inputs, layers.Dense(n_classes, "softmax")(layers.GlobalMaxPooling1D()(inputs[0])))

    model = SequenceClassifier(build, {"units": 4}, epochs=1).fit(*clips)
    assert model.predict_proba(clips[0]).shape == (24, 3)


@pytest.mark.parametrize(("corrupt", "message"), [
    (lambda X, y: ([], y), "X is empty"),
    (lambda X, y: (X[:-1], y), "23 clips and y has 24"),
    (lambda X, y: ([X[0][:, :3], *X[1:]], y), r"X\[1\] has shape .*not \(n_frames, 3\)"),
    (lambda X, y: ([X[0][:0], *X[1:]], y), r"X\[0\].*at least one frame"),
    (lambda X, y: ([X[0] * np.nan, *X[1:]], y), r"X\[0\] contains NaN"),
])
def test_fit_rejects_invalid_input(corrupt, message, clips):
    with pytest.raises(ValueError, match=message):
        make_classifier().fit(*corrupt(*clips))


@pytest.mark.parametrize(("name", "value"), [("network", "transformer"), ("optimizer", "sgd")])
def test_fit_rejects_unknown_parameter_values(name, value, clips):
    with pytest.raises(ValueError, match=f"{name}='{value}' is unknown; choose one of"):
        make_classifier().set_params(**{name: value}).fit(*clips)


def test_fit_rejects_unseen_validation_labels(clips):
    with pytest.raises(ValueError, match=r"validation labels \['happy'\]"):
        make_classifier().fit(*clips, validation_data=(clips[0][:1], ["happy"]))


def test_original_cnn_layers_and_fixed_length():
    X = [np.random.default_rng(row).normal(size=(216, 1)).astype(np.float32) for row in range(20)]
    model = get_model("original_cnn").build(0).set_params(epochs=1).fit(X, np.arange(20) % 10)
    layers = [layer for layer in model.network_.layers if layer.name.startswith(("conv", "max", "drop", "dense"))]
    sizes = [getattr(layer, "filters", None) or getattr(layer, "rate", None) or getattr(layer, "units", None)
             or layer.pool_size for layer in layers]
    assert sizes == [128, 128, 0.1, (8,), 128, 128, 128, 0.2, 128, 10]
    convolutions = [layer for layer in layers if hasattr(layer, "kernel_size")]
    assert all(layer.kernel_size == (5,) and layer.activation.__name__ == "relu" for layer in convolutions)
    assert model.predict_proba([X[0][:200]]).shape == (1, 10)


def test_attentive_pooling_matches_numpy():
    from ser_utils.models.networks import EPSILON, AttentiveStatisticsPooling

    x, mask = pad_sequences([np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)])
    pooling = AttentiveStatisticsPooling(units=4)
    statistics = pooling(x, mask).numpy()[0]
    hidden, hidden_bias, score, score_bias = (weight.numpy() for weight in pooling.weights)
    x = x[0, :20]
    weights = np.exp(np.tanh(x @ hidden + hidden_bias) @ score + score_bias)
    weights /= weights.sum()
    mean = (weights * x).sum(axis=0)
    sd = np.sqrt((weights * (x - mean) ** 2).sum(axis=0) + EPSILON)
    np.testing.assert_allclose(statistics, np.concatenate([mean, sd]), atol=1e-5)


def test_registry_settings_are_one_line_and_stable():
    for name, spec in MODELS.items():
        assert spec.name == name
        assert "\n" not in spec.settings
        assert " at 0x" not in spec.settings
        assert repr(spec.build(0)) == repr(clone(spec.build(0)))
    assert set(DEPLOYED.values()) <= set(MODELS)
    assert MODELS["cnn"].build(7).random_state == 7
    assert f"n_mfcc={N_MFCC}" in MODELS["cnn"].settings


@pytest.mark.parametrize("name", ["nonsense", "nowhere:Model", "numpy:nothing", "sklearn.svm:LinearSVC",
                                  "sklearn.ensemble:VotingClassifier"])
def test_get_model_rejects_unusable_names(name):
    with pytest.raises(ValueError, match=name):
        get_model(name)


def test_get_model_wraps_estimators_of_two_dimensional_input():
    spec = get_model("sklearn.linear_model:LogisticRegression")
    X = [np.random.default_rng(seed).normal(seed % 2, 1, (40, 64)) for seed in range(8)]
    assert spec.build(0).fit(X, np.arange(8) % 2).predict(X).tolist() == [0, 1] * 4
    assert spec.source.endswith("linear_model/__init__.py")
    assert isinstance(get_model("ser_utils.models:SequenceClassifier").build(0), SequenceClassifier)


FRESH_PROCESS = """
import os, pickle, sys
before = dict(os.environ)
import ser_utils.models
assert "tensorflow" not in sys.modules
assert os.environ == before
with open(sys.argv[1], "rb") as file:
    fitted, X = pickle.load(file)
with open(sys.argv[1], "wb") as file:
    pickle.dump((fitted.predict_proba(X), set(os.environ) - set(before)), file)
"""


def test_pickle_loads_in_fresh_process_without_side_effects(fitted, clips, tmp_path):
    path = tmp_path / "fitted.pickle"
    path.write_bytes(pickle.dumps((fitted, clips[0])))
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("KERAS_", "TF_", "OMP_", "CUDA_"))}
    process = subprocess.run([sys.executable, "-c", FRESH_PROCESS, path], capture_output=True, text=True,
                             env=environment, check=True)
    proba, variables = pickle.loads(path.read_bytes())
    np.testing.assert_allclose(proba, fitted.predict_proba(clips[0]), atol=1e-6)
    assert {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"} <= variables
    assert not variables & {"CUDA_VISIBLE_DEVICES", *THREAD_VARIABLES}
    assert process.stderr == ""


def test_use_single_thread_sets_variables_and_warns_after_tensorflow_import(monkeypatch):
    import ser_utils.models.networks  # noqa: F401

    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    with pytest.warns(RuntimeWarning, match="TensorFlow is already imported"):
        use_single_thread()
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}
