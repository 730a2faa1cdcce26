"""Trains a trial again from its record and compares it with the journal."""

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.record import words
from results.record.columns import Device
from results.record.history import EpochRecord, TrialRecord
from search.errors import UsageError, raise_any
from search.session.origin import read_previous_run
from search.session.run_file import RECORDED_VERSIONS, RecordedRun
from search.view.view import View
from search.worker.data import Data, load_data
from search.worker.process import quiet_training
from search.worker.task import Task

# The metrics of each epoch, by the number of the epoch.
Metrics = dict[int, dict[str, float | None]]


@dataclass(frozen=True)
class Difference:
    """A metric of an epoch (from 1) whose replayed value differs from the recorded one."""

    epoch: int
    metric: str
    recorded: float | None
    replayed: float | None


@dataclass(frozen=True)
class Replay:
    """The result of training a trial again.

    Attributes:
        epochs: Number of epochs trained again.
        differences: The metrics that differ in the first epoch with a difference; else empty.
        new_error: Why it failed this time, if the record has another end; else None.
    """

    epochs: int
    differences: tuple[Difference, ...]
    new_error: str | None = None

    @property
    def is_identical(self) -> bool:
        """Whether every metric of every epoch has the same bits."""
        return not self.differences and self.new_error is None


def replay(path: Path, number: int, view: View) -> Replay:
    """Train a trial again, in this process, for as many epochs as its record has.

    Nothing is written. On the same kind of machine, with the same versions, every metric of every
    epoch has the same bits if the trial took the fast path.

    Raises:
        SearchError: The folder is no run, has no such trial, or does not name its hypermodel; or
            the data are not those of the run.
    """
    previous = read_previous_run(path)
    trial = _trial(previous, number)
    raise_any(list(replace(previous.plan, address=None).reference_problems()))
    for note in (*previous.notes, *_changes(previous)):
        view.note(note)
    view.note(f"trial {number} ({trial.ending}): {words.format_values(trial.values)}")
    metrics, error = _train_again(previous, trial, view)
    new_error = error if error != trial.error else None
    return Replay(len(metrics), tuple(_differences(trial.epochs, metrics)), new_error)


def _train_again(
    previous: RecordedRun, trial: TrialRecord, view: View
) -> tuple[Metrics, str | None]:
    """Train a trial as long as its record; return the metrics of each epoch, and its error."""
    from search.worker import process

    device = trial.device or previous.plan.device
    process.set_up(threads=previous.plan.threads, sees_gpus=device is Device.GPU)
    from search.worker.trial import run_trial

    problem = previous.plan.problem
    data = _load_data(previous)
    metrics: Metrics = {}

    def report(epoch: dict[str, Any]) -> bool:
        if "retry" in epoch:
            return True
        metrics[epoch["epoch"]] = epoch["metrics"]
        objective = words.format_number(epoch["metrics"].get(problem.objective.name), none="-")
        view.note(f"epoch {epoch['epoch']}: {problem.objective.name} {objective}")
        return bool(epoch["epoch"] < trial.epochs[-1].epoch)

    with quiet_training():
        end = run_trial(
            replace(Task.of(problem), epochs=trial.planned_epochs or problem.epochs),
            data,
            trial=trial.trial,
            values=trial.values,
            report=report,
            folder=None,
            retries=trial.retries,
        )
    return metrics, end.error


def _load_data(previous: RecordedRun) -> Data:
    data = load_data(previous.plan.problem, needs_test=False)
    recorded, current = previous.description.get("data_digest"), data.digest()
    if recorded and current != recorded:
        raise UsageError(
            f"the data have changed since {str(previous.folder.path)!r} was made (digest "
            f"{current}): expected digest {recorded} to train a trial again. Restore the data."
        )
    return data.packed()  # as a worker gets them: a dataset is made anew


def _trial(previous: RecordedRun, number: int) -> TrialRecord:
    path, trials = str(previous.folder.path), previous.history.trials
    if previous.plan.problem.hypermodel is None:
        raise UsageError(
            f"{path!r} does not name its hypermodel, since a script (RayTuner) made it: expected "
            "a run of `fmnist-search run`. Build the trial in the script, with "
            "tuner.hypermodel.build(trial.hyperparameters)."
        )
    if number not in trials:
        raise UsageError(
            f"{path!r} has no trial {number}: expected one of "
            f"{min(trials, default=0)} to {max(trials, default=0)}."
        )
    if not trials[number].epochs:
        raise UsageError(f"{path!r}: trial {number} has no epoch: expected a trial with one.")
    return trials[number]


def _changes(previous: RecordedRun) -> Iterator[str]:
    """Yield a note for each version and the processor that differ from those of the run."""
    for name, recorded in previous.description.get("versions", {}).items():
        is_package = name in RECORDED_VERSIONS
        current = importlib.metadata.version(name) if is_package else platform.python_version()
        if current != recorded:
            yield f"{name} is {current} here, but was {recorded} in the run: metrics may differ"
    processor = previous.description.get("machine", {}).get("processor")
    if processor and processor != platform.machine():
        yield (
            f"this machine is {platform.machine()}, but that of the run was {processor}: metrics "
            "may differ"
        )


def _differences(records: list[EpochRecord], metrics: Metrics) -> list[Difference]:
    """Return the differences in the first epoch that has some."""
    for record in records:
        replayed = metrics.get(record.epoch, {})
        differences = [
            Difference(record.epoch, name, record.metrics.get(name), replayed.get(name))
            for name in {**record.metrics, **replayed}
            if record.metrics.get(name) != replayed.get(name)
        ]
        if differences:
            return differences
    return []
