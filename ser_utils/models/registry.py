"""Models by name: the models of the comparison, the deployed models, and any scikit-learn classifier."""

import importlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import get_tags

from ser_utils.features.spectral import functionals
from ser_utils.models.augment import Augment, ChannelAugment
from ser_utils.models.classifier import SequenceClassifier
from ser_utils.models.linear import AdaptiveLogisticRegression, whisper_logreg

N_MFCC = 40  # of 64; all 64 lower the validation UAR of SVM and CNN by two points
AUGMENT = Augment(max_log_tempo=0.15, max_log_warp=0.15, max_mask_frames=15, mixup_alpha=0.2)
N_CALIBRATION_FOLDS = 5  # of CalibratedClassifierCV by default
MAX_STEPS = 5000  # RAVDESS takes at most 4500; the limit reduces the epochs on larger corpora
TTA_WARPS = (-0.12, -0.06, 0.0, 0.06, 0.12)
# Models with a pretrained encoder
PRETRAINED = ("whisper_logreg", "whisper_mlp", "whisper_attention", "whisper_robust", "fusion")
DEPLOYED = {"mfcc": {"emotion": "cnn_robust", "gender": "cnn_robust_gender"},  # front end: target: model
            "whisper": {"emotion": "whisper_robust", "gender": "whisper_robust"}}


def functional_pipeline(classifier):
    """Build a pipeline from MFCC sequences through functionals and standardization to a classifier.

    Parameters
    ----------
    classifier : scikit-learn classifier
        A classifier of rows ``[shape=(n_clips, 121)]``: mean, standard deviation and delta RMS of 40 coefficients, and
        the log of the length (`ser_utils.features.functionals`).

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = [np.random.default_rng(seed).normal(size=(50, 64)) for seed in range(4)]
    >>> functional_pipeline(LogisticRegression()).fit(X, ["calm", "sad"] * 2)[-1].coef_.shape
    (1, 121)
    """
    return make_pipeline(FunctionTransformer(functionals, kw_args={"n_mfcc": N_MFCC}), StandardScaler(), classifier)


@dataclass(frozen=True)
class ModelSpec:
    """A named classifier of the registry.

    Parameters
    ----------
    name : str
        Name in the registry, or ``package.module:Estimator``.
    factory : callable
        Function without arguments that returns an unfitted scikit-learn classifier.
    input_type : str, default "sequences"
        MFCC sequences, "contours" (the mean-MFCC contour of the original project), or the name of extra features, such
        as "egemaps" (`FeatureSet.get_input`).
    uses_metadata : bool, default False
        Whether `fit` is called with `speakers` and, as `sample_weight`, the weights of `balance_corpora`.
    source : str, default ""
        Python file of a classifier from outside this package.
    min_clips : int, default 1
        Number of training clips that the most frequent class must have.

    Examples
    --------
    >>> MODELS["cnn"].input_type, MODELS["original_cnn"].input_type
    ('sequences', 'contours')
    >>> MODELS["cnn"].build(seed=7).random_state
    7
    >>> from sklearn.naive_bayes import GaussianNB
    >>> ModelSpec("naive_bayes", GaussianNB).settings
    'GaussianNB()'
    """

    name: str
    factory: Callable
    input_type: str = "sequences"
    uses_metadata: bool = False
    source: str = ""
    min_clips: int = 1

    @property
    def settings(self):
        """Representation of the unfitted classifier on one line, equal in every process."""
        text = " ".join(self.build(0).__repr__(N_CHAR_MAX=10**6).split())
        return re.sub(r" at 0x[0-9a-f]+", "", text)  # without memory addresses

    def build(self, seed):
        """Build an unfitted classifier.

        Parameters
        ----------
        seed : int
            Value of every `random_state`.

        Returns
        -------
        scikit-learn classifier
            Unfitted classifier.
        """
        estimator = self.factory()
        seeds = {key: seed for key in estimator.get_params() if key.split("__")[-1] == "random_state"}
        return estimator.set_params(**seeds)


