"""A whole run: check, search, retrain, evaluate."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.columns import State
from search.data import Data
from search.describe import describe, described_problem
from search.earlier import Earlier, read_earlier
from search.errors import AllTrialsFailedError, SearchError, UsageError
from search.folder import RunFolder, write_json
from search.history import History, Objective
from search.journal import Journal, read
from search.plan import Engine, Plan, Problem, available_cores
from search.ray_cluster import fetch, local_cluster, stored_data
from search.recorder import Recorder, seconds_since_process_start
from search.retrain import retrain
from search.session import Session, write_outcome
from search.space import Space
from search.stopping import INTERRUPTED, TRIALS_DONE, Stopping
from search.task import Task
from search.views import View, ending

if TYPE_CHECKING:
    import ray

# The search of an engine: given the plan, what to call with the space, and when to stop.
EngineSearch = Callable[..., None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Where it is.
        reason: Why the search ended.
        history: All trials.
        evaluation: What ``final/evaluation.json`` says; None where nothing was retrained.
    """

    folder: RunFolder
    reason: str
    history: History
    evaluation: dict[str, Any] | None = None


def run(plan: Plan, view: View) -> Outcome:
    """Search, then retrain and evaluate the best configuration.

    Raises:
        SearchError: Something is wrong with what was asked, with the problem, or with every
            trial. What was found before is kept in the run folder.
    """
    plan.check()
    earlier = earlier_of(plan.warm_start, plan.problem.objective)
    view.note(f"starting; trials at once: {plan.workers} (TensorFlow is up in about half a minute)")
    if plan.engine is Engine.KERAS_TUNER:
        found = _search(plan, _keras_tuner_engine(), view, None)
        if is_done(plan, found):
            return found
    # keras-tuner ran one trial at a time, on all cores: what follows may use them all too.
    cores = available_cores() if plan.engine is Engine.KERAS_TUNER else plan.workers
    with local_cluster(cores):
        stored = stored_data(plan.problem, needs_test=bool(plan.retrain_epochs))
        if plan.engine is Engine.RAY:
            task = Task.of(plan.problem, checkpoint_seconds=plan.checkpoint_seconds)
            engine = _ray_engine(task, stored)
            found = _search(plan, engine, view, earlier)
            if is_done(plan, found):
                return found
        return _retrained(plan.problem, stored, found, plan.retrain_epochs, cores, view)


def retrain_run(path: Path, retrain_epochs: tuple[int, ...], view: View) -> Outcome:
    """Retrain and evaluate the best configuration of a run that was made before.

    Raises:
        SearchError: The folder is no run, no trial of it reported a value, or retraining failed.
    """
    if not retrain_epochs or min(retrain_epochs) < 1:
        raise UsageError(f"--retrain-epochs {list(retrain_epochs)}: expected 1 or more each.")
    folder = RunFolder.open(path)
    problem = described_problem(folder)
    if problem.hypermodel is None:
        raise UsageError(
            f"{str(path)!r} does not name its builder, as it comes from a script (RayTuner) or was "
            "imported: build its best there, with tuner.get_best_hyperparameters()."
        )
    content = read(folder.journal_file)
    if content.damaged_lines:
        view.note(f"journal: damaged lines left out: {list(content.damaged_lines)}")
    history = History.replay(problem.objective, content.events)
    if history.best is None:
        raise UsageError(f"{str(path)!r}: no trial has reported a value, so none can be retrained.")
    write_outcome(folder, history)
    found = Outcome(folder, history.end_reason or "cut off", history)
    cores = available_cores()
    with local_cluster(cores):
        stored = stored_data(problem, needs_test=True)
        fetch(stored)
        return _retrained(problem, stored, found, retrain_epochs, cores, view)


def is_done(plan: Plan, found: Outcome) -> bool:
    """Tell whether nothing is retrained after the search."""
    return found.reason == INTERRUPTED or not plan.retrain_epochs


def _ray_engine(task: Task, stored: "ray.ObjectRef[Data]") -> EngineSearch:
    from search.engines import ray_tune

    return partial(ray_tune.search, task=task, stored=stored)


def _keras_tuner_engine() -> EngineSearch:
    from search import worker

    worker.set_up()
    from search.engines import keras_tuner

    return keras_tuner.search


def earlier_of(source: str | None, objective: Objective) -> Earlier | None:
    """Read the earlier search that a run is to learn from, if there is one.

    Raises:
        UsageError: It cannot be read.
    """
    return None if source is None else read_earlier(source, objective)


