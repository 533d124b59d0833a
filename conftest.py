"""Settings of all test runs: doctests, notebooks and tests."""

import os

# one thread, so that a seed reproduces the weights of a network; set before NumPy and TensorFlow are imported
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"  # strict nbval compares standard error

import matplotlib
import pytest

from ser_utils._utils.files import ROOT

matplotlib.use("Agg")


def pytest_configure(config):
    """Compile pYIN before parallel workers start: concurrent compilation can corrupt numba's cache (numba #10128)."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        from ser_utils.features.descriptors import compile_pyin

        compile_pyin()


def pytest_collection_modifyitems(items):
    """Run the solutions of the exercises with the slow tests."""
    for item in items:
        if item.path.is_relative_to(ROOT / "notebooks" / "solutions"):
            item.add_marker(pytest.mark.slow)
