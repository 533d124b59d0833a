"""Parallel execution on the cores of this machine (loky) or on the workers of a Dask scheduler."""

from contextlib import closing, nullcontext

CONNECT_TIMEOUT = 10  # s


def parallel_map(function, items, *, desc, unit="it", ordered=True, n_jobs=-1, scheduler=None, environment=None,
                 progress=True, n_done=0):
    """Apply a function to every item in worker processes of one thread each.

    With one thread, results do not depend on the number of processes or cores.

    Parameters
    ----------
    function : callable
        Picklable, called with one item.
    items : iterable
        Picklable arguments of the function.
    desc : str
        Label of the progress bar.
    unit : str, default "it"
        Unit of the progress bar.
    ordered : bool, default True
        Yield the results in the order of `items`, instead of as they finish.
    n_jobs : int, default -1
        Number of processes on this machine; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler; its workers then replace the local processes.
    environment : callable, optional
        Picklable function whose value (code, package versions, data) must be equal here and on every Dask worker.
    progress : bool, default True
        Show a progress bar.
    n_done : int, default 0
        Number of earlier results that the progress bar includes.

    Yields
    ------
    object
        `function(item)` for every item.

    Raises
    ------
    ValueError
        If the Dask scheduler or one of its workers cannot be used.

    Examples
    --------
    >>> list(parallel_map(abs, [-2, -1, 0, 1], desc="absolute values", n_jobs=1, progress=False))
    [2, 1, 0, 1]
    """
    from joblib import Parallel, delayed, parallel_config
    from tqdm.auto import tqdm

    items, backend = list(items), {"backend": "loky", "n_jobs": n_jobs, "inner_max_num_threads": 1}
    with closing(_connect(scheduler)) if scheduler else nullcontext() as client:
        if client:
            _check_workers(client, scheduler, environment)
            backend = {"backend": "dask", "n_jobs": -1}
        with parallel_config(**backend):  # left before the first yield: the setting is global
            parallel = Parallel(return_as="generator" if ordered else "generator_unordered")
        with tqdm(total=n_done + len(items), initial=n_done, desc=desc, unit=unit, disable=not progress) as bar:
            for result in parallel(delayed(_call_single_threaded)(function, item) for item in items):
                bar.update()
                yield result


def _call_single_threaded(function, item):
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # also where no process is started: more threads change the rounding of BLAS
        return function(item)


def _connect(scheduler):
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ValueError("scheduler (--scheduler) needs Dask, which is not installed; pip install distributed"
                         ) from error
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:
        raise ValueError(f"scheduler {scheduler}: no connection ({error}); start one with dask scheduler") from error


def _check_workers(client, scheduler, environment):
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if len(workers) < 2:
        remedy = f"start at least two with dask worker {scheduler} --nthreads 1"
        raise ValueError(f"scheduler {scheduler} has {len(workers)} workers; {remedy}")
    for address, worker in workers.items():
        if worker["nthreads"] != 1:
            raise ValueError(f"worker {address} has {worker['nthreads']} threads, but results need one; start it with "
                             "--nthreads 1")
    expected = environment and environment()
    for address, value in client.run(environment, on_error="return").items() if environment else ():
        if value != expected:
            reason = f"it raised {value!r}" if isinstance(value, Exception) else "the results would differ"
            raise ValueError(f"worker {address} has other code, packages or features than this machine ({reason}); "
                             "check out the same commit and install the same requirements.txt there")
