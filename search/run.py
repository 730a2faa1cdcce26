"""A whole run: check, lock the folder, search, then what follows the search."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from results.record.files import write_json
from results.record.history import History
from results.record.journal import Journal
from results.record.tables import write_tables
from search.doctor import Finding, check, check_nodes
from search.engines.ray.placement.rule import custom_rule
from search.errors import AllTrialsFailedError, SearchError
from search.final.follow_up import FollowUp, Outcome, run_follow_up, start_follow_up
from search.loggers.base import make_logger
from search.plan.importer import source_paths
from search.plan.plan import Engine, Plan
from search.plan.task import Task
from search.ray.nodes import fit_to_cluster
from search.ray.renewable import RenewableRay, store_data
from search.ray.runtime import connect_to_ray
from search.session.changes import Changes, changes_between
from search.session.origin import NewRun, Origin, ResumedRun, read_previous_run
from search.session.run_file import RecordedRun
from search.session.session import DeferredSession, SearchEngine, run_trials
from search.session.stopping import (
    INTERRUPTED,
    TARGET_REACHED,
    TIME_BUDGET_SPENT,
    TRIALS_DONE,
    Stopping,
)
from search.session.warm_start import read_warm_start
from search.storage.clock import Clock, seconds_since_process_start
from search.storage.folder import LockedRun, RunFolder, is_blank, locked_run, new_run
from search.storage.recorder import Recorder
from search.view.view import View, describe_end

# Fields of a plan that take effect even where nothing is left to search.
AFTER_THE_SEARCH = ("retrain_epochs", "confirm", "seeds", "audit", "log")


def run(plan: Plan, view: View) -> Outcome:
    """Search, then do what follows: retrain or confirm the best, audit the early stops.

    Raises:
        SearchError: Something is wrong with what was asked, with the problem, or with every
            trial. What was found before is kept in the run folder.
    """
    warnings = check(plan)
    earlier = read_warm_start(plan.warm_start, plan.problem.objective)
    _say_starting(plan, warnings, view)
    with new_run(plan.out, view.note) as locked:
        origin = NewRun(History(plan.problem.objective), earlier)
        return _search_and_follow(plan, locked, origin, view)


def resume_run(path: Path, changes: Changes, view: View) -> Outcome:
    """Go on with a run that was cut off, or extend one; then do what follows.

    Raises:
        SearchError: The folder is no run, another process drives it, or what ``run`` raises.
    """
    check(changes.applied(read_previous_run(path).plan), is_new=False)  # before anything is touched
    with locked_run(RunFolder.open(path), view.note) as locked:
        previous = read_previous_run(path)
        for note in previous.notes:
            view.note(note)
        plan = changes.applied(previous.plan)
        warnings = check(plan, is_new=False)
        origin = ResumedRun(previous)
        over = _reason_to_skip(plan, previous, origin.clock(seconds_since_process_start))
        if over is not None:
            return _skip_search(plan, previous, over, view)
        _say_starting(plan, warnings, view)
        return _search_and_follow(plan, locked, origin, view)


def run_or_resume(plan: Plan, view: View) -> Outcome:
    """Go on with the run that stands in a plan's folder; begin it where none does.

    Raises:
        SearchError: What stands there was asked otherwise; else as ``run`` or ``resume_run``.
    """
    if not plan.out.exists() or is_blank(plan.out):
        return run(plan, view)
    return resume_run(plan.out, changes_between(read_previous_run(plan.out).plan, plan), view)


def _say_starting(plan: Plan, warnings: Iterable[Finding], view: View) -> None:
    for warning in warnings:
        view.note(str(warning))
    at_once = "" if plan.elastic else f"; trials at once: {plan.workers}"
    if plan.address:
        view.note(f"joining the Ray cluster at {plan.address}{at_once}")
    else:
        view.note(f"starting{at_once} (training begins in 10 to 30 s)")


def _search_and_follow(plan: Plan, run: LockedRun, origin: Origin, view: View) -> Outcome:
    """Search on the engine that the plan names, then do what follows."""
    with ENGINES[plan.engine](plan, view) as engine:
        outcome = _run_search(engine, run, origin, view)
        follow_up = FollowUp.of(engine.plan)
        if engine.stored is None:
            # keras-tuner ran one trial at a time, on all cores: what follows may use them all too.
            return start_follow_up(engine.plan, follow_up, outcome, view, description={})
        return run_follow_up(engine.plan, follow_up, engine.stored, outcome, view)


@contextmanager
def _ray_engine(plan: Plan, view: View) -> Iterator[SearchEngine]:
    """Start or join Ray; what it has room for is what the search is planned for."""
    code = source_paths(plan.problem.hypermodel, plan.problem.data, custom_rule(plan.device_rule))
    cpus = math.ceil(plan.workers * plan.cpus_per_trial)
    ray = RenewableRay(
        partial(connect_to_ray, plan.address, cpus, code, forks=plan.gpu_share is None),
        partial(store_data, plan.problem, needs_test=bool(plan.retrain_epochs)),
        say=view.note,
    )
    with ray:
        if plan.address is not None:
            for warning in check_nodes():
                view.note(str(warning))
        from search.engines.ray.engine import RayEngine

        task = Task.of(plan.problem, checkpoint_seconds=plan.checkpoint_seconds)
        yield RayEngine(fit_to_cluster(plan, view.note), task, ray)


@contextmanager
def _keras_tuner_engine(plan: Plan, _view: View) -> Iterator[SearchEngine]:
    from search.worker import process

    process.set_up()
    from search.engines.keras_tuner import KerasTunerEngine

    yield KerasTunerEngine(plan)


ENGINES: dict[Engine, Callable[[Plan, View], AbstractContextManager[SearchEngine]]] = {
    Engine.RAY: _ray_engine,
    Engine.KERAS_TUNER: _keras_tuner_engine,
}


def _run_search(engine: SearchEngine, run: LockedRun, origin: Origin, view: View) -> Outcome:
    """Run the trials, and return what the search came to.

    Raises:
        SearchError: What made the search fail.
    """
    clock = origin.clock(seconds_since_process_start)
    stopping = Stopping(engine.plan, origin.history, clock)
    deferred = DeferredSession(
        plan=engine.plan,
        run=run,
        origin=origin,
        view=view,
        clock=clock,
        data_digest=engine.data_digest,
    )
    reason = run_trials(engine, deferred, stopping)
    outcome = Outcome(run.folder, reason, origin.history)
    _raise_failure(outcome, stopping, is_new=isinstance(origin, NewRun))
    view.note(describe_end(reason, origin.history))
    return outcome


def _raise_failure(outcome: Outcome, stopping: Stopping, *, is_new: bool) -> None:
    """Raise what made the search fail; a new folder without one trained epoch is removed."""
    error: SearchError | None = stopping.error
    if error is None and outcome.history.best is None and outcome.reason != INTERRUPTED:
        error = AllTrialsFailedError(_no_value(outcome))
    if error is None:
        return
    for trial in outcome.history.trials.values():
        if trial.traceback:
            error.add_note(trial.traceback)
            break
    if is_new and outcome.history.epochs_trained == 0 and not outcome.history.best:
        # Nothing was trained, so nothing is lost, and the name is free for the next try.
        shutil.rmtree(outcome.folder.path, ignore_errors=True)
    raise error


def _no_value(outcome: Outcome) -> str:
    trials = outcome.history.trials.values()
    ends = sorted({f"{one.ending}{f': {one.error}' if one.error else ''}" for one in trials})
    return (
        f"The search ended ({outcome.reason}) before any epoch reported a finite "
        f"{outcome.history.objective.name}; trials: {'; '.join(ends) or 'none'}."
    )


def _reason_to_skip(plan: Plan, previous: RecordedRun, clock: Clock) -> str | None:
    """Return why nothing is left to search; None where something is."""
    history = previous.history
    reason = Stopping(plan, history, clock).reason
    if reason is not None:
        return reason
    if history.unfinished():
        return None
    if plan.trials is not None and history.next_trial >= plan.trials:
        return f"there are {len(history.trials)} trials, {plan.trials} were asked for"
    # One that ended by itself, its space exhausted, would end again.
    ended_by_itself = history.end_reason == TRIALS_DONE and plan.trials == previous.plan.trials
    return "its configurations are exhausted" if ended_by_itself else None


def _skip_search(plan: Plan, previous: RecordedRun, over: str, view: View) -> Outcome:
    """Write what is missing of a run whose search has ended, and do what follows the search."""
    history, folder = previous.history, previous.folder
    ended = over if over in (TARGET_REACHED, TIME_BUDGET_SPENT) else TRIALS_DONE
    if history.end_reason is None:  # killed before it was recorded
        journal = Journal(folder.journal_file)
        Recorder(journal, history, clock=lambda: previous.seconds).search_ended(ended)
        journal.close()
    write_tables(folder.path, history)
    log = make_logger(plan, folder, history, view.note, previous_events=previous.events)
    if log is not None:
        log.write_all()
    _record_what_follows(plan, previous)
    reason = ended if history.end_reason in (None, INTERRUPTED) else history.end_reason
    view.note(describe_end(reason, history))
    view.note(f"nothing more to search: {over} (more by --trials, --time-budget or --target)")
    outcome = Outcome(folder, reason, history)
    return start_follow_up(plan, FollowUp.of(plan), outcome, view, description=previous.description)


def _record_what_follows(plan: Plan, previous: RecordedRun) -> None:
    """Record what is to follow the search, so that the next resume does it too."""
    row = plan.to_json()
    changes = {
        name: row[name]
        for name in AFTER_THE_SEARCH
        if getattr(plan, name) != getattr(previous.plan, name)
    }
    if changes:
        before = previous.description
        write_json(previous.folder.run_file, before | {"plan": before["plan"] | changes})