def import_run(source: str, objective: Objective, out: Path, view: View) -> RunFolder:
    """Make a run folder of an earlier search, to compare it and to learn from it.

    Raises:
        SearchError: It cannot be read, or ``out`` stands already.
    """
    earlier = read_earlier(source, objective)
    plan = Plan(
        problem=Problem(
            hypermodel=None,
            data=f"imported from {source}",
            data_dir=None,
            space=Path(source).name,
            objective=objective,
            epochs=1,
            patience=0,
            seed=0,
        ),
        engine=Engine.KERAS_TUNER,
        algorithm="imported",
        trials=len(earlier.trials),
        workers=1,
        grace_period=1,
        reduction_factor=3,
        time_budget_seconds=None,
        target=None,
        retrain_epochs=(),
        out=out,
    )
    folder = RunFolder.create(out)
    content = describe(plan, Space(()))
    content["plan"] |= {"engine": earlier.kind, "algorithm": plan.algorithm}
    write_json(folder.run_file, content)
    journal = Journal(folder.journal_file)
    recorder = Recorder(journal, History(objective), clock=lambda: 0.0)
    recorder.search_started(space=[])
    for number, trial in enumerate(earlier.trials):
        recorder.trial_started(number, trial.values)
        recorder.trial_ended(
            number,
            State.COMPLETED,
            score=trial.score,
            best_step=0,
            metrics={objective.name: trial.score},
        )
    recorder.search_ended("imported")
    journal.close()
    write_outcome(folder, recorder.history)
    for line in earlier.left_out:
        view.note(f"left out: {line}")
    best = recorder.history.best_value
    view.note(
        f"{source} ({earlier.kind}): {len(earlier.trials)} finished trials, best "
        f"{objective.name} {best:.4f}"
    )
    return folder


def _search(plan: Plan, engine: EngineSearch, view: View, earlier: Earlier | None) -> Outcome:
    history = History(plan.problem.objective)
    stopping = Stopping(plan, history, seconds_since_process_start)
    reason = recorded(plan, engine, view, history, stopping, earlier=earlier)
    found = Outcome(RunFolder(plan.out.resolve()), reason, history)
    _check(found, stopping)
    view.note(ending(found.reason, history))
    return found


def recorded(
    plan: Plan,
    engine: EngineSearch,
    view: View,
    history: History,
    stopping: Stopping,
    **session: Any,
) -> str:
    """Run an engine's search and write its run folder.

    Args:
        plan: What was asked.
        engine: Runs the trials.
        view: What the user sees.
        history: Brought up to date with every event.
        stopping: Says when to end.
        session: What ``Session.open`` takes besides.

    Returns:
        Why the search ended.
    """
    sessions: list[Session] = []

    def begin(space: Space) -> Session:
        sessions.append(Session.open(plan, space, history, view, **session))
        return sessions[0]

    reason = "failed"
    try:
        engine(plan, begin=begin, stopping=stopping)
        reason = stopping.reason or TRIALS_DONE
    except KeyboardInterrupt:
        if not sessions:
            raise
        reason = INTERRUPTED
    finally:
        for opened in sessions:
            opened.close(reason)
    return reason


def _check(found: Outcome, stopping: Stopping) -> None:
    """Raise what made the search fail; a folder without one trained epoch is removed."""
    error: SearchError | None = stopping.error
    if error is None and found.history.best is None and found.reason != INTERRUPTED:
        error = AllTrialsFailedError(_no_value(found))
    if error is None:
        return
    for trial in found.history.trials.values():
        if trial.traceback:
            error.add_note(trial.traceback)
            break
    if found.history.epochs_trained == 0 and found.history.trials and not found.history.best:
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


def _retrained(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    found: Outcome,
    retrain_epochs: tuple[int, ...],
    cores: int,
    view: View,
) -> Outcome:
    assert found.history.best is not None
    best = found.history.trials[found.history.best.trial]
    epochs = ", ".join(str(number) for number in retrain_epochs)
    view.note(f"retraining trial {best.trial} at {epochs} epochs, then one look at the test set")
    try:
        evaluation = retrain(
            problem,
            stored,
            best.values,
            folder=found.folder,
            retrain_epochs=retrain_epochs,
            cores=cores,
            progress=view.progress,
        )
    except KeyboardInterrupt:
        return replace(found, reason=INTERRUPTED)
    return replace(found, evaluation=evaluation)
