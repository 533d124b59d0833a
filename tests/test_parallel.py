"""parallel_map on local processes, and on a Dask scheduler with two worker processes."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ser_utils._utils import parallel
from ser_utils._utils.files import ROOT
from ser_utils._utils.parallel import parallel_map

TASKS = """
import sys, time
import numpy
from threadpoolctl import threadpool_info

def sleep(seconds):
    time.sleep(seconds)
    return seconds

def n_threads(_):
    return {pool["num_threads"] for pool in threadpool_info()}

def pytest_version():  # KeyError in a worker
    return sys.modules["pytest"].__version__
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A module that workers can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "parallel_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{folder}")
        import parallel_tasks

        yield parallel_tasks


def test_parallel_map_order(tasks):
    seconds = [0.5, 0.0, 0.1, 0.0]
    options = {"desc": "sleeping", "n_jobs": 2, "progress": False}
    assert list(parallel_map(tasks.sleep, seconds, **options)) == seconds
    unordered = list(parallel_map(tasks.sleep, seconds, ordered=False, **options))
    assert (unordered[-1], sorted(unordered)) == (0.5, sorted(seconds))
    assert list(parallel_map(tasks.sleep, [], **options)) == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_parallel_map_limits_threads(tasks, n_jobs):
    assert list(parallel_map(tasks.n_threads, range(3), desc="threads", n_jobs=n_jobs, progress=False)) == [{1}] * 3


class Cluster:
    """A Dask scheduler and its worker processes."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._start("scheduler", "--host", "127.0.0.1", "--port", port)

    def _start(self, kind, *arguments):
        folder = self.folder / f"{kind}{len(self.processes)}"
        folder.mkdir()
        self.processes.append(subprocess.Popen(
            [sys.executable, "-m", "dask", kind, "--no-dashboard", *map(str, arguments)], cwd=folder,
            stdout=(folder / "log").open("w"), stderr=subprocess.STDOUT, start_new_session=True))
        return self.processes[-1]

    def start_worker(self, n_threads=1):
        return self._start("worker", self.address, "--nthreads", n_threads)

    def wait_for_workers(self, n):
        from dask.distributed import Client

        with Client(self.address, timeout=120, set_as_default=False) as client:
            deadline = time.time() + 120
            while len(client.scheduler_info(n_workers=-1)["workers"]) != n:
                assert time.time() < deadline
                time.sleep(0.1)

    def close(self):
        for process in self.processes[::-1]:
            kill(process)


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, tasks):
    pytest.importorskip("dask.distributed", reason="needs Dask: pip install distributed")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def expect_refusal(scheduler, reason, environment=None):
    with pytest.raises(ValueError, match=reason):
        list(parallel_map(abs, [1], desc="test", scheduler=scheduler, environment=environment, progress=False))


def test_dask_refuses_missing_scheduler(cluster, monkeypatch):
    monkeypatch.setattr(parallel, "CONNECT_TIMEOUT", 0.1)
    expect_refusal("tcp://127.0.0.1:9", "no connection")


def test_dask_refuses_unsuitable_workers(cluster, tasks):
    cluster.wait_for_workers(0)
    expect_refusal(cluster.address, "has 0 workers; start at least two")
    cluster.start_worker()
    two_threads = cluster.start_worker(n_threads=2)
    cluster.wait_for_workers(2)
    expect_refusal(cluster.address, "has 2 threads")
    kill(two_threads)
    cluster.wait_for_workers(1)
    cluster.start_worker()
    cluster.wait_for_workers(2)
    expect_refusal(cluster.address, "other code, packages or features", os.getpid)
    expect_refusal(cluster.address, "it raised KeyError", tasks.pytest_version)


def test_dask_results_equal_local_results(cluster, tmp_path, samples, small_features, small_features_folder):
    from ser_utils.evaluation.experiment import plan_runs, run_experiment
    from ser_utils.features.store import extract_features

    features, errors = extract_features(samples, tmp_path / "features", f0=False, scheduler=cluster.address,
                                        progress=False)
    assert (features.digest, errors) == (small_features.digest, [])
    runs = plan_runs(["chance"], splits=["leave-one-speaker-out"], clips=small_features.clips)
    tables = [run_experiment(runs, small_features_folder, tmp_path / name, n_jobs=1, scheduler=scheduler,
                             progress=False)[0]["emotion"]
              for name, scheduler in (("dask", cluster.address), ("local", None))]
    assert tables[0].equals(tables[1])


def test_dask_repeats_tasks_of_a_killed_worker(cluster, tasks):
    worker = cluster.start_worker()
    cluster.wait_for_workers(3)
    seconds = [0.2 + i / 1000 for i in range(20)]
    results = parallel_map(tasks.sleep, seconds, desc="sleeping", scheduler=cluster.address, progress=False)
    first = next(results)
    kill(worker)
    assert [first, *results] == seconds
