"""Callbacks that report a trial and record a retraining, and file paths per trial.

A checkpoint names callbacks by class and stores their plain attributes: renaming the classes or
those attributes here makes older checkpoints incomplete. Imports Keras: for workers only.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import ScoreKind
from results.record.history import Objective, divergence, has_diverged
from search.errors import objective_not_reported
from search.plan.directions import VALIDATION
from search.space import mirror
from search.worker import process
from search.worker.fast import PathTaken
from search.worker.laps import KEEP, LAPS, REPORT, TRAIN, VALIDATE
from search.worker.weights import BestWeights

# The attribute with the path of the file that a callback writes.
FILE_ATTRIBUTES = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
}
# Called with each epoch's report; returns whether the trial may continue.
Report = Callable[[dict[str, Any]], bool]


class ObjectiveMissing(kt.errors.FatalError):
    """No epoch reports the objective. Fatal, as this holds for every trial."""


class TrialStops(BaseException):
    """Leaves a ``fit`` that trains on although it was stopped."""


class HyperparameterTracker:
    """Tracks which hyperparameters of a trial have been reported."""

    def __init__(self) -> None:
        self._reported: tuple[int, dict[str, Any]] | None = None

    def changes(self, hp: kt.HyperParameters) -> dict[str, Any]:
        """Return values and space as JSON values if they have changed, else an empty dict."""
        current = len(hp.space), dict(hp.values)
        if current == self._reported:
            return {}
        self._reported = current
        return {"values": mirror.used_values(hp), "space": mirror.mirror_space(hp.space).to_json()}


class Reporter(keras.callbacks.Callback):
    """Reports each epoch of an execution; last in the list of callbacks.

    An execution whose ``fit`` trains several models, such as those of a cross-validation, has
    several trainings: one begins where the number of the epoch does not grow. The scheduler judges
    the first training only.

    Args:
        objective: What the search optimizes.
        hp: The hyperparameters that build and fit use.
        report: Called with each epoch's report.
        weights: Saves the model after each epoch that is the best so far.
        tracker: Tells which hyperparameters are new.
        execution: Number of its first training among the trainings of the trial, from 0.
        last_epoch: Maximum number of epochs of each training; None if ``fit`` decides.
        may_lack_objective: Whether all epochs may lack the objective, because the user's own
            ``fit`` may return it, or a callback of the user may report it later.
        score_kind: What the score of the trial will be, as far as it is known.
        path: Returns how the training runs.
        first_validation: Returns the first epoch, from 1, that is validated.

    Attributes:
        training: Number of the current training among the trainings of the trial, from 0.
        epochs: Number of epochs that the current training has reported.
        best: Metrics of the best epoch of the first training.
        best_is_newest: Whether the last epoch that the first training has reported is as good.
        is_fitting: Whether a ``fit`` of Keras that calls this callback is running.
    """

    def __init__(
        self,
        objective: Objective,
        hp: kt.HyperParameters,
        report: Report,
        weights: BestWeights,
        tracker: HyperparameterTracker,
        *,
        execution: int,
        last_epoch: int | None,
        may_lack_objective: bool,
        score_kind: ScoreKind = ScoreKind.EPOCHS,
        path: Callable[[], PathTaken],
        first_validation: Callable[[], int] = lambda: 1,
    ) -> None:
        super().__init__()
        self.training = self._first_training = execution
        self.is_fitting = False
        self.epochs = 0
        self.best: dict[str, Any] = {}
        self.best_is_newest = False
        self.was_stopped = False
        self.divergence: str | None = None
        self._objective = objective
        self._hp = hp
        self._report = report
        self._weights = weights
        self._tracker = tracker
        self._execution = execution
        self._last_epoch = last_epoch
        self._may_lack_objective = may_lack_objective
        self._score_kind: ScoreKind | None = score_kind
        self._newest_epoch = -1
        self._begun_epoch: int | None = None
        self._path = path
        self._first_validation = first_validation
        self._reported_path: PathTaken | None = None
        self._is_validated = False
        self._may_go_on = True
        self._started_at = time.perf_counter()

    @property
    def has_diverged(self) -> bool:
        """Whether the loss or objective of an epoch was not finite."""
        return self.divergence is not None

    @property
    def has_several_trainings(self) -> bool:
        """Whether the execution has trained more than once."""
        return self.training > self._first_training

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.is_fitting = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.is_fitting = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._begin_epoch(epoch)
        self._weights.resume_from(self.best.get(self._objective.name))
        self._started_at = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        LAPS.lap(TRAIN)
        self._is_validated = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._begun_epoch != epoch:  # a custom loop may not call on_epoch_begin
            self._begin_epoch(epoch)
        self._begun_epoch = None
        epoch_seconds = time.perf_counter() - self._started_at
        LAPS.lap(VALIDATE if self._is_validated else TRAIN)
        self._is_validated = False
        metrics = self._with_objective(process.json_values(logs or {}), epoch + 1)
        if has_diverged(metrics, self._objective):
            self.divergence = divergence(metrics, self._objective, epoch + 1)
        report: dict[str, Any] = {
            "epoch": epoch + 1,
            "epoch_seconds": round(epoch_seconds, 6),
            # A diverged trial ends by itself; the scheduler must not judge it.
            "objective": None if self.has_diverged else metrics.get(self._objective.name),
            "metrics": metrics,
        }
        if self.training > 0:
            report["execution"] = self.training
        report |= self._tracker.changes(self._hp) | self._kind_once() | self._path_change()
        self.epochs += 1
        self._note_best(report["objective"], metrics)
        self._weights.offer(self.model, metrics)
        LAPS.lap(KEEP)
        self.was_stopped = not self._report(report | {"laps": LAPS.take()})
        LAPS.lap(REPORT)
        is_last = self._last_epoch is not None and self.epochs >= self._last_epoch
        self._may_go_on = not (self.was_stopped or self.has_diverged or is_last)
        if not self._may_go_on and self.model is not None:
            # fit returns normally, so that on_train_end and the code after fit still run.
            self.model.stop_training = True
        self._started_at = time.perf_counter()

    def _begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, and a training if the number of the epoch does not grow.

        Raises:
            TrialStops: The trial may train no further epoch.
        """
        if epoch <= self._newest_epoch:
            self._may_go_on = not (self.was_stopped or self.has_diverged)
            self.training += 1
            self.epochs = 0
        if not self._may_go_on:
            raise TrialStops
        self._newest_epoch = self._begun_epoch = epoch

    def _note_best(self, value: float | None, metrics: dict[str, Any]) -> None:
        if self.has_several_trainings:
            return
        name = self._objective.name
        if self._objective.is_better(value, self.best.get(name)):
            self.best = metrics
        self.best_is_newest = value is not None and value == self.best.get(name)

    def _kind_once(self) -> dict[str, Any]:
        """Return the kind of the score for the first report of the trial."""
        kind, self._score_kind = self._score_kind, None
        return {} if kind is None or self.training > 0 else {"score_kind": kind}

    def _path_change(self) -> dict[str, Any]:
        path = self._path()
        if path == self._reported_path:
            return {}
        self._reported_path = path
        return {"path": asdict(path)}

    def _with_objective(self, metrics: dict[str, Any], epoch: int) -> dict[str, Any]:
        """Add an objective that is a sum to the metrics of an epoch, if they have all its parts.

        Raises:
            ObjectiveMissing: No later epoch will report the objective either.
        """
        missing = missing_objectives(self._objective, metrics)
        if missing and not self.best and not self._may_come(missing[0], epoch):
            raise ObjectiveMissing(objective_not_reported(missing[0], metrics))
        if self._objective.parts and not missing:
            metrics[self._objective.name] = sum_parts(self._objective, metrics)
        return metrics

    def _may_come(self, name: str, epoch: int) -> bool:
        """Tell whether a later epoch may report a metric that this one lacks."""
        is_before = name.startswith(VALIDATION) and epoch < self._first_validation()
        return is_before or self._may_lack_objective


