"""Unusual environments: special characters, a read-only checkout, no home, other locales, one core."""

import os
import shutil
import subprocess
import sys

import pytest

from ser_utils._utils.files import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("setpriv"), reason="needs Linux with util-linux")]

# root may write anywhere otherwise
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override"]
COMMANDS = """
{python} -m ser_utils datasets
{python} -m ser_utils predict "{root}/data/samples/ravdess/Actor_01/03-01-05-01-01-01-01.flac"
{python} -m ser_utils extract "{root}/data/samples/ravdess" --out features --no-f0
{python} -m ser_utils evaluate --features features --model chance --fold 0
{python} "{root}/scripts/build_site.py"
test -f build/site/docs/guide/installation.html
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository in a folder with spaces and non-ASCII letters."""
    root = tmp_path_factory.mktemp("a place") / "späces & ☕ Ω"
    for name in ("ser_utils", "scripts", "models", "results", "data/ravdess", "data/samples", "docs", "notebooks",
                 "web"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.md"), ROOT / "data" / "README.md", ROOT / "benchmarks" / "README.md"]:
        (root / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(path, root / path.relative_to(ROOT))
    return root


def run_commands(root, folder, prefix=(), commands=COMMANDS, **variables):
    """Exit status and output of commands in a folder."""
    script = commands.format(python=f'"{sys.executable}"', root=root)
    done = subprocess.run([*prefix, "sh", "-e", "-c", script], cwd=folder, capture_output=True, check=False, env={
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(root), **variables})
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in output
    return done.returncode, output


@pytest.mark.parametrize(("prefix", "variables"), [
    ([], {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}),
    ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"}),
    (["env", "-u", "HOME"], {}),
    (["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}),
], ids=["ASCII", "Turkish locale and UTC+14", "no home", "one core"])
def test_commands_in_other_environments(prefix, variables, checkout, tmp_path):
    status, output = run_commands(checkout, tmp_path, prefix, **variables)
    assert status == 0, output


def test_commands_in_a_read_only_checkout(checkout, tmp_path):
    prefix = UNPRIVILEGED if os.geteuid() == 0 else []
    subprocess.run(["chmod", "-R", "a-w", checkout], check=True)
    try:
        status, output = run_commands(checkout, tmp_path, prefix)
        extract = run_commands(checkout, checkout, prefix, "{python} -m ser_utils extract data/samples/ravdess --no-f0")
    finally:
        subprocess.run(["chmod", "-R", "u+w", checkout], check=True)
    assert status == 0, output
    assert extract[0] == 2
    assert "Permission denied: 'build" in extract[1].splitlines()[-1]
