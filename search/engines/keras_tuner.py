"""The keras-tuner engine: runs a tuner of keras-tuner in this process, and writes a run folder.

It does not modify keras-tuner, but records the search through the tuner's public hooks.
"""

import contextlib
import io
import sys
import time
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import Decision, ScoreKind, State
from results.record.history import EpochRecord, divergence, has_diverged
from search.errors import ObjectiveError, objective_not_reported
from search.plan.directions import VALIDATION
from search.plan.plan import Plan, Problem, Tuner
from search.session.session import DeferredSession, Session
from search.session.stopping import Stopping
from search.session.warm_start import user_values
from search.space import mirror
from search.storage import scratch
from search.worker import process
from search.worker.data import Data, load_data
from search.worker.single_trial import with_gaps
from search.worker.task import Task


class _StopSearch(kt.errors.FatalError):
    """An error that stops keras-tuner's search, which suppresses errors of other classes."""


@dataclass(frozen=True)
class KerasTunerEngine:
    """An engine that runs keras-tuner's own search in this process, one trial after the other."""

    plan: Plan
    stored: None = None

    def data_digest(self) -> str:
        return ""  # this engine cannot resume a run

    def data_parts(self) -> tuple[()]:
        return ()  # they do not travel

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        problem = self.plan.problem
        data = load_data(problem, needs_test=bool(self.plan.retrain_epochs))
        assert problem.hypermodel is not None
        space = process.discover(problem.hypermodel)
        if self.plan.tuner is Tuner.GRID:
            mirror.check_grid(space)
        session = deferred.open(space)
        with scratch.temporary("keras-tuner-") as folder:
            tuner = _tuner_class(self.plan.tuner)(
                hypermodel=process.load_hypermodel(Task.of(problem).hypermodel),
                objective=kt.Objective(problem.objective.name, problem.objective.mode),
                directory=str(folder),
                project_name="search",
                **_arguments(self.plan),
            )
            tuner.oracle.objective = with_gaps(tuner.oracle.objective)
            tuner.attach(self.plan, session, stopping)
            _search(tuner, problem, data, stopping)


def _search(tuner: Any, problem: Problem, data: Data, stopping: Stopping) -> None:
    early_stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=problem.patience)
    callbacks = [early_stopping] if problem.patience else []
    arguments = data.arguments(epochs=problem.epochs, callbacks=callbacks, verbose=0)
    try:
        # keras-tuner prints the traceback of every failed trial: the journal records it.
        with contextlib.redirect_stderr(io.StringIO()):
            tuner.search(*arguments.args, **arguments.kwargs)
    except _StopSearch:
        pass
    except KeyboardInterrupt:
        stopping.interrupt()


def _arguments(plan: Plan) -> dict[str, Any]:
    common: dict[str, Any] = {
        # keras-tuner treats a seed of 0 as no seed.
        "seed": plan.problem.seed + 1,
        # Otherwise keras-tuner ends the search after three consecutive failures or NaN scores.
        "max_consecutive_failed_trials": sys.maxsize,
    }
    if plan.tuner is Tuner.HYPERBAND:
        factor = round(plan.reduction_factor)
        return common | {"max_epochs": plan.problem.epochs, "factor": factor}
    return common | {"max_trials": plan.trials}


