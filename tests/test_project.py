"""The repository: pinned requirements, file sizes, documented names, links, and the guarantees of SECURITY.md."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from itertools import chain

import pytest

from ser_utils._utils.files import ROOT

LARGE = {"data/ravdess/features.npz", "data/ravdess/whisper.npz", "models/mfcc_emotion.onnx",
         "models/whisper_encoder.onnx"}
MODULES = sorted((ROOT / "ser_utils").rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "scripts").glob("*.py"))]
EXECUTING = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "eval", "exec", "yaml", "read_pickle"}


def test_requirements_are_pinned_and_explained():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+ +# \w.*", line) for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())}
    assert needed <= {line.split("==")[0] for line in lines}


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout")
def test_no_recording_or_large_file_is_committed():
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert "README.md" in files
    for name in files:
        assert not name.endswith((".wav", ".flac")) or name.startswith("data/samples/"), name
        assert name in LARGE or not (ROOT / name).exists() or (ROOT / name).stat().st_size < 5e6, name


def public_definitions(node, prefix=""):
    """Public functions and classes of a module, and the public methods of these classes."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child, f"{child.name}.")


def parameters(function):
    names = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)} - {"self", "cls"}
    return {name for name in names if not name.startswith("_")}


def documented_parameters(docstring):
    """Names in the Parameters section of a numpydoc docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^(\S.*?)(?: : .*)?$", section[1], re.MULTILINE) if section else []
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "ser_utils").as_posix())
def test_docstrings_document_every_parameter(path):
    for name, node in public_definitions(ast.parse(path.read_text(encoding="utf-8"))):
        docstring = ast.get_docstring(node)
        assert docstring, name
        function = next((part for part in ast.walk(node) if getattr(part, "name", "") == "__init__"), node)
        documented = documented_parameters(docstring)
        if isinstance(function, ast.FunctionDef):  # not a dataclass
            assert documented == parameters(function) or ("." in name and not documented), name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_content_is_executed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = {getattr(node, "id", ""), getattr(node, "attr", "")}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", "")}
        assert not names & EXECUTING, f"line {node.lineno}"
        if isinstance(node, ast.Call):
            call = ast.unparse(node)
            assert not call.startswith(("joblib.load(", "joblib.dump(")), f"line {node.lineno}"
            assert not call.startswith("np.load(") or "allow_pickle=False" in call, f"line {node.lineno}"
            assert "safe_mode=False" not in call, f"line {node.lineno}"


def test_makefile_lists_its_commands_and_serves_the_local_interface_only():
    lines = (ROOT / "Makefile").read_text().splitlines()
    [phony] = [line.split()[1:] for line in lines if line.startswith(".PHONY:")]
    assert [line.split(":")[0] for line in lines if re.match(r"[a-z-]+:.*##", line)] == phony
    [lab] = [line for line in lines if "jupyter lab" in line]
    config = re.search(r"--config=(\S+)", lab)[1]
    assert 'c.ServerApp.ip = "127.0.0.1"' in (ROOT / config).read_text()
    assert not re.search(r"token|password|0\.0\.0\.0|allow.origin", lab)


PAGES = [page for name in (".", "docs", "data", "results", "models", "benchmarks", "notebooks", "notebooks/solutions")
         for page in sorted((ROOT / name).iterdir()) if page.suffix in (".md", ".ipynb")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page):
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "".join(line for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
                       for line in cell["source"])
    for target in re.findall(r"\]\((?!https?:|attachment:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
