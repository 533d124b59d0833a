"""The notebooks in JupyterLab in Chromium: cells run, audio loads, files stay unchanged, no other host."""

import pytest

from ser_utils._utils.files import ROOT

# audio players, progress bars and widgets need a browser; nbval runs all notebooks without one
NOTEBOOKS = [pytest.param(path, marks=() if path.name.startswith("05") else pytest.mark.slow, id=path.stem)
             for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
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


WIDGETS = {"02": (".jupyter-widgets.widget-slider .noUi-handle", lambda control: control.press("ArrowRight")),
           "07": (".jupyter-widgets.widget-dropdown select", lambda control: control.select_option(index=3))}
SCROLL_TO_WIDGET = """async selector => {
    const content = window.jupyterapp.shell.currentWidget.content
    for (let index = 0; index < content.widgets.length; index++) {
        await content.scrollToItem(index, 'start')
        await new Promise(resolve => setTimeout(resolve, 50))
        if (content.node.querySelector(selector)) return index
    }
    return -1 }"""
FIGURE = "document.querySelector('.jupyter-widgets.widget-output img')?.src"


def check_widget(page, selector, change):
    """Change the first widget of a kind; the figure below it must change."""
    assert page.evaluate(SCROLL_TO_WIDGET, selector) >= 0
    page.wait_for_function(f"() => {FIGURE}")
    before = page.evaluate(f"() => {FIGURE}")
    change(page.locator(selector).first)
    page.wait_for_function(f"before => {FIGURE} && {FIGURE} !== before", arg=before)


def open_notebook(lab, chromium, name=None):
    """A page with a notebook, by default the one that `make lab` opens, when its kernel is ready; its requests."""
    base, token, _ = lab
    page, requests = chromium().new_page(viewport={"width": 1280, "height": 900}), []
    page.set_default_timeout(TIMEOUT)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{base}/lab/tree/notebooks/{name}?token={token}&reset" if name else f"{base}/?token={token}")
    page.wait_for_function(IDLE)
    return page, requests


def test_first_notebook_loads_roadmap_and_audio_and_is_unchanged_by_saving(lab, chromium):
    path = lab[2] / "notebooks" / "01_data_exploration.ipynb"
    page, _ = open_notebook(lab, chromium)
    content = path.read_bytes()
    page.wait_for_function("""() => { const players = [...document.querySelectorAll('audio')]
                                      return players.length && players.every(player => player.readyState >= 1) }""")
    page.wait_for_function("() => document.querySelector('img[alt^=Roadmap]')?.naturalWidth > 0")
    page.evaluate(f"{EXECUTE}('docmanager:save')")
    page.close()
    assert path.read_bytes() == content


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_runs_in_jupyterlab(path, lab, chromium):
    page, requests = open_notebook(lab, chromium, path.name)
    page.evaluate(f"{EXECUTE}('notebook:clear-all-cell-outputs')")
    assert set(page.evaluate(STATE)["counts"]) == {None}
    page.evaluate(f"() => {{ {EXECUTE}('runmenu:run-all') }}")
    page.wait_for_function(f"() => {{ const state = ({STATE})(); return state.errors.length || "
                           "state.counts.at(-1) === state.counts.length }")
    page.wait_for_function(IDLE)
    state = page.evaluate(STATE)
    if path.stem[:2] in WIDGETS:
        check_widget(page, *WIDGETS[path.stem[:2]])
    page.close()
    assert (state["errors"], state["counts"]) == ([], list(range(1, len(state["counts"]) + 1)))
    assert state["figures"] >= 3
    assert [url for url in requests if not url.startswith((lab[0], "blob:", "data:", "attachment:"))] == []
