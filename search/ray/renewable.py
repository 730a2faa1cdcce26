"""A Ray with what trials train on in its memory, started anew where it is lost."""

import contextlib
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import ProblemError, RayLostError, one_line
from search.plan.plan import Problem
from search.ray.forks import asks_for_forks
from search.ray.nodes import this_node_affinity
from search.worker.data import Data, load_data

if TYPE_CHECKING:
    import ray

MAX_LOSSES_WITHOUT_PROGRESS = 2


@dataclass(frozen=True)
class StoredData:
    """What all trials train on, once in a node's shared memory.

    Attributes:
        content: The splits, or the arguments of ``fit``.
        digest: What equal data share, where it is asked for.
    """

    content: "ray.ObjectRef[Any]"
    digest: "ray.ObjectRef[str] | None" = None


def store_data(problem: Problem, *, needs_test: bool) -> StoredData:
    """Have the data loaded once, by a process of its own, into this node's shared memory.

    Other nodes receive them through Ray, and need none of their own. References are returned at
    once; ``fetch`` waits for what they refer to.
    """
    import ray

    load = ray.remote(num_cpus=0, num_returns=2, scheduling_strategy=this_node_affinity())(_load)
    if asks_for_forks(ray.get_runtime_context().runtime_env.get("py_executable", "")):
        # A process that is not forked: it need not wait for TensorFlow.
        load = load.options(runtime_env={"py_executable": shlex.quote(sys.executable)})
    return StoredData(*load.remote(problem, needs_test=needs_test))


def _load(problem: Problem, *, needs_test: bool) -> tuple[Data, str]:
    data = load_data(problem, needs_test=needs_test)
    return data, data.digest()


def fetch(stored: "ray.ObjectRef[Any]") -> Any:
    """Return what was stored, its arrays read-only and in shared memory."""
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
    """A Ray, started and ended by ``opens``, with what trials train on, put there by ``stores``."""

    def __init__(
        self,
        opens: Callable[[], AbstractContextManager[None]],
        stores: Callable[[], StoredData],
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

    def run_search(self, search: Callable[[StoredData], None], progress: Callable[[], int]) -> None:
        """Search until it is done, on as many Rays as that takes.

        Args:
            search: Called with what is stored; goes on where it left off.
            progress: Returns a number that grows with every epoch and with every trial that ends.

        Raises:
            RayLostError: Two were lost without progress in between, or it is not ours to renew.
        """
        import ray

        losses, epochs = 0, progress()
        while True:
            try:
                return search(self.stored)
            except RayLostError as lost:
                losses, epochs = (losses + 1 if progress() == epochs else 1), progress()
                if losses == MAX_LOSSES_WITHOUT_PROGRESS:
                    raise
                reason = lost
            self._stack.close()
            if ray.is_initialized():  # a script's own, which is not ours to start again
                raise reason
            self._say(f"{reason}: Ray is started again, and what ran goes on")
            self.__enter__()
