"""Comparison of the exported ONNX graphs with Keras, scikit-learn, ser_utils.features and NumPy."""

import copy
import json
from types import SimpleNamespace

import export_onnx
import numpy as np
import onnx
import pytest
import train_mfcc_models
import train_whisper_models

from ser_utils import audio, whisper
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation.metrics import apply_temperature
from ser_utils.evaluation.results import load_predictions
from ser_utils.features.spectral import FeatureConfig, match_mean_std, mean_std, mfcc, mfcc_dynamics
from ser_utils.live import MODELS_FOLDER, OnnxModel, load_model
from ser_utils.models import DEPLOYED, SequenceClassifier, get_model
from ser_utils.models.linear import AdaptiveLogisticRegression

TEMPERATURE, OOD_LIMIT = 0.8, 2.5


@pytest.fixture(scope="module")
def clips(samples):
    """Eight clips of four speakers, trimmed."""
    return [audio.trim(audio.load(path)) for path in sorted(samples.glob("*/*.flac"))[::4]]


@pytest.fixture(scope="module")
def classifier(clips):
    """A tiny network of the deployed architecture after one epoch, with classes of unequal frequency."""
    network = get_model(DEPLOYED["mfcc"]["emotion"]).build(0).network
    classifier = SequenceClassifier(network, {"width": 8}, n_mfcc=40, crop_frames=64, epochs=1, batch_size=4,
                                    normalize_level=True, tta_warps=(-0.1, 0.0, 0.05))
    return classifier.fit([mfcc(y) for y in clips], list("aaaabbcc"))


@pytest.fixture(scope="module")
def onnx_bytes(classifier, small_features, tmp_path_factory):
    """The ONNX file that the training script writes, with the tiny network in place of the deployed one."""
    folder = tmp_path_factory.mktemp("onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceClassifier, "fit", lambda self, X, y: classifier)
        patch.setattr(train_mfcc_models, "compute_neutral_mean_std", lambda features: np.ones((2, 64)))
        train_mfcc_models.train_and_export("emotion", small_features, folder, TEMPERATURE, OOD_LIMIT)
    return (folder / "mfcc_emotion.onnx").read_bytes()


@pytest.fixture(scope="module")
def onnx_model(onnx_bytes):
    return OnnxModel(onnx_bytes)


@pytest.fixture(scope="module")
def reference(small_features):
    return export_onnx.compute_ood_reference(small_features.sequences)._replace(limit=OOD_LIMIT)


def run(model, y, speaker_scale=np.ones(64), speaker_offset=np.zeros(64)):
    return model.run(waveform=y[None], speaker_scale=speaker_scale, speaker_offset=speaker_offset)


def predict_keras(classifier, sequence):
    return apply_temperature(classifier.predict_proba([sequence]), TEMPERATURE)[0]


@pytest.mark.parametrize("n", [None, 1, 255, 256, 2047, 2048, 4800, 7936, 8192, 30000, 60 * 16000])
def test_onnx_equals_keras(classifier, onnx_model, reference, clips, n):
    for y in clips if n is None else [np.resize(clips[0][5000:], n)]:
        output = run(onnx_model, y)
        np.testing.assert_allclose(output["probabilities"], predict_keras(classifier, mfcc(y)), atol=1e-5)
        np.testing.assert_allclose(output["mfcc"], mfcc(y), atol=2e-3)
        expected = export_onnx.ood_distance(mfcc_dynamics(mfcc(y)), reference)
        assert output["ood_score"] == pytest.approx(expected, abs=1e-4)


def test_onnx_batch_equals_single_clips(onnx_model, clips):
    batch, ones = np.stack([y[:16000] for y in clips[:3]]), np.ones(64, np.float32)
    inputs = {"waveform": batch, "speaker_scale": ones, "speaker_offset": 0 * ones}
    for output, values in zip(onnx_model.session.get_outputs(), onnx_model.session.run(None, inputs), strict=True):
        np.testing.assert_allclose(values, [run(onnx_model, y)[output.name] for y in batch], atol=1e-4)


def test_onnx_speaker_normalization_equals_match_mean_std(classifier, onnx_model, clips):
    source, target = mean_std([mfcc(y) for y in clips[:2]]), mean_std([mfcc(y) for y in clips[2:]])
    scale = target[1] / source[1]
    output = run(onnx_model, clips[0], scale, target[0] - source[0] * scale)
    expected = predict_keras(classifier, match_mean_std(mfcc(clips[0]), source, target))
    np.testing.assert_allclose(output["probabilities"], expected, atol=1e-5)
    np.testing.assert_array_equal(output["mfcc"], run(onnx_model, clips[0])["mfcc"])


def test_inference_model_without_options_equals_classifier(classifier, clips):
    plain = copy.copy(classifier).set_params(normalize_level=False, tta_warps=(0.0,), prior_correction=False)
    ones = np.ones(64, np.float32)
    output = export_onnx.build_inference_model(plain)([clips[0][None], ones, 0 * ones])
    assert set(output) == {"probabilities", "mfcc"}
    np.testing.assert_allclose(output["probabilities"], plain.predict_proba([mfcc(clips[0])]), atol=1e-5)


@pytest.mark.parametrize("config", [FeatureConfig(n_fft=512, hop_length=128, n_mels=40, n_mfcc=20),
                                    FeatureConfig(n_fft=1000, hop_length=500, n_mels=32, n_mfcc=32, top_db=50)])
def test_graph_mfcc_equals_features_for_other_configurations(clips, config):
    np.testing.assert_allclose(export_onnx._MFCC(config)(clips[0][None])[0], mfcc(clips[0], config), atol=2e-3)


def test_onnx_file_has_standard_operators_named_axes_and_metadata(onnx_bytes, onnx_model):
    model, metadata = onnx.load_from_string(onnx_bytes), onnx_model.metadata
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    shapes = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)}
    assert shapes == {"waveform": ["batch", "samples"], "speaker_scale": [64], "speaker_offset": [64],
                      "probabilities": ["batch", 3], "mfcc": ["batch", "frames", 64], "ood_score": ["batch"]}
    expected = {"classes": ["a", "b", "c"], "temperature": TEMPERATURE, "tta_warps": [-0.1, 0.0, 0.05],
                "ood_limit": OOD_LIMIT, "model": DEPLOYED["mfcc"]["emotion"], "neutral_mean_std": [[1] * 64] * 2}
    assert {name: metadata[name] for name in expected} == expected
    assert FeatureConfig(**metadata["feature_config"]) == FeatureConfig()
    assert set(metadata) == set(load_model("mfcc").metadata)


