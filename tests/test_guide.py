"""The code blocks of README.md and of the user guide, executed page by page as a reader would paste them.

A block after a line `<!-- not run: reason -->` is not executed. A text block after an executed block states its output.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ser_utils._utils.files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
                   re.MULTILINE | re.DOTALL)


def list_blocks(path):
    """Matches of `BLOCK` on a page."""
    return list(BLOCK.finditer(path.read_text(encoding="utf-8")))


@pytest.fixture
def guide_folder(tmp_path):
    """A folder that looks like the repository to the commands of the guide, with a build folder of its own."""
    for name in ("data", "models", "notebooks", "results", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run_block(language, code, folder):
    """Standard output of a block; fails with its output if its exit status is not 0."""
    command = {"bash": ["bash", "-e", "-c", code], "python": [sys.executable, "-c", code]}[language]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                          env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"})
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def split_output(text):
    """Words and numbers of an output; numbers may differ slightly on another processor."""
    parts = re.split(r"(-?\d+(?:\.\d+)?)", text)
    return [part.split() for part in parts[::2]], [pytest.approx(float(part), rel=0.1, abs=0.1) for part in parts[1::2]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_blocks_run_and_print_what_the_page_shows(page, guide_folder):
    output = None
    for block in list_blocks(page):
        language, code = block["language"], block["code"]
        if language == "text":
            if output is not None:
                assert split_output(output) == split_output(code), f"{output}\nis not\n{code}"
            output = None
        elif block["reason"] or language == "csv":
            output = None
        else:
            output = run_block(language, code, guide_folder)


def test_most_code_blocks_are_executed():
    blocks = [block for page in PAGES for block in list_blocks(page) if block["language"] in ("bash", "python")]
    assert sum(not block["reason"] for block in blocks) >= 20
    assert not [block["code"] for page in PAGES for block in list_blocks(page)
                if block["language"] not in ("bash", "python", "text", "csv")]
