"""A Ray that holds the data of the trials in its memory and is started again when it is lost."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.carry.description import DataPart
from search.errors import ProblemError, RayLostError, one_line
from search.plan.plan import Problem
from search.ray.forks import asks_for_forks
from search.ray.nodes import this_node_affinity
from search.worker.data import Data, load_data
from search.worker.process import GPU_ENVIRONMENT, QUIET_TENSORFLOW

if TYPE_CHECKING:
    import ray

MAX_LOSSES_WITHOUT_PROGRESS = 2


@dataclass(frozen=True)
class StoredData:
    """The data of all trials, stored once in a node's shared memory.

    Attributes:
        content: The splits, or the arguments of ``fit``.
        digest: A checksum of the splits, if it was computed.
        parts: Each array and dataset of the splits, and how it travels, if that is known here.
    """

    content: "ray.ObjectRef[Any]"
    digest: "ray.ObjectRef[str] | None" = None
    parts: "ray.ObjectRef[tuple[DataPart, ...]] | None" = None


def store_data(problem: Problem, *, needs_test: bool) -> StoredData:
    """Load the data once, in a process of its own, into this node's shared memory.

    Other nodes receive them through Ray and need no copy on disk. The references are returned at
    once; ``fetch`` waits for the data.
    """
    import ray

    # Its process ends with it: a data function may have imported TensorFlow in its own way.
    options = {"num_cpus": 0, "num_returns": 3, "max_calls": 1}
    load = ray.remote(scheduling_strategy=this_node_affinity(), **options)(_load)
    if asks_for_forks(ray.get_runtime_context().runtime_env.get("py_executable", "")):
        # Not forked, so that loading does not wait for the import of TensorFlow.
        load = load.options(runtime_env={"py_executable": shlex.quote(sys.executable)})
    return StoredData(*load.remote(problem, needs_test=needs_test))


def _load(problem: Problem, *, needs_test: bool) -> tuple[Data, str, tuple[DataPart, ...]]:
    os.environ |= QUIET_TENSORFLOW | GPU_ENVIRONMENT  # a dataset needs no GPU memory
    data = load_data(problem, needs_test=needs_test)
    packed = data.packed()
    return packed, data.digest(), data.parts(packed)


def fetch(stored: "ray.ObjectRef[Any]") -> Any:
    """Return the stored value; its arrays are read-only and in shared memory."""
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
    """A Ray that holds the data of the trials and is started again when it is lost.

    Args:
        start: Starts or joins Ray; leaving the context ends it.
        store: Puts the data into Ray's memory.
        say: Prints a line for the user.
    """

    def __init__(
        self,
        start: Callable[[], AbstractContextManager[None]],
        store: Callable[[], StoredData],
        *,
        say: Callable[[str], None],
    ) -> None:
        self._start = start
        self._store = store
        self._say = say
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "RenewableRay":
        self._stack.enter_context(self._start())
        self.stored = self._store()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run_search(self, search: Callable[[StoredData], None], progress: Callable[[], int]) -> None:
        """Run a search to its end, and start Ray again each time it is lost.

        Args:
            search: Runs the search on the stored data; continues where it left off.
            progress: Returns a number that grows with every epoch and every ended trial.

        Raises:
            RayLostError: Ray was lost twice without progress in between, or this process did not
                start it.
        """
        import ray

        losses, progress_before = 0, progress()
        while True:
            try:
                return search(self.stored)
            except RayLostError as error:
                losses = losses + 1 if progress() == progress_before else 1
                progress_before = progress()
                if losses == MAX_LOSSES_WITHOUT_PROGRESS:
                    raise
                loss = error
            self._stack.close()
            if ray.is_initialized():  # a script started it: it is not ours to restart
                raise loss
            self._say(f"{loss}: Ray is started again, and unfinished trials continue")
            self.__enter__()
