"""The notebooks in JupyterLab in Chromium: all cells run, and no other host is contacted."""

import pytest

from ser_utils._utils.files import ROOT

# audio players, progress bars and the recorder need a browser; nbval runs all notebooks without one
NOTEBOOKS = [pytest.param(path, marks=() if path.name.startswith("05") else pytest.mark.slow, id=path.stem)
             for path in sorted((ROOT / "notebooks").glob("0[135]_*.ipynb"))]
TIMEOUT = 600_000  # ms, a guard against hangs
EXECUTE = "window.jupyterapp.commands.execute"
IDLE = """() => { const context = window.jupyterapp?.shell.currentWidget?.sessionContext
                  return context?.isReady && context.session?.kernel?.status === 'idle' }"""
STATE = """() => {
    const notebook = window.jupyterapp.shell.currentWidget.content
    const cells = notebook.widgets.filter(cell => cell.model.type === 'code').map(cell => cell.model.toJSON())
    const outputs = cells.flatMap(cell => cell.outputs)
    return {counts: cells.map(cell => cell.execution_count),
            errors: outputs.filter(output => output.output_type === 'error').map(output => output.evalue),
            figures: outputs.filter(output => output.data && output.data['image/png']).length}}"""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_runs_in_jupyterlab(path, lab, chromium):
    base, token, _ = lab
    page, requests = chromium().new_page(viewport={"width": 1280, "height": 900}), []
    page.set_default_timeout(TIMEOUT)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{base}/lab/tree/notebooks/{path.name}?token={token}&reset")
    page.wait_for_function(IDLE)
    page.evaluate(f"{EXECUTE}('notebook:clear-all-cell-outputs')")
    assert set(page.evaluate(STATE)["counts"]) == {None}
    page.evaluate(f"() => {{ {EXECUTE}('runmenu:run-all') }}")
    page.wait_for_function(f"() => {{ const state = ({STATE})(); return state.errors.length || "
                           "state.counts.at(-1) === state.counts.length }")
    page.wait_for_function(IDLE)
    state = page.evaluate(STATE)
    page.close()
    assert (state["errors"], state["counts"]) == ([], list(range(1, len(state["counts"]) + 1)))
    assert state["figures"] >= 3
    assert [url for url in requests if not url.startswith((base, "blob:", "data:"))] == []