def test_export_rejects_fixed_length_and_unaligned_frames(classifier):
    fixed_length = SimpleNamespace(network="original_cnn", network_=SimpleNamespace(input_shape=[(None, 216, 1)]))
    with pytest.raises(ValueError, match="original_cnn"):
        export_onnx.build_inference_model(fixed_length)
    with pytest.raises(ValueError, match="hop_length=300"):
        export_onnx.build_inference_model(classifier, FeatureConfig(hop_length=300))


@pytest.mark.parametrize("target", DEPLOYED["mfcc"])
def test_shipped_mfcc_model_has_the_configuration_of_the_registry(target):
    name = DEPLOYED["mfcc"][target]
    metadata, spec = load_model("mfcc").models[target].metadata, get_model(name).build(0)
    assert (metadata["model"], tuple(metadata["tta_warps"])) == (name, spec.tta_warps)
    shapes = [tuple(tensor.dims) for tensor in onnx.load(MODELS_FOLDER / f"mfcc_{target}.onnx").graph.initializer]
    assert (spec.network_kwargs.get("width", 256), spec.n_mfcc, 1, 5) in shapes


def test_mfcc_training_script_computes_the_shipped_statistics(ravdess):
    metadata, shipped = load_model("mfcc").metadata, json.loads((MODELS_FOLDER / "mfcc_info.json").read_text())
    np.testing.assert_allclose(train_mfcc_models.compute_neutral_mean_std(ravdess), metadata["neutral_mean_std"],
                               rtol=1e-5)
    rows = load_predictions("ravdess").query("model == @DEPLOYED['mfcc']['emotion'] and split == 'speaker-independent'")
    info = train_mfcc_models.fit_calibration(rows)
    assert info == pytest.approx({name: shipped[name] for name in info}, rel=1e-5)
    assert metadata["temperature"] == shipped["temperature"]


