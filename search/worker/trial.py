"""Runs one trial: a keras-tuner search of a single configuration, with a reporter callback.

keras-tuner itself builds, checks, fits, retries, averages and evaluates the result of ``fit``, so
that a trial means the same as in keras-tuner. A tuner of the user's own class is copied for it.
Imports Keras: for workers only.
"""

import contextlib
import functools
import io
import math
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import keras
import keras_tuner as kt
import tensorflow as tf

from results.record.columns import ScoreKind, State, Values
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
from search.worker.returned import ReturnedAttributes
from search.worker.tuner import (
    TRAINING_METHODS,
    TrialTuner,
    TunerCopy,
    hook_callbacks,
    overrides,
)
from search.worker.weights import BestWeights, load_best_weights

# The values by which keras-tuner's Hyperband sets the epochs of a trial.
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"
TUNER_ID = "tuner0"


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: The state in which it ended.
        error: ``ErrorType: message`` of a failed trial.
        traceback: The traceback of the error.
        fatal: Name of the error's class if every trial would fail, so that the search must end.
        result: What the reports of its epochs lack: ``score``, ``best_step``, ``metrics`` and
            ``score_kind`` if ``fit`` returned them or was executed several times; ``values`` and
            ``space`` of a trial that reported no epoch.
        returned: By class, the attributes that callbacks and hypermodel return, as JSON values;
            None if they name none.
    """

    state: State
    error: str | None = None
    traceback: str | None = None
    fatal: str | None = None
    result: dict[str, Any] | None = None
    returned: dict[str, dict[str, Any]] | None = None

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
            of build and fit if they are new; returns False to stop the trial. A
            report has the key ``returns`` if the end of the trial returns attributes. Also called
            with ``{"retry": error}`` when a failed trial starts again.
        folder: The run folder for the weights of the best epoch; None: save no weights.
        space: The space so far, by which TensorBoard names the values.
        retries: How often the trial has failed and started again before.

    Returns:
        How the trial ended. An error in the user's code is returned, not raised.
    """
    with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as scratch:
        try:
            training = _TrialTraining(
                task,
                stored,
                trial=trial,
                values=values,
                report=report,
                folder=folder,
                space=space,
                retries=retries,
                tuner=_make_tuner(task, scratch),
                scratch=scratch,
            )
            with contextlib.suppress(TrialStops):
                training.run()
            return replace(training.end(), returned=training.returned.take())
        except (SearchError, kt.errors.FatalError) as error:
            return TrialEnd.of_fatal_error(error)
        except Exception as error:
            return _failed_end(error)


def _make_tuner(task: Task, scratch: str) -> TrialTuner:
    """Return the tuner of a trial: a copy of the user's, or keras-tuner's own."""
    hypermodel = None if task.hypermodel is None else process.load_hypermodel(task.hypermodel)
    if task.tuner is not None:
        tuner_copy: TunerCopy = task.tuner.open()
        return tuner_copy.restore(hypermodel)
    return _PlainTuner(
        kt.Oracle(kt_objective(task.objective), max_trials=1),
        hypermodel,
        max_model_size=task.max_model_size,
        executions_per_trial=task.executions_per_trial,
        directory=scratch,
        project_name="search",
        **(task.compile_overrides.open() if task.compile_overrides else {}),
    )


class _PlainTuner(TrialTuner):
    """The tuner of a command, or of a script without a class of tuners of its own."""

    def _populate_initial_space(self) -> None:
        """Build no model: the space is known, and every build takes time."""


class _SingleTrialOracle(kt.Oracle):
    """Has one trial, retries it, and scores it.

    Args:
        task: What each trial trains.
        space: The space so far.
        retries: How often the trial has failed before.
        scratch: Folder of the files that keras-tuner writes.
    """

    def __init__(self, task: Task, space: Space, retries: int, scratch: str) -> None:
        super().__init__(
            kt_objective(task.objective),
            max_trials=1,
            hyperparameters=mirror.to_hyperparameters(space),
            max_retries_per_trial=max(0, task.max_retries_per_trial - retries),
        )
        self.verbose = 0
        self._set_project_dir(scratch, "oracle")
        self._scorer = task.scoring_oracle

    def begin(self, trial_id: str) -> Any:
        """Return the trial, which runs."""
        trial = kt.engine.trial.Trial(self.get_space(), trial_id, status="RUNNING")
        self.trials[trial_id] = self.ongoing_trials[TUNER_ID] = trial
        self.start_order.append(trial_id)
        return trial

    def score_trial(self, trial: Any) -> None:
        """Score the trial as the user's oracle does; an infinite score is no score, like NaN."""
        if self._scorer is None:
            super().score_trial(trial)
        else:
            self._scorer.open().score_trial(trial)
        if trial.score is not None and not math.isfinite(trial.score):
            trial.score = math.nan

    def _retry(self, trial: Any) -> bool:
        with contextlib.redirect_stdout(io.StringIO()):  # keras-tuner 1.4.8 prints each retry
            return bool(super()._retry(trial))


