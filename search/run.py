"""A whole run: check, search, retrain, evaluate."""

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from results.record.files import write_json
from results.record.history import History, Objective
from results.record.journal import Journal, read
from search.doctor import Finding, check, check_nodes
from search.engines.ray.placement.rule import own_rule
from search.errors import AllTrialsFailedError, SearchError, UsageError
from search.final.follow_up import Outcome, follow, follow_alone, is_done, standing_final
from search.plan.importer import sources
from search.plan.plan import Engine, Plan
from search.plan.task import Task
from search.ray.nodes import nodes_up, shortage, slots
from search.ray.runtime import RenewableRay, Stored, cluster, fetch, stored_data
from search.session.changes import Changes, changes_between
from search.session.origin import NewRun, Origin, ResumedRun
from search.session.resume import PreviousRun, read_previous_run
from search.session.run_file import described_problem, is_whole, read_asked
from search.session.session import DeferredSession, SessionSetup, make_log, write_outcome
from search.session.stopping import (
    INTERRUPTED,
    TARGET_REACHED,
    TIME_BUDGET_SPENT,
    TRIALS_DONE,
    Stopping,
)
from search.session.warm_start import EarlierSearch, read_earlier_search
from search.space.parameters import Space
from search.storage.clock import Clock, seconds_since_process_start
from search.storage.folder import LockedRun, RunFolder, is_blank, locked_run, new_run
from search.storage.recorder import Recorder
from search.view.plain import ending
from search.view.view import View

# Of a plan: what follows the search.
AFTER_THE_SEARCH = ("retrain_epochs", "confirm", "seeds", "audit", "log")
# The search of an engine: given the plan, what to call with the space, and when to stop.
EngineSearch = Callable[..., None]


def run(plan: Plan, view: View) -> Outcome:
    """Search, then retrain and evaluate the best configuration.

    Raises:
        SearchError: Something is wrong with what was asked, with the problem, or with every
            trial. What was found before is kept in the run folder.
    """
    warnings = check(plan)
    earlier = earlier_of(plan.warm_start, plan.problem.objective)
    _say_starting(plan, warnings, view)
    with new_run(plan.out, view.note) as run:
        return _run(plan, view, run, NewRun(History(plan.problem.objective), earlier))


def resume_run(path: Path, changes: Changes, view: View) -> Outcome:
    """Go on with a run that was cut off, or extend one; then retrain and evaluate its best.

    Raises:
        SearchError: The folder is no run, another process drives it, or what ``run`` raises.
    """
    check(changes.applied(read_previous_run(path).plan), is_new=False)  # before anything is touched
    with locked_run(RunFolder.open(path), view.note) as run:
        previous = read_previous_run(path)
        for note in previous.notes:
            view.note(note)
        plan = changes.applied(previous.plan)
        warnings = check(plan, is_new=False)
        origin = ResumedRun(previous)
        over = _why_over(plan, previous, origin.clock(seconds_since_process_start))
        if over is not None:
            return _without_search(plan, previous, view, over)
        _say_starting(plan, warnings, view)
        return _run(plan, view, run, origin)


def run_or_resume(plan: Plan, view: View) -> Outcome:
    """Go on with the run that stands in a plan's folder; begin it where none does.

    Raises:
        SearchError: What stands there was asked otherwise, or what the two raise.
    """
    if not plan.out.exists() or is_blank(plan.out):
        return run(plan, view)
    return resume_run(plan.out, changes_between(read_previous_run(plan.out).plan, plan), view)


def earlier_of(source: str | None, objective: Objective) -> EarlierSearch | None:
    """Read the earlier search that a run is to learn from, if there is one.

    Raises:
        UsageError: It cannot be read.
    """
    return None if source is None else read_earlier_search(source, objective)


def rebuilt(path: Path, view: View) -> RunFolder:
    """Write the tables of a run anew from its journal, and run.json where that is damaged.

    Raises:
        SearchError: The folder is no run, or cannot be written.
    """
    folder = RunFolder.open(path)
    content = read(folder.journal_file)
    asked = read_asked(folder, content.events)
    problem = described_problem(folder, asked)
    for number in content.damaged_lines:
        view.note(f"journal: line {number} is damaged and left out")
    if not is_whole(folder):
        write_json(folder.run_file, asked)
        view.note(f"{folder.run_file.name} was missing or damaged: made anew from the journal")
    write_outcome(folder, History.replay(problem.objective, content.events))
    return folder


