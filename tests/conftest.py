"""Shared fixtures: features, recordings, the command line, a browser and JupyterLab."""

import contextlib
import functools
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest
from helpers import record

from ser_utils import cli
from ser_utils._utils.files import ROOT
from ser_utils.datasets import SAMPLES

CORPORA = ROOT.parent / "shared" / "corpora"


def pytest_sessionfinish(session):
    """Record the outcome under this Python version in the JSON file SER_RECORD, if set without SER_KILLS.

    `make test-slow` sets both variables and records its own tests only.
    """
    if not hasattr(session.config, "workerinput") and "SER_KILLS" not in os.environ:
        stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
        record(f"Python {platform.python_version()}", {
            outcome: len(stats.get(outcome, ())) for outcome in ("passed", "skipped", "failed", "error")})


@pytest.fixture(scope="session")
def ravdess():
    """The FeatureSet of all 1,440 RAVDESS clips."""
    from ser_utils.features.store import load_features

    return load_features()


@pytest.fixture(scope="session")
def samples():
    """The folder of the 32 sample recordings: 4 speakers, 8 emotions."""
    return SAMPLES


@pytest.fixture(scope="session")
def small_features_folder(tmp_path_factory):
    """A folder with the features of the samples, without f0."""
    from ser_utils.features.store import extract_features

    folder = tmp_path_factory.mktemp("small_features")
    _, errors = extract_features(SAMPLES, folder, f0=False, n_jobs=1, progress=False)
    assert not errors
    return folder


@pytest.fixture(scope="session")
def small_features(small_features_folder):
    """The FeatureSet of the samples, without f0."""
    from ser_utils.features.store import load_features

    return load_features(small_features_folder)


def _corpus_fixture(name):
    @pytest.fixture(scope="session")
    def folder():
        if not (CORPORA / name).is_dir():
            pytest.skip(f"needs the recordings in ../shared/corpora/{name}, which are not part of the repository")
        return CORPORA / name

    return folder


recordings, emodb_recordings = map(_corpus_fixture, ("ravdess", "emodb"))


@pytest.fixture(scope="session")
def run_cli():
    """A function that runs a command in this process: (exit status, standard output, standard error).

    Progress bars are removed from standard error.
    """

    def run(*arguments, cwd="."):
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), contextlib.chdir(cwd), \
                warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                status = cli.main(list(map(str, arguments)))
            except SystemExit as error:  # raised by argparse
                status = error.code
        messages = re.sub(r"\r[^\r\n]*", "", stderr.getvalue())
        return status, stdout.getvalue(), "".join(f"{line}\n" for line in messages.splitlines() if line)

    return run


@pytest.fixture(scope="module")
def chromium():
    """A function that starts Chromium with further arguments."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not executable:
        if os.environ.get("SER_BROWSER") == "required":
            pytest.fail("SER_BROWSER=required and no Chromium on the PATH; install it")
        pytest.skip("needs Chromium on the PATH, as chromium, chromium-browser or google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        yield functools.cache(lambda *arguments: p.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-background-networking", *arguments]))


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The server of `make lab` on a trusted copy of the notebooks: address, token, folder."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    settings = {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "data", "runtime")}
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    subprocess.run([sys.executable, "-m", "jupyter", "trust", *map(str, folder.glob("notebooks/*.ipynb"))],
                   check=True, capture_output=True, env=environment)
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser",
         f"--config={ROOT / 'scripts' / 'jupyterlab' / 'jupyter_lab_config.py'}",
         f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"],
        stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT, start_new_session=True, env=environment)
    deadline = time.time() + 300
    while not list(folder.glob("runtime/jpserver-*-open.html")):  # written when the server listens
        if server.poll() is not None or time.time() > deadline:
            pytest.fail(f"JupyterLab did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.5)
    info = json.loads(next(folder.glob("runtime/jpserver-*.json")).read_text())
    yield info["url"].rstrip("/"), info["token"], folder
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(60)