@dataclass(frozen=True)
class _Execution:
    """A training of the model that ``build`` returned.

    Attributes:
        is_history: Whether ``fit`` returned the ``History`` of a training.
        was_cut: Whether ``fit`` returned nothing, since it trained on after its last epoch.
    """

    is_history: bool
    was_cut: bool


class _TrialTraining:
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
        tuner.oracle = self._oracle = _SingleTrialOracle(task, space or Space(()), retries, scratch)
        self._task = task
        self._stored = stored
        self._space = space
        self._tracker = HyperparameterTracker()
        self._number = trial
        self._trial_id = f"{trial:0{task.trial_digits}d}"
        self._values = values
        self._report = report
        self._folder = folder
        self._attempt = retries
        self._trial: Any = None
        self.returned = ReturnedAttributes(tuner.hypermodel)
        self._begin_attempt()

    # --- The trial ---

    def run(self) -> None:
        """Run the trial, again after each failure that may be retried.

        Raises:
            TrialStops: The trial was stopped, and did not end by itself.
            keras_tuner.errors.FatalError: The user's code raised it.
        """
        trial = self._oracle.begin(self._trial_id)
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
        with self._reporting_fits():
            self.tuner._try_run_and_update_trial(
                trial, *self._arguments.args, **self._arguments.kwargs
            )

    def _begin_attempt(self) -> None:
        self.returned.begin_attempt()
        self._weights = BestWeights(self._task.objective, self._folder, self._number)
        self._own: Reporter | None = None
        self._arguments = FitArguments((), {})
        self._executions: list[_Execution] = []
        self._reporters: list[Reporter] = []
        self._builds = self._fits = 0
        self._fit: fast.Fit | None = None
        self._model: keras.Model | None = None
        self._early_stopping: list[keras.callbacks.EarlyStopping] = []
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
            self._fit = fast.install(
                model,
                seed=self._seed(len(self._executions)),
                fast=self._task.fast_epoch,
                checkpoints=self._checkpoints(),
                complete=self._with_reporter if overrides(type(self.tuner), "run_trial") else None,
            )
        self._builds += 1
        LAPS.lap(BUILD)
        return model

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
        reporter = self._make_reporter(trial)
        callbacks = [
            *self._trial_callbacks(kwargs.pop("callbacks", None) or [], execution),
            *hook_callbacks(self.tuner, trial),
            reporter,
        ]
        was_cut = False
        try:
            result = self.tuner._build_and_fit_model(trial, *args, callbacks=callbacks, **kwargs)
        except TrialStops:  # a custom training loop did not stop by itself
            if not reporter.best:
                raise
            result, was_cut = reporter.best, True
        is_history = isinstance(result, keras.callbacks.History)
        self._executions.append(_Execution(is_history, was_cut))
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
            may_lack_objective=self._is_score_returned,
            score_kind=self._expected_kind,
            path=lambda: self._fit.path if self._fit else fast.OWN_LOOP,
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

    # --- Trainings of the user's own ---

    @contextlib.contextmanager
    def _reporting_fits(self) -> Iterator[None]:
        """Report the epochs of each ``fit`` that the tuner's own ``run_trial`` calls directly."""
        if not overrides(type(self.tuner), "run_trial"):
            yield
            return
        keras_fit = keras.Model.fit

        @functools.wraps(keras_fit)
        def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            if type(model).fit is fit and "fit" not in vars(model):
                # A model that build did not return to keras-tuner may take the fast path too.
                self._fit = fast.install(
                    model,
                    seed=self._seed(len(self._executions) + self._fits),
                    fast=self._task.fast_epoch,
                    complete=self._with_reporter,
                )
                self._fits += 1
                return model.fit(*args, **kwargs)
            arguments = fast.SIGNATURE.bind(model, *args, **kwargs).arguments
            callbacks = self._with_reporter(arguments.get("callbacks"))
            return keras_fit(**{"verbose": 0} | arguments | {"callbacks": callbacks})

        keras.Model.fit = fit
        try:
            yield
        finally:
            del keras.Model.fit  # Keras defines it in a base class

    def _with_reporter(self, callbacks: Any) -> Any:
        """Append the trial's reporter to the callbacks of ``fit``, unless they have one."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks  # of a fit that reports already
        callbacks = keras.tree.flatten(callbacks) if callbacks else []
        if any(isinstance(callback, Reporter) for callback in callbacks):
            return callbacks
        return [*callbacks, self._own_reporter()]

    def _own_reporter(self) -> Reporter:
        """Return the reporter of the trainings that ``run_trial`` itself runs."""
        if self._own is None:
            self._own = self._make_reporter(self._trial)
        return self._own

    def begin_epoch(self, model: Any, epoch: int) -> None:
        """Note the beginning of an epoch that a training loop of the user's own announces."""
        if not self._is_fitting:
            reporter = self._own_reporter()
            reporter.set_model(model)
            reporter.on_epoch_begin(epoch)

    def end_epoch(self, model: Any, epoch: int, logs: dict[str, Any] | None) -> None:
        """Report an epoch that a training loop of the user's own announces."""
        if not self._is_fitting:
            reporter = self._own_reporter()
            reporter.set_model(model)
            reporter.on_epoch_end(epoch, logs)

    @property
    def _is_fitting(self) -> bool:
        return any(reporter.is_fitting for reporter in self._reporters)

    # --- The end ---

    def end(self) -> TrialEnd:
        """Return how the trial ended; call after ``run``."""
        trial, first = self._trial, self._reporters[0] if self._reporters else None
        was_stopped = first is not None and first.was_stopped
        result = self._result(trial, was_stopped=was_stopped)
        if self._error is not None:
            return _failed_end(self._error, self._traceback, result)
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
        kind = self._shown_kind(trial, was_stopped=was_stopped)
        if self._expected_kind is ScoreKind.UNKNOWN and kind is not ScoreKind.UNKNOWN:
            result["score_kind"] = kind
        first = self._reporters[0].best if self._reporters else {}
        is_of_epochs = trial.score == first.get(self._task.objective.name)
        if trial.score is None or (kind is ScoreKind.EPOCHS and is_of_epochs):
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

    def _shown_kind(self, trial: Any, *, was_stopped: bool) -> ScoreKind:
        """Return what the score of the trial shows itself to be."""
        if self._expected_kind is not ScoreKind.UNKNOWN:
            return self._expected_kind
        is_mean = self.tuner.executions_per_trial > 1
        of_epochs = ScoreKind.EXECUTIONS if is_mean else ScoreKind.EPOCHS
        was_cut = trial.score is None or any(execution.was_cut for execution in self._executions)
        if was_cut and self._reporters and self._reporters[0].best:
            return ScoreKind.UNKNOWN if was_stopped or self._error else of_epochs
        if trial.score is None or math.isnan(trial.score):
            return ScoreKind.UNKNOWN
        bests = [reporter.best.get(self._task.objective.name) for reporter in self._reporters]
        values = [value for value in bests if value is not None]
        has_values = bool(values) and len(values) == len(bests)
        if not has_values or not math.isclose(trial.score, fmean(values)):
            return ScoreKind.RETURNED
        # The last epoch may be the best by chance.
        is_clear = is_mean or any(execution.is_history for execution in self._executions)
        is_clear = is_clear or not self._reporters[0].best_is_newest
        return of_epochs if is_clear else ScoreKind.UNKNOWN

    @property
    def _is_score_returned(self) -> bool:
        """Whether the user's own code returns the score."""
        hypermodel = self.tuner.hypermodel
        has_own_fit = hypermodel is not None and mirror.has_own_fit(hypermodel)
        has_own_scorer = self._task.scoring_oracle is not None
        return has_own_fit or has_own_scorer or overrides(type(self.tuner), *TRAINING_METHODS)

    @property
    def _expected_kind(self) -> ScoreKind:
        """What the score will be, as far as it is known before the trial."""
        if self._is_score_returned:
            return ScoreKind.UNKNOWN
        is_mean = self.tuner.executions_per_trial > 1
        return ScoreKind.EXECUTIONS if is_mean else ScoreKind.EPOCHS


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
