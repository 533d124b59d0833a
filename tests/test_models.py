"""The classifiers: what may never change a prediction, and what scikit-learn asks of them."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

from ser_utils import augment, models
from ser_utils.sequence import SequenceClassifier

N_MFCC = 16


def clips(count=24, seed=0, frames=(20, 90), width=N_MFCC):
    """Sequences of three classes that differ in level and in how fast they swing."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for row in range(count):
        kind, length = row % 3, int(rng.integers(*frames))
        swing = np.sin(np.arange(length)[:, None] * (0.2 + 0.5 * kind) + rng.random(width) * 6)
        X.append((swing + kind + 0.3 * rng.normal(size=(length, width))).astype(np.float32))
        y.append(("calm", "angry", "sad")[kind])
    return X, np.array(y)


def classifier(network, **changes):
    settings = {"epochs": 3, "crop": 96, "batch_size": 8, "options": {"width": 16}}
    return SequenceClassifier(network, **{**settings, **changes})


@pytest.fixture(scope="module", params=["mlp", "lstm", "cnn"])
def fitted(request):
    return classifier(request.param).fit(*clips())


def test_it_learns_what_is_there_to_learn(fitted):
    model = clone(fitted).set_params(epochs=25, learning_rate=3e-3).fit(*clips(48))
    X, y = clips(30, seed=1)
    assert (model.predict(X) == y).mean() > 0.8
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    assert len(model.history_["loss"]) == 25


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=2, max_size=9), seed=st.integers(0, 99))
def test_padding_and_batch_mates_change_nothing(fitted, lengths, seed):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(length, N_MFCC)).astype(np.float32) for length in lengths]
    together = fitted.predict_proba(X)
    alone = np.concatenate([fitted.predict_proba([x]) for x in X])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    order = rng.permutation(len(X))
    np.testing.assert_allclose(fitted.predict_proba([X[row] for row in order]), together[order], atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_what_stands_on_padding_is_never_read(fitted):
    X, _ = clips(4)
    x, mask = augment.pad([np.asarray(v) for v in fitted._standardised(X)], 128)
    clean = np.asarray(fitted.network_([x, mask]))
    dirty = np.asarray(fitted.network_([np.where(mask > 0, x, 1e3).astype(np.float32), mask]))
    np.testing.assert_allclose(dirty, clean, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.3, 60])
def test_from_a_third_of_a_second_to_a_minute(fitted, seconds):
    x = np.random.default_rng(0).normal(size=(round(seconds / 0.016), N_MFCC)).astype(np.float32)
    proba = fitted.predict_proba([x])
    assert proba.shape == (1, 3)
    assert np.isfinite(proba).all()


def test_same_seed_same_network_other_seed_another(fitted):
    X, y = clips()
    again = clone(fitted).fit(X, y)
    for one, same in zip(fitted.network_.get_weights(), again.network_.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    np.testing.assert_allclose(again.predict_proba(X), fitted.predict_proba(X), atol=1e-6)
    other = clone(fitted).set_params(random_state=1).fit(X, y)
    assert np.abs(other.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3


def test_pickled_and_back_it_says_the_same(fitted):
    X, _ = clips()
    back = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(back.predict_proba(X), fitted.predict_proba(X), atol=1e-6)


def test_a_saved_network_opens_in_safe_mode(fitted, tmp_path):
    import keras

    fitted.network_.save(tmp_path / "network.keras")
    x, mask = augment.pad(fitted._standardised(clips()[0]))
    back = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    np.testing.assert_allclose(np.asarray(back([x, mask])), np.asarray(fitted.network_([x, mask])), atol=1e-6)


def test_probabilities_count_every_class_alike_and_are_averaged_over_views(fitted):
    X, y = clips()
    X, y = X[:18], y[:18]
    y[:4] = "sad"  # uneven shares
    shares = np.unique(y, return_counts=True)[1] / len(y)
    plain = clone(fitted).set_params(balanced=False, epochs=1).fit(X, y)
    balanced = clone(fitted).set_params(balanced=True, epochs=1).fit(X, y)
    expected = plain.predict_proba(X) / shares
    np.testing.assert_allclose(balanced.predict_proba(X), expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)
    both = plain.set_params(views=(0.0, 0.1)).predict_proba(X)
    bent = plain.set_params(views=(0.0,)).predict_proba([augment.warped(x, 0.1) for x in X])
    np.testing.assert_allclose(both, (plain.predict_proba(X) + bent) / 2, atol=1e-6)


def test_cross_validation_works_on_lists():
    X, y = clips(18)
    proba = cross_val_predict(classifier("mlp", epochs=1), X, y, cv=3, method="predict_proba")
    assert proba.shape == (18, 3)


def test_standardisation_knows_the_training_rows_alone():
    X, y = clips()
    model = classifier("mlp", epochs=1).fit(X, y)
    np.testing.assert_allclose(model.mean_, np.concatenate(X).mean(axis=0), rtol=1e-5)
    model.predict_proba([x + 100 for x in X])
    np.testing.assert_allclose(model.mean_, np.concatenate(X).mean(axis=0), rtol=1e-5)


def test_validation_is_recorded_and_changes_nothing():
    X, y = clips()
    plain = classifier("cnn").fit(X, y)
    watched = classifier("cnn").fit(X, y, validation=clips(9, seed=5))
    assert len(watched.history_["val_accuracy"]) == 3
    np.testing.assert_array_equal(plain.predict_proba(X), watched.predict_proba(X))


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda X, y: ([], y), "holds no clips"),
    (lambda X, y: (X[:-1], y), "23 clips and y has 24"),
    (lambda X, y: ([X[0][:, :3], *X[1:]], y), r"X\[1\] has shape .*expected \(frames, 3\)"),
    (lambda X, y: ([X[0][:0], *X[1:]], y), r"X\[0\].*at least one frame"),
    (lambda X, y: ([X[0] * np.nan, *X[1:]], y), r"X\[0\] holds NaN"),
])
def test_bad_input_is_named(spoil, message):
    with pytest.raises(ValueError, match=message):
        classifier("mlp").fit(*spoil(*clips()))


