"""Settings of all test runs: doctests, notebooks and tests."""

import os

import matplotlib
import pytest

from ser_utils._utils.files import ROOT

os.environ["TQDM_DISABLE"] = "1"  # strict nbval compares standard error
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
