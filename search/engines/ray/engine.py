"""The Ray engine: runs many trials at once in warm worker processes."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune import TuneError

from search.engines.ray import trainable
from search.engines.ray.adapters import Callback, Stopper, TuneScheduler, TuneSearcher
from search.engines.ray.liveness import Liveness, RunningRay
from search.engines.ray.messages import decode_config
from search.engines.ray.placement.capacity import Capacity
from search.engines.ray.placement.rule import make_placer
from search.engines.ray.report_handler import ReportHandler
from search.engines.ray.state import SearchState
from search.engines.ray.suggestions import Discovery, Suggestions
from search.engines.ray.trainable import Content
from search.errors import RayLostError
from search.plan.plan import Plan
from search.ray.checkpoint_server import CheckpointAccess
from search.ray.nodes import ray_resources
from search.ray.renewable import RenewableRay, StoredData, fetch
from search.ray.runtime import has_other_nodes
from search.session.session import DeferredSession
from search.session.stopping import INTERRUPTED, Stopping
from search.signals import ending_signals
from search.space.parameters import Space
from search.storage import scratch
from search.storage.folder import RunFolder
from search.worker.task import Task

# Higher than any real limit: ``Suggestions`` limits the trials itself.
MAX_CONCURRENT_TRIALS = 10_000


@dataclass(frozen=True)
class RayEngine:
    """An engine that runs many trials at once on Ray, and continues on a new Ray if one is lost.

    Attributes:
        plan: The run.
        task: What each trial trains.
        ray: The Ray that is started or joined, with the data in its memory.
        space: The search space; None if a worker discovers it.
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

    def data_parts(self) -> list[dict[str, Any]]:
        return [asdict(part) for part in fetch(self.stored.parts)]

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        search = partial(search_on_ray, self.plan, self.task, deferred=deferred, stopping=stopping)

        def progress() -> int:
            # A trial that ends without an epoch, such as one out of memory, is progress too.
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
    """Run trials on the running Ray until they are done or the search must end.

    If the space is unknown, the first process discovers it while the others import TensorFlow;
    then all of them train trials. Unfinished trials of a lost process or an earlier driver come
    first.

    Args:
        plan: The run.
        task: What each trial trains.
        content: Reference to the data or the arguments of ``fit`` in Ray's memory.
        deferred: The session, opened once the space is known.
        stopping: Decides when the search ends.
        space: The search space; None if a worker discovers it.
        train: The function that a worker process runs; a benchmark passes its own.

    Raises:
        RayLostError: Ray has ended. Call this function again on a new Ray to continue.
    """
    state = SearchState(deferred)
    discovery = Discovery(plan)
    liveness = Liveness(state, stopping, RunningRay(), hung_after_seconds=plan.hung_after_seconds)
    scheduler = plan.scheduler.load().from_plan(plan)
    handler = ReportHandler(
        state,
        task,
        scheduler,
        stopping,
        liveness,
        discovery,
        judges_any_score=plan.scheduler_asked,
    )
    suggestions = Suggestions(
        state,
        plan,
        task,
        capacity=Capacity(plan),
        place=make_placer(plan, task, is_interrupted=lambda: stopping.reason == INTERRUPTED),
        discovery=discovery,
    )
    if deferred.session is not None:
        space = deferred.session.searcher.space
    if space is not None:
        handler.start_search(space)
    # Tune's own state is temporary: a search is resumed from the journal.
    with scratch.temporary("tune-") as storage:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(train, plan, task, content), _resources(plan)),
            tune_config=tune.TuneConfig(
                search_alg=TuneSearcher(state, suggestions),
                scheduler=TuneScheduler(state, handler, suggestions),
                num_samples=-1,  # until ``TuneSearcher`` answers FINISHED
                max_concurrent_trials=MAX_CONCURRENT_TRIALS,
                reuse_actors=plan.reuse_workers,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(storage),
                verbose=0,
                # In a notebook, the one that Ray Tune 2.60 chooses clears the cell.
                progress_reporter=tune.CLIReporter(),
                stop=Stopper(state, stopping),
                # Tune restarts no trial: ``Suggestions`` suggests unfinished trials again.
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[Callback(state, handler)],
            ),
        )
        _fit(tuner, state, stopping, liveness)


def _fit(tuner: tune.Tuner, state: SearchState, stopping: Stopping, liveness: Liveness) -> None:
    try:
        with ending_signals(partial(_interrupt, stopping)), _silenced("ray.tune"):
            tuner.fit()
    except TuneError:
        if state.error is not None:
            raise state.error from None
        raise
    except RuntimeError as error:
        # Ray Tune 2.60 fails itself when Ray kills a process to free memory.
        if not isinstance(error.__cause__, OutOfMemoryError) or state.session is None:
            raise
        liveness.record_ray_out_of_memory(str(error.__cause__))
    if state.ray_loss is not None and stopping.reason is None:
        raise RayLostError(state.ray_loss)


def _trainable(
    train: Callable[..., None], plan: Plan, task: Task, content: "ray.ObjectRef[Content]"
) -> Any:
    return tune.with_parameters(
        train,
        task=task,
        stored=[content],  # in a list: Ray's store refuses a bare reference
        checkpoints=CheckpointAccess.of(
            RunFolder(plan.out.resolve()), has_other_nodes=has_other_nodes()
        ),
        threads=plan.threads,
        gpu_share=plan.gpu_share,
        working_folder=os.getcwd(),
    )


def _resources(plan: Plan) -> "dict[str, float] | Callable[[dict[str, Any]], Any]":
    """Return a trial's resources, or a function of its config if a rule chooses its device."""
    if plan.device_rule is None:
        return plan.resources
    return lambda fields: tune.PlacementGroupFactory(
        [ray_resources(plan.resources_on(decode_config(fields).device))]
    )


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Silence a library's logger: it logs every lost process, and the journal records them."""
    logger = logging.getLogger(name)
    previous_level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(previous_level)


def _interrupt(stopping: Stopping) -> None:
    """End the search cleanly at a first signal, and at once at a second one."""
    if stopping.reason == INTERRUPTED:
        raise KeyboardInterrupt
    stopping.interrupt()
