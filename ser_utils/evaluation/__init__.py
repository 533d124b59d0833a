"""Splits and metrics; experiments, results and the split audit are in their own modules."""

from ser_utils.evaluation.metrics import (
    KEYS,
    add_ensemble,
    bootstrap_ci,
    confusion_matrix,
    gender_accuracy,
    get_class_names,
    get_predicted_labels,
    recall_per_class,
    sample_predictions,
    summarize,
    unweighted_average_recall,
)
from ser_utils.evaluation.splits import (
    SPLITS,
    Split,
    get_classes,
    get_labels,
    leave_one_speaker_out,
    random_split,
    speaker_independent,
)

__all__ = [
    "KEYS", "SPLITS", "Split", "add_ensemble", "bootstrap_ci", "confusion_matrix", "gender_accuracy", "get_class_names",
    "get_classes", "get_labels", "get_predicted_labels", "leave_one_speaker_out", "random_split", "recall_per_class",
    "sample_predictions", "speaker_independent", "summarize", "unweighted_average_recall",
]