class _RecordingMixin:
    """A mixin for tuners of keras-tuner that records what their hooks report."""

    def attach(self, plan: Plan, session: Session, stopping: Stopping) -> None:
        self._plan = plan
        self._session = session
        self._recorder = session.recorder
        self._stopping = stopping
        self._trial = -1
        self._ends_early = False
        self._divergence: str | None = None
        self._started_at = time.perf_counter()

    def on_trial_begin(self, trial: Any) -> None:
        super().on_trial_begin(trial)  # type: ignore[misc]
        # Hyperband decides the number of its trials; --trials limits it.
        all_started = self._plan.trials is not None and self._trial + 1 >= self._plan.trials
        if all_started or self._stopping.reason:
            raise _StopSearch
        self._trial += 1
        self._ends_early, self._divergence = False, None
        keras.utils.set_random_seed(process.trial_seed(self._plan.problem.seed, self._trial))
        self._recorder.trial_started(self._trial, user_values(trial.hyperparameters.values))

    def on_epoch_begin(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(trial, model, epoch, logs)  # type: ignore[misc]
        self._started_at = time.perf_counter()

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(trial, model, epoch, logs)  # type: ignore[misc]
        epoch_seconds = round(time.perf_counter() - self._started_at, 6)
        metrics = process.json_values(logs or {})
        name = self._plan.problem.objective.name
        trial_so_far = self._recorder.history.trials[self._trial]
        is_validated = any(metric.startswith(VALIDATION) for metric in metrics)
        may_come = name.startswith(VALIDATION) and not is_validated
        if name not in metrics and trial_so_far.best_epoch is None and not may_come:
            self._fail_without_objective(metrics)
            raise _StopSearch
        if self._plan.problem.objective.is_better(
            metrics.get(name), _value(trial_so_far.best_epoch)
        ):
            model.save_weights(self._session.folder.best_weights_file(self._trial), overwrite=True)
        report = {"epoch": epoch + 1, "epoch_seconds": epoch_seconds, "metrics": metrics}
        if not trial_so_far.epochs:
            report["values"] = user_values(trial.hyperparameters.values)
        self._recorder.epoch(
            self._trial, report, decision=Decision.CONTINUE, worker=process.worker_name()
        )
        self._session.view.tick()
        self._ends_early = bool(model.stop_training)
        if has_diverged(metrics, self._plan.problem.objective):
            self._divergence = divergence(metrics, self._plan.problem.objective, epoch + 1)
        if self._stopping.reason:
            raise _StopSearch

    def on_trial_end(self, trial: Any) -> None:
        if trial.status == "COMPLETED":
            state = State.EARLY_STOPPED if self._ends_early else State.COMPLETED
            if self._divergence is None:
                self._recorder.trial_ended(self._trial, state, **self._returned_score(trial))
            else:
                self._recorder.trial_ended(self._trial, State.DIVERGED, error=self._divergence)
        else:
            traceback = (trial.message or "").strip()
            error = traceback.splitlines()[-1] if traceback else "no message"
            self._recorder.trial_ended(self._trial, State.FAILED, error=error, traceback=traceback)
            self._check_objective()
        super().on_trial_end(trial)  # type: ignore[misc]
        self._stopping.check_failures()
        if self._stopping.reason:
            raise _StopSearch

    def _check_objective(self) -> None:
        """End the search if a trial has failed whose epochs all lack the objective."""
        metrics = {
            name: value
            for epoch in self._recorder.history.trials[self._trial].epochs
            for name, value in epoch.metrics.items()
        }
        if metrics and self._plan.problem.objective.name not in metrics:
            self._fail_without_objective(metrics)

    def _fail_without_objective(self, metrics: dict[str, Any]) -> None:
        name = self._plan.problem.objective.name
        self._stopping.fail(ObjectiveError(objective_not_reported(name, metrics)))

    def _returned_score(self, trial: Any) -> dict[str, Any]:
        """Return the score of a trial whose ``fit`` returned another than the best epoch's."""
        name = self._plan.problem.objective.name
        score = trial.metrics.get_best_value(name)
        best_epoch = self._recorder.history.trials[self._trial].best_epoch
        if best_epoch is not None and score == best_epoch.objective:
            return {}
        histories = trial.metrics.metrics
        metrics = {metric: history.get_best_value() for metric, history in histories.items()}
        return {
            "score": process.json_values({name: score})[name],
            "best_step": trial.metrics.get_best_step(name),
            "metrics": process.json_values(metrics),
            "score_kind": ScoreKind.RETURNED,
        }


def _value(epoch: EpochRecord | None) -> float | None:
    return epoch.objective if epoch else None


def _tuner_class(tuner: Tuner | None) -> Any:
    assert tuner is not None
    base_class = {
        Tuner.HYPERBAND: kt.Hyperband,
        Tuner.BAYESIAN: kt.BayesianOptimization,
        Tuner.RANDOM: kt.RandomSearch,
        Tuner.GRID: kt.GridSearch,
    }[tuner]
    return type(f"Recorded{base_class.__name__}", (_RecordingMixin, base_class), {})
