"""One trial trained again from its record, and what the journal says of it beside."""

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.record import words
from results.record.columns import Device
from results.record.history import EpochRecord, TrialRecord
from search.errors import UsageError
from search.plan.task import Task
from search.session.origin import read_previous_run
from search.session.run_file import RECORDED_VERSIONS, RecordedRun
from search.view.view import View
from search.worker.data import Data, load_data
from search.worker.process import quiet_training

# What each epoch reported, by its number.
Metrics = dict[int, dict[str, float | None]]


@dataclass(frozen=True)
class Difference:
    """A figure of an epoch (from 1) that is ``now`` not what it was ``then``, in the journal."""

    epoch: int
    metric: str
    then: float | None
    now: float | None


@dataclass(frozen=True)
class Replayed:
    """A trial trained again, for so many epochs.

    Attributes:
        differences: The first epoch that differs, figure by figure; none where all are equal.
        end: How it ended this time, where it failed.
    """

    epochs: int
    differences: tuple[Difference, ...]
    end: str | None = None

    @property
    def is_the_same(self) -> bool:
        """Whether every figure of every epoch has the same bits."""
        return not self.differences and self.end is None


def replay(path: Path, number: int, view: View) -> Replayed:
    """Train a trial again, in this process, for as many epochs as its record has.

    Nothing is written. On the same kind of machine, with the same versions, every figure of every
    epoch has the same bits, where the trial took the fast path.

    Raises:
        SearchError: The folder is no run, has no such trial, or does not name its builder; or the
            data are not those of the run.
    """
    previous = read_previous_run(path)
    trial = _trial(previous, number)
    for note in (*previous.notes, *_changes(previous)):
        view.note(note)
    view.note(f"trial {number} ({trial.ending}): {words.format_values(trial.values)}")
    metrics, error = _trained_again(previous, trial, view)
    failure = error if error != trial.error else None
    return Replayed(len(metrics), tuple(_differences(trial.epochs, metrics)), failure)


def _trained_again(
    previous: RecordedRun, trial: TrialRecord, view: View
) -> tuple[Metrics, str | None]:
    """Train a trial as long as its record; return what each epoch reported, and what failed."""
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
    before, now = previous.description.get("data_digest"), data.digest()
    if before and now != before:
        raise UsageError(
            f"the data have changed since {str(previous.folder.path)!r} was made (digest {now}, "
            f"then {before}): no trial of it can be trained again. Restore them."
        )
    return data


def _trial(previous: RecordedRun, number: int) -> TrialRecord:
    path, trials = str(previous.folder.path), previous.history.trials
    if previous.plan.problem.hypermodel is None:
        raise UsageError(
            f"{path!r} does not name its builder, as it comes from a script (RayTuner): build the "
            "trial there, with tuner.hypermodel.build(trial.hyperparameters)."
        )
    if number not in trials:
        raise UsageError(
            f"{path!r} has no trial {number}: expected one of "
            f"{min(trials, default=0)} to {max(trials, default=0)}."
        )
    if not trials[number].epochs:
        raise UsageError(f"{path!r}: trial {number} reported no epoch, so there is none to repeat.")
    return trials[number]


def _changes(previous: RecordedRun) -> Iterator[str]:
    """Say what differs from where the run was made; figures may then differ too."""
    for name, then in previous.description.get("versions", {}).items():
        known = name in RECORDED_VERSIONS
        now = importlib.metadata.version(name) if known else platform.python_version()
        if now != then:
            yield f"{name} is {now} here, the run was made with {then}: figures may differ"
    then = previous.description.get("machine", {}).get("processor")
    if then and then != platform.machine():
        yield f"this is a {platform.machine()}, the run was made on a {then}: figures may differ"


def _differences(records: list[EpochRecord], metrics: Metrics) -> list[Difference]:
    """Return the figures of the first epoch that differs."""
    for record in records:
        now = metrics.get(record.epoch, {})
        differences = [
            Difference(record.epoch, name, record.metrics.get(name), now.get(name))
            for name in {**record.metrics, **now}
            if record.metrics.get(name) != now.get(name)
        ]
        if differences:
            return differences
    return []