def recorded(
    plan: Plan, engine: EngineSearch, deferred: DeferredSession, stopping: Stopping
) -> str:
    """Run an engine's search and write its run folder.

    Args:
        plan: What was asked.
        engine: Runs the trials.
        deferred: Opens the session that is closed here.
        stopping: Says when to end.

    Returns:
        Why the search ended.
    """
    reason = "failed"
    try:
        engine(plan, deferred=deferred, stopping=stopping)
        reason = stopping.reason or TRIALS_DONE
    except KeyboardInterrupt:
        if deferred.session is None:
            raise
        reason = INTERRUPTED
    finally:
        if deferred.session is not None:
            deferred.session.close(reason)
    return reason


def _say_starting(plan: Plan, warnings: Iterable[Finding], view: View) -> None:
    for warning in warnings:
        view.note(str(warning))
    at_once = "" if plan.elastic else f"; trials at once: {plan.workers}"
    if plan.address:
        view.note(f"joining the Ray cluster at {plan.address}{at_once}")
    else:
        view.note(f"starting{at_once} (training begins in 10 to 30 s)")


def _why_over(plan: Plan, previous: PreviousRun, clock: Clock) -> str | None:
    """Say why nothing is left to search under a plan; None where something is."""
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


def _run(
    plan: Plan,
    view: View,
    run: LockedRun,
    origin: Origin,
) -> Outcome:
    history, clock = origin.history, origin.clock(seconds_since_process_start)
    stopping = Stopping(plan, history, clock)

    def searched(engine: EngineSearch, digest: Callable[[], str]) -> Outcome:
        setup = SessionSetup(
            plan=plan, run=run, origin=origin, view=view, clock=clock, data_digest=digest
        )
        deferred = DeferredSession(setup)
        found = Outcome(run.folder, recorded(plan, engine, deferred, stopping), history)
        _check(found, stopping, is_new=isinstance(origin, NewRun))
        view.note(ending(found.reason, history))
        return found

    if plan.engine is Engine.KERAS_TUNER:
        found = searched(_keras_tuner_engine(), lambda: "")
        if is_done(plan, found):
            return found
        # keras-tuner ran one trial at a time, on all cores: what follows may use them all too.
        return follow_alone(plan, found, view, asked={})
    task = Task.of(plan.problem, checkpoint_seconds=plan.checkpoint_seconds)
    with _ray(plan, view, needs_test=bool(plan.retrain_epochs)) as ray:
        plan = _joined(plan, view)
        found = searched(ray_engine(task, ray, history), lambda: str(fetch(ray.stored.digest)))
        if is_done(plan, found):
            return found
        return follow(plan, ray.stored, found, view)


def _ray(plan: Plan, view: View, *, needs_test: bool) -> RenewableRay:
    code = sources(plan.problem.hypermodel, plan.problem.data, own_rule(plan.device_rule))
    cpus = math.ceil(plan.workers * plan.cpus_per_trial)
    return RenewableRay(
        partial(cluster, plan.address, cpus, code, forks=plan.gpu_share is None),
        partial(stored_data, plan.problem, needs_test=needs_test),
        say=view.note,
    )


def _joined(plan: Plan, view: View) -> Plan:
    """Look at the nodes of the Ray that was joined; return the plan for as many as there are.

    Raises:
        UsageError: They cannot run the search; names each and why.
    """
    if plan.address is not None:
        for warning in check_nodes():
            view.note(str(warning))
    gpus = _gpus(plan, view)
    if slots(plan.cpu_resources) == 0:
        lacks = shortage(plan.cpu_resources)
        view.note(f"no node has room for a trial ({lacks}): waiting for one that has")
    workers = slots(plan.cpu_resources if plan.device_rule else plan.resources)
    if plan.elastic:
        view.note(
            f"cluster: {len(nodes_up())} nodes; trials at once: {workers}{gpus}, more as nodes join"
        )
        return replace(plan, workers=max(1, workers))
    if plan.address is None and workers < plan.workers:
        view.note(f"trials at once: {workers}{gpus}, as many as there is room for")
        return replace(plan, workers=workers)
    return plan


