"""A run from start to end: check, lock the folder, search, and follow up."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from results.record.files import write_json
from results.record.history import History
from results.record.journal import Journal
from results.record.tables import write_tables
from search.doctor import Finding, check, check_nodes
from search.engines.ray.placement.rule import custom_rule
from search.errors import AllTrialsFailedError, SearchError, UsageError, raise_any
from search.final.follow_up import FollowUp, Outcome, run_follow_up, start_follow_up
from search.loggers.base import make_logger
from search.machine.machine import this_machine
from search.plan.importer import source_paths
from search.plan.plan import Engine, Plan
from search.ray.neighbours import Request, beside_others
from search.ray.nodes import fit_to_cluster
from search.ray.renewable import RenewableRay, store_data
from search.ray.runtime import connect_to_ray, has_ray
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
from search.storage import scratch
from search.storage.clock import Clock, seconds_since_process_start
from search.storage.folder import LockedRun, RunFolder, is_blank, locked_run, new_run
from search.storage.recorder import Recorder
from search.view.view import View, describe_aim, describe_end
from search.worker.task import Task

# The fields of a plan that take effect even if the search is already complete.
FOLLOW_UP_FIELDS = ("retrain_epochs", "confirm", "seeds", "audit", "log")


def run(plan: Plan, view: View) -> Outcome:
    """Search, then follow up: retrain or confirm the best configurations, audit stopped trials.

    Raises:
        SearchError: The plan or the problem is invalid, or every trial failed. The run folder
            keeps the results so far.
    """
    warnings = check(plan)
    scratch.folder()  # raises an error if there is no room
    earlier_search = read_warm_start(plan.warm_start, plan.problem.objective)
    with new_run(plan.out, view.note) as locked, _beside_others(plan, view) as plan:
        _say_starting(plan, warnings, view)
        origin = NewRun(History(plan.problem.objective), earlier_search)
        return _search_and_follow_up(plan, locked, origin, view)


def resume_run(path: Path, changes: Changes, view: View) -> Outcome:
    """Continue an interrupted run or extend a finished one, then follow up.

    Raises:
        SearchError: The folder is not a run, or another process uses it; or as for ``run``.
    """
    first_read = read_previous_run(path)
    _check_continues(first_read, changes)
    check(changes.applied(first_read.plan), is_new=False)  # before any change
    scratch.folder()
    with locked_run(RunFolder.open(path), view.note) as locked:
        previous = read_previous_run(path)
        for note in previous.notes:
            view.note(note)
        plan = changes.applied(previous.plan)
        warnings = check(plan, is_new=False)
        origin = ResumedRun(previous)
        reason = _reason_to_skip(plan, previous, origin.clock(seconds_since_process_start))
        if reason is not None:
            return _skip_search(plan, previous, reason, view)
        raise_any(list(plan.reference_problems()))
        with _beside_others(plan, view) as plan:
            _say_starting(plan, warnings, view)
            return _search_and_follow_up(plan, locked, origin, view)


def _check_continues(previous: RecordedRun, changes: Changes) -> None:
    """Refuse to search further in a run of a script: the command has none of its objects.

    A run whose search is complete is no such case: only its files are completed.
    """
    plan = changes.applied(previous.plan)
    if plan.engine is not Engine.RAY or plan.problem.hypermodel is not None:
        return
    clock = ResumedRun(previous).clock(seconds_since_process_start)
    if _reason_to_skip(plan, previous, clock) is None:
        raise UsageError(
            f"{str(previous.folder.path)!r} was made by a script (RayTuner), whose model and data "
            "this command does not have: expected a run of `fmnist-search run`. Run the script "
            "again: with overwrite=False it continues; a larger max_trials extends it."
        )


def run_or_resume(plan: Plan, view: View) -> Outcome:
    """Continue the run in the folder of a plan, or start it if there is none.

    Raises:
        SearchError: The folder holds a different search; or as for ``run`` and ``resume_run``.
    """
    if not plan.out.exists() or is_blank(plan.out):
        return run(plan, view)
    return resume_run(plan.out, changes_between(read_previous_run(plan.out).plan, plan), view)


@contextmanager
def _beside_others(plan: Plan, view: View) -> Iterator[Plan]:
    """Share this machine with other searches; provide the plan with its trials at once."""
    if plan.address is not None or plan.engine is not Engine.RAY or has_ray():
        yield plan
        return
    with beside_others(Request.of(plan), view.note) as workers:
        yield replace(plan, workers=workers)


def _say_starting(plan: Plan, warnings: Iterable[Finding], view: View) -> None:
    for warning in warnings:
        view.note(str(warning))
    shortage = this_machine().describe_shortage(plan.cpus_per_trial)
    if shortage is not None and plan.address is None and not plan.workers_asked:
        view.note(shortage)
    aim = describe_aim(plan.problem.objective)
    at_once = "" if plan.elastic else f"; trials at once: {plan.workers}"
    if plan.address:
        view.note(f"joining the Ray cluster at {plan.address}; {aim}{at_once}")
    else:
        view.note(f"starting; {aim}{at_once}; training begins in 10 to 30 s")


def _search_and_follow_up(plan: Plan, run: LockedRun, origin: Origin, view: View) -> Outcome:
    """Search on the engine of the plan, then follow up."""
    with ENGINES[plan.engine](plan, view) as engine:
        outcome = _run_search(engine, run, origin, view)
        follow_up = FollowUp.of(engine.plan)
        if engine.stored is None:
            # The keras-tuner engine has no Ray: the follow-up starts one on all cores.
            return start_follow_up(engine.plan, follow_up, outcome, view, description={})
        return run_follow_up(engine.plan, follow_up, engine.stored, outcome, view)


@contextmanager
def _ray_engine(plan: Plan, view: View) -> Iterator[SearchEngine]:
    """Start or join Ray, and fit the plan to its capacity."""
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
    """Run the trials and return the outcome of the search.

    Raises:
        SearchError: The search failed.
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
        data_parts=engine.data_parts,
    )
    reason = run_trials(engine, deferred, stopping)
    outcome = Outcome(run.folder, reason, origin.history)
    _raise_failure(outcome, stopping, is_new=isinstance(origin, NewRun))
    view.note(describe_end(reason, origin.history))
    return outcome


