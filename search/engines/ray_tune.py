"""The Ray engine: many trials at once in warm worker processes, under ASHA."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune import TuneError
from ray.tune.search import Searcher as RaySearcher

from results.columns import Decision, State
from search import worker
from search.data import Data
from search.engines.asha import END, METRIC, TIME_ATTR, WARM, Asha, NoStopping
from search.errors import (
    FatalTrialError,
    NewEntriesError,
    ProblemError,
    SearchError,
    one_line,
)
from search.folder import RunFolder
from search.laps import BETWEEN, BUILD, DATA, IMPORT, START
from search.plan import Plan, Scheduler
from search.ray_cluster import ENVIRONMENT, fetch
from search.searchers import Pause, Searcher
from search.session import Begin, Session
from search.space import Space
from search.stopping import INTERRUPTED, Stopping
from search.task import FitArguments, Named, Task

if TYPE_CHECKING:
    import ray

# A trial whose process died is started once more; Ray counts lost processes only, since an
# error of the user's code is caught and reported by the trial itself.
RESTARTS_OF_A_LOST_TRIAL = 1
# Field of the report with which the first trial tells the space.
SPACE = "space"
# Field of the report with which a failed trial begins again: the error.
RETRY = "retry"
REPORT = "report"
WARM_REPORT_SECONDS = 0.2

Stored = Data | FitArguments


def search(
    plan: Plan,
    task: Task,
    stored: "ray.ObjectRef[Stored]",
    *,
    begin: Begin,
    stopping: Stopping,
    space: Space | None = None,
) -> None:
    """Run trials until they are done or the search must stop. Ray is running already.

    Where the space is not known, the first trial discovers it, in the process that then trains it
    with the defaults, so that TensorFlow is imported once and no time goes by untrained. The other
    processes import it meanwhile, and wait.

    Args:
        plan: What was asked.
        task: What all trials share.
        stored: The splits or the arguments of ``fit``, once in the node's shared memory.
        begin: Called with the space once it is known.
        stopping: Says when to end.
        space: The space, where the driver knows it.
    """
    # Ray ends a stopped trial at once; one with executions to come asks for its verdict instead.
    needs_verdicts = task.executions_per_trial > 1 and plan.scheduler is Scheduler.ASHA
    verdicts = _Verdicts() if needs_verdicts else None
    scheduler = _scheduler(plan, only_decides=verdicts is not None)
    # The reference in a list: Ray refuses to put a bare one into its store.
    trainable = tune.with_parameters(
        _train,
        task=task,
        stored=[stored],
        folder=RunFolder(plan.out.resolve()),
        threads=max(1, int(plan.cpus_per_trial)),
        sees_gpus="gpu" in plan.other_resources,
        verdicts=verdicts,
        home=os.getcwd(),
    )
    events = _Events(task, scheduler, begin, stopping, verdicts)
    if space is not None:
        events.begin(space)
    # Ray's own state is scratch: the journal is the record.
    with tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": plan.cpus_per_trial, **plan.other_resources}),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode=plan.problem.objective.mode,
                search_alg=_Suggestions(events, plan),
                scheduler=scheduler,
                num_samples=-1,  # the suggestions end by themselves
                # Trials stand ready when the waiting processes are let go: they are reused then.
                max_concurrent_trials=2 * plan.workers,
                reuse_actors=plan.reuse_workers,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                stop=_Stop(stopping),
                failure_config=tune.FailureConfig(max_failures=RESTARTS_OF_A_LOST_TRIAL),
                callbacks=[events],
            ),
        )
        try:
            with _interrupts_end(stopping):
                tuner.fit()
        except TuneError:
            if events.error is not None:
                raise events.error from None
            raise


def _scheduler(plan: Plan, *, only_decides: bool) -> Asha | NoStopping:
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
    folder: RunFolder,
    threads: int,
    sees_gpus: bool,
    verdicts: "_Verdicts | None",
    home: str,
) -> None:
    """Run one trial in a worker process, which then waits, warm, for the next."""
    # A Ray that ran before has settings of its own: Tune reads this one when the trial ends.
    worker.LAPS.lap(BETWEEN if "tensorflow" in sys.modules else START)
    os.environ |= ENVIRONMENT
    with contextlib.suppress(OSError):
        os.chdir(home)  # relative paths are the script's, not those of a folder of Ray's
    worker.set_up(threads=threads, sees_gpus=sees_gpus)
    worker.LAPS.lap(IMPORT)
    from search.trial import TrialEnd, run_trial

    if WARM in config:
        while True:  # until the scheduler stops it, by SystemExit
            tune.report({WARM: True})
            time.sleep(WARM_REPORT_SECONDS)
    trial, values = config["trial"], config["values"]
    try:
        # Discovered first: the data may still be loading.
        space = _discovered(task) if values is None else None
        worker.LAPS.lap(BUILD)
        data = fetch(stored[0])
        worker.LAPS.lap(DATA)
        if space is not None:
            tune.report({SPACE: json.dumps(space.to_json())})
            values = space.defaults()
        end = run_trial(
            task,
            data,
            trial=trial,
            values=values,
            report=partial(_report, trial=trial, verdicts=verdicts),
            folder=folder,
            space=Space.from_json(json.loads(config[SPACE])) if config[SPACE] else space,
        )
    except ProblemError as error:
        end = TrialEnd.of_a_problem(error)
    if end.state is not State.STOPPED or verdicts is not None:
        tune.report({END: json.dumps(asdict(end))})  # the scheduler stops the trial for it
    # The way Ray Tune 2.60 ends a stopped function. Returned from, it would report once more and
    # wait for ever, so that its process could not be given to the next trial.
    raise SystemExit(0)


def _discovered(task: Task) -> Space:
    assert isinstance(task.hypermodel, Named)
    return worker.discover(task.hypermodel.reference)


def _report(report: dict[str, Any], *, trial: int, verdicts: "_Verdicts | None") -> bool:
    """Report an epoch or a retry; False when the scheduler stops the trial."""
    if RETRY in report:
        tune.report(report)
        return True
    objective = report.pop("objective")
    told: dict[str, Any] = {REPORT: json.dumps(report), "worker": worker.name()}
    is_judged = "execution" not in report
    if is_judged:
        told[TIME_ATTR] = report["epoch"]
        told[METRIC] = float("nan") if objective is None else objective
    try:
        tune.report(told)
    except SystemExit:  # how Ray Tune stops a function; fit is to return by itself
        return False
    return verdicts is None or not is_judged or verdicts.may_go_on(trial)


class _Stopped:
    """Runs in a process of its own: which trials ASHA has stopped."""

    def __init__(self) -> None:
        self._trials: set[int] = set()

    def add(self, trial: int) -> None:
        self._trials.add(trial)

    def discard(self, trial: int) -> None:
        self._trials.discard(trial)

    def holds(self, trial: int) -> bool:
        return trial in self._trials


class _Verdicts:
    """Tells a trial that it is stopped without Ray Tune ending it, so that it can say more."""

    def __init__(self) -> None:
        import ray

        self._stopped = ray.remote(num_cpus=0)(_Stopped).remote()

    def stop(self, trial: int) -> None:
        """Stop a trial; it has been told before Ray lets it go on."""
        import ray

        ray.get(self._stopped.add.remote(trial))

    def clear(self, trial: int) -> None:
        """Let a trial that begins again be judged anew."""
        import ray

        ray.get(self._stopped.discard.remote(trial))

    def may_go_on(self, trial: int) -> bool:
        """Tell whether a trial may train another epoch."""
        import ray

        return not ray.get(self._stopped.holds.remote(trial))


class _NotPickled:
    """Ray Tune pickles what it is given; what stands here lives in the driver alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Suggestions(_NotPickled, RaySearcher):
    """Hands Ray Tune what our searcher proposes, numbering the trials."""

    def __init__(self, events: "_Events", plan: Plan) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._events = events
        self._trials = plan.trials
        self._workers = plan.workers
        self._next_trial = 0
        most = min(plan.workers, plan.trials or plan.workers)
        self._to_warm = most - 1 if plan.reuse_workers else 0
        self._running: set[str] = set()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        trial, searcher = self._next_trial, self._events.searcher
        if trial == self._trials:
            return RaySearcher.FINISHED
        if len(self._running) == self._workers:
            return None  # Tune asks again
        if searcher is None:
            if trial > 0:  # the space is not known yet
                return self._warm_worker()
            values = None  # the first trial finds it, and trains its defaults
        else:
            values = searcher.propose(trial)
            if values is None:
                return RaySearcher.FINISHED
            if values is Pause.WAIT:
                return None  # Tune asks again
        self._next_trial += 1
        self._running.add(trial_id)
        space = json.dumps(searcher.space.to_json()) if searcher else None
        return {"trial": trial, "values": values, SPACE: space}

    def _warm_worker(self) -> dict[str, Any] | None:
        """Return a trial that only imports TensorFlow, as long as there are workers for more."""
        if self._to_warm == 0:
            return None
        self._to_warm -= 1
        return {WARM: True}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Let another begin; the searcher reads the events, which say how a trial really ended."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the record."""


