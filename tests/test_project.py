"""The repository itself: pins, sizes, no recordings, commands that the README names."""

import ast
import re
import shutil
import subprocess

import pytest

from ser_utils import corpora

ROOT = corpora.ROOT


def test_every_requirement_is_pinned_and_says_what_needs_it():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+ +# \w.*", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    assert {"jupyterlab", "librosa", "numpy", "pandas", "matplotlib", "seaborn", "keras", "tensorflow", "scikit-learn",
            "nbval"} <= pinned
    text = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'"([\w-]+)"', re.search(r"^dependencies = \[(.*?)\]", text, re.DOTALL | re.MULTILINE).group(1))
    assert set(wanted) <= pinned


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout")
def test_no_recording_and_no_large_file_is_committed():
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert "README.md" in files
    for name in files:
        assert not name.endswith((".wav", ".flac")) or name.startswith(("data/miniature/", "data/this_coffee")), name
        path = ROOT / name
        assert not path.exists() or path.stat().st_size < 5e6 or name == "data/ravdess/features.npz", name


def code_lines(path):
    """Lines of a module that are neither blank nor docstring."""
    text = path.read_text(encoding="utf-8")
    said = {line for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
            for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return sum(bool(line.strip()) and number not in said for number, line in enumerate(text.splitlines(), 1))


def test_the_package_stays_small():
    modules = list((ROOT / "ser_utils").glob("*.py"))
    assert sum(map(code_lines, modules)) <= 2500


def public_names():
    """Functions and classes of the package, as (module, name, docstring)."""
    for path in sorted((ROOT / "ser_utils").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield path.stem, node.name, ast.get_docstring(node) or ""


def test_every_public_name_says_what_it_is_and_shows_it():
    names = list(public_names())
    assert len(names) > 100
    assert [f"{module}.{name}" for module, name, said in names if ">>>" not in said] == []


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed; the README has commands without it")
def test_the_makefile_lists_its_commands():
    shown = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, text=True)
    readme, commands = ((ROOT / name).read_text() for name in ("README.md", "docs/commands.md"))
    for name in ("run", "test", "lab", "extract", "reproduce"):
        assert re.search(rf"^{name}\s+\S", shown, re.MULTILINE)
        assert f"make {name}" in readme + commands


def test_links_of_every_page_lead_somewhere():
    pages = [page for folder in (".", "docs", "data", "results", "models", "benchmarks")
             for page in sorted((ROOT / folder).glob("*.md"))]
    assert ROOT / "README.md" in pages
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
