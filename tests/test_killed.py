"""Power cuts, full disks, two at once: what has its name is whole, and another run ends as if undisturbed.

`make fuzz` kills 60 times, with networks; the suite a dozen times, with a quicker model.
"""

import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_fetch import zipped

from conftest import MINIATURE, QUICK, record
from ser_utils import corpora

KILLS = int(os.environ.get("SER_KILLS", "12"))
MODEL = "mine:Network" if KILLS > 12 else "mine:Regression"
FETCH = """
import sys
from dataclasses import replace
from ser_utils import cli, corpora
corpora.CORPORA["ravdess"] = replace(corpora.CORPORA["ravdess"], url=sys.argv[1], checksum=sys.argv[2])
sys.exit(cli.main(["fetch", "ravdess", "raw/ravdess"]))
"""
SPEAKERS = ("Actor_01", "Actor_02", "Actor_03", "Actor_04")
PER_CASE = "looks.csv", "made.json", "about.json", ".json.gz"  # with dates and seconds in them


class Slow(BaseHTTPRequestHandler):
    """An archive that takes its time, so that a kill meets the download too."""

    body = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        with suppress(ConnectionError):  # whoever asked was killed
            for start in range(0, len(self.body), 2 ** 17):
                self.wfile.write(self.body[start:start + 2 ** 17])
                time.sleep(0.02)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Of each command its arguments, and a folder to begin from."""
    start = tmp_path_factory.mktemp("start")
    for name in SPEAKERS:
        shutil.copytree(MINIATURE / name, start / "recordings" / name)
    shutil.copy(MINIATURE / corpora.MARK, start / "recordings")
    (start / "mine.py").write_text(QUICK.replace("epochs=2", "epochs=1"))
    extract = ["-m", "ser_utils", "extract", "recordings", "--out", "features", "--no-pitch", "--jobs", "2"]
    ready = tmp_path_factory.mktemp("ready") / "start"
    shutil.copytree(start, ready)
    assert run(ready, extract).wait() == 0
    compared = ["-m", "ser_utils", "compare", "--features", "features", "--model", MODEL, "chance", "--jobs", "2"]
    reported = tmp_path_factory.mktemp("reported") / "start"
    shutil.copytree(ready, reported)
    assert run(reported, compared).wait() == 0
    Slow.body = zipped({f"{path.parent.name}/{path.name}": path.read_bytes()
                        for name in SPEAKERS for path in sorted((MINIATURE / name).iterdir())})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fetch = ["-c", FETCH, f"http://127.0.0.1:{server.server_port}/speech.zip",
             f"md5:{hashlib.md5(Slow.body).hexdigest()}"]
    yield {"extract": (extract, start), "compare": (compared, ready), "reproduce": ([*compared, "--publish"], ready),
           "fetch": (fetch, start), "report": ([str(corpora.ROOT / "tools" / "pages.py")], reported)}
    server.shutdown()


def run(folder, arguments, **how):
    """A command in a folder, in a group of processes of its own."""
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | how
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, start_new_session=True,
                            env=os.environ | {"PYTHONPATH": f"{corpora.ROOT}{os.pathsep}{folder}",
                                              "MPLBACKEND": "Agg", "SER_DATA": "",
                                              # Python before 3.11.4 takes half a .pyc for a whole one
                                              "PYTHONDONTWRITEBYTECODE": "1"}, **how)


def content(folder):
    """Whatever lies in a folder under a name of its own, but for what has dates and seconds in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith(PER_CASE)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)}


@pytest.fixture(scope="module")
def undisturbed(cases, tmp_path_factory):
    """What each command leaves when nobody interferes, and how long it takes."""
    found = {}
    for name, (arguments, start) in cases.items():
        folder = tmp_path_factory.mktemp(name) / "place"
        shutil.copytree(start, folder)
        began = time.perf_counter()
        assert run(folder, arguments).wait() == 0, name
        found[name] = content(folder), time.perf_counter() - began
        assert len(found[name][0]) > len(content(start)), name
    return found


@pytest.mark.parametrize("name", ["extract", "compare", "reproduce", "fetch", "report"])
def test_killed_at_any_moment_it_ends_as_if_undisturbed(name, cases, undisturbed, tmp_path):
    arguments, start = cases[name]
    expected, seconds = undisturbed[name]
    rng, kills, tries, wanted = random.Random(name), 0, 0, KILLS // (12 if name == "report" else 4)
    while kills < wanted and tries < 3 * wanted:  # a moment may come when all is done
        folder = tmp_path / f"{tries}"
        shutil.copytree(start, folder)
        for moment in [rng.uniform(0.05, 1) * seconds for _ in range(min(3, wanted - kills))]:
            tries += 1
            running = run(folder, arguments)
            try:
                running.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                kills += 1
            there = content(folder)
            if name != "report":  # a page is written again whatever is there
                assert all(there[path] == expected[path] for path in there), "half a file under its own name"
        last = run(folder, arguments, stderr=subprocess.PIPE)
        said = last.communicate()[1].decode()
        assert last.returncode == 0 or (name == "fetch" and "is there and not empty" in said), said
        assert content(folder) == expected
    assert kills or wanted < 3  # else it was never caught at work
    record(f"killed: {name}", {"kills": kills, "reruns that end as undisturbed": kills})


@pytest.mark.parametrize("name", ["extract", "compare", "reproduce", "fetch", "report"])
def test_on_a_full_disk_it_says_so_and_ends_well_later(name, cases, undisturbed, tmp_path):
    arguments, start = cases[name]
    folder = tmp_path / "place"
    shutil.copytree(start, folder)
    limit = {"extract": 2 ** 12, "fetch": 2 ** 12}.get(name, 2 ** 9)  # bytes a file, which the disk has left
    full = run(folder, arguments, stderr=subprocess.PIPE,
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    said = full.communicate()[1].decode()
    assert full.returncode not in (0, -signal.SIGXFSZ), said
    if name != "report":  # a tool of ours, whose traceback may be seen
        assert any(line.startswith("error: ") and "make room" in line for line in said.splitlines()), said
        assert "Traceback" not in said
    expected = undisturbed[name][0]
    assert name == "report" or all(there == expected[path] for path, there in content(folder).items())
    assert run(folder, arguments).wait() == 0
    assert content(folder) == expected


@pytest.mark.parametrize("name", ["extract", "compare", "fetch"])
def test_two_at_once_do_not_spoil_each_other(name, cases, undisturbed, tmp_path):
    arguments, start = cases[name]
    folder = tmp_path / "place"
    shutil.copytree(start, folder)
    both = [run(folder, arguments, stderr=subprocess.PIPE) for _ in range(2)]
    said = [one.communicate()[1].decode() for one in both]
    assert sorted(one.returncode for one in both) in ([0, 0], [0, 2] if name == "fetch" else [0, 0]), said
    assert not any("Traceback" in one for one in said)
    assert content(folder) == undisturbed[name][0]
