"""A scheduler and workers started from the command line: the same results, also when a worker dies half-way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from conftest import MINIATURE, QUICK
from ser_utils import cli, corpora, store

pytest.importorskip("dask.distributed", reason="needs Dask: pip install distributed")


class Cluster:
    """A scheduler, and workers one by one."""

    def __init__(self, folder, features):
        self.features = str(features)
        (folder / "mine.py").write_text(QUICK)
        self.folder, self.started = folder, []
        self.environment = {**os.environ, "PYTHONPATH": f"{corpora.ROOT}{os.pathsep}{folder}"}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.start("scheduler", "--host", "127.0.0.1", "--port", port)

    def start(self, what, *arguments, cwd=None, **environment):
        log = (self.folder / f"{what}{len(self.started)}.log").open("w")
        self.started.append(subprocess.Popen(
            [sys.executable, "-m", "dask", what, "--no-dashboard", *map(str, arguments)], stdout=log,
            stderr=subprocess.STDOUT, cwd=cwd or self.folder, env=self.environment | environment,
            start_new_session=True))
        return self.started[-1]

    def worker(self, threads=1, **options):
        return self.start("worker", self.address, "--nthreads", threads, **options)

    def run(self, out, *arguments):
        """What compare keeps of each unit: file name to bytes."""
        done = self.compare(out, *arguments)
        assert done.wait(240) == 0, (self.folder / out / "err").read_text()
        return {path.name: path.read_bytes() for path in (self.folder / out / "build" / "units").glob("*.csv.gz")}

    def compare(self, out, *arguments):
        (self.folder / out).mkdir()
        return subprocess.Popen(
            [sys.executable, "-m", "ser_utils", "compare", "--model", "mine:Network", "--features",
             self.features, *map(str, arguments)], cwd=self.folder / out, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=(self.folder / out / "err").open("w"))

    def wait_for(self, count):
        from dask.distributed import Client

        with Client(self.address, timeout=60) as client:
            if count:
                client.wait_for_workers(count, timeout=60)

    def close(self):
        for process in self.started[::-1]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def cluster(tmp_path, miniature):
    made = Cluster(tmp_path, miniature)
    yield made
    made.close()


def test_two_workers_give_what_one_machine_gives_though_one_is_killed(cluster):
    expected = cluster.run("alone", "--fold", 0, 1, 2, "--jobs", 2)
    assert len(expected) == 3
    dying = cluster.worker()
    cluster.worker()
    cluster.wait_for(2)
    running = cluster.compare("spread", "--fold", 0, 1, 2, "--scheduler", cluster.address)
    units = cluster.folder / "spread" / "build" / "units"
    while not list(units.glob("*.csv.gz")) and running.poll() is None:
        time.sleep(0.05)
    os.killpg(dying.pid, signal.SIGKILL)
    assert running.wait(240) == 0, (cluster.folder / "spread" / "err").read_text()
    assert {path.name: path.read_bytes() for path in units.glob("*.csv.gz")} == expected


def test_workers_that_would_give_something_else_are_refused(cluster, capsys):
    command = ["compare", "--model", "chance", "--features", cluster.features, "--scheduler"]

    def said(address):
        assert cli.main([*command, address]) == 2
        return capsys.readouterr().err

    assert "nobody answers there" in said("tcp://127.0.0.1:9")
    cluster.wait_for(0)
    assert "has 0 workers; start two at least" in said(cluster.address)
    good, many = cluster.worker(), cluster.worker(threads=2)
    cluster.wait_for(2)
    assert "has 2 threads" in said(cluster.address)
    os.killpg(many.pid, signal.SIGKILL)
    other = cluster.folder / "other"
    shutil.copytree(corpora.ROOT / "ser_utils", other / "ser_utils", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "ser_utils" / "splits.py").open("a") as changed:
        changed.write("# not the same\n")
    time.sleep(1)
    assert "has 1 workers" in said(cluster.address)
    wrong = cluster.worker(PYTHONPATH=str(other))
    cluster.wait_for(2)
    assert "has other code, packages or features" in said(cluster.address)
    extract = ["extract", str(MINIATURE), "--no-pitch", "--out", str(cluster.folder / "out")]
    assert cli.main([*extract, "--scheduler", cluster.address]) == 0  # the splits have no part in it
    assert store.load(cluster.folder / "out").digest == store.load(cluster.features).digest
    os.killpg(wrong.pid, signal.SIGKILL)
    os.killpg(good.pid, signal.SIGKILL)
    mine = cluster.folder / "theirs"
    mine.mkdir()
    (mine / "mine.py").write_text(QUICK.replace("16", "24"))
    time.sleep(1)
    for _ in range(2):
        cluster.worker(cwd=mine, PYTHONPATH=str(corpora.ROOT))
    cluster.wait_for(2)
    running = cluster.compare("refused", "--scheduler", cluster.address)
    assert running.wait(120) == 2
    assert "has other code, packages or features" in (cluster.folder / "refused" / "err").read_text()
