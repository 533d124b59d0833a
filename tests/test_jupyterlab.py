"""The notebooks as a reader meets them, in JupyterLab in Chromium: every cell runs, and nothing asks another host."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from ser_utils import corpora

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NUMBERED = sorted((corpora.ROOT / "notebooks").glob("*.ipynb"))
WAIT = 180_000  # ms, on a busy machine


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM:
        if os.environ.get("SER_BROWSER") == "required":
            pytest.fail("SER_BROWSER=required and no Chromium is on the PATH; install it")
        pytest.skip("needs Chromium on the PATH, as chromium, chromium-browser or google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own over a copy of the notebooks, from the environment of the tests."""
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
    yield base, token
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_every_cell_runs_in_jupyterlab(path, lab, chromium):
    base, token = lab
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    abroad = []
    page.on("request", lambda request: None if request.url.startswith((base, "blob:", "data:"))
            else abroad.append(request.url))
    page.goto(f"{base}/lab/tree/notebooks/{path.name}?token={token}&reset")
    run = "window.jupyterapp.commands.execute"
    idle = """() => { const context = window.jupyterapp?.shell.currentWidget?.sessionContext
                      return context?.isReady && context.session?.kernel?.status === 'idle' }"""
    page.wait_for_function(idle, timeout=WAIT)
    page.evaluate(f"{run}('notebook:clear-all-cell-outputs')")
    state = """() => {
        const notebook = window.jupyterapp.shell.currentWidget.content
        const cells = notebook.widgets.filter(cell => cell.model.type === 'code').map(cell => cell.model.toJSON())
        const outputs = cells.flatMap(cell => cell.outputs)
        return {counts: cells.map(cell => cell.execution_count),
                errors: outputs.filter(output => output.output_type === 'error').map(output => output.evalue),
                figures: outputs.filter(output => output.data && output.data['image/png']).length}}"""
    assert set(page.evaluate(state)["counts"]) == {None}
    page.evaluate(f"() => {{ {run}('runmenu:run-all') }}")
    page.wait_for_function(f"() => {{ const now = ({state})();"
                           "return now.errors.length || now.counts.at(-1) === now.counts.length }", timeout=WAIT)
    page.wait_for_function(idle, timeout=WAIT)
    now = page.evaluate(state)
    page.close()
    assert now["errors"] == []
    assert now["counts"] == list(range(1, len(now["counts"]) + 1))
    assert now["figures"] >= 3
    assert abroad == []
