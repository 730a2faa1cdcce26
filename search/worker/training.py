"""Guides a tuner through one trial: seeded, reported and stoppable. Imports Keras."""

from collections.abc import Callable
from typing import Any

import keras
import keras_tuner as kt

from results.record.columns import ScoreKind, State, Values
from search.carry import arguments
from search.carry.carried import FitArguments
from search.errors import UsageError, objective_not_reported, one_line, traceback_of
from search.space import mirror
from search.space.parameters import PARENT_TRIAL, Space
from search.storage.folder import RunFolder
from search.worker import fast, process, script
from search.worker.callbacks import (
    HyperparameterTracker,
    ObjectiveMissing,
    Report,
    Reporter,
    TrialStops,
    may_report,
    missing_objectives,
    use_trial_paths,
)
from search.worker.checkpoint import Checkpoints
from search.worker.data import Data
from search.worker.laps import BUILD, LAPS, RESET
from search.worker.own_trainings import OwnTrainings
from search.worker.returned import ReturnedAttributes
from search.worker.score import Execution, expected_kind, shown_kind
from search.worker.single_trial import TUNER_ID, SingleTrialOracle
from search.worker.task import Task
from search.worker.trial_end import TrialEnd, failed_end
from search.worker.tuner import TrialTuner, hook_callbacks, overrides
from search.worker.weights import BestWeights, load_best_weights

# The values by which keras-tuner's Hyperband sets the epochs of a trial.
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"


