"""Unusual environments: special characters, a read-only checkout, no home, other locales, one core."""

import os
import shutil
import subprocess
import sys

import pytest

from ser_utils._utils.files import ROOT

pytestmark = pytest.mark.slow

DROP_PRIVILEGES = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override"]
COMMANDS = """
{python} -m ser_utils datasets
{python} -m ser_utils predict "{root}/data/samples/ravdess/Actor_01/03-01-05-01-01-01-01.flac"
{python} -m ser_utils extract "{root}/data/samples/ravdess" --out features --no-f0
{python} -m ser_utils evaluate --features features --model chance --fold 0
{python} "{root}/scripts/build_report.py" --index-only
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository in a folder with spaces and non-ASCII letters."""
    root = tmp_path_factory.mktemp("a place") / "späces & ☕ Ω"
    for name in ("ser_utils", "scripts", "models", "results", "data/ravdess", "data/samples"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def run_commands(root, folder, prefix=(), environment=None, **options):
    """Run the commands in a folder and check that all succeed."""
    script = COMMANDS.format(python=f'"{sys.executable}"', root=root)
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {}), "PYTHONPATH": str(root)}
    done = subprocess.run([*prefix, "sh", "-e", "-c", script], cwd=folder, capture_output=True, check=False,
                          env={name: value for name, value in variables.items() if value is not None}, **options)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    assert "Traceback" not in output
    assert (folder / "build" / "report" / "index.html").is_file()


@pytest.mark.parametrize("environment", [
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"},
    {"HOME": None},
], ids=["ASCII", "Turkish locale and UTC+14", "no home"])
def test_commands_in_other_environments(environment, checkout, tmp_path):
    run_commands(checkout, tmp_path, environment=environment)


def test_commands_on_one_core(checkout, tmp_path):
    run_commands(checkout, tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_commands_in_a_read_only_checkout(checkout, tmp_path):
    prefix = DROP_PRIVILEGES if os.geteuid() == 0 else []  # root may write anywhere otherwise
    subprocess.run(["chmod", "-R", "a-w", checkout], check=True)
    try:
        run_commands(checkout, tmp_path, prefix)
        failed = subprocess.run(
            [*prefix, sys.executable, "-m", "ser_utils", "extract", "data/samples/ravdess", "--no-f0"], cwd=checkout,
            capture_output=True, text=True, check=False, env=os.environ | {"SER_DATA": ""})
    finally:
        subprocess.run(["chmod", "-R", "u+w", checkout], check=True)
    assert failed.returncode == 2
    assert "Permission denied: 'build" in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
