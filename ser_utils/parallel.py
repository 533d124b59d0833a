"""Where work goes: the cores of this machine, or the workers of a Dask scheduler, on any number of machines."""

from contextlib import nullcontext


def each(work, total, desc, unit, *, ordered=True, jobs=-1, scheduler=None, same=None, progress=True, done=0):
    """What each of joblib's delayed calls returns, one by one, with a bar; in their order, or else as they finish.

    Runs over `jobs` processes (-1: one a core) of one thread each; with the address of a Dask scheduler, on its
    workers, where the function `same` must return what it returns here: other code, packages or data would give other
    results. `total` and `done` are for the bar. Raises ValueError for a scheduler that cannot be used, with the reason.

    >>> from joblib import delayed
    >>> list(each((delayed(pow)(2, n) for n in range(5)), 5, "doubling", "power", jobs=1, progress=False))
    [1, 2, 4, 8, 16]
    """
    from joblib import Parallel, parallel_config
    from tqdm.auto import tqdm

    with _client(scheduler) as client:
        if client is not None:
            _check(client, scheduler, same)
        config = {"backend": "dask", "n_jobs": -1} if client else {
            "backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1}
        with parallel_config(**config), tqdm(total=total, initial=done, desc=desc, unit=unit,
                                             disable=not progress) as bar:
            for result in Parallel(return_as="generator" if ordered else "generator_unordered")(work):
                bar.update()
                yield result


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
    if len(there) < 2:
        raise ValueError(f"scheduler {scheduler} has {len(there)} workers; start two at least, each with dask worker "
                         f"{scheduler} --nthreads 1")
    for address, worker in there.items():
        if worker["nthreads"] != 1:
            raise ValueError(f"worker {address} has {worker['nthreads']} threads, and a unit needs a process of its "
                             "own; start it with --nthreads 1")
    here = same()
    for address, found in client.run(same, on_error="return").items():
        if isinstance(found, Exception) or found != here:
            why = f"it said {found!r}" if isinstance(found, Exception) else "its results would differ"
            raise ValueError(f"worker {address} has other code, packages or features than this machine ({why}); "
                             "bring it to the same commit and install the same requirements.txt")
