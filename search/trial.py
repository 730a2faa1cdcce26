"""One trial: a keras-tuner search of a single configuration, with a reporter last.

keras-tuner itself builds, checks, fits, retries, averages and judges what ``fit`` returns, so
that a trial here means what it means there. Imports Keras: for workers only.
"""

import tempfile
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner as kt
import tensorflow as tf

from results.columns import State
from search import datasets, mirror, worker
from search.callbacks import own_paths
from search.data import Data
from search.errors import RunFolderError, SearchError, objective_not_reported, one_line
from search.folder import RunFolder, read_json
from search.history import DEFAULT_OBJECTIVE, Objective
from search.reporter import (
    BestWeights,
    ObjectiveMissing,
    Report,
    Reporter,
    TrialStops,
    asked_for,
    missing_objectives,
)
from search.space import Values
from search.task import FitArguments, Task

# Where keras-tuner's Hyperband keeps what it wants of a trial.
EPOCHS, INITIAL_EPOCH, FORMER_TRIAL = "tuner/epochs", "tuner/initial_epoch", "tuner/trial_id"


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended, as the trial itself saw it.

    Attributes:
        state: The named end.
        error: ``ErrorType: message`` of a failed trial.
        traceback: Its traceback.
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
    def of_a_problem(cls, error: Exception) -> "TrialEnd":
        """Return the end of a trial that shows that no trial can succeed."""
        trace = "".join(traceback.format_exception(error))
        return cls(State.FAILED, error=str(error), traceback=trace, fatal=type(error).__name__)


def run_trial(
    task: Task,
    stored: Data | FitArguments,
    *,
    trial: int,
    values: Values,
    report: Report,
    folder: RunFolder | None,
) -> TrialEnd:
    """Build and fit one configuration, reporting every epoch.

    Args:
        task: What all trials share.
        stored: The splits (the test split is not touched), or what ``fit`` is called with.
        trial: Number of the trial; with the run's seed it decides every random number.
        values: The configuration.
        report: Called after each epoch with its metrics, the first time also with the values and
            parameters that build and fit asked for; False ends the trial. Called with ``retry``,
            the error, when a failed trial begins again.
        folder: The run that keeps the weights of the best epoch; None keeps none.

    Returns:
        How it ended. An error of the user's code is a result, not raised.
    """
    with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as scratch:
        try:
            tuner = _TrialTuner(
                task, trial=trial, values=values, report=report, folder=folder, scratch=scratch
            )
            arguments = _arguments(task, stored)
            tuner.search(*arguments.args, **arguments.kwargs)
        except TrialStops:
            pass
        except (SearchError, kt.errors.FatalError) as error:
            return TrialEnd.of_a_problem(error)
        except Exception as error:
            return _failed(error)
        return tuner.ending()


class _OneTrial(kt.Oracle):
    """Proposes one configuration."""

    def __init__(self, task: Task, values: Values) -> None:
        super().__init__(
            kt_objective(task.objective),
            max_trials=1,
            max_retries_per_trial=task.max_retries_per_trial,
        )
        self.verbose = 0
        self._values = values

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return {"status": "RUNNING", "values": dict(self._values)}


class MendedTuner(kt.Tuner):
    """keras-tuner's own, with what its version 1.4.8 gets wrong put right."""

    def _override_compile_args(self, model: keras.Model) -> None:
        # The library reads the optimizer of a model that has none yet.
        if isinstance(model, keras.Model) and not model.compiled:
            given = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
            given = {name: value for name, value in given.items() if value}
            if given:
                model.compile(**given)
            return
        super()._override_compile_args(model)


