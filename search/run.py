"""A whole run: check, discover, search, write down, retrain, evaluate."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from search.data import Data
from search.errors import AllTrialsFailedError, SearchError, UsageError
from search.folder import RunFolder, read_json, write_json
from search.history import History, Objective
from search.journal import Event, Journal, read
from search.plan import Algorithm, Engine, Plan, Problem, available_cores
from search.ray_cluster import fetch, local_cluster, stored_data
from search.recorder import Recorder, seconds_since_process_start
from search.retrain import retrain
from search.searchers import RandomSearcher, Searcher, TPESearcher
from search.session import Session
from search.space import Space
from search.stopping import INTERRUPTED, Stopping
from search.tables import write_tables
from search.views import View

if TYPE_CHECKING:
    import ray

# A search of one engine: given the plan, what to call with the space, and when to stop.
EngineSearch = Callable[..., None]

KEPT_BEST_WEIGHTS = 10
RECORDED_VERSIONS = ("tensorflow", "keras", "keras-tuner", "ray", "optuna", "numpy")


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
    evaluation: dict[str, Any] | None


def run(plan: Plan, view: View) -> Outcome:
    """Search, then retrain and evaluate the best configuration.

    Raises:
        SearchError: Something is wrong with what was asked, with the problem, or with every
            trial. What was found before is kept in the run folder.
    """
    plan.check()
    folder = RunFolder(plan.out.resolve())
    # keras-tuner runs one trial at a time, on all cores; what follows it may use them all too.
    cores = available_cores() if plan.engine is Engine.KERAS_TUNER else plan.workers
    if plan.engine is Engine.KERAS_TUNER:
        history, reason = _search(plan, keras_tuner_engine(), folder, view)
        if is_done(plan, reason):
            return Outcome(folder, reason, history, None)
    with local_cluster(cores):
        stored = stored_data(plan.problem, needs_test=bool(plan.retrain_epochs))
        if plan.engine is Engine.RAY:
            history, reason = _search(plan, ray_engine(stored), folder, view)
            if is_done(plan, reason):
                return Outcome(folder, reason, history, None)
        evaluation = _retrain(
            plan.problem, stored, folder, history, plan.retrain_epochs, cores, view
        )
    return Outcome(folder, reason, history, evaluation)


def retrain_run(path: Path, retrain_epochs: tuple[int, ...], view: View) -> Outcome:
    """Retrain and evaluate the best configuration of a run that was made before.

    Raises:
        SearchError: The folder is no run, no trial of it reported a value, or retraining failed.
    """
    if not retrain_epochs or min(retrain_epochs) < 1:
        raise UsageError(f"--retrain-epochs {list(retrain_epochs)}: expected 1 or more each.")
    folder = RunFolder.open(path)
    asked = read_json(folder.run_file)
    problem = _problem(asked["plan"]["problem"])
    content = read(folder.journal_file)
    if content.damaged_lines:
        view.note(f"journal: damaged lines left out: {list(content.damaged_lines)}")
    history = History.replay(problem.objective, content.events)
    if history.best is None:
        raise UsageError(f"{str(path)!r}: no trial has reported a value, so none can be retrained.")
    _write_outcome(folder, history)
    cores = available_cores()
    with local_cluster(cores):
        stored = stored_data(problem, needs_test=True)
        fetch(stored)
        evaluation = _retrain(problem, stored, folder, history, retrain_epochs, cores, view)
    return Outcome(folder, history.end_reason or "cut off", history, evaluation)


def is_done(plan: Plan, reason: str) -> bool:
    """Tell whether nothing is retrained after the search."""
    return reason == INTERRUPTED or not plan.retrain_epochs


def ray_engine(stored: "ray.ObjectRef[Data]") -> EngineSearch:
    """Return the Ray engine's search over data in shared memory. Ray is running already."""
    from search.engines import ray_tune

    return partial(ray_tune.search, stored=stored)


def keras_tuner_engine() -> EngineSearch:
    """Return keras-tuner's search, in this process."""
    from search import worker

    worker.set_up()
    from search.engines import keras_tuner

    return keras_tuner.search


