"""The early-stop audit: some of the trials that ASHA stopped, trained to their end.

Nobody knows what a stopped trial would have come to, except by training it. A trial's numbers
follow from the run's seed and its own number, so that this is the very trial that was stopped.
"""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record import columns
from results.record.columns import State
from results.record.files import read_json, write_json
from results.record.history import History, Objective, TrialRecord
from results.record.intervals import share_of
from search.errors import TrainingError, UsageError
from search.final.training import Share, ray_errors_told
from search.plan.plan import Problem
from search.plan.task import Task
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.data import Data

if TYPE_CHECKING:
    import ray

Say = Callable[[str], None]
# How a trial ends that trains as far as it can.
_ENDS = (State.COMPLETED, State.EARLY_STOPPED, State.DIVERGED)


def stopped(history: History) -> list[TrialRecord]:
    """Return the trials that the scheduler stopped and that had reported a value."""
    trials = history.trials.values()
    return [trial for trial in trials if trial.state is State.STOPPED and trial.best is not None]


def chosen(history: History, count: int, seed: int) -> list[TrialRecord]:
    """Choose some of the stopped trials at random, the same for the same seed.

    Raises:
        UsageError: So many were not stopped.
    """
    candidates = sorted(stopped(history), key=lambda trial: trial.trial)
    if not candidates:
        raise UsageError(
            f"{count} to audit: no trial of this run was stopped. Expected a run whose trials "
            "--scheduler asha has stopped."
        )
    if len(candidates) < count:
        raise UsageError(
            f"{count} to audit: of this run {len(candidates)} trials were stopped: expected at "
            f"most {len(candidates)}."
        )
    return random.Random(seed).sample(candidates, count)


def audit(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    history: History,
    count: int,
    *,
    folder: RunFolder,
    share: Share,
    say: Say,
) -> dict[str, Any]:
    """Let some stopped trials run to their end, and tell what stopping cost and saved.

    Each is kept as soon as it is done. Ray is running already.

    Args:
        problem: Names of model and data, and the seed.
        stored: The splits.
        history: The search.
        count: How many trials.
        folder: The run, whose ``audit/`` is written.
        share: What a training takes.
        say: Told of each trial that is done.

    Returns:
        What ``audit/audit.json`` says.

    Raises:
        UsageError: So many were not stopped.
        TrainingError: Ray failed, or an audited trial did.
    """
    trials = chosen(history, count, problem.seed)
    place = folder.path / columns.AUDIT_DIR
    place.mkdir(exist_ok=True)
    missing = [trial for trial in trials if not _is_trained(place, trial)]
    say(f"auditing {count} of {len(stopped(history))} stopped trials: {len(missing)} to train")
    with ray_errors_told("Auditing"):
        failed = []
        for trial, run in _run_all(problem, stored, missing, share):
            if run["state"] not in _ENDS:
                failed.append(f"trial {trial.trial} ({run['state']}: {run['error']})")
                continue
            write_json(_file(place, trial), run)
            say(_line(trial, run, history))
    if failed:
        raise TrainingError(
            f"Of the audited trials these did not come to their end: {'; '.join(failed)}. "
            "What the others came to is kept: audit again once that is mended."
        )
    rows = [_row(trial, read_json(_file(place, trial)), history) for trial in trials]
    told = summary(rows, history)
    write_json(place / columns.AUDIT_FILE, told)
    return told


def summary(rows: Sequence[dict[str, Any]], history: History) -> dict[str, Any]:
    """Return how often stopping was wrong, with its interval, and what it saved.

    Args:
        rows: The audited trials.
        history: The search.
    """
    count, wrong = len(stopped(history)), sum(row["is_wrong"] for row in rows)
    share = share_of(wrong, len(rows))
    seconds = statistics.fmean(row["seconds_after_stop"] for row in rows)
    return {
        "objective": history.objective.name,
        "mode": history.objective.mode,
        "search_best": history.best_value,
        "stopped": count,
        "audited": len(rows),
        "wrong": wrong,
        "wrong_share": share.mean,
        # Of those that were audited it is known.
        "wrong_low": max(share.low, wrong / count),
        "wrong_high": min(share.high, (count - len(rows) + wrong) / count),
        "trials": list(rows),
        "seconds_saved": seconds * count,
        "seconds_searched": sum(trial.train_seconds for trial in history.trials.values()),
    }


def _file(place: Path, trial: TrialRecord) -> Path:
    return place / f"trial-{trial.trial:05d}.json"


def _is_trained(place: Path, trial: TrialRecord) -> bool:
    return _file(place, trial).exists() and read_json(_file(place, trial))["state"] in _ENDS


def _row(trial: TrialRecord, run: dict[str, Any], history: History) -> dict[str, Any]:
    """Return what an audited trial came to, beside what was known of it when it was stopped."""
    objective, best = history.objective, history.best_value
    values = [epoch["metrics"].get(objective.name) for epoch in run["epochs"]]
    value = _best(values, objective)
    stop = trial.epochs[-1].epoch
    seconds = [epoch["epoch_seconds"] for epoch in run["epochs"]]
    sign = -1.0 if objective.mode == "min" else 1.0
    return {
        "trial": trial.trial,
        "stopped_epoch": stop,
        "stopped_value": trial.best_value,
        "epochs": len(run["epochs"]),
        "value": value,
        "state": run["state"],
        "is_wrong": objective.is_better(value, best),
        "excess": None if value is None or best is None else sign * (value - best),
        "seconds_to_stop": sum(seconds[:stop]),
        "seconds_after_stop": sum(seconds[stop:]),
        "is_same": [epoch["metrics"] for epoch in run["epochs"][:stop]]
        == [epoch.metrics for epoch in trial.epochs],
    }


def _line(trial: TrialRecord, run: dict[str, Any], history: History) -> str:
    row = _row(trial, run, history)
    shown = "no number" if row["value"] is None else f"{row['value']:.4f}"
    return (
        f"trial {trial.trial}: {row['stopped_value']:.4f} when it was stopped after epoch "
        f"{row['stopped_epoch']}, {shown} at its end; the search's best {history.best_value:.4f}"
    )


def _best(values: Sequence[float | None], objective: Objective) -> float | None:
    best: float | None = None
    for value in values:
        best = value if objective.is_better(value, best) else best
    return best


def _run_all(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    trials: Sequence[TrialRecord],
    share: Share,
) -> Iterator[tuple[TrialRecord, dict[str, Any]]]:
    import ray

    waiting = {}
    for trial in trials:
        own = share.on(trial.device)
        run = ray.remote(**own.options())(_run)
        asked = (trial.trial, trial.proposed, trial.planned_epochs)
        waiting[run.remote(problem, stored, *asked, own)] = trial
    while waiting:
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        yield waiting.pop(ready), ray.get(ready)


def _run(
    problem: Problem,
    data: Data,
    trial: int,
    values: dict[str, Any],
    epochs: int | None,
    share: Share,
) -> dict[str, Any]:
    """Train a trial as in the search, with nobody to stop it, in a process of Ray's."""
    process.set_up(share.threads, sees_gpus=share.gpus is not None, gpu_share=share.gpus)
    from search.worker.trial import run_trial

    told: list[dict[str, Any]] = []

    def report(epoch: dict[str, Any]) -> bool:
        if "retry" not in epoch:
            told.append({name: epoch[name] for name in ("epoch", "epoch_seconds", "metrics")})
        return True

    task = replace(Task.of(problem), epochs=epochs or problem.epochs)
    end = run_trial(task, data, trial=trial, values=values, report=report, folder=None)
    return {"epochs": told, "state": str(end.state), "error": end.error}
