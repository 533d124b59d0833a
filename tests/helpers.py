"""Helpers of the test modules; unlike conftest.py, the subprocesses of a test can import them."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

# module of user-defined models
CUSTOM_MODELS = """
from sklearn.linear_model import LogisticRegression
from ser_utils.models.classifier import SequenceClassifier

class Regression(LogisticRegression):
    def __init__(self):
        super().__init__(max_iter=2000)

def Network():
    return SequenceClassifier("cnn", {"width": 16}, n_mfcc=20, crop_frames=96, epochs=2)
"""


def record(name, result):
    """Write a result of the slow tests to the JSON file SER_RECORD, if set."""
    if os.environ.get("SER_RECORD"):
        path = Path(os.environ["SER_RECORD"])
        results = json.loads(path.read_text()) if path.is_file() else {}
        result |= {"date": datetime.now(UTC).strftime("%Y-%m-%d")}
        path.write_text(json.dumps(results | {name: result}, indent=1) + "\n")
