"""The Ray engine: many trials at once in warm worker processes, under ASHA."""

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune import TuneError
from ray.tune.search import Searcher as RaySearcher

from results.columns import Decision, State
from search import worker
from search.data import Data
from search.engines.asha import END, METRIC, TIME_ATTR, Asha
from search.errors import ProblemError, SearchError, one_line
from search.folder import RunFolder
from search.plan import Plan, Problem
from search.ray_cluster import fetch
from search.searchers import Searcher
from search.session import Begin, Session
from search.space import Space
from search.stopping import INTERRUPTED, Stopping

if TYPE_CHECKING:
    import ray

# A trial whose process died is started once more; Ray counts lost processes only, since an
# error of the user's code is caught and reported by the trial itself.
RESTARTS_OF_A_LOST_TRIAL = 1
CPUS_PER_TRIAL = 1
# Field of the report with which the first trial tells the space.
SPACE = "space"


def search(plan: Plan, stored: "ray.ObjectRef[Data]", *, begin: Begin, stopping: Stopping) -> None:
    """Run trials until they are done or the search must stop. Ray is running already.

    The first trial discovers the space, in the process that then trains it with the defaults, so
    that TensorFlow is imported once and no time goes by untrained.

    Args:
        plan: What was asked.
        stored: The splits, once in the node's shared memory.
        begin: Called with the space once it is known.
        stopping: Says when to end.
    """
    scheduler = Asha(
        mode=plan.problem.objective.mode,
        max_epochs=plan.problem.epochs,
        grace_period=plan.grace_period,
        reduction_factor=plan.reduction_factor,
    )
    # The reference in a list: Ray refuses to put a bare one into its store.
    trainable = tune.with_parameters(
        _train, problem=plan.problem, stored=[stored], folder=RunFolder(plan.out.resolve())
    )
    events = _Events(scheduler, begin, stopping)
    # Ray's own state is scratch: the journal is the record.
    with tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": CPUS_PER_TRIAL}),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode=plan.problem.objective.mode,
                search_alg=_Suggestions(events),
                scheduler=scheduler,
                num_samples=plan.trials or -1,
                max_concurrent_trials=plan.workers,
                reuse_actors=True,
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


def _train(
    config: dict[str, Any],
    *,
    problem: Problem,
    stored: "list[ray.ObjectRef[Data]]",
    folder: RunFolder,
) -> None:
    """Run one trial in a worker process, which then waits, warm, for the next."""
    worker.set_up(threads=CPUS_PER_TRIAL)
    from search.trial import TrialEnd, run_trial

    trial, values = config["trial"], config["values"]
    try:
        # Discovered first: the data may still be loading.
        space = worker.discover(problem.hypermodel) if values is None else None
        data = fetch(stored[0])
        if space is not None:
            tune.report({SPACE: json.dumps(space.to_json())})
            values = space.defaults()
        end = run_trial(
            problem,
            data,
            trial=trial,
            values=values,
            report=_report,
            weights_file=folder.best_weights_file(trial),
        )
    except ProblemError as error:
        end = TrialEnd.of_a_problem(error)
    if end.state is not State.STOPPED:
        tune.report({END: json.dumps(asdict(end))})  # the scheduler stops the trial for it
    # The way Ray Tune 2.60 ends a stopped function. Returned from, it would report once more and
    # wait for ever, so that its process could not be given to the next trial.
    raise SystemExit(0)


def _report(report: dict[str, Any]) -> bool:
    """Report an epoch; False when the scheduler stops the trial."""
    objective = report.pop("objective")
    try:
        tune.report(
            {
                TIME_ATTR: report["epoch"],
                METRIC: float("nan") if objective is None else objective,
                "report": json.dumps(report),
                "worker": worker.name(),
            }
        )
    except SystemExit:  # how Ray Tune stops a function; fit is to return by itself
        return False
    return True


class _NotPickled:
    """Ray Tune pickles what it is given; what stands here lives in the driver alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Suggestions(_NotPickled, RaySearcher):
    """Hands Ray Tune what our searcher proposes, numbering the trials."""

    def __init__(self, events: "_Events") -> None:
        super().__init__(metric=METRIC, mode="max")
        self._events = events
        self._next_trial = 0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        trial, searcher = self._next_trial, self._events.searcher
        if searcher is None:
            if trial > 0:
                return None  # the space is not known yet: Tune asks again
            values = None  # the first trial finds it, and trains its defaults
        else:
            values = searcher.propose(trial)
            if values is None:
                return RaySearcher.FINISHED
        self._next_trial += 1
        return {"trial": trial, "values": values}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the searcher reads the events, which say how a trial really ended."""

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

    def __init__(self, scheduler: Asha, begin: Begin, stopping: Stopping) -> None:
        self._scheduler = scheduler
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
        if self._session and trial.config["values"] is not None:
            self._session.recorder.trial_started(trial.config["trial"], trial.config["values"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["trial"]
        try:
            if SPACE in result:
                self._start_first_trial(number, Space.from_json(json.loads(result[SPACE])))
            elif END in result:
                self._end(number, json.loads(result[END]))
            else:
                self._epoch(number, result)
        except SearchError as error:
            self.error = error  # Tune turns it into the text of an error of its own
            raise

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = f"its process ended twice without a word: {_said(trial)}"
        if self._session is None:
            self._stopping.fail(ProblemError(f"Discovering the space failed: {error}."))
            return
        self._session.recorder.trial_ended(trial.config["trial"], State.LOST, error=error)
        self._stopping.check_failures()

    def _start_first_trial(self, number: int, space: Space) -> None:
        if self._session is None:
            self._session = self._begin(space)
            self._session.searcher.propose(number)
        self._session.recorder.trial_started(number, space.defaults())

    def _epoch(self, number: int, result: dict[str, Any]) -> None:
        assert self._session is not None
        report = json.loads(result["report"])
        self._grow(report.pop("space", None))
        decision = self._scheduler.last_decision
        recorder = self._session.recorder
        recorder.epoch(number, report, decision=decision, worker=result["worker"])
        if decision is Decision.STOP:
            recorder.trial_ended(number, State.STOPPED)

    def _end(self, number: int, end: dict[str, Any]) -> None:
        if end["is_fatal"]:
            error = ProblemError(end["error"])
            error.add_note(end["traceback"])
            self._stopping.fail(error)
        if self._session is None:
            return
        told = {key: end[key] for key in ("error", "traceback") if end[key]}
        self._session.recorder.trial_ended(number, State(end["state"]), **told)
        self._stopping.check_failures()

    def _grow(self, rows: list[dict[str, Any]] | None) -> None:
        if rows is None:
            return
        assert self._session is not None
        before = len(self._session.searcher.space.parameters)
        self._session.searcher.grow(Space.from_json(rows))
        news = self._session.searcher.space.parameters[before:]
        if news:
            self._session.recorder.space_grown(Space(news).to_json())


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

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
