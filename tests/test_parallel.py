"""parallel_map on local processes, and on a Dask scheduler with two worker processes."""

import os
import signal
import time

import pytest
from threadpoolctl import threadpool_info

from ser_utils._utils import parallel
from ser_utils._utils.parallel import parallel_map

LOCAL = {}  # empty in a worker


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def get_n_threads(_):
    return {pool["num_threads"] for pool in threadpool_info()}


def get_pid(_):
    return os.getpid()


def get_local_value():
    return LOCAL["value"]


@pytest.fixture(scope="module")
def start_cluster():
    """A function that starts a Dask scheduler with workers; those of one thread are processes."""
    distributed = pytest.importorskip("dask.distributed", reason="needs Dask: pip install distributed")
    clusters = []

    def start(n_workers, threads_per_worker=1, processes=False):
        clusters.append(distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=threads_per_worker, processes=processes, dashboard_address=":0"))
        return clusters[-1].scheduler_address

    yield start
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="module")
def scheduler(start_cluster):
    """The address of a scheduler with two worker processes."""
    return start_cluster(2, processes=True)


def run(function, items, **kwargs):
    return list(parallel_map(function, items, desc="test", progress=False, **kwargs))


def test_parallel_map_preserves_the_order_unless_unordered():
    seconds = [0.5, 0.0, 0.1, 0.0]
    assert run(sleep, seconds, n_jobs=2) == seconds
    unordered = run(sleep, seconds, n_jobs=2, ordered=False)
    assert (unordered[-1], sorted(unordered)) == (0.5, sorted(seconds))
    assert run(sleep, [], n_jobs=2) == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_parallel_map_runs_one_thread_per_process(n_jobs):
    assert run(get_n_threads, range(3), n_jobs=n_jobs) == [{1}] * 3


def test_dask_rejects_missing_scheduler(monkeypatch):
    pytest.importorskip("dask.distributed")
    monkeypatch.setattr(parallel, "CONNECT_TIMEOUT", 0.1)
    with pytest.raises(ValueError, match=r"tcp://127\.0\.0\.1:9"):
        run(abs, [1], scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(("n_workers", "n_threads", "reason"), [(1, 1, "1 workers"), (2, 2, "2 threads")])
def test_dask_rejects_few_or_threaded_workers(start_cluster, n_workers, n_threads, reason):
    with pytest.raises(ValueError, match=reason):
        run(abs, [1], scheduler=start_cluster(n_workers, n_threads))


def test_dask_rejects_workers_of_another_environment(scheduler):
    LOCAL["value"] = 1
    for environment, reason in ((os.getpid, "worker tcp"), (get_local_value, "KeyError")):
        with pytest.raises(ValueError, match=reason):
            run(abs, [1], scheduler=scheduler, environment=environment)
    assert run(abs, [-1], scheduler=scheduler, environment=os.getcwd) == [1]


def test_dask_results_equal_local_results(scheduler, tmp_path, samples, small_features, small_features_folder):
    from ser_utils.evaluation.experiment import plan_runs, run_experiment
    from ser_utils.features.store import extract_features

    features, errors = extract_features(samples, tmp_path, f0=False, scheduler=scheduler, progress=False)
    assert (features.digest, errors) == (small_features.digest, [])
    runs = plan_runs(["chance"], splits=["leave-one-speaker-out"], clips=small_features.clips)
    tables = [run_experiment(runs, small_features_folder, tmp_path / str(address), n_jobs=1, scheduler=address,
                             progress=False)[0]["emotion"] for address in (scheduler, None)]
    assert tables[0].equals(tables[1])


def test_dask_repeats_tasks_of_a_killed_worker(scheduler):
    pids = set(run(get_pid, range(20), scheduler=scheduler))
    assert len(pids) == 2
    assert os.getpid() not in pids
    seconds = [0.1 + i / 1000 for i in range(20)]
    results = parallel_map(sleep, seconds, desc="test", scheduler=scheduler, progress=False)
    first = next(results)
    os.kill(pids.pop(), signal.SIGKILL)
    assert [first, *results] == seconds
