"""The Ray engine: many trials at once in warm worker processes, under ASHA."""

import contextlib
import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune import TuneError

from results.record.columns import State
from search.engines.ray.events import LACKS_GPU, READY, REPORT, RETRY, STARTED, Events
from search.engines.ray.schedulers import END, METRIC, TIME_ATTR, WARM, Asha, NoStopping
from search.engines.ray.suggestions import AGAIN, DEVICE, RETRIES, SPACE, Stop, Suggestions
from search.engines.ray.verdicts import Verdicts
from search.errors import ProblemError, RayLostError
from search.plan import importer
from search.plan.plan import Plan
from search.plan.registry import Scheduler
from search.plan.task import FitArguments, Named, Task
from search.ray.keeper import Place
from search.ray.nodes import Whereabouts, in_rays_names, on_this_node
from search.ray.runtime import ENVIRONMENT, fetch, has_other_nodes
from search.session.session import DeferredSession
from search.session.stopping import INTERRUPTED, Stopping
from search.space.parameters import FORMER_TRIAL, Space
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.data import Data
from search.worker.laps import BETWEEN, BUILD, DATA, IMPORT, START

WARM_REPORT_SECONDS = 0.2
# Of an elastic search: the suggestions count the room that there is.
MOST_TRIALS = 10_000

Stored = Data | FitArguments


def search(
    plan: Plan,
    task: Task,
    stored: "ray.ObjectRef[Stored]",
    *,
    deferred: DeferredSession,
    stopping: Stopping,
    space: Space | None = None,
    train: Callable[..., None] | None = None,
) -> None:
    """Run trials until they are done or the search must stop. Ray is running already.

    Where the space is not known, the first process discovers it while the others import
    TensorFlow; all of them are then given to trials. A trial that was begun before, by a process
    or a driver that is gone, is gone on with first.

    Args:
        plan: What was asked.
        task: What all trials share.
        stored: The splits or the arguments of ``fit``, once in the node's shared memory.
        deferred: Opened with the space once it is known; holds the session already open.
        stopping: Says when to end.
        space: The space, where the driver knows it.
        train: What a process does of a trial; None trains it.

    Raises:
        RayLostError: Ray has ended under the search, which can be called again on a new one.
    """
    # Ray ends a stopped trial at once; one with executions to come asks for its verdict instead.
    needs_verdicts = task.executions_per_trial > 1 and plan.scheduler is Scheduler.ASHA
    verdicts = Verdicts() if needs_verdicts else None
    scheduler = _scheduler(plan, only_decides=verdicts is not None)
    # The reference in a list: Ray refuses to put a bare one into its store.
    trainable = tune.with_parameters(
        train or _train,
        task=task,
        stored=[stored],
        place=Place.of(RunFolder(plan.out.resolve()), has_other_nodes=has_other_nodes()),
        threads=plan.threads,
        gpu_share=plan.gpu_share,
        verdicts=verdicts,
        home=os.getcwd(),
    )
    events = Events(
        task, scheduler, deferred, stopping, verdicts, hung_after_seconds=plan.hung_after_seconds
    )
    suggestions = Suggestions(events, plan, task)
    scheduler.in_vain, scheduler.called_back = suggestions.in_vain, events.give_back
    known = deferred.session.searcher.space if deferred.session else space
    if known is not None:
        events.begin(known)
    # Ray's own state is scratch: the journal is the record.
    with tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, _resources(plan)),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode=plan.problem.objective.mode,
                search_alg=suggestions,
                scheduler=scheduler,
                num_samples=-1,  # the suggestions end by themselves
                max_concurrent_trials=MOST_TRIALS,  # the suggestions limit themselves
                reuse_actors=plan.reuse_workers,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                stop=Stop(stopping, events),
                # Ray begins nothing again: what is unfinished is suggested again.
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[events],
            ),
        )
        _fit(tuner, events, stopping)


def _fit(tuner: tune.Tuner, events: Events, stopping: Stopping) -> None:
    try:
        with _interrupts_end(stopping), _quiet("ray.tune"):
            tuner.fit()
    except TuneError:
        if events.error is not None:
            raise events.error from None
        raise
    except RuntimeError as error:
        # Ray Tune 2.60 takes the end of a process for its memory for an error of its own.
        if not isinstance(error.__cause__, OutOfMemoryError) or events.session is None:
            raise
        events.out_of_memory(str(error.__cause__))
    if events.ray_lost is not None and stopping.reason is None:
        raise RayLostError(events.ray_lost)


