"""The Ray of this process: started or joined, and ended with a run; or a script's own."""

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
from search.worker.process import silent_errors

# Those that Ray starts in advance would not be forked.
NO_IDLE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class _Ray:
    """The Ray that this process started or joined: there is one at a time.

    Attributes:
        raylet: Its process on this machine; None where that is not known, as of a script's own.
        is_own: Whether this process started it.
    """

    raylet: psutil.Process | None = None
    is_own: bool = False


_current = _Ray()


def is_up() -> bool:
    """Tell whether Ray still runs on this machine; of a script's own it is believed."""
    raylet = _current.raylet
    try:
        return raylet is None or raylet.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_other_nodes() -> bool:
    """Tell whether trials may run on machines other than this one: Ray was joined, not started."""
    return not _current.is_own


@contextmanager
def connect_to_ray(
    address: str | None, workers: int, code: Sequence[str] = (), *, forks: bool = False
) -> Iterator[None]:
    """Use the Ray that is running in this process, the one at an address, or one of its own.

    Args:
        address: Such as ``auto`` or ``10.0.0.1:6379``; None starts a Ray of this machine.
        workers: Slots of that one.
        forks: Whether workers of that one are forked with TensorFlow in them, where that is safe.
        code: Packages and modules that Ray brings to every node, so that none runs older ones.
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
    """Run a Ray of this machine alone, with so many slots of one CPU each; ``forks`` as above."""
    # Before Ray is imported: its own import takes longest.
    with fork_server() if forks else contextlib.nullcontext() as executable:
        if executable is not None:
            os.environ |= NO_IDLE_WORKERS
        prepare_environment()
        import ray

        scratch = tempfile.mkdtemp(prefix="ray-", dir=SOCKETS_FOLDER)
        try:
            # Without a route to anywhere Ray warns that it guesses its address.
            with silent_errors():
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    runtime_env={"py_executable": executable} if executable else None,
                    _temp_dir=scratch,
                )
            with _in_use(_Ray(_started_raylet(), is_own=True)):
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
        with silent_errors(), _nowhere() if code else contextlib.nullcontext():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"py_modules": list(code)} if code else None,
            )
        raylet = _joined_raylet()
    except Exception as error:
        raise ProblemError(
            f"address={address!r}: no Ray cluster can be joined there ({one_line(error)}). "
            f"{_remedy(error)}"
        ) from error
    try:
        with _in_use(_Ray(raylet)):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _in_use(current: _Ray) -> Iterator[None]:
    global _current
    _current = current
    _take_a_polite_kill_for_ctrl_c()
    try:
        yield
    finally:
        _current = _Ray()


def _take_a_polite_kill_for_ctrl_c() -> None:
    """Replace Ray's own way to end at SIGTERM, which leaves what is locked and open."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _started_raylet() -> psutil.Process | None:
    children = psutil.Process().children()
    return next((child for child in children if child.name() == "raylet"), None)


def _joined_raylet() -> psutil.Process | None:
    import ray

    own = ray.get_runtime_context().get_node_id()
    [socket_name] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
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
def _nowhere() -> Iterator[None]:
    """Be in an empty folder meanwhile.

    Ray 2.60 has each node look for modules in the driver's current folder first, before the code
    that it was brought: on a node that has a folder of that name, with older modules.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def _check_reachable(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _remedy(error: Exception) -> str:
    if "InvalidAuthToken" in str(error.__cause__):  # as Ray 2.60 says it
        return (
            "It asks for a token: expected that of its machines in ~/.ray/auth_token (or "
            "RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token."
        )
    return "Start one with `ray start --head`, or leave address out for one of this machine."
