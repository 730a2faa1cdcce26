"""The early-stop audit: some of the trials that ASHA stopped, trained to their end.

Nobody knows what a stopped trial would have come to, except by training it. A trial's numbers
follow from the run's seed and its own number, so that this is the very trial that was stopped.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from results.record import columns
from results.record.audit import Audit, AuditedTrial
from results.record.columns import State
from results.record.confirmation import Mode
from results.record.files import read_json, write_json
from results.record.history import History, TrialRecord
from results.record.intervals import estimate_share
from search.errors import TrainingError, UsageError
from search.final.training import Share, Trainer, ray_errors_as_ours
from search.plan.plan import Problem
from search.plan.task import Task
from search.storage.folder import RunFolder
from search.storage.lock import Say
from search.worker import process
from search.worker.data import Data

# How a trial ends that trains as far as it can.
_ENDS = (State.COMPLETED, State.EARLY_STOPPED, State.DIVERGED)


@dataclass(frozen=True)
class WholeTraining:
    """A trial trained with nobody to stop it.

    Attributes:
        epochs: Of each its number, its seconds and its metrics.
        state: How it ended.
        error: Why, where it failed.
    """

    epochs: list[dict[str, Any]]
    state: str
    error: str | None

    @property
    def is_whole(self) -> bool:
        """Whether it has trained as far as it can."""
        return self.state in _ENDS


def kept_training(folder: RunFolder, trial: TrialRecord) -> WholeTraining | None:
    """Return the training of a trial that ``audit/`` keeps; None where it is still to be done."""
    file = _file(folder, trial)
    training = WholeTraining(**read_json(file)) if file.exists() else None
    return training if training and training.is_whole else None


def keep(folder: RunFolder, trial: TrialRecord, training: WholeTraining) -> None:
    """Keep a training in ``audit/``."""
    write_json(_file(folder, trial), asdict(training))


def _file(folder: RunFolder, trial: TrialRecord) -> Path:
    return folder.path / columns.AUDIT_DIR / f"trial-{trial.trial:05d}.json"


def stopped(history: History) -> list[TrialRecord]:
    """Return the trials that the scheduler stopped and that had reported a value."""
    trials = history.trials.values()
    return [trial for trial in trials if trial.state is State.STOPPED and trial.best is not None]


def sampled(history: History, count: int, seed: int) -> list[TrialRecord]:
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


def audit(trainer: Trainer, history: History, count: int, folder: RunFolder, say: Say) -> Audit:
    """Let some stopped trials run to their end, and say what stopping cost and saved.

    Each is kept as soon as it is done.

    Args:
        trainer: Names the problem, and the resources of a training.
        history: The search.
        count: How many trials.
        folder: The run, whose ``audit/`` is written.
        say: Told of each trial that is done.

    Raises:
        UsageError: So many were not stopped.
        TrainingError: Ray failed, or an audited trial did.
    """
    trials = sampled(history, count, trainer.problem.seed)
    (folder.path / columns.AUDIT_DIR).mkdir(exist_ok=True)
    missing = [trial for trial in trials if kept_training(folder, trial) is None]
    say(f"auditing {count} of {len(stopped(history))} stopped trials: {len(missing)} to train")
    failed = []
    with ray_errors_as_ours("Auditing"):
        for trial, training in _train_all(trainer, missing):
            if training.is_whole:
                keep(folder, trial, training)
                say(_line(audited(trial, training, history), history))
            else:
                failed.append(f"trial {trial.trial} ({training.state}: {training.error})")
    if failed:
        raise TrainingError(
            f"Of the audited trials these did not come to their end: {'; '.join(failed)}. "
            "What the others came to is kept: audit again once that is mended."
        )
    trainings = [(trial, kept_training(folder, trial)) for trial in trials]
    made = summary([audited(trial, one, history) for trial, one in trainings if one], history)
    made.write(folder.path / columns.AUDIT_DIR / columns.AUDIT_FILE)
    return made


def summary(trials: Sequence[AuditedTrial], history: History) -> Audit:
    """Return how often stopping was wrong, with its interval, and what it saved."""
    count, wrong = len(stopped(history)), sum(trial.is_wrong for trial in trials)
    share = estimate_share(wrong, len(trials))
    seconds = statistics.fmean(trial.seconds_after_stop for trial in trials)
    assert history.best_value is not None
    return Audit(
        objective=history.objective.name,
        mode=cast("Mode", history.objective.mode),
        search_best=history.best_value,
        stopped=count,
        audited=len(trials),
        wrong=wrong,
        wrong_share=share.mean,
        # Of those that were audited it is known.
        wrong_low=max(share.low, wrong / count),
        wrong_high=min(share.high, (count - len(trials) + wrong) / count),
        trials=tuple(trials),
        seconds_saved=seconds * count,
        seconds_searched=sum(trial.train_seconds for trial in history.trials.values()),
    )


def audited(trial: TrialRecord, training: WholeTraining, history: History) -> AuditedTrial:
    """Compare the whole training of a trial with what was known when it was stopped."""
    objective, best = history.objective, history.best_value
    metrics = [epoch["metrics"] for epoch in training.epochs]
    value: float | None = None
    for of_epoch in metrics:
        reported = of_epoch.get(objective.name)
        value = reported if objective.is_better(reported, value) else value
    seconds = [epoch["epoch_seconds"] for epoch in training.epochs]
    stop = trial.epochs[-1].epoch
    sign = -1.0 if objective.mode == "min" else 1.0
    return AuditedTrial(
        trial=trial.trial,
        stopped_epoch=stop,
        stopped_value=trial.best_value,
        epochs=len(training.epochs),
        value=value,
        state=training.state,
        is_wrong=objective.is_better(value, best),
        excess=None if value is None or best is None else sign * (value - best),
        seconds_to_stop=sum(seconds[:stop]),
        seconds_after_stop=sum(seconds[stop:]),
        is_same=metrics[:stop] == [epoch.metrics for epoch in trial.epochs],
    )


def _line(trial: AuditedTrial, history: History) -> str:
    value = "no number" if trial.value is None else f"{trial.value:.4f}"
    return (
        f"trial {trial.trial}: {trial.stopped_value:.4f} when it was stopped after epoch "
        f"{trial.stopped_epoch}, {value} at its end; the search's best {history.best_value:.4f}"
    )


def _train_all(
    trainer: Trainer, trials: Sequence[TrialRecord]
) -> Iterator[tuple[TrialRecord, WholeTraining]]:
    import ray

    waiting = {}
    for trial in trials:
        share = trainer.share.on(trial.device)
        train = ray.remote(**share.options())(_train)
        configuration = (trial.trial, trial.proposed, trial.planned_epochs)
        started = train.remote(trainer.problem, trainer.stored, *configuration, share)
        waiting[started] = trial
    while waiting:
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        yield waiting.pop(ready), ray.get(ready)


def _train(
    problem: Problem,
    data: Data,
    trial: int,
    values: dict[str, Any],
    epochs: int | None,
    share: Share,
) -> WholeTraining:
    """Train a trial as in the search, with nobody to stop it, in a process of Ray's."""
    process.set_up(share.threads, sees_gpus=share.gpus is not None, gpu_share=share.gpus)
    from search.worker.trial import run_trial

    reported: list[dict[str, Any]] = []

    def report(epoch: dict[str, Any]) -> bool:
        if "retry" not in epoch:
            reported.append({name: epoch[name] for name in ("epoch", "epoch_seconds", "metrics")})
        return True

    task = replace(Task.of(problem), epochs=epochs or problem.epochs)
    end = run_trial(task, data, trial=trial, values=values, report=report, folder=None)
    return WholeTraining(reported, str(end.state), end.error)
