"""Models: augmentation, `SequenceClassifier` and a registry by name.

`ser_utils.models.networks` imports TensorFlow and is not imported here.
"""

from ser_utils.models.augment import Augment, pad_sequences, vtlp
from ser_utils.models.classifier import SequenceClassifier, use_single_thread
from ser_utils.models.registry import AUGMENT, DEPLOYED, MODELS, N_MFCC, functional_pipeline, get_model

__all__ = ["AUGMENT", "DEPLOYED", "MODELS", "N_MFCC", "Augment", "SequenceClassifier", "functional_pipeline",
           "get_model", "pad_sequences", "use_single_thread", "vtlp"]
