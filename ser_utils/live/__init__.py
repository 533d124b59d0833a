"""Prediction of emotion and gender on new recordings with the deployed ONNX models."""

from ser_utils.live.predictor import (
    MODELS_FOLDER,
    DeployedModel,
    decode_probabilities,
    enroll_speaker,
    format_predictions,
    load_models,
    predict,
)

__all__ = ["MODELS_FOLDER", "DeployedModel", "decode_probabilities", "enroll_speaker", "format_predictions",
           "load_models", "predict"]
