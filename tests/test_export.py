"""The ONNX graph from waveform to probabilities against Keras, features and NumPy."""

import json
from functools import partial
from types import SimpleNamespace

import export_onnx
import numpy as np
import onnx
import pytest
import train_deployed_models

from ser_utils import audio
from ser_utils.evaluation.metrics import apply_temperature
from ser_utils.evaluation.results import load_predictions
from ser_utils.features.spectral import FeatureConfig, match_mean_std, mean_std, mfcc, mfcc_dynamics
from ser_utils.live import MODELS_FOLDER, DeployedModel, load_models
from ser_utils.models import DEPLOYED, SequenceClassifier, get_model

TEMPERATURE = 0.8
Tiny = partial(SequenceClassifier, "cnn", {"width": 8}, n_mfcc=40, crop_frames=64, epochs=1, batch_size=4)


@pytest.fixture(scope="module")
def clips(samples):
    """Eight clips of two speakers, trimmed."""
    return [audio.trim(audio.load(path)) for path in sorted(samples.glob("*/*.flac"))[::4]]


@pytest.fixture(scope="module")
def classifier(clips):
    """A tiny CNN after one epoch, with classes of unequal frequency."""
    return Tiny(normalize_level=True, tta_warps=(-0.1, 0.0, 0.05)).fit([mfcc(y) for y in clips], list("aaaabbcc"))


@pytest.fixture(scope="module")
def reference(clips):
    return export_onnx.compute_ood_reference([mfcc(y) for y in clips] * 2)._replace(limit=2.5)


@pytest.fixture(scope="module")
def exported(classifier, reference, tmp_path_factory):
    """The tiny CNN as ONNX: path and DeployedModel."""
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    options = {"temperature": TEMPERATURE, "ood_reference": reference}
    export_onnx.export_onnx(export_onnx.build_inference_model(classifier, **options), path,
                       export_onnx.describe_model(classifier, "tiny", **options))
    return path, DeployedModel(path.read_bytes())


def predict_keras(classifier, y):
    return apply_temperature(classifier.predict_proba([mfcc(y)]), TEMPERATURE)[0]


def test_onnx_equals_keras_on_recordings(classifier, exported, reference, clips):
    for y in clips:
        output = exported[1].run(y)
        np.testing.assert_allclose(output["probabilities"], predict_keras(classifier, y), atol=1e-5)
        np.testing.assert_allclose(output["mfcc"], mfcc(y), atol=2e-3)
        expected = export_onnx.ood_distance(mfcc_dynamics(mfcc(y)), reference)
        assert output["ood_score"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("n", [1, 255, 256, 2047, 2048, 4800, 7936, 8192, 30000, 60 * 16000])
def test_onnx_equals_keras_at_any_length(classifier, exported, reference, clips, n):
    y = np.resize(clips[0][5000:], n)
    output = exported[1].run(y)
    np.testing.assert_allclose(output["probabilities"], predict_keras(classifier, y), atol=1e-5)
    assert output["mfcc"].shape == (1 + n // 256, 64)
    expected = export_onnx.ood_distance(mfcc_dynamics(mfcc(y)), reference)
    assert output["ood_score"] == pytest.approx(expected, abs=1e-4)


def test_onnx_batch_equals_single_clips(exported, clips):
    batch = np.stack([y[:16000] for y in clips[:3]])
    session, one = exported[1].session, np.ones(64, np.float32)
    inputs = {"waveform": batch, "speaker_scale": one, "speaker_offset": 0 * one}
    for name, values in zip((output.name for output in session.get_outputs()), session.run(None, inputs), strict=True):
        for value, y in zip(values, batch, strict=True):
            np.testing.assert_allclose(value, exported[1].run(y)[name], atol=1e-4)


def test_onnx_speaker_normalization_equals_match_mean_std(classifier, exported, clips):
    source, target = mean_std([mfcc(y) for y in clips[:2]]), mean_std([mfcc(y) for y in clips[2:]])
    scale = target[1] / source[1]
    output = exported[1].run(clips[0], scale, target[0] - source[0] * scale)
    normalized = match_mean_std(mfcc(clips[0]), source, target)
    expected = apply_temperature(classifier.predict_proba([normalized]), TEMPERATURE)[0]
    np.testing.assert_allclose(output["probabilities"], expected, atol=1e-5)
    np.testing.assert_array_equal(output["mfcc"], exported[1].run(clips[0])["mfcc"])


def test_inference_model_without_options_equals_classifier(classifier, clips):
    options = {"normalize_level": False, "tta_warps": (0.0,), "prior_correction": False}
    previous = {name: getattr(classifier, name) for name in options}
    try:
        model = export_onnx.build_inference_model(classifier.set_params(**options))
        one = np.ones(64, np.float32)
        output = model([clips[0][None], one, 0 * one])
        assert set(output) == {"probabilities", "mfcc"}
        np.testing.assert_allclose(output["probabilities"], classifier.predict_proba([mfcc(clips[0])]), atol=1e-5)
    finally:
        classifier.set_params(**previous)


@pytest.mark.parametrize("config", [FeatureConfig(n_fft=512, hop_length=128, n_mels=40, n_mfcc=20),
                                    FeatureConfig(n_fft=1000, hop_length=500, n_mels=32, n_mfcc=32, top_db=50)])
def test_graph_mfcc_equals_features_for_other_configurations(clips, config):
    layer = export_onnx._MFCC(config)
    np.testing.assert_allclose(layer(clips[0][None])[0], mfcc(clips[0], config), atol=2e-3)


def test_onnx_file_uses_standard_operators_and_named_axes(exported):
    model = onnx.load(exported[0])
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    shapes = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)}
    assert shapes == {"waveform": ["batch", "samples"], "speaker_scale": [64], "speaker_offset": [64],
                      "probabilities": ["batch", 3], "mfcc": ["batch", "frames", 64], "ood_score": ["batch"]}