@pytest.fixture(scope="module")
def linear_classifiers():
    """Classifiers of three and of two classes, and their input: four layers by mean and SD of five channels."""
    rng = np.random.default_rng(0)
    X = rng.normal(2, 3, (30, 2, 40)).astype(np.float32)
    return X, [AdaptiveLogisticRegression(C=1).fit(X, rng.permutation(labels * (30 // len(labels))))
               for labels in (["a", "b", "c"], ["a", "b"])]


def export_linear(classifier, path, **options):
    export_onnx.export_onnx(export_onnx.build_linear_model(classifier, **options), path, {"classes": ["a"]})
    return OnnxModel(path.read_bytes())


def test_linear_onnx_equals_scikit_learn(linear_classifiers, tmp_path):
    X, classifiers = linear_classifiers
    reference = export_onnx.compute_pca_reference(np.random.default_rng(1).normal(2, 3, (200, 40)))._replace(limit=1.5)
    offset = np.linspace(-1, 1, 40, dtype=np.float32)
    for classifier in classifiers:
        plain = export_linear(classifier, tmp_path / "plain.onnx")
        model = export_linear(classifier, tmp_path / "model.onnx", temperature=TEMPERATURE, pca_reference=reference)
        for x in X[:5, :1]:
            statistics = x.reshape(1, 4, 2, 5)
            np.testing.assert_allclose(plain.run(statistics=statistics)["probabilities"],
                                       classifier.predict_proba(x[None])[0], atol=1e-5)
            output = model.run(statistics=statistics, speaker_offset=offset)
            expected = apply_temperature(classifier.predict_proba(x[None] + offset), TEMPERATURE)[0]
            np.testing.assert_allclose(output["probabilities"], expected, atol=1e-5)
            # without the offset, which moves a speaker towards the training clips
            expected = export_onnx.reconstruction_error(x, reference)[0]
            np.testing.assert_allclose(output["ood_score"], expected, rtol=1e-4)


def test_reconstruction_error_equals_inverse_transform():
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    X = np.random.default_rng(0).normal(size=(300, 40)) @ np.random.default_rng(1).normal(size=(40, 40))
    Z = StandardScaler().fit_transform(X)
    pca = PCA(export_onnx.N_COMPONENTS).fit(Z)
    errors = np.square(Z - pca.inverse_transform(pca.transform(Z))).mean(axis=1)
    reference = export_onnx.compute_pca_reference(X)
    np.testing.assert_allclose(export_onnx.reconstruction_error(X, reference), errors / errors.mean(), rtol=1e-4)


@pytest.mark.parametrize("target", DEPLOYED["whisper"])
def test_shipped_whisper_model_states_its_training_data(target):
    model = load_model("whisper").models[target]
    assert model.metadata["model"] == DEPLOYED["whisper"][target]
    training_corpora = {text.split(",")[0] for text in model.metadata["training_data"].split("; ")}
    assert training_corpora <= {dataset.title for dataset in DATASETS.values() if dataset.allows_derivatives}
    inputs = {value.name: value.shape for value in model.session.get_inputs()}
    assert inputs["statistics"] == ["batch", *whisper.compute_statistics(np.zeros(8000)).reshape(4, 2, 512).shape]


def test_whisper_training_script_computes_the_shipped_calibration():
    shipped = json.loads((MODELS_FOLDER / "whisper_info.json").read_text())
    rows = load_predictions("multi-corpus").query(
        "model == @DEPLOYED['whisper']['emotion'] and split == @train_whisper_models.SPLIT")
    info = train_whisper_models.fit_calibration(rows)
    assert info == pytest.approx({name: shipped[name] for name in info}, rel=1e-5)
    metadata = load_model("whisper").metadata
    assert (metadata["temperature"], metadata["ood_limit"]) == (shipped["temperature"], shipped["ood_limit"])
    assert set(shipped["ood_false_positive_rate"]) == set(rows["test_corpus"])


def test_whisper_training_rejects_features_without_open_corpora(small_features, tmp_path):
    clips = small_features.clips.assign(corpus="tess")
    with pytest.raises(ValueError, match="tess"):
        train_whisper_models.train_and_export("gender", SimpleNamespace(clips=clips), tmp_path)
