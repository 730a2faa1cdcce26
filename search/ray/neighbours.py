"""The searches that run beside this one on the same machine, and the cores that they use.

Each search of this user that starts its own Ray has a file, which it keeps locked, among its
temporary files. Searches with another ``TMPDIR`` do not count: a job of Slurm has its own, and its
own cores.
"""

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.machine.machine import this_machine
from search.plan.plan import Plan
from search.storage import scratch
from search.storage.clock import uncounted

FILE = "cores.json"
# An environment variable: searches with another value of it do not count either. Tests that run
# side by side have one each.
GROUP = "FMNIST_SEARCH_NEIGHBOURS"
POLL_SECONDS = 1.0
# The longest wait for another search that is just looking for its neighbours.
TURN_SECONDS = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Neighbour:
    """A search that runs on this machine.

    Attributes:
        run: Its run folder.
        pid: Its process.
        cores: The cores that its trials use.
    """

    run: str
    pid: int
    cores: float

    def __str__(self) -> str:
        """Return how messages call it."""
        path = os.path.relpath(self.run)
        return f"{self.run if path.startswith(os.pardir) else path} (process {self.pid})"


@dataclass(frozen=True)
class Request:
    """What a search would use if it were alone.

    Attributes:
        run: Its run folder.
        workers: Number of trials at once.
        cpus_per_trial: CPUs per trial.
        is_asked: Whether the user gave the number of trials at once, which then stays.
        waits: Whether to wait until the others leave as many cores.
    """

    run: Path
    workers: int
    cpus_per_trial: float
    is_asked: bool
    waits: bool

    @classmethod
    def of(cls, plan: Plan) -> "Request":
        """Return the request of a plan."""
        return cls(plan.out, plan.workers, plan.cpus_per_trial, plan.workers_asked, plan.wait)

    @property
    def cores(self) -> float:
        """The cores that it would use."""
        return min(self.workers * self.cpus_per_trial, this_machine().cores)


def neighbours() -> list[Neighbour]:
    """Return the other searches of this user on this machine."""
    place = scratch.folder().parent
    processes = [each for each in scratch.others() if each.folder.parent == place]
    found = (_read(each.folder / FILE, each.pid) for each in processes)
    return [each for each in found if each is not None]


@contextmanager
def beside_others(request: Request, say: Say) -> Iterator[int]:
    """Share the cores with the other searches of this machine until the context is left.

    Args:
        request: What the search would use if it were alone.
        say: Prints a line for the user.

    Yields:
        The number of trials at once: as many as the others leave cores for, at least 1.
    """
    workers, is_said = 0, False
    while True:
        with _taking_turns():
            others = neighbours()
            free = this_machine().cores - sum(each.cores for each in others)
            has_room = not others or free >= request.cores
            if has_room or not request.waits:
                workers = _workers(request, free) if others else request.workers
                claim = _claim(request, workers)
                break
        if not is_said:
            say(f"{describe(others)}; waiting until there is room for {_trials(request.workers)}")
            is_said = True
        with uncounted():
            time.sleep(POLL_SECONDS)
    try:
        if not has_room:
            kept = " as asked" if request.is_asked else ""
            say(f"{describe(others)}; trials at once: {workers}{kept}")
        yield workers
    finally:
        os.close(claim)
        (scratch.folder() / FILE).unlink(missing_ok=True)


def describe(others: Sequence[Neighbour]) -> str:
    """Describe what other searches use, as the beginning of a line."""
    total = this_machine().cores
    used = min(total, math.ceil(sum(each.cores for each in others)))
    searches = "the search in" if len(others) == 1 else "the searches in"
    names = " and ".join(map(str, others))
    return f"{used} of {total} cores {'is' if used == 1 else 'are'} used by {searches} {names}"


def _trials(workers: int) -> str:
    return "a trial" if workers == 1 else f"{workers} trials at once"


def _workers(request: Request, free_cores: float) -> int:
    if request.is_asked:
        return request.workers
    return max(1, min(request.workers, int(free_cores / request.cpus_per_trial)))


def _claim(request: Request, workers: int) -> int:
    """Write the file of this search; return the number of the open file, which is locked."""
    cores = min(workers * request.cpus_per_trial, this_machine().cores)
    path = scratch.folder() / FILE
    fresh = path.with_suffix(".new")
    number = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(number, fcntl.LOCK_EX)
    row = {"run": str(request.run.resolve()), "cores": cores, "group": os.environ.get(GROUP)}
    os.write(number, json.dumps(row).encode())
    fresh.replace(path)
    return number


def _read(path: Path, pid: int) -> Neighbour | None:
    """Return the search that holds the lock of a file; None if there is none."""
    try:
        with path.open("rb") as file:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None  # its process has ended; its Ray still does
            row = json.load(file)
            is_other = row["group"] != os.environ.get(GROUP)
            return None if is_other else Neighbour(row["run"], pid, row["cores"])
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def _taking_turns() -> Iterator[None]:
    """Let one search at a time look for others and say what it takes; they may start together."""
    deadline = time.monotonic() + TURN_SECONDS
    with contextlib.ExitStack() as stack:
        # A file system without locks, or a folder that cannot be read, is no reason to stop.
        with contextlib.suppress(OSError):
            place = os.open(scratch.folder().parent, os.O_RDONLY)
            stack.callback(os.close, place)
            while not _has_locked(place) and time.monotonic() < deadline:
                time.sleep(0.05)
        yield


def _has_locked(number: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
