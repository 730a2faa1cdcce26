"""Starts, joins and ends Ray for this process, or uses the Ray that a script has started."""

import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from search.errors import ProblemError, UsageError, one_line
from search.ray import kept
from search.ray.environment import prepare_environment
from search.ray.forks import fork_server
from search.ray.head import Head, is_running
from search.signals import same_handlers
from search.storage import scratch
from search.worker.process import silenced_stderr

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
    return _current.raylet is None or is_running(_current.raylet)


def has_other_nodes() -> bool:
    """Tell whether trials may run on other machines: this process did not start Ray itself."""
    return not _current.is_own


@contextmanager
def connect_to_ray(
    address: str | None,
    workers: int,
    code: Sequence[str] = (),
    *,
    forks: bool = False,
    stays: bool = False,
) -> Iterator[None]:
    """Use the Ray that this process already runs, join the one at an address, or start one.

    Args:
        address: Such as ``auto`` or ``10.0.0.1:6379``; None starts Ray on this machine.
        workers: CPUs of a started Ray.
        code: Packages and modules that a joined Ray sends to every node, so that no node runs older
            ones.
        forks: Whether a started Ray forks its workers from a process with TensorFlow, if that is
            safe.
        stays: Whether a started Ray stays for the next search of this process.
    """
    if has_ray():
        prepare_environment(address)
        yield
    elif address is None:
        cluster = _kept_cluster if stays else local_cluster
        with cluster(workers, forks=forks):
            yield
    else:
        with _joined_cluster(address, code):
            yield


def has_ray() -> bool:
    """Tell whether this process is connected to a Ray, such as one that its script has started."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def check_no_client() -> None:
    """Check that a script has not connected to Ray by Ray Client, which Ray Tune does not support.

    Raises:
        UsageError: It has.
    """
    if has_ray() and sys.modules["ray"].util.client.ray.is_connected():
        raise UsageError(
            "this script has called ray.init with ray://: a search does not run through Ray "
            'Client. Call ray.init(address="auto") on a machine of the cluster, or leave it out '
            'and pass address="HOST:PORT" of the head to the tuner.'
        )


@contextmanager
def local_cluster(workers: int, *, forks: bool = False) -> Iterator[None]:
    """Run Ray on this machine alone, with ``workers`` CPUs; ``forks`` as in ``connect_to_ray``."""
    # First, since the import of TensorFlow takes longest.
    with fork_server() if forks else contextlib.nullcontext() as executable:
        head = Head(workers)
        try:
            with _joined_head(head, executable):
                yield
        finally:
            head.end()


@contextmanager
def _kept_cluster(workers: int, *, forks: bool) -> Iterator[None]:
    head = kept.start_ray(workers, forks=forks)
    try:
        with _joined_head(head, kept.py_executable(forks=forks)):
            yield
    finally:
        if not head.is_running:
            kept.end_ray()


@contextmanager
def _joined_head(head: Head, py_executable: str | None) -> Iterator[None]:
    with head.joined(py_executable), _as_current(_Connection(head.raylet(), is_own=True)):
        yield


@contextmanager
def _joined_cluster(address: str, code: Sequence[str]) -> Iterator[None]:
    prepare_environment(address)
    import ray

    try:
        _check_reachable(address)
        folder = _empty_working_folder() if code else contextlib.nullcontext()
        with same_handlers(), silenced_stderr(), folder:
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
    try:
        yield
    finally:
        _current = _Connection()


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
    with scratch.temporary("empty-") as folder, contextlib.chdir(folder):
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