def _raise_failure(outcome: Outcome, stopping: Stopping, *, is_new: bool) -> None:
    """Raise the error of a failed search; remove a new folder in which no epoch was trained."""
    error: SearchError | None = stopping.error
    if error is None and outcome.history.best is None and outcome.reason != INTERRUPTED:
        error = AllTrialsFailedError(_no_value_message(outcome))
    if error is None:
        return
    for trial in outcome.history.trials.values():
        if trial.traceback:
            error.add_note(trial.traceback)
            break
    if is_new and outcome.history.epochs_trained == 0 and not outcome.history.best:
        # Nothing of value is lost, and the next try can use the same name.
        shutil.rmtree(outcome.folder.path, ignore_errors=True)
    raise error


def _no_value_message(outcome: Outcome) -> str:
    trials = outcome.history.trials.values()
    endings = sorted({f"{t.ending}: {t.error}" if t.error else str(t.ending) for t in trials})
    return (
        f"No epoch reported a finite {outcome.history.objective.name} before the search ended "
        f"({outcome.reason}). Trials: {'; '.join(endings) or 'none'}."
    )


def _reason_to_skip(plan: Plan, previous: RecordedRun, clock: Clock) -> str | None:
    """Return why the search is complete; None if there is more to search."""
    history = previous.history
    reason = Stopping(plan, history, clock).reason
    if reason is not None:
        return reason
    if history.unfinished():
        return None
    if plan.trials is not None and history.next_trial >= plan.trials:
        return f"{len(history.trials)} trials are done, the maximum is {plan.trials}"
    # Fewer trials than planned: the algorithm had no new configuration, and would have none now.
    is_exhausted = history.end_reason == TRIALS_DONE and plan.trials == previous.plan.trials
    return "all configurations have been tried" if is_exhausted else None


def _skip_search(plan: Plan, previous: RecordedRun, reason: str, view: View) -> Outcome:
    """Complete the files of a run whose search is complete, then follow up."""
    history, folder = previous.history, previous.folder
    new_end_reason = reason if reason in (TARGET_REACHED, TIME_BUDGET_SPENT) else TRIALS_DONE
    if history.end_reason is None:  # the driver was killed before it recorded the end
        journal = Journal(folder.journal_file)
        Recorder(journal, history, clock=lambda: previous.seconds).search_ended(new_end_reason)
        journal.close()
    write_tables(folder.path, history)
    logger = make_logger(plan, folder, history, view.note, previous_events=previous.events)
    if logger is not None:
        logger.write_all()
    _record_follow_up(plan, previous)
    end_reason = new_end_reason if history.end_reason in (None, INTERRUPTED) else history.end_reason
    view.note(describe_end(end_reason, history))
    view.note(f"nothing left to search: {reason} (to search further, {_how_to_extend(plan)})")
    outcome = Outcome(folder, end_reason, history)
    return start_follow_up(plan, FollowUp.of(plan), outcome, view, description=previous.description)


def _how_to_extend(plan: Plan) -> str:
    if plan.problem.hypermodel is None:  # made by a script
        return "run the script again with a larger max_trials"
    return "change --trials, --time-budget or --target"


def _record_follow_up(plan: Plan, previous: RecordedRun) -> None:
    """Record changes to the follow-up in run.json, so that the next resume does the same."""
    row = plan.to_json()
    changes = {
        name: row[name]
        for name in FOLLOW_UP_FIELDS
        if getattr(plan, name) != getattr(previous.plan, name)
    }
    if changes:
        description = previous.description
        write_json(previous.folder.run_file, description | {"plan": description["plan"] | changes})
