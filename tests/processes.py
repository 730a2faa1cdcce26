"""Processes that end, also where the first process of a machine reaps none."""

import time
from collections.abc import Sequence

import psutil


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended; one that nobody reaps stays on the list."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def have_ended(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Wait for some processes to end; tell whether they have."""
    deadline = time.monotonic() + seconds
    while not all(map(has_ended, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return all(map(has_ended, processes))
