"""Prediction of emotion and gender on new recordings with the deployed ONNX models."""

from ser_utils.live.deployed import MODELS_FOLDER, MFCCModel, OnnxModel, WhisperModel, load_model
from ser_utils.live.predictor import decode_probabilities, enroll_speaker, format_predictions, predict
from ser_utils.live.stream import Stream, predict_stream

__all__ = ["MODELS_FOLDER", "MFCCModel", "OnnxModel", "Stream", "WhisperModel", "decode_probabilities",
           "enroll_speaker", "format_predictions", "load_model", "predict", "predict_stream"]
