"""Settings of `make lab`: works in a container, no news, and saving an unchanged notebook leaves its file unchanged."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from execute_notebooks import METADATA


def normalize_metadata(model, **_):
    """Drop the Python version and the state of widgets, which JupyterLab adds when a notebook is opened.

    Parameters
    ----------
    model : dict
        File that is saved, see `jupyter_server.services.contents.manager.ContentsManager.pre_save_hook`.
    """
    if model["type"] == "notebook":
        metadata = model["content"]["metadata"]
        if metadata.get("kernelspec", {}).get("name") == METADATA["kernelspec"]["name"]:
            metadata.update(METADATA)
            metadata.pop("widgets", None)


c = get_config()  # noqa: F821, defined by Jupyter
c.ServerApp.allow_root = True
c.ServerApp.ip = "127.0.0.1"
c.ContentsManager.pre_save_hook = normalize_metadata
c.LabApp.app_settings_dir = str(Path(__file__).parent.resolve())  # overrides.json: no question about news
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
c.LabApp.default_url = "/lab/tree/notebooks/01_data_exploration.ipynb"
