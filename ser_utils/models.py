"""The models of the comparison by name, and the same door for anybody's own."""

import importlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from sklearn.base import clone
from sklearn.utils import get_tags

from ser_utils.augment import Augment, Microphones
from ser_utils.sequence import SequenceClassifier

N_MFCC = 40  # of 64: what lies above is fine spectral detail, which cost SVM and CNN two points on validation speakers

# other tempi and vocal tracts, stretches unheard, clips mixed; level stays, for it tells much in one studio
MOVED = Augment(tempo=0.15, warp=0.15, mask=15, mixup=0.2)
VIEWS = (-0.12, -0.06, 0.0, 0.06, 0.12)  # each clip is heard as from five vocal tracts


def pooled_classifier(classifier):
    """Any classifier of fixed-length rows, over pooled statistics of sequences, standardised on its training rows.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from ser_utils import store
    >>> data = store.load()
    >>> made = pooled_classifier(LogisticRegression()).fit(data.sequences[:48], data.clips["gender"][:48])
    >>> made[-1].coef_.shape  # mean, SD and slope of 40 coefficients, and the length
    (1, 121)
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    from ser_utils.features import pooled

    return make_pipeline(FunctionTransformer(pooled, kw_args={"n_mfcc": N_MFCC}), StandardScaler(), classifier)


def _chance():
    from sklearn.dummy import DummyClassifier

    return pooled_classifier(DummyClassifier(strategy="prior"))


def _svm():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    machine = SVC(C=10, gamma=0.3 / (3 * N_MFCC + 1), class_weight="balanced")
    # one machine on all rows, its distances turned to probabilities on rows it had not seen
    return pooled_classifier(CalibratedClassifierCV(machine, ensemble=False, method="temperature"))


def _network(name):
    return SequenceClassifier(name, n_mfcc=N_MFCC, crop=144, epochs=40, batch_size=16, augment=MOVED, views=VIEWS)


def _live():
    """For strangers' microphones: whatever its level, and heard through many rooms, bands and noises."""
    return SequenceClassifier("cnn", {"dropout": 0.1}, n_mfcc=N_MFCC, crop=176, epochs=60, batch_size=16, level=False,
                              views=VIEWS, augment=Microphones(**asdict(MOVED)))


def _live_gender():
    """The same for gender, which other vocal tracts would take away."""
    return _live().set_params(options={"width": 64, "dropout": 0.1}, epochs=40, views=(0.0,),
                              augment=Microphones(**asdict(replace(MOVED, warp=0.0))))


def _original_cnn():
    # the original's recipe is RMSprop at 1e-5 for 700 epochs; ten times the rate for 84 ends at about the same training
    # loss (tools/original_schedule.py measures it)
    return SequenceClassifier("original_cnn", crop=216, epochs=84, batch_size=16, label_smoothing=0.0,
                              optimizer="rmsprop", learning_rate=1e-4, standardise=False, balanced=False)


@dataclass(frozen=True)
class Model:
    """A named way to make an unfitted classifier, which of the features it hears, and the file that defines it.

    >>> MODELS["cnn"].hears, MODELS["original_cnn"].hears
    ('sequences', 'contours')
    >>> MODELS["cnn"].estimator(seed=7).random_state
    7
    >>> from sklearn.naive_bayes import GaussianNB
    >>> Model("bayes", GaussianNB).settings
    'GaussianNB()'
    """

    name: str
    make: Callable
    hears: str = "sequences"  # or "contours": the original project's feature
    source: str = __file__

    @property
    def settings(self):
        """The unfitted classifier as text, the same in every process."""
        text = re.sub(r" at 0x[0-9a-f]+", "", repr(self.estimator(0)))  # its place in memory says nothing
        return " ".join(text.split())

    def estimator(self, seed):
        """An unfitted classifier whose every `random_state` is the seed."""
        estimator = self.make()
        seeds = {key: seed for key in estimator.get_params() if key.split("__")[-1] == "random_state"}
        return estimator.set_params(**seeds)


MODELS = {model.name: model for model in (
    Model("chance", _chance), Model("svm", _svm), Model("original_cnn", _original_cnn, hears="contours"),
    *(Model(name, partial(_network, name)) for name in ("mlp", "lstm", "cnn")),
    Model("cnn_live", _live), Model("gender_live", _live_gender))}


def find(name):
    """A model of `MODELS`, or any scikit-learn classifier with `predict_proba`, named `package.module:Estimator`.

    An estimator that wants two-dimensional input is given the pooled statistics, standardised; one whose
    `__sklearn_tags__` say otherwise is given the list of sequences. Raises ValueError when there is no such model, or
    what was found is no classifier with `predict_proba`.

    >>> find("svm").name
    'svm'
    >>> find("sklearn.linear_model:LogisticRegression").estimator(seed=3)[-1]
    LogisticRegression(random_state=3)
    >>> find("nonsense")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: model 'nonsense' is unknown; choose one of chance, svm, ...
    """
    if name in MODELS:
        return MODELS[name]
    if ":" not in name:
        raise ValueError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}, "
                         "or name your own as package.module:Estimator")
    module, _, attribute = name.partition(":")
    try:
        imported = importlib.import_module(module)
        found = getattr(imported, attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"model {name!r} cannot be imported ({error}); is its folder on PYTHONPATH?") from error
    try:
        made = found() if callable(found) else found
    except TypeError as error:
        raise ValueError(f"model {name!r} cannot be made without arguments ({error}); name a function that makes it"
                         ) from error
    if not (hasattr(made, "fit") and hasattr(made, "get_params") and hasattr(made, "predict_proba")):
        raise ValueError(f"model {name!r} lacks fit, get_params or predict_proba; make it a scikit-learn classifier "
                         "that has them (CalibratedClassifierCV gives probabilities to any)")
    wanted = pooled_classifier(made) if get_tags(made).input_tags.two_d_array else made
    return Model(name, lambda: clone(wanted), source=imported.__file__ or __file__)