class TrialTraining:
    """Guides a tuner through one trial: seeded, reported and stoppable.

    Attributes:
        tuner: The tuner that trains the trial.
        returned: The attributes that the trial returns.
    """

    def __init__(
        self,
        task: Task,
        stored: Data | FitArguments,
        *,
        trial: int,
        values: Values,
        report: Report,
        folder: RunFolder | None,
        space: Space | None,
        retries: int,
        tuner: TrialTuner,
        scratch: str,
    ) -> None:
        self.tuner = tuner
        tuner._guide = self
        tuner.oracle = self._oracle = SingleTrialOracle(task, space or Space(()), retries, scratch)
        self._task = task
        self._stored = stored
        self._space = space
        self._tracker = HyperparameterTracker()
        self._number = trial
        self._trial_id = f"{trial:0{task.trial_digits}d}"
        self._values = values
        self._report = report
        self._folder = folder
        self._expected_kind = expected_kind(task, tuner)
        self._attempt = retries
        self._trial: Any = None
        self.returned = ReturnedAttributes(tuner.hypermodel, tuner)
        self._begin_attempt()

    # --- The trial ---

    def run(self) -> None:
        """Run the trial, again after each failure that may be retried.

        Raises:
            TrialStops: The trial was stopped, and did not end by itself.
            keras_tuner.errors.FatalError: The user's code raised it.
        """
        trial = self._oracle.begin(self._trial_id, self._values)
        while trial.status == "RUNNING":
            if self._trial is not None:
                error = one_line(self._error) if self._error else "its score is not finite"
                self._attempt += 1
                self._begin_attempt()
                self._report({"retry": error})
            self._trial = trial
            trial.metrics = type(trial.metrics)()  # without those of a failed attempt
            # New hyperparameters: keras-tuner drops a value whose name is also in an inactive
            # scope.
            trial.hyperparameters = mirror.prepare_hyperparameters(
                self.tuner.hypermodel, self._values, self._task.registered
            )
            self._attempt_trial(trial)
            self._oracle.end_trial(trial)
            trial = self._oracle.create_trial(TUNER_ID)

    def _attempt_trial(self, trial: Any) -> None:
        process.reset_session(self._seed(0))
        # Opened after seeding, so that the seed also determines the order of shuffled data.
        self._arguments = self._open_arguments(execution=0)
        with self._own.reporting_fits(self._install):
            self.tuner._try_run_and_update_trial(
                trial, *self._arguments.args, **self._arguments.kwargs
            )

    def _begin_attempt(self) -> None:
        self.returned.begin_attempt()
        self._weights = BestWeights(self._task.objective, self._folder, self._number)
        self._own = OwnTrainings(
            lambda: self._make_reporter(self._trial), overrides(type(self.tuner), "run_trial")
        )
        self._arguments = FitArguments((), {})
        self._executions: list[Execution] = []
        self._reporters: list[Reporter] = []
        self._builds = 0
        self._fit: fast.Fit | None = None
        self._model: keras.Model | None = None
        self._early_stopping: list[keras.callbacks.EarlyStopping] = []
        self._has_own_callbacks = False
        self._error: Exception | None = None
        self._traceback: str | None = None

    def note_error(self, error: Exception) -> None:
        """Keep the error of a failed attempt."""
        self._error, self._traceback = error, traceback_of(error)

    # --- Models ---

    def build(self, build: Callable[[], Any], hp: kt.HyperParameters) -> Any:
        """Build a model, and prepare it for training."""
        # Set here, since keras-tuner clears the session and its dtype policy before each build.
        script.apply_settings(self._task.script)
        LAPS.lap(RESET)
        self._model = model = build()
        parent_trial = self._values.get(PARENT_TRIAL)  # Hyperband continues from its weights
        if parent_trial is not None and self._folder is not None:
            load_best_weights(model, self._folder, int(parent_trial))
        if isinstance(model, keras.Model):
            self._install(model, len(self._executions), self._checkpoints())
        self._builds += 1
        LAPS.lap(BUILD)
        return model

    def load_model(self, build: Callable[[], Any], trial_id: str) -> Any:
        """Build a model that is not for training, with the weights of a trial's best epoch.

        Raises:
            UsageError: Trials keep no weights.
        """
        if self._folder is None:
            raise UsageError(f"trial {trial_id} has no model to load: trials keep no weights here.")
        self.tuner._guide = None
        try:
            model = build()
        finally:
            self.tuner._guide = self
        load_best_weights(model, self._folder, int(trial_id))
        return model

    def _install(
        self, model: keras.Model, training: int, checkpoints: Checkpoints | None = None
    ) -> None:
        """Let a model take the fast path; ``training`` is its number among those of the trial."""
        self._fit = fast.install(
            model,
            seed=self._seed(training),
            fast=self._task.fast_epoch,
            checkpoints=checkpoints,
            complete=self._own.complete,
        )

    def _seed(self, execution: int) -> int:
        repeat = (self._attempt, execution) if self._attempt or execution else ()
        return process.trial_seed(self._task.seed, self._number, *repeat)

    def _checkpoints(self) -> Checkpoints | None:
        """Return the checkpoints of a training; None if a trial has several models."""
        if self._folder is None or self.tuner.executions_per_trial > 1:
            return None
        checkpoints = Checkpoints(
            self._folder.state_file(self._number),
            self._folder.best_weights_file(self._number),
            seed=self._seed(0),  # a retry is another training
            every_seconds=self._task.checkpoint_seconds,
            on_change=self._folder.checkpoint_changed,
        )
        if self._builds:  # a state does not tell its model: a continued trial must start over
            checkpoints.remove()
            return None
        return checkpoints

    # --- Executions ---

    def train(self, trial: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Train all executions of the trial; return what each ``fit`` returned."""
        return [self._execute(trial, args, kwargs) for _ in range(self.tuner.executions_per_trial)]

    def _execute(self, trial: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        execution, self._fit = len(self._executions), None
        if execution > 0:
            process.reset_session(self._seed(execution))
            args, kwargs = self._opened_again(args, kwargs, execution)
        kwargs = dict(kwargs)
        if EPOCHS in self._values:
            kwargs |= {
                "epochs": self._values[EPOCHS],
                "initial_epoch": self._values[INITIAL_EPOCH],
            }
        callbacks = [
            *self._trial_callbacks(kwargs.pop("callbacks", None) or [], execution),
            *hook_callbacks(self.tuner, trial),
        ]
        self._has_own_callbacks = any(map(may_report, callbacks))
        reporter = self._make_reporter(trial)
        callbacks.append(reporter)
        was_cut = False
        try:
            result = self.tuner._build_and_fit_model(trial, *args, callbacks=callbacks, **kwargs)
        except TrialStops:  # a custom training loop did not stop by itself
            if not reporter.best:
                raise
            result, was_cut = reporter.best, True
        is_history = isinstance(result, keras.callbacks.History)
        self._executions.append(Execution(is_history, was_cut))
        self._check_result(result, reporter)
        return result

    def _open_arguments(self, execution: int) -> FitArguments:
        """Open the arguments of ``search``; their callbacks write into folders of this trial.

        Callbacks that ``run_trial`` makes are left alone: it knows the trial.
        """
        opened = _fit_arguments(self._task, self._stored)
        callbacks = keras.tree.flatten(opened.kwargs.get("callbacks"))
        use_trial_paths(callbacks, self._trial_id, execution)
        return opened

    def _opened_again(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Replace each argument of ``search`` by a fresh copy; keep those that the user changed."""
        opened = self._arguments
        self._arguments = fresh = self._open_arguments(execution)
        copies = list(zip(opened.args, fresh.args, strict=True))
        copies += [(value, fresh.kwargs[name]) for name, value in opened.kwargs.items()]

        def replaced(value: Any) -> Any:
            return next((copy for original, copy in copies if original is value), value)

        return tuple(map(replaced, args)), {name: replaced(kwargs[name]) for name in kwargs}

    def _make_reporter(self, trial: Any) -> Reporter:
        first = self._reporters[0] if self._reporters else None
        # The scheduler judges the first execution; the others train as many epochs.
        was_stopped = first is not None and first.was_stopped
        reporter = Reporter(
            self._task.objective,
            trial.hyperparameters,
            self._report_epoch,
            self._weights,
            self._tracker,
            execution=self._reporters[-1].training + 1 if self._reporters else 0,
            last_epoch=first.epochs if first and was_stopped else self._task.epochs,
            may_lack_objective=self._expected_kind is ScoreKind.UNKNOWN or self._has_own_callbacks,
            score_kind=self._expected_kind,
            path=lambda: self._fit.path if self._fit else fast.OWN_LOOP,
            first_validation=lambda: self._fit.first_validation if self._fit else 1,
        )
        self._reporters.append(reporter)
        return reporter

    def _report_epoch(self, report: dict[str, Any]) -> bool:
        returns = {} if self.returned.is_empty else {"returns": True}
        return self._report(report | returns)

    def _trial_callbacks(self, callbacks: list[Any], execution: int) -> list[Any]:
        """Return copies of the callbacks; TensorBoard writes into a folder of this trial."""
        copies = list(self.tuner._deepcopy_callbacks(callbacks))
        hp = mirror.to_hyperparameters(self._space or Space(()), self._values)
        kt_trial = kt.engine.trial.Trial(hyperparameters=hp, trial_id=self._trial_id)
        self.tuner._configure_tensorboard_dir(copies, kt_trial, execution)
        self.returned.watch(copies)
        self._early_stopping = [c for c in copies if isinstance(c, keras.callbacks.EarlyStopping)]
        return copies

    def _check_result(self, result: Any, reporter: Reporter) -> None:
        if isinstance(result, keras.callbacks.History):
            missing = missing_objectives(self._task.objective, result.history)
            if missing:
                raise ObjectiveMissing(objective_not_reported(missing[0], result.history))
        if reporter.epochs == 0:
            self._weights.keep(self._model)

    def begin_epoch(self, model: Any, epoch: int) -> None:
        """Note the beginning of an epoch that a training loop of the user's own announces."""
        if not any(reporter.is_fitting for reporter in self._reporters):
            self._own.reporter_of(model).on_epoch_begin(epoch)

    def end_epoch(self, model: Any, epoch: int, logs: dict[str, Any] | None) -> None:
        """Report an epoch that a training loop of the user's own announces."""
        if not any(reporter.is_fitting for reporter in self._reporters):
            self._own.reporter_of(model).on_epoch_end(epoch, logs)

    # --- The end ---

    def end(self) -> TrialEnd:
        """Return how the trial ended; call after ``run``."""
        trial, first = self._trial, self._reporters[0] if self._reporters else None
        was_stopped = first is not None and first.was_stopped
        result = self._result(trial, was_stopped=was_stopped)
        if self._error is not None:
            return failed_end(self._error, self._traceback, result)
        if (first is not None and first.has_diverged) or trial.status == "FAILED":
            error = first.divergence if first else None
            return TrialEnd(State.DIVERGED, error=error, result=result)
        if was_stopped:
            return TrialEnd(State.STOPPED, result=result)
        if any(callback.stopped_epoch > 0 for callback in self._early_stopping):
            return TrialEnd(State.EARLY_STOPPED, result=result)
        return TrialEnd(State.COMPLETED, result=result)

    def _result(self, trial: Any, *, was_stopped: bool) -> dict[str, Any] | None:
        result = self._tracker.changes(trial.hyperparameters)
        name, kind = self._task.objective.name, self._expected_kind
        if kind is ScoreKind.UNKNOWN and self._error is None:
            kind = shown_kind(trial.score, name, self._reporters, self._executions)
            result |= {} if kind is ScoreKind.UNKNOWN else {"score_kind": kind}
        first = self._reporters[0].best if self._reporters else {}
        is_of_epochs = trial.score == first.get(name)
        if trial.score is None or (self._expected_kind is ScoreKind.EPOCHS and is_of_epochs):
            return result or None
        if was_stopped and kind is not ScoreKind.EXECUTIONS:
            return result or None  # what a fit returns too early is of no known kind
        histories = trial.metrics.metrics
        metrics = {name: history.get_best_value() for name, history in histories.items()}
        return result | {
            "score": process.json_values({"score": trial.score})["score"],
            "best_step": trial.best_step,
            "metrics": process.json_values(metrics),
            "score_kind": kind,
        }


def _fit_arguments(task: Task, stored: Data | FitArguments) -> FitArguments:
    if isinstance(stored, FitArguments):
        return arguments.unpack(stored)
    callbacks = []
    if task.patience:
        callbacks = [keras.callbacks.EarlyStopping(monitor="val_loss", patience=task.patience)]
    return stored.arguments(epochs=task.epochs, callbacks=callbacks, verbose=0)
