"""Ray, told what we need before it is imported, started and ended with a run."""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from search.errors import ProblemError, RayLostError, one_line
from search.plan.plan import Problem
from search.ray.forks import SOCKETS_FOLDER, asks_for_forks, fork_server
from search.ray.nodes import here
from search.worker.data import Data, load_data
from search.worker.quiet import silent_errors

if TYPE_CHECKING:
    import ray

Result = TypeVar("Result")

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
    # Paragraphs on what a trial's line says: which process was lost, and why.
    "RAY_DEDUP_LOGS_SKIP_REGEX": (
        "A worker died or was killed|low on memory|has been marked dead|Raylet is terminated"
    ),
}

RAYLET_PID = "RAY_RAYLET_PID"
# Ray 2.60 takes this machine's address in the network for its own on Linux, and then listens on
# all; this makes it do as it does on Windows and macOS (ray/_private/services.py).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Under ``uv run`` Ray 2.60 would start each worker by uv, whatever it is told to start it by.
NOT_BY_UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}

# Those that Ray starts in advance would not be forked.
NO_IDLE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}

CONNECT_SECONDS = 10.0
LOSSES_WITHOUT_PROGRESS = 2
# Of the Ray that this process started or joined: its process on this machine.
_raylet: psutil.Process | None = None
_is_own = False


def prepare_environment(address: str | None = None) -> None:
    """Set what Ray reads from the environment; call before Ray is imported.

    Args:
        address: The Ray that will be joined; None: one of this process. All its ports are on
            loopback, unless Ray was imported before; a token of this process alone guards them
            from the other users of the machine, and none is left in the user's home.
    """
    os.environ.update(ENVIRONMENT)
    if address is None:
        # Ray keeps the token that it saw first: one for the life of this process.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray" in sys.modules:  # what is read when it is imported is settled
        return
    if address is None:
        # In a job of Ray's: what it brings to nodes is not for a Ray of our own.
        os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
        os.environ |= ON_LOOPBACK | NOT_BY_UV | {"RAY_AUTH_MODE": "token"}
    # A driver whose parent is process 1 (in a container, under nohup) Ray 2.60 takes for the child
    # of a raylet that has ended, and ends it without a word. By this name it looks for ours.
    os.environ[RAYLET_PID] = str(os.getpid())
    import ray  # noqa: F401

    del os.environ[RAYLET_PID]  # Ray's own processes must look for their own


@dataclass(frozen=True)
class Stored:
    """What all trials train on, once in a node's shared memory.

    Attributes:
        content: The splits, or the arguments of ``fit``.
        digest: What equal data share, where it is asked for.
    """

    content: "ray.ObjectRef[Any]"
    digest: "ray.ObjectRef[str] | None" = None


def stored_data(problem: Problem, *, needs_test: bool) -> Stored:
    """Have the data loaded once, by a process of its own, into this node's shared memory.

    Other nodes receive them through Ray, and need none of their own.

    Returns:
        References at once; ``fetch`` waits for what they refer to.
    """
    import ray

    load = ray.remote(num_cpus=0, num_returns=2, scheduling_strategy=here())(_load)
    if asks_for_forks(ray.get_runtime_context().runtime_env.get("py_executable", "")):
        # A process that is not forked: it need not wait for TensorFlow.
        load = load.options(runtime_env={"py_executable": shlex.quote(sys.executable)})
    return Stored(*load.remote(problem, needs_test=needs_test))


def _load(problem: Problem, *, needs_test: bool) -> tuple[Data, str]:
    data = load_data(problem, needs_test=needs_test)
    return data, data.digest()


def fetch(stored: "ray.ObjectRef[Any]") -> Any:
    """Return what was stored, its arrays read-only and in shared memory.

    Raises:
        ProblemError: Loading failed.
    """
    import ray

    try:
        return ray.get(stored)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ProblemError):
            raise error.cause from None
        raise ProblemError(f"Loading the data failed: {one_line(error.cause)}") from error
    except ray.exceptions.RayError as error:
        raise ProblemError(f"Loading the data failed: {one_line(error)}") from error


