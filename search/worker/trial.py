"""One trial: a keras-tuner search of a single configuration, with a reporter last.

keras-tuner itself builds, checks, fits, retries, averages and judges what ``fit`` returns, so
that a trial here means what it means there. Imports Keras: for workers only.
"""

import contextlib
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
from search.worker import arguments, fast, process
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

# Where keras-tuner's Hyperband keeps what it wants of a trial.
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended, as the trial itself saw it.

    Attributes:
        error: ``ErrorType: message`` of a failed trial.
        fatal: Name of the error's class where no other trial could do better, so that the
            search must end.
        result: What its epochs do not tell: ``score``, ``best_step`` and ``metrics`` where
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
        """Return the end of a trial that shows that no trial can succeed."""
        kind = type(error).__name__
        if not isinstance(error, (ObjectiveMissing, SearchError)):
            # A user's own kind of FatalError: the script is told by keras-tuner's.
            kinds = (base.__name__ for base in type(error).__mro__)
            kind = next(name for name in kinds if hasattr(kt.errors, name))
        return cls(State.FAILED, error=str(error), traceback=traceback_of(error), fatal=kind)


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
    """Build and fit one configuration, reporting every epoch.

    Args:
        task: What all trials share.
        stored: The splits (the test split is not touched), or what ``fit`` is called with.
        trial: Number of the trial; with the run's seed it decides every random number.
        values: The configuration.
        report: Called after each epoch with its metrics, and with the values and parameters that
            build and fit asked for where they are new; False ends the trial. Called with
            ``retry``, the error, when a failed trial begins again.
        folder: The run that keeps the weights of the best epoch; None keeps none.
        space: What is known of the space, for TensorBoard to name the values.
        retries: How often it has failed and been begun again before.

    Returns:
        How it ended: an error of the user's code is a result, not raised.
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
            return tuner.ending()
        except (SearchError, kt.errors.FatalError) as error:
            return TrialEnd.of_fatal_error(error)
        except Exception as error:
            return _failed(error)


class _OneTrial(kt.Oracle):
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


class PatchedTuner(kt.Tuner):
    """keras-tuner's own, with what its version 1.4.8 gets wrong put right."""

    def _override_compile_args(self, model: keras.Model) -> None:
        # The library reads the optimizer of a model that has none yet.
        if isinstance(model, keras.Model) and not model.compiled:
            overrides = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
            overrides = {name: value for name, value in overrides.items() if value}
            if isinstance(self.optimizer, keras.optimizers.Optimizer):
                # A copy: an optimizer belongs to the first model that it trains.
                config = keras.optimizers.serialize(self.optimizer)
                overrides["optimizer"] = keras.optimizers.deserialize(config)
            if overrides:
                model.compile(**overrides)
            return
        super()._override_compile_args(model)


