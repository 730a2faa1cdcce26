"""The signals that end a search cleanly, and a terminal that is lost.

``kill`` and job servers send SIGTERM; the system sends SIGHUP when a terminal is closed or its
connection is lost. Both end a search as Ctrl-C does.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OUTPUTS = (1, 2)


def raise_interrupt() -> None:
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextmanager
def ending_signals(interrupt: Callable[[], None] = raise_interrupt) -> Iterator[None]:
    """Call a function at each signal that ends a search, until the context is left.

    Python handles signals in the main thread alone; in another one, this does nothing. SIGHUP that
    is ignored, as under ``nohup``, stays ignored.

    Args:
        interrupt: The function; by default, it raises KeyboardInterrupt wherever the process is.
    """
    terminals = [output for output in OUTPUTS if os.isatty(output)]

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            discard_output(output for output in terminals if not os.isatty(output))
        interrupt()

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in SIGNALS if is_main and not _stays_ignored(number)]
    with same_handlers():
        for number in numbers:
            signal.signal(number, handle)
        yield


def ignore_signals() -> None:
    """Ignore the signals that end a search from now on."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def same_handlers() -> Iterator[None]:
    """Leave the handlers of the signals as they are now when the context is left.

    Ray replaces that of SIGTERM by one that ends the process without closing files and locks.
    """
    previous_handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous_handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Discard all output from now on if the terminal is found to be lost while this prints."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        discard_output(OUTPUTS)


def discard_output(outputs: Iterable[int]) -> None:
    """Discard what is written to some file descriptors from now on."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for output in outputs:
        os.dup2(devnull, output)
    os.close(devnull)


def _stays_ignored(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
