"""Settings of `make lab`: works in a container, no news, and saving an unchanged notebook leaves its file unchanged."""

from pathlib import Path

STORED_METADATA = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
                   "language_info": {"name": "python"}}


def normalize_metadata(model, **_):
    """Drop the Python version and the state of widgets, which JupyterLab adds when a notebook is opened.

    Parameters
    ----------
    model : dict
        File that is saved, see `jupyter_server.services.contents.manager.ContentsManager.pre_save_hook`.
    """
    if model["type"] == "notebook" and (metadata := model["content"]["metadata"]).get(
            "kernelspec", {}).get("name") == STORED_METADATA["kernelspec"]["name"]:
        metadata.update(STORED_METADATA)
        metadata.pop("widgets", None)


c = get_config()  # noqa: F821, defined by Jupyter
c.ServerApp.allow_root = True
c.ServerApp.ip = "127.0.0.1"
c.ContentsManager.pre_save_hook = normalize_metadata
c.LabApp.app_settings_dir = str(Path(__file__).parent.resolve())  # overrides.json: no question about news
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
c.LabApp.default_url = "/lab/tree/notebooks/01_data_exploration.ipynb"
