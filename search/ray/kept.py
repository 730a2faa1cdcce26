"""The Ray and the fork server that stay for the next search of a script.

They end with the script, or by themselves when it does not search for some minutes.
"""

import atexit
import contextlib
import multiprocessing
import os
import sys
from dataclasses import dataclass

from search.machine.machine import this_machine
from search.ray.forks import ForkServer, may_fork
from search.ray.head import Head
from search.storage.scratch import NoRoomError


@dataclass
class _Kept:
    """What a process has started.

    Attributes:
        pid: The process. One that it has forked has a copy of this object, and starts its own.
        fork_server: The process that workers are forked from.
        head: Ray.
        workers: The CPUs of Ray.
    """

    pid: int
    fork_server: ForkServer | None = None
    head: Head | None = None
    workers: int = 0


_kept = _Kept(os.getpid())


def start_forks_in_advance() -> None:
    """Start to import TensorFlow for the workers, beside the import in this process.

    Does nothing in a worker of Ray or a process of ``multiprocessing``, which import the tuners
    when they load an object of a script, and with a single CPU, where nothing runs beside.
    """
    if not _is_child() and this_machine().cores > 1:
        with contextlib.suppress(NoRoomError):  # without room, which the search will say
            _start_forks()


def start_ray(workers: int, *, forks: bool) -> Head:
    """Return the Ray of earlier searches, or one that starts now.

    Args:
        workers: The CPUs of Ray.
        forks: Whether workers are forked, if that is safe.
    """
    if forks:
        _start_forks()
    kept = _of_this_process()
    if kept.head is not None and not (kept.head.is_running and kept.workers == workers):
        end_ray()
    if kept.head is None:
        kept.head, kept.workers = Head(workers), workers
    return kept.head


def py_executable(*, forks: bool) -> str | None:
    """Return Ray's ``py_executable`` for workers; None: this Python."""
    server = _of_this_process().fork_server
    return server.executable if forks and server is not None else None


def end_ray() -> None:
    """End Ray; the next search starts a new one."""
    kept = _of_this_process()
    if kept.head is not None:
        kept.head.end()
        kept.head = None


def _of_this_process() -> _Kept:
    global _kept
    if _kept.pid != os.getpid():
        _kept = _Kept(os.getpid())
    return _kept


def _start_forks() -> None:
    kept = _of_this_process()
    if kept.fork_server is not None and not kept.fork_server.is_running:
        kept.fork_server.end()
        kept.fork_server = None
    if kept.fork_server is None and may_fork():
        kept.fork_server = ForkServer()


def _is_child() -> bool:
    """Tell whether another process has started this one to do work for it."""
    ray = sys.modules.get("ray")
    is_worker = ray is not None and ray._private.worker.global_worker.mode == ray.WORKER_MODE
    return is_worker or multiprocessing.parent_process() is not None


@atexit.register
def _end() -> None:
    kept = _of_this_process()
    if kept.head is not None:
        kept.head.end(waits=False)
    if kept.fork_server is not None:
        kept.fork_server.end()
