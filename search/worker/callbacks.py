"""Callbacks: the one by which a trial is watched, paths of its own, what retraining remembers.

Imports Keras: for workers only.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from results.record.history import Objective, divergence, has_diverged
from search.errors import objective_not_reported
from search.space import mirror
from search.worker import process
from search.worker.fast import PathTaken
from search.worker.laps import KEEP, LAPS, REPORT, TRAIN, VALIDATE
from search.worker.weights import BestWeights

# The attribute that holds the file a callback writes.
FILE_ATTRIBUTES = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
}
# Called with each epoch's report; returns whether the trial may go on.
Report = Callable[[dict[str, Any]], bool]


class ObjectiveMissing(kt.errors.FatalError):
    """Nothing reports the objective: passed on by keras-tuner, as no trial can do better."""


class TrialStops(BaseException):
    """Leaves a ``fit`` that trains on after it was told to stop."""


class HyperparameterTracker:
    """What a trial's builds and fits have asked for, as far as it was not reported yet."""

    def __init__(self) -> None:
        self._seen: tuple[int, dict[str, Any]] | None = None

    def changes(self, hp: kt.HyperParameters) -> dict[str, Any]:
        """Return the values and the parameters, as JSON values, where there are new ones."""
        seen = len(hp.space), dict(hp.values)
        if seen == self._seen:
            return {}
        self._seen = seen
        return {"values": mirror.used_values(hp), "space": mirror.mirror_space(hp.space).to_json()}


class Reporter(keras.callbacks.Callback):
    """Reports each epoch; last in the list of callbacks.

    Args:
        hp: What build and fit ask.
        weights: Offered the model after each epoch.
        asked: What the trial has reported of ``hp``.
        execution: Number of the training among those of the trial.
        last_epoch: Epochs after which this training ends; None: as it decides itself.
        may_lack_objective: Whether an epoch need not report the objective, since the fit of the
            user's own may return it.
        path: Tells how the training runs.
    """

    def __init__(
        self,
        objective: Objective,
        hp: kt.HyperParameters,
        report: Report,
        weights: BestWeights,
        asked: HyperparameterTracker,
        *,
        execution: int,
        last_epoch: int | None,
        may_lack_objective: bool,
        path: Callable[[], PathTaken],
    ) -> None:
        super().__init__()
        self.epochs = 0
        self.best: dict[str, Any] = {}
        self.was_stopped = False
        self.divergence: str | None = None
        self._objective = objective
        self._hp = hp
        self._report = report
        self._weights = weights
        self._tracker = asked
        self._execution = execution
        self._last_epoch = last_epoch
        self._may_lack_objective = may_lack_objective
        self._path = path
        self._reported_path: PathTaken | None = None
        self._is_validated = False
        self._may_go_on = True
        self._started_at = time.perf_counter()

    @property
    def has_diverged(self) -> bool:
        """Whether an epoch's loss or objective was no finite number."""
        return self.divergence is not None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._weights.resume_from(self.best.get(self._objective.name))
        self._started_at = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        LAPS.lap(TRAIN)
        self._is_validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._may_go_on:
            raise TrialStops
        epoch_seconds = time.perf_counter() - self._started_at
        LAPS.lap(VALIDATE if self._is_validated else TRAIN)
        self._is_validated = False
        metrics = self._completed(process.plain(logs or {}))
        if has_diverged(metrics, self._objective):
            self.divergence = divergence(metrics, self._objective, epoch + 1)
        report: dict[str, Any] = {
            "epoch": epoch + 1,
            "epoch_seconds": round(epoch_seconds, 6),
            # A diverged trial ends by itself: no value for the scheduler to judge it by.
            "objective": None if self.has_diverged else metrics.get(self._objective.name),
            "metrics": metrics,
        }
        if self._execution > 0:
            report["execution"] = self._execution
        report |= self._tracker.changes(self._hp) | self._path_news()
        self.epochs += 1
        if self._objective.is_better(report["objective"], self.best.get(self._objective.name)):
            self.best = metrics
        self._weights.offer(self.model, metrics)
        LAPS.lap(KEEP)
        self.was_stopped = not self._report(report | {"laps": LAPS.take()})
        LAPS.lap(REPORT)
        is_last = self._last_epoch is not None and self.epochs >= self._last_epoch
        self._may_go_on = not (self.was_stopped or self.has_diverged or is_last)
        if not self._may_go_on and self.model is not None:
            # fit returns by itself, so that on_train_end and what follows fit still run.
            self.model.stop_training = True
        self._started_at = time.perf_counter()  # a loop of the user's own may not say it begins

    def _path_news(self) -> dict[str, Any]:
        path = self._path()
        if path == self._reported_path:
            return {}
        self._reported_path = path
        return {"path": asdict(path)}

    def _completed(self, metrics: dict[str, Any]) -> dict[str, Any]:
        missing = missing_objectives(self._objective, metrics)
        if missing and not self._may_lack_objective:
            raise ObjectiveMissing(objective_not_reported(missing[0], metrics))
        if self._objective.parts and not missing:
            metrics[self._objective.name] = sum_parts(self._objective, metrics)
        return metrics


def missing_objectives(objective: Objective, reported: Iterable[str]) -> list[str]:
    """Return the names of the objective, or its parts, that are not among those reported."""
    known = set(reported)
    return [part.name for part in objective.parts or (objective,) if part.name not in known]


def sum_parts(objective: Objective, metrics: Mapping[str, float | None]) -> float | None:
    """Return the sum of an objective's parts, those to maximize subtracted.

    Source: keras-tuner 1.4.8, ``MultiObjective``.
    """
    total = 0.0
    for part in objective.parts:
        value = metrics[part.name]
        if value is None:
            return None
        total += value if part.mode == "min" else -value
    return total


def use_trial_paths(
    callbacks: Iterable[keras.callbacks.Callback], trial: str, execution: int
) -> None:
    """Move what callbacks write into a folder of the trial, as keras-tuner does for TensorBoard.

    ``models/best.keras`` becomes ``models/0003/execution0/best.keras``.
    """
    for callback in callbacks:
        for kind, attribute in FILE_ATTRIBUTES.items():
            if isinstance(callback, kind):
                shared = Path(str(getattr(callback, attribute)))
                own = shared.parent / trial / f"execution{execution}" / shared.name
                own.parent.mkdir(parents=True, exist_ok=True)
                setattr(callback, attribute, str(own))


class Rows(keras.callbacks.Callback):
    """Keeps the metrics of each epoch, and goes on with them where a training goes on.

    ``report`` is called with the number of each finished epoch, from 1.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.rows: list[dict[str, float | None]] = []
        self._report = report

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append(process.plain(logs or {}))
        self._report(epoch + 1)
