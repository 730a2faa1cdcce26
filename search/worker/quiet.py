"""Keeping foreign noise off the user's screen."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silent_errors() -> Iterator[None]:
    """Drop what is written to the error stream, by native code too.

    For the start of a library that writes about itself there whatever its log level says; what
    goes wrong is raised and still seen.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def quiet_training() -> Iterator[None]:
    """Keep off the screen what keras-tuner writes of a failed trial: its end tells it."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
