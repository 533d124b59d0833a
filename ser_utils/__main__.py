"""Entry point of ``python -m ser_utils`` and of the command ``ser``."""

import os
import sys


def run():
    """Run the command line in this process.

    Returns
    -------
    int
        The exit status, as :func:`ser_utils.cli.main` returns it.
    """
    _discard_native_stderr()
    from ser_utils.cli import main

    return main()


def _discard_native_stderr():
    # The decoders of libsndfile and TensorFlow write messages straight to file descriptor 2, past Python. They go to
    # the null device once for the whole process and for its workers, which inherit the descriptor; sys.stderr moves to
    # a duplicate of the original one. This is for an application to decide, so no library function does it.
    if sys.stderr is None:  # started with standard error closed
        return
    original = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    sys.stderr = os.fdopen(original, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)


if __name__ == "__main__":
    sys.exit(run())
