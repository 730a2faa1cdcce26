"""Starts, joins and ends Ray for this process, or uses the Ray that a script has started."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import psutil

from search.errors import ProblemError, one_line
from search.ray.environment import prepare_environment
from search.ray.forks import SOCKETS_FOLDER, fork_server
from search.worker.process import silenced_stderr

# Workers that Ray starts in advance would not be forked.
NO_IDLE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class _Connection:
    """This process's connection to Ray; there is one at a time.

    Attributes:
        raylet: Ray's process on this machine; None if unknown, as when a script has started Ray.
        is_own: Whether this process started Ray.
    """

    raylet: psutil.Process | None = None
    is_own: bool = False


_current = _Connection()


def is_up() -> bool:
    """Tell whether Ray still runs on this machine; True if its process is unknown."""
    raylet = _current.raylet
    try:
        return raylet is None or raylet.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_other_nodes() -> bool:
    """Tell whether trials may run on other machines: this process did not start Ray itself."""
    return not _current.is_own


@contextmanager
def connect_to_ray(
    address: str | None, workers: int, code: Sequence[str] = (), *, forks: bool = False
) -> Iterator[None]:
    """Use the Ray that this process already runs, join the one at an address, or start one.

    Args:
        address: Such as ``auto`` or ``10.0.0.1:6379``; None starts Ray on this machine.
        workers: CPUs of a started Ray.
        code: Packages and modules that a joined Ray sends to every node, so that no node runs older
            ones.
        forks: Whether a started Ray forks its workers from a process with TensorFlow, if that is
            safe.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        prepare_environment(address)
        yield
    elif address is None:
        with local_cluster(workers, forks=forks):
            yield
    else:
        with _joined_cluster(address, code):
            yield


@contextmanager
def local_cluster(workers: int, *, forks: bool = False) -> Iterator[None]:
    """Run Ray on this machine alone, with ``workers`` CPUs; ``forks`` as in ``connect_to_ray``."""
    # Before Ray is imported, since the import of TensorFlow takes longest.
    with fork_server() if forks else contextlib.nullcontext() as executable:
        if executable is not None:
            os.environ |= NO_IDLE_WORKERS
        prepare_environment()
        import ray

        scratch = tempfile.mkdtemp(prefix="ray-", dir=SOCKETS_FOLDER)
        try:
            # On a machine without a network, Ray warns that it guesses its address.
            with silenced_stderr():
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    runtime_env={"py_executable": executable} if executable else None,
                    _temp_dir=scratch,
                )
            with _as_current(_Connection(_started_raylet(), is_own=True)):
                yield
        finally:
            ray.shutdown()
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _joined_cluster(address: str, code: Sequence[str]) -> Iterator[None]:
    prepare_environment(address)
    import ray

    try:
        _check_reachable(address)
        with silenced_stderr(), _empty_working_folder() if code else contextlib.nullcontext():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"py_modules": list(code)} if code else None,
            )
        raylet = _joined_raylet()
    except Exception as error:
        raise ProblemError(
            f"no Ray cluster can be joined at the address {address!r} ({one_line(error)}). "
            f"{_remedy(error)}"
        ) from error
    try:
        with _as_current(_Connection(raylet)):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _as_current(connection: _Connection) -> Iterator[None]:
    global _current
    _current = connection
    _treat_sigterm_as_ctrl_c()
    try:
        yield
    finally:
        _current = _Connection()


def _treat_sigterm_as_ctrl_c() -> None:
    """Replace Ray's handler of SIGTERM, which ends the process without closing files and locks."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _started_raylet() -> psutil.Process | None:
    children = psutil.Process().children()
    return next((child for child in children if child.name() == "raylet"), None)


def _joined_raylet() -> psutil.Process | None:
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    [socket_name] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == node_id]
    processes = psutil.process_iter(["name", "cmdline"])
    return next(
        (
            process
            for process in processes
            if process.info["name"] == "raylet"
            and socket_name in " ".join(process.info["cmdline"] or ())
        ),
        None,
    )


@contextmanager
def _empty_working_folder() -> Iterator[None]:
    """Change to an empty folder for a while.

    Ray 2.60 makes every node search the driver's current folder for modules before the code that
    Ray has sent: a node with a folder of the same name would use its older modules.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def _check_reachable(address: str) -> None:
    """Raise OSError at once if nothing listens at the address; Ray would retry for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _remedy(error: Exception) -> str:
    if "InvalidAuthToken" in str(error.__cause__):  # the words of Ray 2.60
        return (
            "The cluster requires a token: put the one of its machines into ~/.ray/auth_token (or "
            "RAY_AUTH_TOKEN), and set RAY_AUTH_MODE=token."
        )
    return "Start one with `ray start --head`, or leave address out to use this machine alone."
