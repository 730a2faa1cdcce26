"""The tuner and the oracle of a single trial, in a worker. Imports Keras."""

import contextlib
import io
import math
from typing import Any

import keras_tuner as kt
from keras_tuner.src.engine.objective import MultiObjective

from results.record.columns import Values
from results.record.history import DEFAULT_OBJECTIVE, Objective
from search.space import mirror
from search.space.parameters import ORACLE_PREFIX, PARENT_TRIAL, Space
from search.worker import process
from search.worker.task import Task
from search.worker.tuner import TrialTuner, TunerCopy

TUNER_ID = "tuner0"


def make_tuner(task: Task, scratch: str) -> TrialTuner:
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


class SingleTrialOracle(kt.Oracle):
    """Has one trial, retries it, and scores it; knows the trial from which it continues.

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
        self.objective: Any = with_gaps(self.objective)
        self.verbose = 0
        self._set_project_dir(scratch, "oracle")
        self._scorer = task.scoring_oracle

    def begin(self, trial_id: str, values: Values) -> Any:
        """Return the trial, which runs, given its configuration."""
        self._values = values
        trial = kt.engine.trial.Trial(self.get_space(), trial_id, status="RUNNING")
        self.trials[trial_id] = self.ongoing_trials[TUNER_ID] = trial
        self.start_order.append(trial_id)
        return trial

    def get_trial(self, trial_id: str) -> Any:
        """Return the trial, or the one that it continues: Hyperband's have the same values."""
        if trial_id != self._values.get(PARENT_TRIAL):
            return super().get_trial(trial_id)
        shared = {n: v for n, v in self._values.items() if not n.startswith(ORACLE_PREFIX)}
        hp = mirror.to_hyperparameters(Space(()), shared)
        return kt.engine.trial.Trial(hp, trial_id, status="COMPLETED")

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


class _WithGaps:
    """An objective of keras-tuner that some epochs may lack: their value is the worst.

    keras-tuner 1.4.8 fails on a ``History`` whose objective has fewer values than it has epochs.
    """

    def get_value(self, logs: Any) -> Any:
        """Return the value of the objective in the logs of an epoch."""
        if self.has_value(logs):  # type: ignore[attr-defined]
            return super().get_value(logs)  # type: ignore[misc]
        return -math.inf if self.direction == "max" else math.inf  # type: ignore[attr-defined]


class _Objective(_WithGaps, kt.Objective):
    """A single objective that some epochs may lack."""


class _MultiObjective(_WithGaps, MultiObjective):
    """A sum of objectives that some epochs may lack."""


def with_gaps(objective: Any) -> Any:
    """Return an objective of keras-tuner as one that some epochs may lack."""
    if isinstance(objective, MultiObjective):
        return _MultiObjective(objective.objectives)
    if type(objective) is kt.Objective:
        return _Objective(objective.name, objective.direction)
    return objective


def kt_objective(objective: Objective) -> Any:
    """Return an objective as keras-tuner represents it."""
    if objective.parts:
        return [kt_objective(part) for part in objective.parts]
    if objective.name == DEFAULT_OBJECTIVE:
        return None
    return kt.Objective(objective.name, objective.mode)
