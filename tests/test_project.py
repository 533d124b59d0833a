"""The repository: pinned requirements, no recordings or large files, documented names, working links."""

import ast
import re
import shutil
import subprocess
import tomllib
from itertools import chain

import pytest

from ser_utils._utils.files import ROOT

LARGE = {"data/ravdess/features.npz", "models/emotion.onnx", "models/gender.onnx"}
MODULES = sorted((ROOT / "ser_utils").rglob("*.py"))


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


def public_definitions(path):
    """Public functions and classes of a module, and the public methods of these classes."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
            for method in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method


def signature(node):
    """Names of the parameters of a function, or of the constructor of a class."""
    if isinstance(node, ast.ClassDef):
        constructors = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        return signature(constructors[0]) if constructors else None
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    names = [argument.arg for argument in positional + arguments.kwonlyargs + variadic]
    return {name for name in names if name not in ("self", "cls") and not name.startswith("_")}


def documented_parameters(docstring):
    """Names in the Parameters section of a numpydoc docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^(\S.*?)(?: : .*)?$", section[1], re.MULTILINE) if section else []
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "ser_utils").as_posix())
def test_docstrings_document_every_parameter(path):
    assert len(MODULES) > 20
    for name, node in public_definitions(path):
        docstring, expected = ast.get_docstring(node), signature(node)
        assert docstring, f"{path.name}: {name}"
        if expected is not None and (documented := documented_parameters(docstring)) | expected:
            assert documented == expected or ("." in name and not documented), f"{path.name}: {name}"


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_makefile_lists_its_commands():
    output = subprocess.check_output(["make", "--no-print-directory", "help"], cwd=ROOT, text=True)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert [line.split()[0] for line in output.splitlines()] == phony


def test_links_of_markdown_pages_resolve():
    pages = [page for folder in (".", "docs", "data", "results", "models", "benchmarks")
             for page in sorted((ROOT / folder).glob("*.md"))]
    assert ROOT / "README.md" in pages
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