class RenewableRay:
    """A Ray with what trials train on; started anew where it is lost.

    Args:
        opens: Makes what starts and ends it.
        stores: Puts the data into it.
        say: Told when it is lost.
    """

    def __init__(
        self,
        opens: Callable[[], AbstractContextManager[None]],
        stores: Callable[[], Stored],
        *,
        say: Callable[[str], None],
    ) -> None:
        self._opens = opens
        self._stores = stores
        self._say = say
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "RenewableRay":
        self._stack.enter_context(self._opens())
        self.stored = self._stores()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def searched(self, search: Callable[[Stored], None], progress: Callable[[], int]) -> None:
        """Search until it is done, on as many Rays as that takes.

        Args:
            search: Called with what is stored; goes on where it left off.
            progress: Counts the epochs trained.

        Raises:
            RayLostError: Two were lost without an epoch in between, or it is not ours to renew.
        """
        import ray

        losses, epochs = 0, progress()
        while True:
            try:
                return search(self.stored)
            except RayLostError as lost:
                losses, epochs = (losses + 1 if progress() == epochs else 1), progress()
                if losses == LOSSES_WITHOUT_PROGRESS:
                    raise
                reason = lost
            self._stack.close()
            if ray.is_initialized():  # a script's own, which is not ours to start again
                raise reason
            self._say(f"{reason}: Ray is started again, and what ran goes on")
            self.__enter__()


@contextmanager
def local_cluster(workers: int, *, forks: bool = False) -> Iterator[None]:
    """Run a Ray of this machine alone, with so many slots of one CPU each.

    Args:
        workers: How many.
        forks: Whether workers are forked with TensorFlow in them, where that is safe.
    """
    with (
        # Before Ray is imported: its own import takes longest.
        fork_server() if forks else contextlib.nullcontext() as executable,
        _local_ray(workers, executable),
    ):
        yield


@contextmanager
def _local_ray(workers: int, executable: str | None) -> Iterator[None]:
    global _raylet, _is_own
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
        _raylet, _is_own = _started_raylet(), True
        _take_a_polite_kill_for_ctrl_c()
        yield
    finally:
        _raylet, _is_own = None, False
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _take_a_polite_kill_for_ctrl_c() -> None:
    """Replace Ray's own way to end at SIGTERM, which leaves what is locked and open."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _started_raylet() -> psutil.Process | None:
    children = psutil.Process().children()
    return next((child for child in children if child.name() == "raylet"), None)


@contextmanager
def cluster(
    address: str | None, workers: int, code: Sequence[str] = (), *, forks: bool = False
) -> Iterator[None]:
    """Use the Ray that is running in this process, the one at an address, or one of its own.

    Args:
        address: Such as ``auto`` or ``10.0.0.1:6379``; None starts a Ray of this machine.
        workers: Slots of that one.
        forks: Whether workers of that one are forked with TensorFlow in them, where that is safe.
        code: Packages and modules that Ray brings to every node, so that none runs older ones.

    Raises:
        ProblemError: There is no Ray at the address, or it cannot be joined.
    """
    global _raylet
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        prepare_environment(address)
        yield
        return
    if address is None:
        with local_cluster(workers, forks=forks):
            yield
        return
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
        _raylet = _joined_raylet()
        _take_a_polite_kill_for_ctrl_c()
    except Exception as error:
        raise ProblemError(
            f"address={address!r}: no Ray cluster can be joined there ({one_line(error)}). "
            f"{_remedy(error)}"
        ) from error
    try:
        yield
    finally:
        _raylet = None
        ray.shutdown()


@contextmanager
def _nowhere() -> Iterator[None]:
    """Be in an empty folder meanwhile.

    Ray 2.60 has each node look for modules in the driver's current folder first, before the code
    that it was brought: on a node that has a folder of that name, with older modules.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def _remedy(error: Exception) -> str:
    if "InvalidAuthToken" in str(error.__cause__):  # as Ray 2.60 says it
        return (
            "It asks for a token: expected that of its machines in ~/.ray/auth_token (or "
            "RAY_AUTH_TOKEN), and RAY_AUTH_MODE=token."
        )
    return "Start one with `ray start --head`, or leave address out for one of this machine."


def _joined_raylet() -> psutil.Process | None:
    import ray

    own = ray.get_runtime_context().get_node_id()
    [socket_name] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own]
    named = psutil.process_iter(["name", "cmdline"])
    return next(
        (
            one
            for one in named
            if one.info["name"] == "raylet" and socket_name in " ".join(one.info["cmdline"] or ())
        ),
        None,
    )


def _check_reachable(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def is_up() -> bool:
    """Tell whether Ray still runs on this machine; of a script's own it is believed."""
    try:
        return _raylet is None or _raylet.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_other_nodes() -> bool:
    """Tell whether trials may run on machines other than this one: Ray was joined, not started."""
    return not _is_own