def may_report(callback: keras.callbacks.Callback) -> bool:
    """Tell whether a callback may add metrics to those of an epoch: whether it runs user code."""
    function = getattr(callback.on_epoch_end, "__func__", callback.on_epoch_end)
    return not str(getattr(function, "__module__", "")).startswith("keras.")


def missing_objectives(objective: Objective, reported: Iterable[str]) -> list[str]:
    """Return the names of the objective, or of its parts, that are not among ``reported``."""
    names = set(reported)
    return [part.name for part in objective.parts or (objective,) if part.name not in names]


def sum_parts(objective: Objective, metrics: Mapping[str, float | None]) -> float | None:
    """Return the sum of an objective's parts; parts to maximize are subtracted.

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
    """Make callbacks write into a folder of the trial, as keras-tuner does for TensorBoard.

    ``models/best.keras`` becomes ``models/0003/execution0/best.keras``.
    """
    for callback in callbacks:
        for callback_class, attribute in FILE_ATTRIBUTES.items():
            if isinstance(callback, callback_class):
                path = Path(str(getattr(callback, attribute)))
                trial_path = path.parent / trial / f"execution{execution}" / path.name
                trial_path.parent.mkdir(parents=True, exist_ok=True)
                setattr(callback, attribute, str(trial_path))


class Rows(keras.callbacks.Callback):
    """Records the metrics of each epoch; a checkpoint includes them.

    Args:
        report: Called with the number of each finished epoch, from 1.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.rows: list[dict[str, float | None]] = []
        self._report = report

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append(process.json_values(logs or {}))
        self._report(epoch + 1)
