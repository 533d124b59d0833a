"""Models: augmentation, `SequenceClassifier` and a registry by name.

`ser_utils.models.networks` imports TensorFlow and is not imported here.
"""

from ser_utils.models.augment import Augment, ChannelAugment, normalize_level, pad_sequences, simulate_channel, vtlp
from ser_utils.models.classifier import SequenceClassifier, use_single_thread
from ser_utils.models.registry import (
    AUGMENT,
    DEPLOYED,
    MODELS,
    N_MFCC,
    TTA_WARPS,
    ModelSpec,
    functional_pipeline,
    get_model,
)

__all__ = ["AUGMENT", "DEPLOYED", "MODELS", "N_MFCC", "TTA_WARPS", "Augment", "ChannelAugment", "ModelSpec",
           "SequenceClassifier", "functional_pipeline", "get_model", "normalize_level", "pad_sequences",
           "simulate_channel", "use_single_thread", "vtlp"]
