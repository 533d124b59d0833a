"""Entry point of ``python -m ser_utils`` and of the command ``ser``."""

import os
import sys


def run():
    """Run the command line and return its exit status (int)."""
    _discard_native_stderr()
    from ser_utils.cli import main

    return main()


def _discard_native_stderr():
    # libsndfile's decoders and TensorFlow write messages to file descriptor 2, past sys.stderr. The descriptor goes to
    # the null device, also for worker processes, which inherit it; sys.stderr keeps a duplicate of the original one.
    if sys.stderr is None:  # started with standard error closed
        return
    original = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    sys.stderr = os.fdopen(original, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)


if __name__ == "__main__":
    sys.exit(run())
