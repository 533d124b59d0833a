"""Where work goes: the cores of this machine, or the workers of a Dask scheduler, on any number of machines."""

from contextlib import contextmanager, nullcontext


@contextmanager
def workers(jobs=-1, scheduler=None, same=None):
    """A context in which `joblib.Parallel` uses so many processes here (-1: one a core), or a scheduler's workers.

    `same`, a function without arguments, must return on every worker what it returns here: other code, packages or
    data there would give other results. Raises ValueError for a scheduler that cannot be used, with the reason.
    """
    from joblib import parallel_config

    with _client(scheduler) as client:
        if client is None:
            with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
                yield
        else:
            _check(client, scheduler, same)
            with parallel_config("dask", n_jobs=-1):
                yield


def _client(scheduler):
    if scheduler is None:
        return nullcontext()
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ValueError("--scheduler needs Dask, which is not installed: pip install distributed") from error
    try:
        return Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"scheduler {scheduler}: nobody answers there ({error}); start one with dask scheduler"
                         ) from error


def _check(client, scheduler, same):
    there = client.scheduler_info(n_workers=-1)["workers"]
    if not there:
        raise ValueError(f"scheduler {scheduler} has no workers; start some with dask worker {scheduler} --nthreads 1")
    for address, worker in there.items():
        if worker["nthreads"] != 1:
            raise ValueError(f"worker {address} has {worker['nthreads']} threads, and a unit needs a process of its "
                             "own; start it with --nthreads 1")
    if same is not None:
        here = same()
        for address, found in client.run(same, on_error="return").items():
            if isinstance(found, Exception) or found != here:
                why = f"it said {found}" if isinstance(found, Exception) else "its results would differ"
                raise ValueError(f"worker {address} has other code, packages or features than this machine ({why}); "
                                 "bring it to the same commit and install the same requirements.txt")
