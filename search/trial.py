"""One trial, as keras-tuner runs it: build, then ``hypermodel.fit`` with a reporter last.

Imports Keras: for workers only.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import tensorflow as tf

from results.columns import State
from search import mirror, worker
from search.data import Data
from search.errors import ObjectiveError, SearchError, nearest, one_line
from search.history import has_diverged
from search.plan import Problem
from search.space import Values

# Called with each epoch's report; returns whether the trial may go on.
Report = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended, as the trial itself saw it.

    Attributes:
        state: The named end.
        error: ``ErrorType: message`` of a failed trial.
        traceback: Its traceback.
        is_fatal: Whether no other trial could do better, so that the search must end.
    """

    state: State
    error: str | None = None
    traceback: str | None = None
    is_fatal: bool = False

    @classmethod
    def of_a_problem(cls, error: SearchError) -> "TrialEnd":
        """Return the end of a trial that shows that no trial can succeed."""
        trace = "".join(traceback.format_exception(error))
        return cls(State.FAILED, error=str(error), traceback=trace, is_fatal=True)


def run_trial(
    problem: Problem,
    data: Data,
    *,
    trial: int,
    values: Values,
    report: Report,
    weights_file: Path | None,
) -> TrialEnd:
    """Build and fit one configuration, reporting every epoch.

    Args:
        problem: Names of model and data, objective, epochs and patience.
        data: The splits; the test split is not touched.
        trial: Number of the trial; with the run's seed it decides every random number.
        values: The configuration.
        report: Called after each epoch with its metrics, the first time also with the values and
            parameters that build and fit asked for; False ends the trial.
        weights_file: Where the weights of the best epoch are kept; None keeps none.

    Returns:
        How it ended. An error of the user's code is a result, not raised.
    """
    try:
        hypermodel = worker.hypermodel(problem.hypermodel)
        worker.start_trial(worker.trial_seed(problem.seed, trial))
        hp = mirror.prepared(hypermodel, values)
        reporter = Reporter(problem, hp, report, weights_file)
        model = hypermodel.build(hp)
        mirror.check_model(model)
        early_stopping = _early_stopping(problem.patience)
        hypermodel.fit(
            hp,
            model,
            *data.train,
            epochs=problem.epochs,
            validation_data=data.validation,
            callbacks=[*early_stopping, reporter],
            verbose=0,
        )
        if reporter.epochs == 0:
            raise ObjectiveError("HyperModel.fit trained no epoch: expected it to call model.fit.")
    except Exception as error:
        return _failed(error)
    if reporter.has_diverged:
        return TrialEnd(State.DIVERGED)
    if reporter.was_stopped:
        return TrialEnd(State.STOPPED)
    if any(callback.stopped_epoch > 0 for callback in early_stopping):
        return TrialEnd(State.EARLY_STOPPED)
    return TrialEnd(State.COMPLETED)


class Reporter(keras.callbacks.Callback):
    """Reports each epoch and keeps the weights of the best one; last in the list of callbacks."""

    def __init__(
        self,
        problem: Problem,
        hp: kt.HyperParameters,
        report: Report,
        weights_file: Path | None,
    ) -> None:
        super().__init__()
        self.epochs = 0
        self.was_stopped = False
        self.has_diverged = False
        self._hp = hp
        self._objective = problem.objective
        self._report = report
        self._weights_file = weights_file
        self._best: float | None = None
        self._started_at = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started_at = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        epoch_seconds = time.perf_counter() - self._started_at
        metrics = worker.plain(logs or {})
        if self._objective.name not in metrics:
            raise ObjectiveError(
                f"--objective {self._objective.name!r} is reported by no epoch: expected one of "
                f"{', '.join(sorted(metrics))}.{nearest(self._objective.name, metrics)}"
            )
        self.has_diverged = has_diverged(metrics, self._objective)
        report: dict[str, Any] = {
            "epoch": epoch + 1,
            "epoch_seconds": round(epoch_seconds, 6),
            # A diverged trial ends by itself: no value for the scheduler to judge it by.
            "objective": None if self.has_diverged else metrics[self._objective.name],
            "metrics": metrics,
        }
        if self.epochs == 0:
            report["values"] = mirror.used_values(self._hp)
            report["space"] = mirror.mirror(self._hp.space).to_json()
        self.epochs += 1
        self._keep_if_best(metrics[self._objective.name])
        may_go_on = self._report(report)
        self.was_stopped = not may_go_on
        if self.was_stopped or self.has_diverged:
            # fit returns by itself, so that on_train_end and what follows fit still run.
            self.model.stop_training = True

    def _keep_if_best(self, value: float | None) -> None:
        if not self._objective.is_better(value, self._best):
            return
        self._best = value
        if self._weights_file is not None:
            fresh = self._weights_file.with_name(f".fresh-{self._weights_file.name}")
            self.model.save_weights(fresh, overwrite=True)
            fresh.replace(self._weights_file)


def _early_stopping(patience: int) -> list[keras.callbacks.EarlyStopping]:
    if patience == 0:
        return []
    return [keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience)]


def _failed(error: Exception) -> TrialEnd:
    if isinstance(error, ObjectiveError):
        return TrialEnd.of_a_problem(error)
    is_out_of_memory = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    return TrialEnd(
        State.OUT_OF_MEMORY if is_out_of_memory else State.FAILED,
        error=one_line(error),
        traceback=traceback.format_exc(),
    )
