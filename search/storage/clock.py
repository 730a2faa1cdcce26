"""The clocks of a search, by the monotonic clock, which nobody sets back."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

Clock = Callable[[], float]


def process_start() -> float:
    """Return when this process began, by the monotonic clock.

    On Linux to a hundredth of a second, where psutil 7 would count from the machine's start
    rounded to a second (``psutil._pslinux``).
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        clock = time.clock_gettime(time.CLOCK_BOOTTIME)
        age_seconds = clock - int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
    except (OSError, AttributeError):
        age_seconds = time.time() - psutil.Process().create_time()
    return time.monotonic() - age_seconds


_STARTED = process_start()


def seconds_since_process_start() -> float:
    """Return the seconds since this process began, imports included."""
    return time.monotonic() - _STARTED


def start_clock() -> Clock:
    """Return a clock that begins now."""
    now = time.monotonic()
    return lambda: time.monotonic() - now


def offset_clock(clock: Clock, seconds: float) -> Clock:
    """Return a clock that goes on from so many seconds: those of a search before it was cut off."""
    return lambda: seconds + clock()
