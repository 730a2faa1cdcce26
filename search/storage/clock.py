"""The clocks of a search, based on the monotonic clock, which is never set back."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

Clock = Callable[[], float]


def process_start() -> float:
    """Return when this process started, in seconds of the monotonic clock.

    Exact to 0.01 s on Linux, where psutil 7 rounds the machine's boot time to a second
    (``psutil._pslinux``).
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        age_seconds = since_boot - int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
    except (OSError, AttributeError):
        age_seconds = time.time() - psutil.Process().create_time()
    return time.monotonic() - age_seconds


_STARTED = process_start()


def seconds_since_process_start() -> float:
    """Return the seconds since this process started, including imports, without waits."""
    return time.monotonic() - _STARTED


@contextmanager
def uncounted() -> Iterator[None]:
    """Do not count the time until the context is left, in which this process waits for others."""
    global _STARTED
    begun = time.monotonic()
    try:
        yield
    finally:
        _STARTED += time.monotonic() - begun


def start_clock() -> Clock:
    """Return a clock that starts at 0 now."""
    start = time.monotonic()
    return lambda: time.monotonic() - start


def offset_clock(clock: Clock, seconds: float) -> Clock:
    """Return a clock that is ahead by ``seconds``, such as those of a search that is resumed."""
    return lambda: seconds + clock()
