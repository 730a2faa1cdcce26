"""Ray, told what we need before it is imported, started and ended with a run."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from search.data import Data, load_data
from search.errors import ProblemError, one_line
from search.plan import Problem
from search.quiet import silent_errors

if TYPE_CHECKING:
    import ray

# Found by running Ray 2.60: all of these are read when Ray is imported or started.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Our own journal is the record; Ray's loggers would write five files a trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # The report that ends a trial carries no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A stopped trial may be inside an epoch: its process is reused when that has ended.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

CONNECT_SECONDS = 10.0


def prepare_environment(address: str | None = None) -> None:
    """Set what Ray reads from the environment; call before Ray is imported.

    Args:
        address: The Ray that will be joined; None: one of this process. Ray's ports are open to
            the network on most machines, so a token of this process alone guards that one, and
            none is left in the user's home.
    """
    os.environ.update(ENVIRONMENT)
    if address is not None:
        return
    # Ray keeps the token that it saw first: one for the life of this process.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Read when Ray is imported. Imported before, it asks for a token by itself.
    if "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"


def stored_data(problem: Problem, *, needs_test: bool) -> "ray.ObjectRef[Data]":
    """Have the data loaded once, by a process of its own, into the node's shared memory.

    Returns:
        A reference at once; ``fetch`` waits for what it refers to.
    """
    import ray

    return ray.remote(num_cpus=0)(load_data).remote(problem, needs_test=needs_test)


def fetch(stored: "ray.ObjectRef[Data]") -> Data:
    """Return the data, its arrays read-only and in shared memory.

    Raises:
        ProblemError: Loading failed.
    """
    import ray

    try:
        data: Data = ray.get(stored)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ProblemError):
            raise error.cause from None
        raise ProblemError(f"Loading the data failed: {one_line(error.cause)}") from error
    except ray.exceptions.RayError as error:
        raise ProblemError(f"Loading the data failed: {one_line(error)}") from error
    return data


@contextmanager
def local_cluster(workers: int) -> Iterator[None]:
    """Run a Ray of this machine alone, with so many slots of one CPU each."""
    prepare_environment()
    import ray

    # Short: the path of a socket in it may have 107 characters at most.
    scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        # Without a route to anywhere Ray warns that it guesses its address.
        with silent_errors():
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=scratch,
            )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def cluster(address: str | None, workers: int) -> Iterator[None]:
    """Use the Ray that is running in this process, the one at an address, or one of its own.

    Args:
        address: Such as ``auto`` or ``10.0.0.1:6379``; None starts a Ray of this machine.
        workers: Slots of that one.

    Raises:
        ProblemError: There is no Ray at the address, or it cannot be joined.
    """
    prepare_environment(address)
    import ray

    if ray.is_initialized():
        yield
        return
    if address is None:
        with local_cluster(workers):
            yield
        return
    try:
        _check_reachable(address)
        with silent_errors():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise ProblemError(
            f"address={address!r}: no Ray cluster can be joined there ({one_line(error)}). Start "
            "one with `ray start --head`, or leave address out for one of this machine."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def check_folder_is_shared(folder: Path) -> None:
    """Check that every node of the cluster sees the same run folder.

    Raises:
        ProblemError: Names the nodes that do not.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    marker = folder / f".seen-{secrets.token_hex(8)}"
    marker.touch()
    try:
        sees = ray.remote(num_cpus=0)(os.path.exists)
        looks = {
            node["NodeManagerHostname"]: sees.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(str(marker))
            for node in nodes
        }
        blind = [host for host, look in looks.items() if not ray.get(look)]
    finally:
        marker.unlink()
    if blind:
        raise ProblemError(
            f"{str(folder)!r} is not seen by {', '.join(blind)}: expected a folder that all nodes "
            "of the cluster share. Name one as directory."
        )
