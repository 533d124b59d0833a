"""What several tests need: the miniature's features, the real recordings where a machine has them, a browser."""

import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ser_utils import corpora, store

MINIATURE = corpora.ROOT / "data" / "miniature"
RECORDINGS = corpora.ROOT.parent / "shared" / "corpora" / "ravdess"
# somebody's own module of models
QUICK = """
from sklearn.linear_model import LogisticRegression
from ser_utils.sequence import SequenceClassifier

class Regression(LogisticRegression):
    def __init__(self):
        super().__init__(max_iter=2000)

def Network():
    return SequenceClassifier("cnn", {"width": 16}, n_mfcc=20, crop=96, epochs=2)
"""


def record(name, found):
    """Keep what a test measured, where `make fuzz` wants it."""
    if os.environ.get("SER_RECORD"):
        path = Path(os.environ["SER_RECORD"])
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | {name: found}, indent=1) + "\n")


def pytest_sessionfinish(session):
    """How it went under this Python, for `SER_RECORD` without `make fuzz`."""
    if not hasattr(session.config, "workerinput") and "SER_KILLS" not in os.environ:
        counts = session.config.pluginmanager.get_plugin("terminalreporter").stats
        record(f"Python {platform.python_version()}", {
            what: len(counts.get(what, ())) for what in ("passed", "skipped", "failed", "error")})


@pytest.fixture(scope="session")
def shipped():
    return store.load()


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """The folder of the miniature's features, extracted once."""
    out = tmp_path_factory.mktemp("miniature")
    made, errors = store.extract(MINIATURE, out, jobs=2, progress=False)
    assert len(made.clips) == 128
    assert not errors
    return out


@pytest.fixture(scope="session")
def recordings():
    if not RECORDINGS.is_dir():
        pytest.skip(f"needs the RAVDESS recordings in {Path('..', *RECORDINGS.parts[-3:])}, which do not ship")
    return RECORDINGS


@pytest.fixture(scope="module")
def chromium():
    """A function that starts Chromium with further arguments."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        if os.environ.get("SER_BROWSER") == "required":
            pytest.fail("SER_BROWSER=required and no Chromium is on the PATH; install it")
        pytest.skip("needs Chromium on the PATH, as chromium, chromium-browser or google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        started = {}

        def start(*arguments):
            if arguments not in started:
                started[arguments] = p.chromium.launch(
                    executable_path=found, args=["--no-sandbox", "--disable-background-networking", *arguments])
            return started[arguments]

        yield start
        for browser in started.values():
            browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab over a copy of the notebooks, from the environment of the tests: address, token, folder."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(corpora.ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    fresh = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
         f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"],
        stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT, start_new_session=True,
        env=os.environ | fresh | {"PYTHONPATH": str(corpora.ROOT), "TQDM_DISABLE": "1"})
    base, started = f"http://127.0.0.1:{port}", time.time()
    while True:
        try:
            urllib.request.urlopen(f"{base}/api/status?token={token}", timeout=2)
            break
        except OSError:
            if server.poll() is not None or time.time() - started > 90:
                pytest.fail(f"JupyterLab did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.5)
    yield base, token, folder
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)
