"""Splits and metrics; experiments, results, result tables and the split audit are in their own modules."""

from ser_utils.evaluation.metrics import (
    add_ensemble,
    bootstrap_ci,
    confusion_matrix,
    get_predicted_labels,
    restrict_classes,
    summarize,
    unweighted_average_recall,
)
from ser_utils.evaluation.splits import SPLITS, Split, get_classes, get_labels, speaker_independent

__all__ = ["SPLITS", "Split", "add_ensemble", "bootstrap_ci", "confusion_matrix", "get_classes", "get_labels",
           "get_predicted_labels", "restrict_classes", "speaker_independent", "summarize", "unweighted_average_recall"]