def get_model(name):
    """Look up a model by name, or import any scikit-learn classifier with `predict_proba`.

    Parameters
    ----------
    name : str
        A name in `MODELS` or `ABLATIONS`, or ``package.module:Estimator`` for a class, function or instance that can be
        imported. Estimators of two-dimensional input are wrapped by `functional_pipeline`; those whose
        ``__sklearn_tags__`` set ``input_tags.two_d_array`` to False are fitted on the list of sequences.

    Returns
    -------
    ModelSpec
        Specification of the model; its method `build` returns an unfitted classifier.

    Raises
    ------
    ValueError
        If the name is unknown, cannot be imported, or is not a classifier with `predict_proba`.

    Examples
    --------
    >>> get_model("svm").name
    'svm'
    >>> get_model("sklearn.linear_model:LogisticRegression").build(seed=3)[-1]
    LogisticRegression(random_state=3)
    >>> get_model("nonsense")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: model 'nonsense' is unknown; choose one of chance, svm, ...
    """
    for models in (MODELS, ABLATIONS):
        if name in models:
            return models[name]
    if ":" not in name:
        raise ValueError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}, or package.module:Estimator")
    estimator, source = _import_estimator(name)
    if get_tags(estimator).input_tags.two_d_array:
        estimator = functional_pipeline(estimator)
    return ModelSpec(name, lambda: clone(estimator), source=source)


