"""Killed processes, full disks, concurrent runs: no file is incomplete, and a rerun gives the undisturbed result.

SER_KILLS (default 12) processes are killed at random times; above 12, `evaluate` trains networks.
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
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import CUSTOM_MODELS, record

from ser_utils._utils.files import ROOT
from ser_utils.datasets import SAMPLES

pytestmark = pytest.mark.slow

N_KILLS = int(os.environ.get("SER_KILLS", "12"))
MODEL = "my_models:Network" if N_KILLS > 12 else "my_models:Regression"
COMMANDS = ["extract", "evaluate", "evaluate --test", "download"]
DOWNLOAD = """
import sys
from dataclasses import replace
from ser_utils import cli
from ser_utils.datasets.core import DATASETS
DATASETS["ravdess"] = replace(DATASETS["ravdess"], url=sys.argv[1], checksum=sys.argv[2])
sys.exit(cli.main(["download", "ravdess", "raw/ravdess"]))
"""
# contain dates or run times
VARIABLE_FILES = "test_access.csv", "run_metadata.json", "experiment.json", ".json.gz"


class SlowHandler(SimpleHTTPRequestHandler):
    """Serves files slowly, so that processes are killed during the transfer, too."""

    def copyfile(self, source, target):
        with suppress(ConnectionError):  # the client was killed
            while block := source.read(2 ** 17):
                target.write(block)
                time.sleep(0.02)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def archive_url(tmp_path_factory):
    """The address of an archive of the samples, and its checksum."""
    folder = tmp_path_factory.mktemp("archive")
    archive = shutil.make_archive(folder / "speech", "zip", SAMPLES)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SlowHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield (f"http://127.0.0.1:{server.server_port}/speech.zip",
               f"md5:{hashlib.md5(Path(archive).read_bytes()).hexdigest()}")
        server.shutdown()


def start_process(folder, arguments, **options):
    """Start Python in a folder, in a process group of its own."""
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "MPLBACKEND": "Agg", "SER_DATA": "",
                 "PYTHONDONTWRITEBYTECODE": "1"}  # Python before 3.11.4 reads incomplete .pyc files
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, start_new_session=True, text=True,
                            env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


def run(folder, arguments, **options):
    """Exit status and messages of a process."""
    process = start_process(folder, arguments, **options)
    messages = process.communicate()[1]
    return process.returncode, messages


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def read_files(folder):
    """Relative path to content of all files that are neither hidden nor variable."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path): (folder / path).read_bytes() for path in paths
            if not path.name.endswith(VARIABLE_FILES) and not any(part.startswith(".") for part in path.parts)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory, archive_url):
    """For each command: arguments, the folder before it, the files after an undisturbed run, its duration in s."""
    base, cases = tmp_path_factory.mktemp("states"), {}
    extract = ["-m", "ser_utils", "extract", "recordings", "--out", "features", "--no-f0", "--jobs", "2"]
    evaluate = ["-m", "ser_utils", "evaluate", "--features", "features", "--model", MODEL, "chance", "--jobs", "2"]
    shutil.copytree(SAMPLES, base / "initial" / "recordings")
    (base / "initial" / "my_models.py").write_text(CUSTOM_MODELS.replace("epochs=2", "epochs=1"))
    for name, before, arguments in (
            ("extract", "initial", extract),
            ("evaluate", "extract", evaluate), ("evaluate --test", "extract", [*evaluate, "--test"]),
            ("download", "initial", ["-c", DOWNLOAD, *archive_url])):
        folder, start = shutil.copytree(base / before, base / name), time.perf_counter()
        status, messages = run(folder, arguments)
        assert status == 0, f"{name}: {messages}"
        cases[name] = arguments, base / before, read_files(folder), time.perf_counter() - start
        assert len(cases[name][2]) > len(read_files(base / before)), name
    return cases


@pytest.mark.parametrize("name", COMMANDS)
def test_rerun_after_a_kill_gives_the_undisturbed_files(name, cases, tmp_path):
    arguments, before, expected, duration = cases[name]
    rng, n_kills, n_tries, n_planned = random.Random(name), 0, 0, N_KILLS // 4
    while n_kills < n_planned and n_tries < 3 * n_planned:  # a process may end before its kill
        folder = shutil.copytree(before, tmp_path / f"{n_tries}")
        for delay in [rng.uniform(0.05, 1) * duration for _ in range(min(3, n_planned - n_kills))]:
            n_tries += 1
            process = start_process(folder, arguments)
            try:
                process.communicate(timeout=delay)
            except subprocess.TimeoutExpired:
                kill(process)
                n_kills += 1
            files = read_files(folder)
            assert all(files[path] == expected[path] for path in files), "an incomplete file"
        status, messages = run(folder, arguments)
        assert status == 0 or (name == "download" and "not empty" in messages), messages
        assert read_files(folder) == expected
    assert n_kills or n_planned < 3  # else no process was killed in time
    record(f"interruption: {name}", {"n_kills": n_kills, "n_identical_reruns": n_kills})


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_reported_and_a_rerun_completes(name, cases, tmp_path):
    arguments, before, expected, _ = cases[name]
    folder = shutil.copytree(before, tmp_path / "work")
    limit = 2 ** 12 if name in ("extract", "download") else 2 ** 9  # bytes per file, stands for the free space
    status, messages = run(folder, arguments,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert status not in (0, -signal.SIGXFSZ), messages
    assert messages.splitlines()[-1].startswith("error: "), messages
    assert "free disk space" in messages
    assert "Traceback" not in messages
    assert all(content == expected[path] for path, content in read_files(folder).items())
    assert run(folder, arguments)[0] == 0
    assert read_files(folder) == expected


@pytest.mark.parametrize("name", ["extract", "evaluate", "download"])
def test_concurrent_runs_do_not_interfere(name, cases, tmp_path):
    arguments, before, expected, _ = cases[name]
    folder = shutil.copytree(before, tmp_path / "work")
    processes = [start_process(folder, arguments) for _ in range(2)]
    messages = [process.communicate()[1] for process in processes]
    statuses = sorted(process.returncode for process in processes)
    assert statuses == [0, 0] or (name == "download" and statuses == [0, 2]), messages
    assert not any("Traceback" in message for message in messages)
    assert read_files(folder) == expected


def test_resumed_evaluation_keeps_completed_runs(cases, tmp_path):
    arguments, before, expected, _ = cases["evaluate"]
    folder = shutil.copytree(before, tmp_path / "work")
    process, runs = start_process(folder, arguments), folder / "build" / "runs"
    while not list(runs.glob("*.csv.gz")) and process.poll() is None:
        time.sleep(0.05)
    kill(process)
    times = {path: path.stat().st_mtime_ns for path in runs.glob("*.csv.gz") if path.name[0] != "."}
    assert times
    assert run(folder, arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert read_files(folder) == expected
