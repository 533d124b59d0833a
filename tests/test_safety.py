"""Guarantees of SECURITY.md: no file content is executed, and JupyterLab answers only this machine."""

import ast
import json
import re
import urllib.error
import urllib.request

import pytest

from ser_utils._utils.files import ROOT

EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "eval", "exec", "yaml", "read_pickle"}
SOURCES = [path for folder in ("ser_utils", "scripts", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_content_is_executed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = {getattr(node, "id", ""), getattr(node, "attr", "")}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", "")}
        assert not names & EXECUTING, f"line {node.lineno}"
        if isinstance(node, ast.Call):
            call = ast.unparse(node)
            assert not call.startswith("np.load(") or "allow_pickle=False" in call
            assert not call.startswith(("joblib.load(", "joblib.dump("))
            assert "safe_mode=False" not in call


def test_sources_of_the_scan_are_found():
    assert len([path for path in SOURCES if path.is_relative_to(ROOT / "ser_utils")]) > 24


def test_file_names_with_terminal_codes_are_escaped(run_cli, tmp_path):
    path = tmp_path / "a\x1b[31m\nb.wav"
    path.write_bytes(b"not audio")
    status, _, stderr = run_cli("predict", path)
    assert status == 1
    assert r"a\x1b[31m\nb.wav" in stderr
    assert "\x1b" not in stderr
    assert len(stderr.splitlines()) == 1


def test_make_lab_listens_on_the_local_interface_only():
    [command] = [line for line in (ROOT / "Makefile").read_text().splitlines() if "jupyter lab" in line]
    assert "--ip=127.0.0.1" in command
    assert not re.search(r"token|password|0\.0\.0\.0|allow.origin", command)


@pytest.mark.slow
def test_jupyterlab_requires_its_token(lab):
    base, token, _ = lab
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{base}/api/contents", timeout=60)
    assert refused.value.code == 403
    with urllib.request.urlopen(f"{base}/api/contents?token={token}", timeout=60) as allowed:
        assert json.load(allowed)["type"] == "directory"
