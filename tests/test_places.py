"""Wherever it is put: odd folders, a checkout that may not be written to, no home, other languages, one core."""

import os
import shutil
import subprocess
import sys

import pytest

from conftest import MINIATURE
from ser_utils import corpora

READ_ONLY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override"]
WALK = """
{python} -m ser_utils predict "{root}/data/this_coffee_sucks.flac"
{python} -m ser_utils extract "{recordings}" --out features --no-pitch
{python} -m ser_utils compare --features features --model chance --fold 0
{python} "{root}/tools/pages.py"
{python} -m ser_utils report
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the repository has, in a folder with spaces and letters of many alphabets."""
    root = tmp_path_factory.mktemp("a place") / "späces & ☕ Ω"
    for name in ("ser_utils", "tools", "models", "results"):
        shutil.copytree(corpora.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").mkdir()
    shutil.copy(corpora.ROOT / "data" / "this_coffee_sucks.flac", root / "data")
    shutil.copytree(corpora.ROOT / "data" / "ravdess", root / "data" / "ravdess")
    for name in ("Actor_01", "Actor_02", "Actor_03"):
        shutil.copytree(MINIATURE / name, root / "some recordings" / name)
    shutil.copy(MINIATURE / corpora.MARK, root / "some recordings")
    return root


def walk(root, folder, before=(), environment=None, **more):
    """Predict, extract, compare and report, in a folder, and all goes well."""
    script = WALK.format(python=f'"{sys.executable}"', root=root, recordings=root / "some recordings")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {}), "PYTHONPATH": str(root)}
    done = subprocess.run([*before, "sh", "-e", "-c", script], cwd=folder, capture_output=True, check=False,
                          env={name: value for name, value in environment.items() if value is not None}, **more)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert (folder / "build" / "report" / "index.html").is_file()


@pytest.mark.parametrize("environment", [
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"},
    {"HOME": None},
], ids=["ASCII", "Turkish, a day ahead", "no home"])
def test_in_other_environments(environment, checkout, tmp_path):
    walk(checkout, tmp_path, environment=environment)


def test_on_one_core(checkout, tmp_path):
    walk(checkout, tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_in_a_checkout_that_may_not_be_written_to(checkout, tmp_path):
    before = READ_ONLY if os.geteuid() == 0 else []  # root may write anywhere, unless it gives that up
    subprocess.run(["chmod", "-R", "a-w", checkout], check=True)
    try:
        walk(checkout, tmp_path, before)
        refused = subprocess.run(
            [*before, sys.executable, "-m", "ser_utils", "extract", "some recordings", "--no-pitch"], cwd=checkout,
            capture_output=True, text=True, check=False, env=os.environ | {"SER_DATA": ""})
    finally:
        subprocess.run(["chmod", "-R", "u+w", checkout], check=True)
    assert refused.returncode == 2
    assert "Permission denied: 'build" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