def _gpus(plan: Plan, view: View) -> str:
    """Say how many trials may be on GPUs at once.

    Raises:
        UsageError: Every trial asks for a GPU, and none is there or still to come.
    """
    if plan.gpu_share is None:
        return ""
    there = slots(plan.resources)
    if there == 0 and plan.gpus is None:
        if plan.device_rule is None:
            raise UsageError(
                f"--gpus-per-trial {plan.gpu_share:g} asks for {shortage(plan.resources)}: leave "
                "it out (of resume: --gpus-per-trial 0) to train on CPUs; name a cluster that has "
                "more by --address; where its autoscaler has still to bring GPUs, say how many by "
                "--gpus."
            )
        until = ", until one joins" if plan.address else ""
        view.note(f"no GPU is here: every trial is trained on CPUs{until}")
    elif there == 0:
        view.note(f"no GPU is here yet: waiting for those of --gpus {plan.gpus:g}")
    return f", {there} of them on GPUs" if plan.device_rule else ""


def ray_engine(
    task: Task, ray: RenewableRay, history: History, space: Space | None = None
) -> EngineSearch:
    """Return the search of the Ray engine, which goes on when its Ray is lost.

    Args:
        task: What all trials share.
        ray: Where they run.
        history: Brought up to date with every event.
        space: The space, where the driver knows it.
    """

    def engine(plan: Plan, **session: Any) -> None:
        from search.engines.ray import engine

        def search(stored: Stored) -> None:
            engine.search(plan, task, stored.content, space=space, **session)

        # A trial that ends without an epoch, such as one that eats all memory, is progress too.
        ray.searched(
            search,
            lambda: history.epochs_trained + len(history.trials) - len(history.unfinished()),
        )

    return engine


def _keras_tuner_engine() -> EngineSearch:
    from search.worker import process

    process.set_up()
    from search.engines import keras_tuner

    return keras_tuner.search


def _without_search(plan: Plan, previous: PreviousRun, view: View, over: str) -> Outcome:
    """Do what is left of a run whose search has ended: its end, the tables, and retraining."""
    history, folder = previous.history, previous.folder
    ended = over if over in (TARGET_REACHED, TIME_BUDGET_SPENT) else TRIALS_DONE
    if history.end_reason is None:  # killed before it was recorded
        journal = Journal(folder.journal_file)
        Recorder(journal, history, clock=lambda: previous.seconds).search_ended(ended)
        journal.close()
    write_outcome(folder, history)
    _write_log(plan, previous, view)
    _record_what_follows(plan, previous)
    reason = ended if history.end_reason in (None, INTERRUPTED) else history.end_reason
    view.note(ending(reason, history))
    view.note(f"nothing more to search: {over} (more by --trials, --time-budget or --target)")
    found = Outcome(folder, reason, history)
    if history.best is None or is_done(plan, found):
        return found
    needs_ray = plan.confirm is not None or plan.audit is not None
    standing = None if needs_ray else standing_final(plan, found, view)
    return standing or follow_alone(plan, found, view, asked=previous.description)


def _write_log(plan: Plan, previous: PreviousRun, view: View) -> None:
    """Write the log of a run whose search has ended."""
    log = make_log(plan, previous.folder, previous.history, view, previous.events)
    if log is not None:
        log.write_all()


def _record_what_follows(plan: Plan, previous: PreviousRun) -> None:
    """Record what is asked otherwise of a run whose search has ended: to go on does it too."""
    row = plan.to_json()
    changes = {
        name: row[name]
        for name in AFTER_THE_SEARCH
        if getattr(plan, name) != getattr(previous.plan, name)
    }
    if changes:
        asked = previous.description | {"plan": previous.description["plan"] | changes}
        write_json(previous.folder.run_file, asked)


def _check(found: Outcome, stopping: Stopping, *, is_new: bool) -> None:
    """Raise what made the search fail; a new folder without one trained epoch is removed."""
    error: SearchError | None = stopping.error
    if error is None and found.history.best is None and found.reason != INTERRUPTED:
        error = AllTrialsFailedError(_no_value(found))
    if error is None:
        return
    for trial in found.history.trials.values():
        if trial.traceback:
            error.add_note(trial.traceback)
            break
    if is_new and found.history.epochs_trained == 0 and not found.history.best:
        # Nothing was trained, so nothing is lost, and the name is free for the next try.
        shutil.rmtree(found.folder.path, ignore_errors=True)
    raise error


def _no_value(found: Outcome) -> str:
    trials = found.history.trials.values()
    ends = sorted({f"{trial.state}{f': {trial.error}' if trial.error else ''}" for trial in trials})
    return (
        f"The search ended ({found.reason}) before any epoch reported a finite "
        f"{found.history.objective.name}; trials: {'; '.join(ends) or 'none'}."
    )
