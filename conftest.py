"""What every test shares: notebooks, examples in docstrings, and the tests proper."""

import os

import matplotlib

from ser_utils import descriptors

os.environ["TQDM_DISABLE"] = "1"  # bars go to stderr, which strict nbval would compare
matplotlib.use("Agg")  # for the examples; notebooks have processes of their own


def pytest_configure(config):
    """Before the processes of the tests begin."""
    if not hasattr(config, "workerinput"):
        descriptors.compile_pitch()
