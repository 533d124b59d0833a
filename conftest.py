"""Settings of all test runs: doctests, notebooks and tests."""

import json
import os

# one thread, so that a seed reproduces the weights of a network; set before NumPy and TensorFlow are imported
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"  # strict nbval compares standard error

import matplotlib
import nbval.plugin
import pytest

from ser_utils._utils.files import ROOT

matplotlib.use("Agg")


def pytest_configure(config):
    """Compile pYIN before parallel workers start: concurrent compilation can corrupt numba's cache (numba #10128)."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        from ser_utils.features.descriptors import compile_pyin

        compile_pyin()


class StatedNumbers(pytest.Item):
    """Test that the numbers stated in the text of a notebook equal their expressions, after its cells have run."""

    def runtest(self):
        """Evaluate the expressions in the kernel of the cells."""
        import execute_notebooks

        notebook, kernel = self.parent.nb, self.parent.kernel
        numbers = execute_notebooks.list_numbers(notebook)
        code = execute_notebooks.evaluation_code({name for name, _ in numbers})
        request, text, is_idle = kernel.execute_cell_input(code, allow_stdin=False), "", False
        while not is_idle:
            message = kernel.get_message("iopub", timeout=60)
            if message["parent_header"].get("msg_id") == request:
                text += message["content"]["text"] if message["content"].get("name") == "stdout" else ""
                is_idle = message["content"].get("execution_state") == "idle"
        results = json.loads(text)
        stale = {name: (stated, *results[name]) for name, stated in numbers if stated != results[name][0]}
        assert not stale, f"stated, computed, error: {stale}; run scripts/execute_notebooks.py on this notebook"

    def reportinfo(self):
        """Return the location of this test for the report of pytest."""
        return self.path, 0, f"{self.path.name}: stated numbers"


def pytest_collection_modifyitems(items):
    """Check stated numbers after the last cell of a notebook; run solutions of exercises with the slow tests."""
    files = {id(item.parent): item.parent for item in items if isinstance(item, nbval.plugin.IPyNbCell)}
    for file in files.values():
        last = max(index for index, item in enumerate(items) if item.parent is file)
        items.insert(last + 1, StatedNumbers.from_parent(file, name="stated numbers"))
    for item in items:
        if item.path.is_relative_to(ROOT / "notebooks" / "solutions"):
            item.add_marker(pytest.mark.slow)
