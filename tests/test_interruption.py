"""Killed processes, full disks, concurrent runs: no file is incomplete, and a rerun gives the undisturbed result.

SER_KILLS (default 12) processes are killed at random times; above 12, `evaluate` trains networks.
"""

import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import CUSTOM_MODELS, SAMPLES, record
from ser_utils._utils.files import ROOT

pytestmark = pytest.mark.slow

N_KILLS = int(os.environ.get("SER_KILLS", "12"))
MODEL = "my_models:Network" if N_KILLS > 12 else "my_models:Regression"
COMMANDS = ["extract", "evaluate", "evaluate --test", "download", "report"]
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


class SlowServer(BaseHTTPRequestHandler):
    """Serves an archive slowly, so that processes are killed during the transfer, too."""

    archive = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        with suppress(ConnectionError):  # the client was killed
            for start in range(0, len(self.archive), 2 ** 17):
                self.wfile.write(self.archive[start:start + 2 ** 17])
                time.sleep(0.02)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def archive_url():
    """The address of an archive of the samples, and its checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(SAMPLES.rglob("*.flac")):
            archive.write(path, path.relative_to(SAMPLES))
    SlowServer.archive = buffer.getvalue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield (f"http://127.0.0.1:{server.server_port}/speech.zip",
           f"md5:{hashlib.md5(SlowServer.archive).hexdigest()}")
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def cases(tmp_path_factory, archive_url):
    """For each command: its arguments, and a folder in the state before it."""
    extract = ["-m", "ser_utils", "extract", "recordings", "--out", "features", "--no-f0", "--jobs", "2"]
    evaluate = ["-m", "ser_utils", "evaluate", "--features", "features", "--model", MODEL, "chance", "--jobs", "2"]
    initial = tmp_path_factory.mktemp("initial")
    shutil.copytree(SAMPLES, initial / "recordings")
    (initial / "my_models.py").write_text(CUSTOM_MODELS.replace("epochs=2", "epochs=1"))
    extracted = tmp_path_factory.mktemp("extracted") / "work"
    shutil.copytree(initial, extracted)
    assert start_process(extracted, extract).wait() == 0
    evaluated = tmp_path_factory.mktemp("evaluated") / "work"
    shutil.copytree(extracted, evaluated)
    assert start_process(evaluated, evaluate).wait() == 0
    return {"extract": (extract, initial), "evaluate": (evaluate, extracted),
            "evaluate --test": ([*evaluate, "--test"], extracted),
            "download": (["-c", DOWNLOAD, *archive_url], initial),
            "report": ([str(ROOT / "scripts" / "build_report.py"), "--index-only"], evaluated)}


def start_process(folder, arguments, **options):
    """Start Python in a folder, in a process group of its own."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "MPLBACKEND": "Agg", "SER_DATA": "",
                 "PYTHONDONTWRITEBYTECODE": "1"}  # Python before 3.11.4 reads incomplete .pyc files
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, start_new_session=True,
                            env=os.environ | variables, **options)


def read_files(folder):
    """Relative path to content of all files that are neither hidden nor variable."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith(VARIABLE_FILES)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)}


@pytest.fixture(scope="module")
def undisturbed(cases, tmp_path_factory):
    """For each command: the files after an undisturbed run, and its duration in s."""
    results = {}
    for name, (arguments, initial) in cases.items():
        folder = tmp_path_factory.mktemp("undisturbed") / "work"
        shutil.copytree(initial, folder)
        start = time.perf_counter()
        process = start_process(folder, arguments, stderr=subprocess.PIPE)
        messages = process.communicate()[1].decode()
        assert process.returncode == 0, f"{name}: {messages}"
        results[name] = read_files(folder), time.perf_counter() - start
        assert len(results[name][0]) > len(read_files(initial)), name
    return results


@pytest.mark.parametrize("name", COMMANDS)
def test_rerun_after_a_kill_gives_the_undisturbed_files(name, cases, undisturbed, tmp_path):
    arguments, initial = cases[name]
    expected, duration = undisturbed[name]
    rng, n_kills, n_tries, n_planned = random.Random(name), 0, 0, N_KILLS // (12 if name == "report" else 4)
    while n_kills < n_planned and n_tries < 3 * n_planned:  # a process may end before its kill
        folder = tmp_path / f"{n_tries}"
        shutil.copytree(initial, folder)
        for delay in [rng.uniform(0.05, 1) * duration for _ in range(min(3, n_planned - n_kills))]:
            n_tries += 1
            process = start_process(folder, arguments)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                n_kills += 1
            files = read_files(folder)
            if name != "report":  # always written again from the start
                assert all(files[path] == expected[path] for path in files), "an incomplete file"
        rerun = start_process(folder, arguments, stderr=subprocess.PIPE)
        messages = rerun.communicate()[1].decode()
        assert rerun.returncode == 0 or (name == "download" and "exists and is not empty" in messages), messages
        assert read_files(folder) == expected
    assert n_kills or n_planned < 3  # else no process was killed in time
    record(f"interruption: {name}", {"n_kills": n_kills, "n_identical_reruns": n_kills})


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_reported_and_a_rerun_completes(name, cases, undisturbed, tmp_path):
    arguments, initial = cases[name]
    folder, expected = tmp_path / "work", undisturbed[name][0]
    shutil.copytree(initial, folder)
    limit = {"extract": 2 ** 12, "download": 2 ** 12}.get(name, 2 ** 9)  # bytes per file, stands for the free space
    process = start_process(folder, arguments, stderr=subprocess.PIPE,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    messages = process.communicate()[1].decode()
    assert process.returncode not in (0, -signal.SIGXFSZ), messages
    if name != "report":  # a script for maintainers, which may show a traceback
        assert messages.splitlines()[-1].startswith("error: "), messages
        assert "free disk space" in messages
        assert "Traceback" not in messages
        assert all(content == expected[path] for path, content in read_files(folder).items())
    assert start_process(folder, arguments).wait() == 0
    assert read_files(folder) == expected


@pytest.mark.parametrize("name", ["extract", "evaluate", "download"])
def test_concurrent_runs_do_not_interfere(name, cases, undisturbed, tmp_path):
    arguments, initial = cases[name]
    folder = tmp_path / "work"
    shutil.copytree(initial, folder)
    processes = [start_process(folder, arguments, stderr=subprocess.PIPE) for _ in range(2)]
    messages = [process.communicate()[1].decode() for process in processes]
    statuses = sorted(process.returncode for process in processes)
    assert statuses == [0, 0] or (name == "download" and statuses == [0, 2]), messages
    assert not any("Traceback" in message for message in messages)
    assert read_files(folder) == undisturbed[name][0]


def test_resumed_evaluation_keeps_completed_runs(cases, undisturbed, tmp_path):
    arguments, initial = cases["evaluate"]
    folder, runs = tmp_path / "work", tmp_path / "work" / "build" / "runs"
    shutil.copytree(initial, folder)
    process = start_process(folder, arguments)
    while not list(runs.glob("*.csv.gz")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    times = {path: path.stat().st_mtime_ns for path in runs.glob("*.csv.gz") if path.name[0] != "."}
    assert times
    assert start_process(folder, arguments).wait() == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert read_files(folder) == undisturbed["evaluate"][0]