def _search(plan: Plan, engine: EngineSearch, folder: RunFolder, view: View) -> tuple[History, str]:
    history = History(plan.problem.objective)
    stopping = Stopping(plan, history, seconds_since_process_start)
    with contextlib.ExitStack() as stack:

        def begin(space: Space) -> Session:
            session = _begin(plan, space, history, view, stack)
            stack.callback(lambda: _end(session, reason))
            return session

        reason = "failed"
        try:
            engine(plan, begin=begin, stopping=stopping)
            reason = stopping.reason or "trials done"
        except KeyboardInterrupt:
            reason = INTERRUPTED
    _check_outcome(stopping, history, folder, reason)
    return history, reason


def _begin(
    plan: Plan, space: Space, history: History, view: View, stack: contextlib.ExitStack
) -> Session:
    """Make the run folder and what writes into it; the stack undoes it in reverse."""
    folder = RunFolder.create(plan.out)
    write_json(folder.run_file, _description(plan, space))
    journal = stack.enter_context(contextlib.closing(Journal(folder.journal_file)))
    searcher = _searcher(plan, space)
    recorder = Recorder(journal, history, [searcher.observe, view.tell])
    recorder.listen(lambda event: _keep_best_weights(folder, history, event))
    names = ", ".join(dict.fromkeys(parameter.name for parameter in space))
    view.note(f"space {plan.problem.space}: {names}")
    view.begin(plan, history)
    stack.callback(view.end)
    recorder.search_started(space=space.to_json())
    return Session(folder, searcher, recorder, view.tick)


def _end(session: Session, reason: str) -> None:
    session.recorder.search_ended(reason)
    _write_outcome(session.folder, session.recorder.history)


def _check_outcome(stopping: Stopping, history: History, folder: RunFolder, reason: str) -> None:
    error: SearchError | None = stopping.error
    if error is None and history.best is None and reason != INTERRUPTED:
        error = AllTrialsFailedError(_no_value(history))
    if error is None:
        return
    for trial in history.trials.values():
        if trial.traceback:
            error.add_note(trial.traceback)
            break
    if history.epochs_trained == 0 and history.trials:
        # Nothing was trained, so nothing is lost, and the name is free for the next try.
        shutil.rmtree(folder.path, ignore_errors=True)
    raise error


def _no_value(history: History) -> str:
    ends = sorted({f"{trial.state} ({trial.error})" for trial in history.trials.values()})
    return (
        f"No trial reported a value of {history.objective.name}: {'; '.join(ends) or 'none ran'}."
    )


def _searcher(plan: Plan, space: Space) -> Searcher:
    if plan.engine is Engine.RAY and plan.algorithm is Algorithm.TPE:
        return TPESearcher(space, seed=plan.problem.seed, objective=plan.problem.objective)
    return RandomSearcher(space, seed=plan.problem.seed)


def _keep_best_weights(folder: RunFolder, history: History, event: Event) -> None:
    """Remove the weights of ended trials that are not among the best."""
    if event["event"] != "trial_ended":
        return
    ranked = history.ranked()
    running = {trial.trial for trial in history.running()}
    for trial in ranked[KEPT_BEST_WEIGHTS:]:
        if trial.trial not in running:
            folder.best_weights_file(trial.trial).unlink(missing_ok=True)


def _write_outcome(folder: RunFolder, history: History) -> None:
    write_tables(folder, history)
    best = history.best
    if best is not None:
        write_json(
            folder.best_file,
            {
                "trial": best.trial,
                "epoch": best.epoch,
                "objective": history.objective.name,
                "value": best.objective,
                "at_seconds": best.at_seconds,
                "values": history.trials[best.trial].values,
            },
        )


def _retrain(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    folder: RunFolder,
    history: History,
    retrain_epochs: tuple[int, ...],
    cores: int,
    view: View,
) -> dict[str, Any]:
    assert history.best is not None
    best = history.trials[history.best.trial]
    epochs = ", ".join(str(number) for number in retrain_epochs)
    view.note(f"retraining trial {best.trial} at {epochs} epochs, then one look at the test set")
    return retrain(
        problem,
        stored,
        best.values,
        folder=folder,
        retrain_epochs=retrain_epochs,
        cores=cores,
        progress=view.progress,
    )


def _description(plan: Plan, space: Space) -> dict[str, Any]:
    return {
        "version": importlib.metadata.version("fmnist-search"),
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "plan": plan.to_json(),
        "space": space.to_json(),
        "versions": {name: importlib.metadata.version(name) for name in RECORDED_VERSIONS}
        | {"python": platform.python_version()},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": platform.platform(),
        },
    }


def _problem(row: dict[str, Any]) -> Problem:
    return Problem(**{**row, "objective": Objective(**row["objective"])})