def _import_estimator(name):
    """Unfitted estimator named package.module:Estimator, and the file of its module."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        estimator = getattr(module, attribute)
        estimator, source = estimator() if callable(estimator) else estimator, module.__file__
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"model {name!r} cannot be imported or created without arguments ({error}); add its folder "
                         "to PYTHONPATH, or name a function that returns the estimator") from error
    if not all(hasattr(estimator, method) for method in ("fit", "get_params", "predict_proba")):
        remedy = "pass a scikit-learn classifier (CalibratedClassifierCV adds predict_proba)"
        raise ValueError(f"model {name!r} lacks fit, get_params or predict_proba; {remedy}")
    return estimator, source


def _svc(C, gamma, calibration="temperature"):
    """Balanced RBF-kernel SVM with probabilities; gamma times the number of features is comparable between inputs."""
    svc = SVC(C=C, gamma=gamma, class_weight="balanced")
    # ensemble=False: one SVC fitted on all rows, the calibration fitted on cross-validated decision values
    return CalibratedClassifierCV(svc, ensemble=False, method=calibration)


def _svm(calibration="temperature"):
    return functional_pipeline(_svc(C=10, gamma=0.3 / (3 * N_MFCC + 1), calibration=calibration))


def _svm_opensmile(n_features):
    return make_pipeline(StandardScaler(), _svc(C=10, gamma=0.3 / n_features))


def _whisper_network(name):
    """Network on the hidden states of the Whisper encoder, 25 frames per second."""
    return SequenceClassifier(name, crop_frames=64, epochs=20, batch_size=32, learning_rate=5e-4,
                              augment=Augment(max_log_tempo=0.15, mixup_alpha=0.2))


def _original_cnn():
    # The original project trains 700 epochs at a rate of 1e-5. 84 epochs at 1e-4 reach about the same training loss
    # (results/ravdess/training_schedules.csv).
    return SequenceClassifier("original_cnn", crop_frames=216, epochs=84, batch_size=16, label_smoothing=0.0,
                              optimizer="rmsprop", learning_rate=1e-4, standardize=False, prior_correction=False)


# Selected with the split selection-cv (results/ravdess/model_selection.csv)
PLAIN_PARAMS: dict[str, dict] = {
    "mlp": {"network_kwargs": {"units": 512}},
    "lstm": {"network_kwargs": {"pooling": "last", "dropout": 0.5}, "epochs": 20, "batch_size": 32},
    "cnn": {}}


def _untuned_network(name):
    """Network without augmentation, test-time augmentation and prior correction, with the same settings for all."""
    return SequenceClassifier(name, n_mfcc=N_MFCC, crop_frames=144, epochs=40, max_steps=MAX_STEPS, batch_size=16,
                              prior_correction=False)


def _plain_network(name):
    """Network of the comparison: as `_untuned_network`, with its own settings."""
    return _untuned_network(name).set_params(**PLAIN_PARAMS[name])


def _augmented_network(name):
    """Network with augmentation of training and test clips and prior correction."""
    return _untuned_network(name).set_params(augment=AUGMENT, tta_warps=TTA_WARPS, prior_correction=True)


def _cnn_robust():
    """For emotion recognition with other microphones, rooms and levels."""
    return SequenceClassifier("cnn_attention", {"dropout": 0.1}, n_mfcc=N_MFCC, crop_frames=176, epochs=60,
                              max_steps=MAX_STEPS, batch_size=16, normalize_level=True, tta_warps=TTA_WARPS,
                              augment=ChannelAugment(**asdict(AUGMENT)))


def _cnn_robust_gender():
    """For gender recognition: without VTLP, which changes the perceived gender."""
    classifier = _cnn_robust()
    return classifier.set_params(network_kwargs={"width": 64, "dropout": 0.1}, epochs=40, tta_warps=(0.0,),
                                 augment=replace(classifier.augment, max_log_warp=0.0))


def _ablation(base, steps):
    """List the models between a plain and a strong network: each adds one step to the model before it.

    A step is a name and the parameters of `SequenceClassifier` that it changes; of `augment`, the changed fields:

    >>> steps = [("tempo", {"augment": {"max_log_tempo": 0.15}}), ("prior", {"prior_correction": True})]
    >>> tempo, prior = _ablation("cnn", steps)
    >>> tempo.name, prior.name
    ('cnn+tempo', 'cnn+tempo+prior')
    >>> prior.build(0).augment.max_log_tempo, prior.build(0).prior_correction, tempo.build(0).prior_correction
    (0.15, True, False)
    """
    name, augment, specs = base, Augment(), []
    params: dict = {}
    for step, change in steps:
        name = f"{name}+{step}"
        augment = replace(augment, **change.get("augment", {}))
        params = {**params, **change, "augment": augment}
        specs.append(ModelSpec(name, partial(lambda params: _plain_network(base).set_params(**params), params)))
    return specs


# Steps of `_ablation` that switch on one augmentation of AUGMENT after the other
AUGMENT_STEPS = [(step, {"augment": {field: getattr(AUGMENT, field)}}) for step, field in (
    ("tempo", "max_log_tempo"), ("vtlp", "max_log_warp"), ("masks", "max_mask_frames"), ("mixup", "mixup_alpha"))]
# The position matters: `plan_runs` starts with the last model, so slow models come after fast ones
MODELS = {spec.name: spec for spec in (
    ModelSpec("chance", lambda: functional_pipeline(DummyClassifier(strategy="prior"))),
    ModelSpec("svm", _svm, min_clips=N_CALIBRATION_FOLDS),
    ModelSpec("svm_egemaps", partial(_svm_opensmile, 88), "egemaps", min_clips=N_CALIBRATION_FOLDS),
    ModelSpec("svm_compare", partial(_svm_opensmile, 6373), "compare", min_clips=N_CALIBRATION_FOLDS),
    ModelSpec("original_cnn", _original_cnn, "contours"),
    *(ModelSpec(name, partial(_plain_network, name)) for name in ("mlp", "lstm", "cnn")),
    *(ModelSpec(name, partial(_augmented_network, name)) for name in ("tdnn", "crnn", "cnn_attention")),
    ModelSpec("whisper_logreg", whisper_logreg, "whisper"),
    *(ModelSpec(name, partial(_whisper_network, network), "whisper_sequences")
      for name, network in (("whisper_mlp", "mlp"), ("whisper_attention", "whisper_attention"))),
    ModelSpec("whisper_robust", AdaptiveLogisticRegression, "whisper+whisper_distorted", uses_metadata=True),
    ModelSpec("cnn_robust", _cnn_robust), ModelSpec("cnn_robust_gender", _cnn_robust_gender))}
# The last step of each chain of networks, five test-time warps, gives cnn_attention and crnn
ABLATIONS = {spec.name: spec for spec in (
    *_ablation("cnn", [("attention", {"network_kwargs": {"pooling": "attention"}}), *AUGMENT_STEPS,
                       ("prior", {"prior_correction": True}),
                       ("width", {"network_kwargs": {"pooling": "attention", "width": 256}})]),
    *_ablation("lstm", [
        ("conv", {"network": "crnn", "network_kwargs": {"residual": False, "pooling": "average"}, "epochs": 40,
                  "batch_size": 16}),
        ("residual", {"network_kwargs": {"pooling": "average"}}), ("attention", {"network_kwargs": None}),
        ("augment", {"augment": asdict(AUGMENT)}), ("prior", {"prior_correction": True})]),
    ModelSpec("svm+sigmoid", partial(_svm, "sigmoid"), min_clips=N_CALIBRATION_FOLDS))}  # Platt scaling of each class
