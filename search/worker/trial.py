"""Runs one trial: a keras-tuner search of a single configuration, with a reporter callback.

keras-tuner itself builds, checks, fits, retries, averages and evaluates the result of ``fit``, so
that a trial means the same as in keras-tuner. Imports Keras: for workers only.
"""

import contextlib
import io
import socket
import tempfile
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt
import tensorflow as tf

from results.record.columns import State, Values
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.errors import SearchError, objective_not_reported, one_line, traceback_of
from search.plan.task import FitArguments, Task
from search.space import mirror
from search.space.parameters import PARENT_TRIAL, Space
from search.storage.folder import RunFolder
from search.worker import arguments, fast, process, script
from search.worker.callbacks import (
    HyperparameterTracker,
    ObjectiveMissing,
    Report,
    Reporter,
    TrialStops,
    missing_objectives,
    use_trial_paths,
)
from search.worker.checkpoint import Checkpoints
from search.worker.data import Data
from search.worker.laps import BUILD, LAPS, RESET
from search.worker.weights import BestWeights, load_best_weights

# The values by which keras-tuner's Hyperband sets the epochs of a trial.
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: The state in which it ended.
        error: ``ErrorType: message`` of a failed trial.
        traceback: The traceback of the error.
        fatal: Name of the error's class if every trial would fail, so that the search must end.
        result: What the reports of its epochs lack: ``score``, ``best_step`` and ``metrics`` if
            ``fit`` returned them or was executed several times; ``values`` and ``space`` of a
            trial that reported no epoch.
    """

    state: State
    error: str | None = None
    traceback: str | None = None
    fatal: str | None = None
    result: dict[str, Any] | None = None

    @classmethod
    def of_fatal_error(cls, error: Exception) -> "TrialEnd":
        """Return the end of a trial with an error that every trial would have."""
        class_name = type(error).__name__
        if not isinstance(error, (ObjectiveMissing, SearchError)):
            # The script gets keras-tuner's own class, also for a user's subclass of FatalError.
            base_names = (base.__name__ for base in type(error).__mro__)
            class_name = next(name for name in base_names if hasattr(kt.errors, name))
        return cls(State.FAILED, error=str(error), traceback=traceback_of(error), fatal=class_name)


def run_trial(
    task: Task,
    stored: Data | FitArguments,
    *,
    trial: int,
    values: Values,
    report: Report,
    folder: RunFolder | None,
    space: Space | None = None,
    retries: int = 0,
) -> TrialEnd:
    """Build and fit one configuration, and report every epoch.

    Args:
        task: The settings that all trials share.
        stored: The splits (the test split is not used), or the arguments of ``fit``.
        trial: Number of the trial; with the run's seed it determines all random numbers.
        values: The configuration.
        report: Called after each epoch with its metrics, and with the values and hyperparameters
            of build and fit if they are new; returns False to stop the trial. Also called with
            ``{"retry": error}`` when a failed trial starts again.
        folder: The run folder for the weights of the best epoch; None: save no weights.
        space: The space so far, by which TensorBoard names the values.
        retries: How often the trial has failed and started again before.

    Returns:
        How the trial ended. An error in the user's code is returned, not raised.
    """
    with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as scratch:
        try:
            tuner = _TrialTuner(
                task,
                stored,
                trial=trial,
                values=values,
                report=report,
                folder=folder,
                space=space,
                retries=retries,
                scratch=scratch,
            )
            with contextlib.suppress(TrialStops):
                tuner.search()
            return tuner.trial_end()
        except (SearchError, kt.errors.FatalError) as error:
            return TrialEnd.of_fatal_error(error)
        except Exception as error:
            return _failed_end(error)


class _SingleTrialOracle(kt.Oracle):
    """Proposes one configuration."""

    def __init__(self, task: Task, values: Values, retries: int) -> None:
        super().__init__(
            kt_objective(task.objective),
            max_trials=1,
            max_retries_per_trial=max(0, task.max_retries_per_trial - retries),
        )
        self.verbose = 0
        self._values = values

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return {"status": "RUNNING", "values": dict(self._values)}

    def _retry(self, trial: Any) -> bool:
        with contextlib.redirect_stdout(io.StringIO()):  # keras-tuner 1.4.8 prints each retry
            return bool(super()._retry(trial))


class PatchedTuner(kt.Tuner):
    """keras-tuner's tuner, with a bug of its version 1.4.8 fixed."""

    def _override_compile_args(self, model: keras.Model) -> None:
        # keras-tuner reads the optimizer of a model that is not compiled and has none.
        if isinstance(model, keras.Model) and not model.compiled:
            overrides = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
            overrides = {name: value for name, value in overrides.items() if value}
            if isinstance(self.optimizer, keras.optimizers.Optimizer):
                # A copy, since an optimizer belongs to the first model that it trains.
                config = keras.optimizers.serialize(self.optimizer)
                overrides["optimizer"] = keras.optimizers.deserialize(config)
            if overrides:
                model.compile(**overrides)
            return
        super()._override_compile_args(model)


