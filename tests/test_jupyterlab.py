"""The notebooks as a reader meets them, in JupyterLab in Chromium: every cell runs, and nothing asks another host."""

import pytest

from ser_utils import corpora

# those with what only a browser shows: players, progress bars, the microphone; nbval and make run try all
NUMBERED = sorted((corpora.ROOT / "notebooks").glob("0[135]_*.ipynb"))
WAIT = 180_000  # ms, on a busy machine


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_every_cell_runs_in_jupyterlab(path, lab, chromium):
    base, token, _ = lab
    page = chromium().new_page(viewport={"width": 1280, "height": 900})
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
