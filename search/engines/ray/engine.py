"""The Ray engine: many trials at once in warm worker processes, stopped early."""

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune import TuneError

from search.engines.ray import trainable
from search.engines.ray.adapters import Callback, Stopper, TuneScheduler, TuneSearcher
from search.engines.ray.events import Events
from search.engines.ray.liveness import Cluster, Liveness
from search.engines.ray.messages import config_of
from search.engines.ray.placement.capacity import Capacity
from search.engines.ray.placement.rule import make_judge
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import Discovery, Suggestions
from search.engines.ray.trainable import Content
from search.errors import RayLostError
from search.plan.plan import Plan
from search.plan.task import Task
from search.ray.checkpoint_server import CheckpointAccess
from search.ray.nodes import ray_resources
from search.ray.renewable import RenewableRay, StoredData, fetch
from search.ray.runtime import has_other_nodes
from search.session.session import DeferredSession
from search.session.stopping import INTERRUPTED, Stopping
from search.space.parameters import Space
from search.storage.folder import RunFolder

# Of an elastic search: the suggestions count the room that there is.
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class RayEngine:
    """Runs many trials at once on Ray; the search goes on when that Ray is lost.

    Attributes:
        space: The space, where the driver knows it; None: a worker discovers it.
    """

    plan: Plan
    task: Task
    ray: RenewableRay
    space: Space | None = None

    @property
    def stored(self) -> StoredData:
        return self.ray.stored

    def data_digest(self) -> str:
        return str(fetch(self.stored.digest))

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        search = partial(search_on_ray, self.plan, self.task, deferred=deferred, stopping=stopping)

        def progress() -> int:
            # A trial that ends without an epoch, such as one that eats all memory, is progress too.
            history = deferred.history
            return history.epochs_trained + len(history.trials) - len(history.unfinished())

        self.ray.run_search(lambda stored: search(stored.content, space=self.space), progress)


def search_on_ray(
    plan: Plan,
    task: Task,
    content: "ray.ObjectRef[Content]",
    *,
    deferred: DeferredSession,
    stopping: Stopping,
    space: Space | None = None,
    train: Callable[..., None] = trainable.train,
) -> None:
    """Run trials until they are done or the search must stop. Ray is running already.

    Where the space is not known, the first process discovers it while the others import
    TensorFlow; all of them are then given to trials. A trial that was begun before, by a process
    or a driver that is gone, is continued first. A benchmark puts another function in the place
    of ``train``, which a process runs.

    Raises:
        RayLostError: Ray has ended under the search, which can be called again on a new one.
    """
    state = SearchState(deferred)
    discovery = Discovery(plan)
    liveness = Liveness(state, stopping, Cluster(), hung_after_seconds=plan.hung_after_seconds)
    scheduler = plan.scheduler.load().from_plan(plan)
    events = Events(state, task, scheduler, stopping, liveness, discovery)
    suggestions = Suggestions(
        state,
        plan,
        task,
        capacity=Capacity(plan),
        judge=make_judge(plan, task, is_interrupted=lambda: stopping.reason == INTERRUPTED),
        discovery=discovery,
    )
    known = deferred.session.searcher.space if deferred.session else space
    if known is not None:
        events.begin(known)
    # Ray's own state is scratch: the journal is the record.
    with tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(train, plan, task, content), _resources(plan)),
            tune_config=tune.TuneConfig(
                search_alg=TuneSearcher(state, suggestions),
                scheduler=TuneScheduler(state, events, suggestions),
                num_samples=-1,  # the suggestions end by themselves
                max_concurrent_trials=MOST_TRIALS,  # the suggestions limit themselves
                reuse_actors=plan.reuse_workers,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                stop=Stopper(state, stopping),
                # Ray begins nothing again: what is unfinished is suggested again.
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[Callback(state, events)],
            ),
        )
        _fit(tuner, state, stopping, liveness)


def _fit(tuner: tune.Tuner, state: SearchState, stopping: Stopping, liveness: Liveness) -> None:
    try:
        with _interrupts_end(stopping), _quiet("ray.tune"):
            tuner.fit()
    except TuneError:
        if state.error is not None:
            raise state.error from None
        raise
    except RuntimeError as error:
        # Ray Tune 2.60 takes the end of a process for its memory for an error of its own.
        if not isinstance(error.__cause__, OutOfMemoryError) or state.session is None:
            raise
        liveness.ray_ended_for_memory(str(error.__cause__))
    if state.ray_lost is not None and stopping.reason is None:
        raise RayLostError(state.ray_lost)


def _trainable(
    train: Callable[..., None], plan: Plan, task: Task, content: "ray.ObjectRef[Content]"
) -> Any:
    return tune.with_parameters(
        train,
        task=task,
        stored=[content],  # in a list: Ray refuses to put a bare reference into its store
        checkpoints=CheckpointAccess.of(
            RunFolder(plan.out.resolve()), has_other_nodes=has_other_nodes()
        ),
        threads=plan.threads,
        gpu_share=plan.gpu_share,
        home=os.getcwd(),
    )


def _resources(plan: Plan) -> "dict[str, float] | Callable[[dict[str, Any]], Any]":
    """Return what Ray is to give to a trial: the same to all, or by the device of each."""
    if plan.device_rule is None:
        return plan.resources
    return lambda fields: tune.PlacementGroupFactory(
        [ray_resources(plan.resources_on(config_of(fields).device))]
    )


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep what a library writes of each lost process off the screen: the journal has it."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _interrupts_end(stopping: Stopping) -> Iterator[None]:
    """Let Ctrl-C and a polite kill end the search cleanly; a second one ends it at once."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stopping.reason == INTERRUPTED:
            raise KeyboardInterrupt
        stopping.interrupt()

    # Python lets the main thread alone handle signals.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