class _TrialTuner(PatchedTuner):
    """Runs one configuration as keras-tuner does, but seeded, reported and stoppable."""

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
        scratch: str,
    ) -> None:
        super().__init__(
            _SingleTrialOracle(task, values, retries),
            process.load_hypermodel(task.hypermodel),
            max_model_size=task.max_model_size,
            executions_per_trial=task.executions_per_trial,
            directory=scratch,
            project_name="search",
            **(task.compile_overrides.open() if task.compile_overrides else {}),
        )
        self._task = task
        self._stored = stored
        self._space = space
        self._tracker = HyperparameterTracker()
        self._trial = trial
        self._values = values
        self._report = report
        self._folder = folder
        self._attempt = retries - 1
        self._execution = 0
        self._fit: fast.Fit | None = None
        self._begin_attempt()

    def _begin_attempt(self) -> None:
        self._attempt += 1
        self._weights = BestWeights(self._task.objective, self._folder, self._trial)
        self._first_reporter: Reporter | None = None
        self._model: keras.Model | None = None
        self._early_stopping: list[keras.callbacks.EarlyStopping] = []
        self._error: Exception | None = None
        self._traceback: str | None = None

    def _populate_initial_space(self) -> None:
        """Build no model: the space is known, and every build takes time."""

    def _build_hypermodel(self, hp: kt.HyperParameters) -> keras.Model:
        # Set here, since keras-tuner clears the session and its dtype policy before each build.
        script.apply_settings(self._task.script)
        LAPS.lap(RESET)
        self._model = model = super()._build_hypermodel(hp)
        parent_trial = self._values.get(PARENT_TRIAL)  # Hyperband continues from its weights
        if parent_trial is not None and self._folder is not None:
            load_best_weights(model, self._folder, int(parent_trial))
        if isinstance(model, keras.Model):
            self._fit = fast.install(
                model,
                seed=self._seed(),
                fast=self._task.fast_epoch,
                checkpoints=self._checkpoints(),
            )
        LAPS.lap(BUILD)
        return model

    def _seed(self) -> int:
        repeat = (self._attempt, self._execution) if self._attempt or self._execution else ()
        return process.trial_seed(self._task.seed, self._trial, *repeat)

    def _checkpoints(self) -> Checkpoints | None:
        """Return the checkpoints of this training, unless the trial has several executions."""
        if self._folder is None or self.executions_per_trial > 1:
            return None
        return Checkpoints(
            self._folder.state_file(self._trial),
            self._folder.best_weights_file(self._trial),
            seed=self._seed(),  # a retry is another training
            every_seconds=self._task.checkpoint_seconds,
            on_change=self._folder.checkpoint_changed,
        )

    def run_trial(self, trial: Any) -> list[Any]:
        """Run all executions of the trial; keras-tuner calls this again for a retry."""
        if self._model is not None or self._error is not None:
            error = one_line(self._error) if self._error else "its score is not finite"
            self._begin_attempt()
            self._report({"retry": error})
        # New hyperparameters: keras-tuner drops a value whose name is also in an inactive scope.
        trial.hyperparameters = mirror.prepare_hyperparameters(
            self.hypermodel, self._values, self._task.registered
        )
        try:
            return [
                self._execute(trial, execution) for execution in range(self.executions_per_trial)
            ]
        except Exception as error:
            self._error, self._traceback = error, traceback_of(error)
            raise

    def _execute(self, trial: Any, execution: int) -> Any:
        self._execution, self._fit = execution, None
        process.reset_session(self._seed())
        reporter = self._reporter(trial.hyperparameters, execution)
        # Opened after seeding, so that the seed also determines the order of shuffled data.
        fit_arguments = _fit_arguments(self._task, self._stored)
        kwargs = dict(fit_arguments.kwargs)
        if EPOCHS in self._values:
            kwargs |= {
                "epochs": self._values[EPOCHS],
                "initial_epoch": self._values[INITIAL_EPOCH],
            }
        callbacks = self._trial_callbacks(kwargs.pop("callbacks", None) or [], execution)
        try:
            result = self._build_and_fit_model(
                trial, *fit_arguments.args, callbacks=[*callbacks, reporter], **kwargs
            )
        except TrialStops:  # a custom training loop did not stop by itself
            if not reporter.best:
                raise
            result = reporter.best
        self._check_result(result, reporter)
        return result

    def _reporter(self, hp: kt.HyperParameters, execution: int) -> Reporter:
        first = self._first_reporter
        # The scheduler judges the first execution; the others train as many epochs.
        was_stopped = first is not None and first.was_stopped
        reporter = Reporter(
            self._task.objective,
            hp,
            self._report,
            self._weights,
            self._tracker,
            execution=execution,
            last_epoch=first.epochs if first and was_stopped else self._task.epochs,
            may_lack_objective=mirror.has_own_fit(self.hypermodel),
            path=lambda: self._fit.path if self._fit else fast.OWN_LOOP,
        )
        self._first_reporter = first or reporter
        return reporter

    def _trial_callbacks(self, callbacks: list[Any], execution: int) -> list[Any]:
        """Return copies of the callbacks that write into folders of this trial."""
        copies = list(self._deepcopy_callbacks(callbacks))
        name = f"{self._trial:0{self._task.trial_digits}d}"
        hp = mirror.to_hyperparameters(self._space or Space(()), self._values)
        kt_trial = kt.engine.trial.Trial(hyperparameters=hp, trial_id=name)
        self._configure_tensorboard_dir(copies, kt_trial, execution)
        use_trial_paths(copies, name, execution)
        self._early_stopping = [c for c in copies if isinstance(c, keras.callbacks.EarlyStopping)]
        return copies

    def _check_result(self, result: Any, reporter: Reporter) -> None:
        if isinstance(result, keras.callbacks.History):
            missing = missing_objectives(self._task.objective, result.history)
            if missing:
                raise ObjectiveMissing(objective_not_reported(missing[0], result.history))
        if reporter.epochs == 0:
            self._weights.keep(self._model)

    def trial_end(self) -> TrialEnd:
        """Return how the trial ended; call after ``search``."""
        [trial] = self.oracle.trials.values()
        result = self._result(trial)
        first = self._first_reporter
        if self._error is not None:
            return _failed_end(self._error, self._traceback, result)
        # keras-tuner could not use the result of fit.
        if trial.status == "FAILED" and trial.message:
            error = trial.message.strip().splitlines()[-1]
            return TrialEnd(State.FAILED, error=error, traceback=trial.message, result=result)
        if (first is not None and first.has_diverged) or trial.status == "FAILED":
            error = first.divergence if first else None
            return TrialEnd(State.DIVERGED, error=error, result=result)
        if first is not None and first.was_stopped:
            return TrialEnd(State.STOPPED, result=result)
        if any(callback.stopped_epoch > 0 for callback in self._early_stopping):
            return TrialEnd(State.EARLY_STOPPED, result=result)
        return TrialEnd(State.COMPLETED, result=result)

    def _result(self, trial: Any) -> dict[str, Any] | None:
        result = self._tracker.changes(trial.hyperparameters)
        best = self._first_reporter.best if self._first_reporter else {}
        if trial.score is not None and trial.score != best.get(self._task.objective.name):
            histories = trial.metrics.metrics
            metrics = {name: history.get_best_value() for name, history in histories.items()}
            result |= {
                "score": process.json_values({"score": trial.score})["score"],
                "best_step": trial.best_step,
                "metrics": process.json_values(metrics),
            }
        return result or None


def kt_objective(objective: Objective) -> Any:
    """Return an objective as keras-tuner represents it."""
    if objective.parts:
        return [kt_objective(part) for part in objective.parts]
    if objective.name == DEFAULT_OBJECTIVE:
        return None
    return kt.Objective(objective.name, objective.mode)


def _fit_arguments(task: Task, stored: Data | FitArguments) -> FitArguments:
    if isinstance(stored, FitArguments):
        return arguments.unpack(stored)
    callbacks = []
    if task.patience:
        callbacks = [keras.callbacks.EarlyStopping(monitor="val_loss", patience=task.patience)]
    return FitArguments(
        stored.train,
        {
            "epochs": task.epochs,
            "validation_data": stored.validation,
            "callbacks": callbacks,
            "verbose": 0,
        },
    )


def _failed_end(
    error: Exception, trace: str | None = None, result: dict[str, Any] | None = None
) -> TrialEnd:
    is_out_of_memory = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    # A package may be missing on one node only.
    node = f" (on {socket.gethostname()})" if isinstance(error, ImportError) else ""
    return TrialEnd(
        State.OUT_OF_MEMORY if is_out_of_memory else State.FAILED,
        error=one_line(error) + node,
        traceback=trace or traceback_of(error),
        result=result,
    )