class _Stop(_NotPickled, tune.Stopper):
    """Asks ``Stopping`` whether everything must end."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stopping.reason is not None


class _Events(_NotPickled, tune.Callback):
    """Turns what Ray Tune tells into events of ours."""

    def __init__(
        self,
        task: Task,
        scheduler: Asha | NoStopping,
        begin: Begin,
        stopping: Stopping,
        verdicts: _Verdicts | None,
    ) -> None:
        self._task = task
        self._scheduler = scheduler
        self._verdicts = verdicts
        self._begin = begin
        self._stopping = stopping
        self._session: Session | None = None
        self.error: SearchError | None = None

    @property
    def searcher(self) -> Searcher | None:
        """The searcher, once there is a space to search."""
        return self._session.searcher if self._session else None

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._session:
            self._session.view.tick()
        if self._stopping.reason == INTERRUPTED:
            # Left at once: a signal to the whole process group has ended Ray's processes too.
            raise KeyboardInterrupt

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._session is None or WARM in trial.config:
            return
        number, values = trial.config["trial"], trial.config["values"]
        self._clear_verdict(number)
        if number in self._session.recorder.history.trials:
            self._session.recorder.trial_restarted(number)
        elif values is not None:
            self._session.recorder.trial_started(number, values)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if WARM in trial.config:
            return
        number = trial.config["trial"]
        try:
            if SPACE in result:
                self._start_first_trial(number, Space.from_json(json.loads(result[SPACE])))
            elif RETRY in result:
                assert self._session is not None
                self._clear_verdict(number)
                self._session.recorder.trial_retried(number, result[RETRY])
            elif END in result:
                self._end(number, json.loads(result[END]))
            else:
                self._epoch(number, result)
        except SearchError as error:
            self.error = error  # Tune turns it into the text of an error of its own
            raise

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if WARM in trial.config:
            return
        error = f"its process ended twice without a word: {_said(trial)}"
        if self._session is None:
            self._stopping.fail(ProblemError(f"Discovering the space failed: {error}."))
            return
        self._session.recorder.trial_ended(trial.config["trial"], State.LOST, error=error)
        self._stopping.check_failures()

    def begin(self, space: Space) -> Session:
        """Begin to search a space that is known from now on."""
        self._session = self._begin(space)
        self._scheduler.has_trials = True
        return self._session

    def _start_first_trial(self, number: int, space: Space) -> None:
        if self._session is None:
            self.begin(space).searcher.propose(number)
        assert self._session is not None
        if number not in self._session.recorder.history.trials:
            self._session.recorder.trial_started(number, space.defaults())

    def _clear_verdict(self, number: int) -> None:
        if self._verdicts is not None:
            self._verdicts.clear(number)

    def _epoch(self, number: int, result: dict[str, Any]) -> None:
        assert self._session is not None
        report = json.loads(result[REPORT])
        self._grow(report.pop("space", None))
        is_judged = TIME_ATTR in result
        decision = self._scheduler.last_decision if is_judged else Decision.CONTINUE
        recorder = self._session.recorder
        recorder.epoch(number, report, decision=decision, worker=result["worker"])
        if decision is Decision.STOP and self._verdicts is not None:
            self._verdicts.stop(number)
        elif decision is Decision.STOP:
            recorder.trial_ended(number, State.STOPPED)

    def _end(self, number: int, end: dict[str, Any]) -> None:
        if end["fatal"]:
            error = FatalTrialError(end["error"], end["fatal"])
            error.add_note(end["traceback"])
            self._stopping.fail(error)
        if self._session is None:
            return
        told = {key: end[key] for key in ("error", "traceback") if end[key]}
        result = end["result"] or {}
        self._grow(result.pop("space", None))
        told |= result
        self._session.recorder.trial_ended(number, State(end["state"]), **told)
        self._stopping.check_failures()

    def _grow(self, rows: list[dict[str, Any]] | None) -> None:
        if rows is None:
            return
        assert self._session is not None
        searcher = self._session.searcher
        news = searcher.space.news(Space.from_json(rows))
        if not news.parameters:
            return
        if not self._task.allow_new_entries:
            names = ", ".join(parameter.name for parameter in news)
            self._stopping.fail(
                NewEntriesError(
                    f"allow_new_entries=False, but a build asked for {names}: register it in "
                    "hyperparameters, or allow new entries."
                )
            )
        elif self._task.tune_new_entries:
            searcher.grow(news)
            self._session.recorder.space_grown(news.to_json())


def _said(trial: Any) -> str:
    error = trial.get_error()
    return one_line(error) if error is not None else "no reason is known"


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