def test_metadata_describe_the_model(exported):
    metadata = exported[1].metadata
    assert metadata["classes"] == ["a", "b", "c"]
    assert (metadata["temperature"], metadata["tta_warps"], metadata["ood_limit"]) == (0.8, [-0.1, 0.0, 0.05], 2.5)
    assert FeatureConfig(**metadata["feature_config"]) == FeatureConfig()
    assert {"training_data", "preprocessing", "licence", "citation", "version", "model"} <= set(metadata)


def test_export_rejects_fixed_length_and_unaligned_frames(classifier):
    fixed = SimpleNamespace(network="original_cnn", network_=SimpleNamespace(input_shape=[(None, 216, 1)]))
    with pytest.raises(ValueError, match="fixed length"):
        export_onnx.build_inference_model(fixed)
    with pytest.raises(ValueError, match="no multiple of hop_length=300"):
        export_onnx.build_inference_model(classifier, FeatureConfig(hop_length=300))


@pytest.mark.parametrize("target", DEPLOYED)
def test_shipped_model_has_the_configuration_of_the_registry(target):
    metadata, spec = load_models()[target].metadata, get_model(DEPLOYED[target]).build(0)
    assert metadata["model"] == DEPLOYED[target]
    assert tuple(metadata["tta_warps"]) == spec.tta_warps
    shapes = [tuple(tensor.dims) for tensor in onnx.load(MODELS_FOLDER / f"{target}.onnx").graph.initializer]
    assert (spec.network_kwargs.get("width", 256), spec.n_mfcc, 1, 5) in shapes


def test_training_script_writes_a_complete_model(classifier, small_features, tmp_path, monkeypatch):
    monkeypatch.setattr(SequenceClassifier, "fit", lambda self, X, y: classifier)
    monkeypatch.setattr(train_deployed_models, "compute_neutral_mean_std", lambda features: np.ones((2, 64)))
    train_deployed_models.train_and_export("emotion", small_features, tmp_path, temperature=0.9, limit=3.0)
    metadata = DeployedModel((tmp_path / "emotion.onnx").read_bytes()).metadata
    assert (metadata["temperature"], metadata["ood_limit"], metadata["model"]) == (0.9, 3.0, "cnn_robust")
    assert set(metadata) == set(load_models()["emotion"].metadata)


def test_training_script_computes_the_shipped_statistics(ravdess):
    metadata = load_models()["emotion"].metadata
    np.testing.assert_allclose(train_deployed_models.compute_neutral_mean_std(ravdess), metadata["neutral_mean_std"],
                               rtol=1e-5)
    predictions = load_predictions("ravdess", "emotion")
    rows = (predictions["model"] == DEPLOYED["emotion"]) & (predictions["split"] == "speaker-independent")
    info = train_deployed_models.fit_calibration(predictions[rows])
    shipped = json.loads((MODELS_FOLDER / "model_info.json").read_text())
    assert info == pytest.approx({name: shipped[name] for name in info}, rel=1e-5)
    assert metadata["temperature"] == shipped["temperature"]