def _resources(plan: Plan) -> "dict[str, float] | Callable[[dict[str, Any]], Any]":
    """Return what Ray is to give to a trial: the same to all, or by the device of each."""
    if plan.device_rule is None:
        return plan.resources
    return lambda config: tune.PlacementGroupFactory(
        [in_rays_names(plan.resources_on(config[DEVICE]))]
    )


def _scheduler(plan: Plan, *, only_decides: bool) -> NoStopping:
    if plan.scheduler is Scheduler.NONE:
        return NoStopping()
    return Asha(
        mode=plan.problem.objective.mode,
        max_epochs=plan.problem.epochs,
        grace_period=plan.grace_period,
        reduction_factor=plan.reduction_factor,
        only_decides=only_decides,
    )


def _train(
    config: dict[str, Any],
    *,
    task: Task,
    stored: "list[ray.ObjectRef[Stored]]",
    place: Place,
    threads: int,
    gpu_share: float | None,
    verdicts: Verdicts | None,
    home: str,
) -> None:
    """Run one trial in a worker process, which then waits, warm, for the next."""
    # A Ray that ran before has settings of its own: Tune reads this one when the trial ends.
    process.LAPS.lap(BETWEEN if process.is_set_up() else START)
    os.environ |= ENVIRONMENT
    if WARM not in config:
        tune.report({STARTED: json.dumps(asdict(Whereabouts.of_this_process()))})
    with contextlib.suppress(OSError):
        os.chdir(home)  # relative paths are the script's, not those of a folder of Ray's
        importer.search_current_folder()
    has_gpu = bool(ray.get_gpu_ids())
    process.set_up(threads=threads, sees_gpus=has_gpu, gpu_share=gpu_share)
    process.LAPS.lap(IMPORT)
    from search.worker.trial import TrialEnd

    try:
        if WARM in config:
            if config[SPACE]:
                _tell_space(task)
            while True:  # until the scheduler stops it, by SystemExit
                tune.report({WARM: True})
                time.sleep(WARM_REPORT_SECONDS)
        lacks_gpu = has_gpu and process.lacks_gpu()
        end = _run(config, task, stored[0], place, verdicts, lacks_gpu=lacks_gpu)
    except ProblemError as error:
        end = TrialEnd.of_a_problem(on_this_node(error))
    if end.state is not State.STOPPED or verdicts is not None:
        tune.report({END: json.dumps(asdict(end))})  # the scheduler stops the trial for it
    # The way Ray Tune 2.60 ends a stopped function. Returned from, it would report once more and
    # wait for ever, so that its process could not be given to the next trial.
    raise SystemExit(0)


def _tell_space(task: Task) -> None:
    assert isinstance(task.hypermodel, Named)
    space = process.discover(task.hypermodel.reference)
    process.LAPS.lap(BUILD)
    tune.report({SPACE: json.dumps(space.to_json())})


def _run(
    config: dict[str, Any],
    task: Task,
    stored: "ray.ObjectRef[Stored]",
    place: Place,
    verdicts: Verdicts | None,
    *,
    lacks_gpu: bool,
) -> Any:
    from search.worker.trial import run_trial

    data = fetch(stored)
    process.LAPS.lap(DATA)
    tune.report({READY: True, LACKS_GPU: socket.gethostname() if lacks_gpu else ""})
    trial, values = config["trial"], config["values"]
    # Hyperband trains on from another's weights.
    reads = [trial] if config[AGAIN] else []
    reads += [int(values[FORMER_TRIAL])] if FORMER_TRIAL in values else []
    with place.opened(trial, reads) as folder:
        return run_trial(
            replace(task, epochs=config["epochs"]),
            data,
            trial=trial,
            values=values,
            retries=config[RETRIES],
            report=partial(_report, trial=trial, verdicts=verdicts),
            folder=folder,
            space=Space.from_json(json.loads(config[SPACE])),
        )


def _report(report: dict[str, Any], *, trial: int, verdicts: Verdicts | None) -> bool:
    """Report an epoch or a retry; False when the scheduler stops the trial."""
    if RETRY in report:
        tune.report(report)
        return True
    objective = report.pop("objective")
    told: dict[str, Any] = {REPORT: json.dumps(report), "worker": process.name()}
    is_judged = "execution" not in report
    if is_judged:
        told[TIME_ATTR] = report["epoch"]
        told[METRIC] = float("nan") if objective is None else objective
    try:
        tune.report(told)
    except SystemExit:  # how Ray Tune stops a function; fit is to return by itself
        return False
    return verdicts is None or not is_judged or verdicts.may_go_on(trial)


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
