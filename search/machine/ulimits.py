"""The limits of this process and of its user, as ``ulimit`` sets them, and what a search needs.

Under a limit that is too low, Ray's processes end without a word; so it is named before they start.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from search.machine.cgroups import Limit, process_limits

GIGABYTE = 1024**3
# Measured with Ray 2.60 and TensorFlow 2.21: the address space of the largest process, a worker,
# beside Ray's memory for objects, which every process of Ray maps; with a margin.
ADDRESS_BYTES = int(4.5 * GIGABYTE)
# The least memory for objects that Ray accepts.
LEAST_OBJECTS_BYTES = 80 * 1024**2
# Measured on two cores: the processes and threads of a search without workers, and of a worker.
SEARCH_TASKS = 250
WORKER_TASKS = 40
# Capabilities that free a process from the limit of its user: capabilities(7).
SYS_ADMIN, SYS_RESOURCE = 21, 24


def address_space() -> Limit | None:
    """Return the limit of a process's address space, in bytes; None: there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else Limit(limit, 0, "ulimit -v")


def task_limits(root: Path = Path("/")) -> Iterator[Limit]:
    """Yield the limits of processes and threads that hold for this process.

    Args:
        root: The folder that has ``/proc`` and ``/sys``.
    """
    yield from process_limits(root)
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY and not _is_exempt():
        yield Limit(limit, _tasks_of_this_user(), "ulimit -u")


def limit_problems(workers: int) -> Iterator[str]:
    """Yield each limit that is too low for a search with so many workers, one per line."""
    space, needed = address_space(), ADDRESS_BYTES + LEAST_OBJECTS_BYTES
    if space is not None and space.amount < needed:
        yield (
            f"{space.source}: a process may use {space.amount / GIGABYTE:.1f} GB of address space, "
            f"expected {needed / GIGABYTE:.1f} GB or more for TensorFlow and Ray. Raise it, or "
            "limit the memory by a control group instead."
        )
    trials = "trial" if workers == 1 else "trials"
    needed_tasks = SEARCH_TASKS + workers * WORKER_TASKS
    for limit in task_limits():
        if limit.free < needed_tasks:
            yield (
                f"{limit.source}: {limit.free:.0f} of {limit.amount:.0f} processes and threads are "
                f"free, expected {needed_tasks} or more for {workers} {trials} at once. Raise it, "
                "reduce --workers, or end other programs."
            )


def _is_exempt() -> bool:
    """Tell whether this process is free from the limit of its user, as root is: getrlimit(2)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return psutil.Process().uids().real == 0
    rows = dict(line.split(":", 1) for line in lines)
    capabilities = int(rows["CapEff"], 16)
    is_capable = any(capabilities >> number & 1 for number in (SYS_ADMIN, SYS_RESOURCE))
    return is_capable or int(rows["Uid"].split()[0]) == 0


def _tasks_of_this_user() -> int:
    uid = psutil.Process().uids().real
    processes = psutil.process_iter(["uids", "num_threads"])
    return sum(
        each.info["num_threads"] or 0
        for each in processes
        if each.info["uids"] is not None and each.info["uids"].real == uid
    )