class _TrialTuner(PatchedTuner):
    """Runs one configuration as keras-tuner does: seeded, reported, and stopped when told to."""

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
            _OneTrial(task, values, retries),
            process.hypermodel(task.hypermodel),
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
        self._first: Reporter | None = None
        self._model: keras.Model | None = None
        self._early_stopping: list[keras.callbacks.EarlyStopping] = []
        self._error: Exception | None = None
        self._traceback: str | None = None

    def _populate_initial_space(self) -> None:
        """Build nothing: the space is known, and every build costs time."""

    def _build_hypermodel(self, hp: kt.HyperParameters) -> keras.Model:
        # Here: keras-tuner clears the session before each build, and with it the dtype policy.
        process.set_keras(self._task.keras_settings)
        LAPS.lap(RESET)
        self._model = model = super()._build_hypermodel(hp)
        former = self._values.get(PARENT_TRIAL)  # Hyperband trains on from that trial's weights
        if former is not None and self._folder is not None:
            load_best_weights(model, self._folder, int(former))
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
        """Return where this training is continued from, unless it is one of several."""
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
        """Train the configuration as often as is asked; keras-tuner calls again for a retry."""
        if self._model is not None or self._error is not None:
            error = one_line(self._error) if self._error else "its score is no finite number"
            self._begin_attempt()
            self._report({"retry": error})
        # Fresh: keras-tuner drops a value whose name also stands in an inactive scope.
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
        process.start_trial(self._seed())
        reporter = self._reporter(trial.hyperparameters, execution)
        # Opened after seeding, so that the order of what is shuffled follows from the seed too.
        fit_arguments = _arguments(self._task, self._stored)
        kwargs = dict(fit_arguments.kwargs)
        if EPOCHS in self._values:
            kwargs |= {
                "epochs": self._values[EPOCHS],
                "initial_epoch": self._values[INITIAL_EPOCH],
            }
        own = self._own_callbacks(kwargs.pop("callbacks", None) or [], execution)
        try:
            result = self._build_and_fit_model(
                trial, *fit_arguments.args, callbacks=[*own, reporter], **kwargs
            )
        except TrialStops:  # a loop of the user's own would have trained on
            if not reporter.best:
                raise
            result = reporter.best
        self._note_result(result, reporter)
        return result

    def _reporter(self, hp: kt.HyperParameters, execution: int) -> Reporter:
        first = self._first
        # ASHA decides on the first; the others run as far.
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
        self._first = first or reporter
        return reporter

    def _own_callbacks(self, callbacks: list[Any], execution: int) -> list[Any]:
        own = list(self._deepcopy_callbacks(callbacks))
        name = f"{self._trial:0{self._task.trial_digits}d}"
        hp = mirror.to_hyperparameters(self._space or Space(()), self._values)
        named = kt.engine.trial.Trial(hyperparameters=hp, trial_id=name)
        self._configure_tensorboard_dir(own, named, execution)
        use_trial_paths(own, name, execution)
        self._early_stopping = [c for c in own if isinstance(c, keras.callbacks.EarlyStopping)]
        return own

    def _note_result(self, result: Any, reporter: Reporter) -> None:
        if isinstance(result, keras.callbacks.History):
            missing = missing_objectives(self._task.objective, result.history)
            if missing:
                raise ObjectiveMissing(objective_not_reported(missing[0], result.history))
        if reporter.epochs == 0:
            self._weights.keep(self._model)

    def ending(self) -> TrialEnd:
        """Return how the trial ended, after ``search``."""
        [trial] = self.oracle.trials.values()
        result = self._result(trial)
        first = self._first
        if self._error is not None:
            return _failed(self._error, self._traceback, result)
        # keras-tuner could not use what fit returned.
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
        reported = self._first.best.get(self._task.objective.name) if self._first else None
        if trial.score is not None and trial.score != reported:
            metrics = {name: one.get_best_value() for name, one in trial.metrics.metrics.items()}
            result |= {
                "score": process.plain({"score": trial.score})["score"],
                "best_step": trial.best_step,
                "metrics": process.plain(metrics),
            }
        return result or None


def kt_objective(objective: Objective) -> Any:
    """Return keras-tuner's own form of an objective."""
    if objective.parts:
        return [kt_objective(part) for part in objective.parts]
    if objective.name == DEFAULT_OBJECTIVE:
        return None
    return kt.Objective(objective.name, objective.mode)


def _arguments(task: Task, stored: Data | FitArguments) -> FitArguments:
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


def _failed(
    error: Exception, trace: str | None = None, result: dict[str, Any] | None = None
) -> TrialEnd:
    is_out_of_memory = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    # A package may be missing on one node alone.
    where = f" (on {socket.gethostname()})" if isinstance(error, ImportError) else ""
    return TrialEnd(
        State.OUT_OF_MEMORY if is_out_of_memory else State.FAILED,
        error=one_line(error) + where,
        traceback=trace or traceback_of(error),
        result=result,
    )
