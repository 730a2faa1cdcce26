"""The early-stopping audit: trains some of the trials that the scheduler stopped to their end.

Only training tells what a stopped trial would have reached. A trial's random numbers follow from
the run's seed and its own number, so the audit trains exactly the trial that was stopped.
"""

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from results.record import columns
from results.record.audit import Audit, AuditedTrial
from results.record.columns import State
from results.record.confirmation import Mode
from results.record.files import read_json, write_json
from results.record.history import History, TrialRecord
from results.record.intervals import estimate_share
from search.errors import TrainingError, UsageError
from search.final.training import Share, Trainer, translated_ray_errors
from search.plan.plan import Problem
from search.ray.renewable import fetch
from search.storage.folder import RunFolder
from search.storage.lock import Say
from search.worker import process
from search.worker.data import Data
from search.worker.task import Task

if TYPE_CHECKING:
    import ray

# The states of a trial that has trained as far as it can.
_COMPLETE_STATES = (State.COMPLETED, State.EARLY_STOPPED, State.DIVERGED)


@dataclass(frozen=True)
class FullTraining:
    """The training of an audited trial, without a scheduler to stop it.

    Attributes:
        epochs: The number, seconds and metrics of each epoch.
        state: How the training ended.
        error: Why it failed, if it did.
    """

    epochs: list[dict[str, Any]]
    state: str
    error: str | None

    @property
    def is_complete(self) -> bool:
        """Whether the trial has trained as far as it can."""
        return self.state in _COMPLETE_STATES


def read_training(folder: RunFolder, trial: TrialRecord) -> FullTraining | None:
    """Return a trial's complete training from ``audit/``; None if there is none yet."""
    file = _training_file(folder, trial)
    training = FullTraining(**read_json(file)) if file.exists() else None
    return training if training and training.is_complete else None


def write_training(folder: RunFolder, trial: TrialRecord, training: FullTraining) -> None:
    """Write a trial's training into ``audit/``."""
    write_json(_training_file(folder, trial), asdict(training))


def _training_file(folder: RunFolder, trial: TrialRecord) -> Path:
    return folder.path / columns.AUDIT_DIR / f"trial-{trial.trial:05d}.json"


def stopped_trials(history: History) -> list[TrialRecord]:
    """Return the trials that the scheduler stopped after they had reported a value."""
    trials = history.trials.values()
    return [trial for trial in trials if trial.state is State.STOPPED and trial.best is not None]


def sample_stopped(history: History, count: int, seed: int) -> list[TrialRecord]:
    """Draw ``count`` of the stopped trials at random; the same seed draws the same trials.

    Raises:
        UsageError: Fewer trials were stopped.
    """
    trials = sorted(stopped_trials(history), key=lambda trial: trial.trial)
    if not trials:
        raise UsageError(
            "this run has no stopped trial to audit: expected a run of which --scheduler asha has "
            "stopped trials."
        )
    if len(trials) < count:
        raise UsageError(
            f"--trials {count}: only {len(trials)} trials of this run were stopped: expected at "
            f"most {len(trials)}."
        )
    return random.Random(seed).sample(trials, count)


# Trains stopped trials to their end; yields each with its training as soon as that is done.
TrainTrials = Callable[[Trainer, Sequence[TrialRecord]], Iterator[tuple[TrialRecord, FullTraining]]]


def train_trials(
    trainer: Trainer, trials: Sequence[TrialRecord]
) -> Iterator[tuple[TrialRecord, FullTraining]]:
    """Train trials to their end, side by side on a running Ray; see ``TrainTrials``."""
    import ray

    pending = {}
    for trial in trials:
        share = trainer.share.on(trial.device)
        train = ray.remote(**share.options())(_train)
        configuration = (trial.trial, trial.proposed, trial.planned_epochs)
        pending[train.remote(trainer.problem, [trainer.stored], *configuration, share)] = trial
    while pending:
        [ready], _ = ray.wait(list(pending), num_returns=1)
        yield pending.pop(ready), ray.get(ready)