class _TrialTuner(MendedTuner):
    """Runs one configuration as keras-tuner does: seeded, reported, and stopped when told to."""

    def __init__(
        self,
        task: Task,
        *,
        trial: int,
        values: Values,
        report: Report,
        folder: RunFolder | None,
        scratch: str,
    ) -> None:
        super().__init__(
            _OneTrial(task, values),
            worker.hypermodel(task.hypermodel),
            max_model_size=task.max_model_size,
            executions_per_trial=task.executions_per_trial,
            directory=scratch,
            project_name="search",
            **(task.compile_overrides.open() if task.compile_overrides else {}),
        )
        self._task = task
        self._trial = trial
        self._values = values
        self._report = report
        self._folder = folder
        self._attempt = -1
        self._begin_attempt()

    def _begin_attempt(self) -> None:
        self._attempt += 1
        self._weights = BestWeights(self._task.objective, self._folder, self._trial)
        self._first: Reporter | None = None
        self._model: keras.Model | None = None
        self._early_stopping: list[keras.callbacks.EarlyStopping] = []
        self._returns_scores = False
        self._error: Exception | None = None
        self._traceback: str | None = None

    def _populate_initial_space(self) -> None:
        """Build nothing: the space is known, and every build costs time."""

    def _build_hypermodel(self, hp: kt.HyperParameters) -> keras.Model:
        self._model = model = super()._build_hypermodel(hp)
        former = self._values.get(FORMER_TRIAL)  # Hyperband trains on from that trial's weights
        if former is not None and self._folder is not None:
            load_best_weights(model, self._folder, int(former))
        return model

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Train the configuration as often as is asked; keras-tuner calls again for a retry."""
        if self._model is not None or self._error is not None:
            error = one_line(self._error) if self._error else "its score is no finite number"
            self._begin_attempt()
            self._report({"retry": error})
        # Fresh: keras-tuner drops a value whose name also stands in an inactive scope.
        trial.hyperparameters = mirror.prepared(
            self.hypermodel, self._values, self._task.registered
        )
        try:
            return [
                self._execute(trial, execution, *args, **_continued(self._values, kwargs))
                for execution in range(self.executions_per_trial)
            ]
        except Exception as error:
            self._error, self._traceback = error, traceback.format_exc()
            raise

    def _execute(
        self, trial: Any, execution: int, *args: Any, callbacks: Any = None, **kwargs: Any
    ) -> Any:
        repeat = (self._attempt, execution) if self._attempt or execution else ()
        worker.start_trial(worker.trial_seed(self._task.seed, self._trial, *repeat))
        first = self._first
        reporter = Reporter(
            self._task.objective,
            trial.hyperparameters,
            self._report,
            self._weights,
            execution=execution,
            # ASHA decides on the first; the others run as far.
            last_epoch=first.epochs if first and first.was_stopped else None,
            may_lack_objective=mirror.has_own_fit(self.hypermodel),
        )
        self._first = first or reporter
        own = self._own_callbacks(callbacks or [], trial.hyperparameters, execution)
        result = self._build_and_fit_model(trial, *args, callbacks=[*own, reporter], **kwargs)
        self._note_result(result, reporter)
        return result

    def _own_callbacks(self, callbacks: list[Any], hp: Any, execution: int) -> list[Any]:
        own = list(self._deepcopy_callbacks(callbacks))
        name = f"{self._trial:04d}"
        named = kt.engine.trial.Trial(hyperparameters=hp, trial_id=name)
        self._configure_tensorboard_dir(own, named, execution)
        own_paths(own, name, execution)
        self._early_stopping = [c for c in own if isinstance(c, keras.callbacks.EarlyStopping)]
        return own

    def _note_result(self, result: Any, reporter: Reporter) -> None:
        if isinstance(result, keras.callbacks.History):
            missing = missing_objectives(self._task.objective, result.history)
            if missing:
                raise ObjectiveMissing(objective_not_reported(missing[0], result.history))
        if reporter.epochs == 0:
            self._weights.keep(self._model)
        if reporter.epochs == 0 or not isinstance(result, keras.callbacks.History):
            self._returns_scores = True

    def ending(self) -> TrialEnd:
        """Return how the trial ended, after ``search``."""
        [trial] = self.oracle.trials.values()
        result = self._result(trial)
        first = self._first
        if self._error is not None:
            return _failed(self._error, self._traceback, result)
        if (first is not None and first.has_diverged) or trial.status == "FAILED":
            return TrialEnd(State.DIVERGED, result=result)
        if first is not None and first.was_stopped:
            return TrialEnd(State.STOPPED, result=result)
        if any(callback.stopped_epoch > 0 for callback in self._early_stopping):
            return TrialEnd(State.EARLY_STOPPED, result=result)
        return TrialEnd(State.COMPLETED, result=result)

    def _result(self, trial: Any) -> dict[str, Any] | None:
        result: dict[str, Any] = {}
        if self._first is None or self._first.epochs == 0:
            result |= asked_for(trial.hyperparameters)
        if trial.score is not None and (self._returns_scores or self.executions_per_trial > 1):
            metrics = {name: one.get_best_value() for name, one in trial.metrics.metrics.items()}
            result |= {
                "score": worker.plain({"score": trial.score})["score"],
                "best_step": trial.best_step,
                "metrics": worker.plain(metrics),
            }
        return result or None


def kt_objective(objective: Objective) -> Any:
    """Return keras-tuner's own form of an objective."""
    if objective.parts:
        return [kt_objective(part) for part in objective.parts]
    if objective.name == DEFAULT_OBJECTIVE:
        return None
    return kt.Objective(objective.name, objective.mode)


def load_best_weights(model: keras.Model, folder: RunFolder, trial: int) -> None:
    """Load the weights of a trial's best epoch into a model that its builder made.

    Raises:
        RunFolderError: They are not there, or damaged.
    """
    if not model.built:
        config = read_json(folder.build_config_file(trial))
        if not config or "input_shape" not in config:
            raise RunFolderError(
                f"trial {trial}: its model does not say what shape it takes, so its weights cannot "
                "be loaded: expected a keras.Input in the builder, or a model that Keras can build."
            )
        model(_zeros(config["input_shape"]))
    with warnings.catch_warnings():
        # The optimizer's state stands in the file too; a fresh model has no use for it.
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        model.load_weights(folder.best_weights_file(trial))


def _zeros(shape: Any) -> Any:
    """Return a sample of zeros for an input shape as JSON keeps it, structures included."""
    if isinstance(shape, dict):
        return {name: _zeros(part) for name, part in shape.items()}
    if any(isinstance(part, (dict, list)) for part in shape):
        return [_zeros(part) for part in shape]
    return keras.ops.zeros([1 if length is None else length for length in shape])


def _arguments(task: Task, stored: Data | FitArguments) -> FitArguments:
    if isinstance(stored, FitArguments):
        return datasets.opened(stored)
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


def _continued(values: Values, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``fit`` with the epochs that Hyperband wants, where it does."""
    if EPOCHS not in values:
        return kwargs
    return kwargs | {"epochs": values[EPOCHS], "initial_epoch": values[INITIAL_EPOCH]}


def _failed(
    error: Exception, trace: str | None = None, result: dict[str, Any] | None = None
) -> TrialEnd:
    is_out_of_memory = isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError))
    return TrialEnd(
        State.OUT_OF_MEMORY if is_out_of_memory else State.FAILED,
        error=one_line(error),
        traceback=trace or traceback.format_exc(),
        result=result,
    )