def test_the_original_network_is_the_originals():
    X = [np.random.default_rng(row).normal(size=(216, 1)).astype(np.float32) for row in range(20)]
    model = models.find("original_cnn").estimator(0).set_params(epochs=1).fit(X, np.arange(20) % 10)
    layers = [layer for layer in model.network_.layers if layer.name.startswith(("conv", "max", "drop", "dense"))]
    shapes = [getattr(layer, "filters", None) or getattr(layer, "rate", None) or getattr(layer, "units", None)
              or layer.pool_size for layer in layers]
    assert shapes == [128, 128, 0.1, (8,), 128, 128, 128, 0.2, 128, 10]
    convolutions = [layer for layer in layers if hasattr(layer, "kernel_size")]
    assert all(layer.kernel_size == (5,) for layer in convolutions)
    assert all(layer.activation.__name__ == "relu" for layer in convolutions)
    assert model.predict_proba(X[:3]).shape == (3, 10)


def test_seeds_reach_the_models():
    assert models.find("cnn").estimator(7).random_state == 7


@pytest.mark.parametrize("name", ["nonsense", "nowhere:Model", "numpy:nothing", "sklearn.svm:LinearSVC"])
def test_what_cannot_be_used_is_refused(name):
    with pytest.raises(ValueError, match=name):
        models.find(name)


@pytest.mark.parametrize(("name", "steps"), [
    ("sklearn.linear_model:LogisticRegression", 3), ("ser_utils.sequence:SequenceClassifier", None)])
def test_anybodys_classifier_comes_through_the_same_door(name, steps):
    estimator = models.find(name).estimator(0)
    assert (len(estimator.steps) if steps else None) == steps
    assert steps or isinstance(estimator, SequenceClassifier)


def test_augmentation_of_nothing_is_nothing():
    rng, x = np.random.default_rng(0), np.ones((30, N_MFCC), np.float32)
    assert augment.Augment().move(x, rng) is x
    assert augment.Augment().hide(x, rng) is x


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), frames=st.integers(1, 60))
def test_augmentation_keeps_what_it_should(seed, frames):
    from ser_utils import features

    rng = np.random.default_rng(seed)
    mel = rng.normal(size=(frames, 32)).astype(np.float32) * 10 - 40
    x = (mel @ features.dct_matrix(32, 32).T).astype(np.float32)
    louder = augment.Augment(gain=6).move(x, rng)
    gain = features.log_mel(louder) - mel
    np.testing.assert_allclose(gain, gain.mean(), atol=1e-3)
    assert abs(gain.mean()) <= 6.01
    moved = features.log_mel(augment.Augment(warp=0.2).move(x, rng))
    assert moved.min() >= mel.min() - 1e-3
    assert moved.max() <= mel.max() + 1e-3
    peak = (1 + np.arange(32) == 12) * np.float32(20)  # one band alone
    bent = features.log_mel(augment.warped((peak @ features.dct_matrix(32, 32).T)[None].astype(np.float32), 0.1))[0]
    centres = features.mel_centres(features.Settings(n_mels=32, n_mfcc=32))
    assert np.interp(centres[11] * np.exp(0.1), centres, np.arange(32)) == pytest.approx(
        np.average(np.arange(32), weights=np.maximum(bent, 1e-9)), abs=0.1)
    slower = augment.Augment(tempo=0.2).move(x, rng)
    assert abs(np.log(max(len(slower), 2) / max(frames, 2))) <= 0.2 + 1 / frames
    hidden = augment.Augment(mask=10).hide(x, rng)
    assert ((hidden == x) | (hidden == 0)).all()