def audit(
    trainer: Trainer,
    history: History,
    count: int,
    folder: RunFolder,
    say: Say,
    *,
    train: TrainTrials = train_trials,
) -> Audit:
    """Train some stopped trials to their end; return what early stopping cost and saved.

    Each training is written as soon as it is done, so that an audit that was cut off continues.

    Args:
        trainer: Provides the problem, and the resources of a training.
        history: The history of the search.
        count: The number of trials to audit.
        folder: The run, whose ``audit/`` is written.
        say: Gets a line for each trial that is done.
        train: Trains the trials.

    Raises:
        UsageError: Fewer trials were stopped.
        TrainingError: Ray failed, or an audited trial did.
    """
    trials = sample_stopped(history, count, trainer.problem.seed)
    (folder.path / columns.AUDIT_DIR).mkdir(exist_ok=True)
    missing = [trial for trial in trials if read_training(folder, trial) is None]
    stopped_count = len(stopped_trials(history))
    say(f"auditing {count} of {stopped_count} stopped trials: {len(missing)} to train")
    failures = []
    with translated_ray_errors("Auditing"):
        for trial, training in train(trainer, missing):
            if training.is_complete:
                write_training(folder, trial, training)
                say(_describe(audit_trial(trial, training, history), history))
            else:
                failures.append(f"trial {trial.trial} ({training.state}: {training.error})")
    if failures:
        raise TrainingError(
            f"These audited trials failed: {'; '.join(failures)}. The others are saved: fix the "
            "cause, then rerun the audit to continue."
        )
    trainings = [(trial, read_training(folder, trial)) for trial in trials]
    audited_trials = [
        audit_trial(trial, training, history) for trial, training in trainings if training
    ]
    result = summarize(audited_trials, history)
    result.write(folder.path / columns.AUDIT_DIR / columns.AUDIT_FILE)
    return result


def summarize(trials: Sequence[AuditedTrial], history: History) -> Audit:
    """Return the share of wrong stops with its interval, and the seconds that stopping saved."""
    count, wrong = len(stopped_trials(history)), sum(trial.is_wrong for trial in trials)
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
        # For the audited trials it is known whether stopping was wrong, which bounds the share.
        wrong_low=max(share.low, wrong / count),
        wrong_high=min(share.high, (count - len(trials) + wrong) / count),
        trials=tuple(trials),
        seconds_saved=seconds * count,
        seconds_searched=sum(trial.train_seconds for trial in history.trials.values()),
    )


def audit_trial(trial: TrialRecord, training: FullTraining, history: History) -> AuditedTrial:
    """Compare the full training of a trial with its record in the search."""
    objective, best = history.objective, history.best_value
    metrics = [epoch["metrics"] for epoch in training.epochs]
    value: float | None = None
    for epoch_metrics in metrics:
        reported = epoch_metrics.get(objective.name)
        value = reported if objective.is_better(reported, value) else value
    seconds = [epoch["epoch_seconds"] for epoch in training.epochs]
    stopped_epoch = trial.epochs[-1].epoch
    sign = -1.0 if objective.mode == "min" else 1.0
    return AuditedTrial(
        trial=trial.trial,
        stopped_epoch=stopped_epoch,
        stopped_value=trial.best_value,
        epochs=len(training.epochs),
        value=value,
        state=training.state,
        is_wrong=objective.is_better(value, best),
        excess=None if value is None or best is None else sign * (value - best),
        seconds_to_stop=sum(seconds[:stopped_epoch]),
        seconds_after_stop=sum(seconds[stopped_epoch:]),
        is_same=metrics[:stopped_epoch] == [epoch.metrics for epoch in trial.epochs],
    )


def _describe(trial: AuditedTrial, history: History) -> str:
    value = "no number" if trial.value is None else f"{trial.value:.4f}"
    return (
        f"trial {trial.trial}: {trial.stopped_value:.4f} when stopped after epoch "
        f"{trial.stopped_epoch}, {value} at its end; best of the search {history.best_value:.4f}"
    )


def _train(
    problem: Problem,
    stored: "list[ray.ObjectRef[Data]]",
    trial: int,
    values: dict[str, Any],
    epochs: int | None,
    share: Share,
) -> FullTraining:
    """Train a trial as in the search but without a scheduler, in a process of Ray."""
    process.set_up(share.threads, sees_gpus=share.gpus is not None, gpu_share=share.gpus)
    from search.worker.trial import run_trial

    reported: list[dict[str, Any]] = []

    def report(epoch: dict[str, Any]) -> bool:
        if "retry" not in epoch:
            reported.append({name: epoch[name] for name in ("epoch", "epoch_seconds", "metrics")})
        return True

    task = replace(Task.of(problem), epochs=epochs or problem.epochs)
    data: Data = fetch(stored[0])
    end = run_trial(task, data, trial=trial, values=values, report=report, folder=None)
    return FullTraining(reported, str(end.state), end.error)
