"""Oracles of keras-tuner as algorithms. Imports Keras."""

import copy
import sys
from typing import Any

import keras_tuner as kt

from results.record.columns import State, Values
from results.record.history import History, Objective, TrialRecord
from results.record.journal import Event
from search.algorithms.base import Pause, Searcher
from search.space import mirror
from search.space.parameters import ORACLE_PREFIX, PARENT_TRIAL, Space


class OracleSearcher(Searcher):
    """A searcher that lets an oracle of keras-tuner propose, while Ray runs the trials.

    Its methods are called as keras-tuner calls them: ``create_trial`` for each trial, which is a
    tuner of its own to the oracle; ``update_trial`` with the metrics of its best epoch; then
    ``end_trial``, which scores it. An ended trial is

    - completed with its metrics, if it ended by itself;
    - failed, without metrics, if it failed or its objective is no number (the search itself
      retries trials and counts failures in a row);
    - completed with the *worst* objective of the trials that ended by themselves, if the scheduler
      stopped it; failed if there is none yet. The trial's own value comes from an early epoch and
      would mislead the oracle.

    Args:
        oracle: Any oracle; this class uses a copy.
        space: The space as discovered.
        objective: The objective of the search.
        scratch: Temporary folder for the files that the oracle writes.

    Attributes:
        oracle: The copy, with every trial of the search.
    """

    def __init__(
        self, oracle: kt.Oracle, space: Space, *, objective: Objective, scratch: str
    ) -> None:
        super().__init__(space)
        if isinstance(oracle, kt.oracles.GridSearchOracle):
            mirror.check_grid(space)
        self.oracle = copy.deepcopy(oracle)
        self.oracle._set_project_dir(scratch, "oracle")
        self.oracle.verbose = 0
        self.oracle.max_retries_per_trial = 0
        self.oracle.max_consecutive_failed_trials = sys.maxsize
        self.oracle.update_space(mirror.to_hyperparameters(space))
        if isinstance(self.oracle, kt.oracles.GridSearchOracle):
            _allow_missing_values(self.oracle)
        self._trial_digits = len(str(self.oracle.max_trials))
        # A user's oracle may propose what it likes.
        self.takes_any_values = type(oracle) not in vars(kt.oracles).values()
        self._objective = objective
        self._history = History(objective)
        # By trial, the oracle's own id of it.
        self._oracle_ids: dict[int, str] = {}
        self._worst: float | None = None

    def propose(self, trial: int) -> Values | Pause | None:
        """Ask the oracle for a configuration, as the tuner ``str(trial)``."""
        created = self.oracle.create_trial(str(trial))
        if created.status == "STOPPED":
            return None
        if created.status == "IDLE":
            return Pause.WAIT
        self._oracle_ids[trial] = created.trial_id
        if isinstance(self.oracle, kt.oracles.GridSearchOracle):
            # It would find the next configuration only when this trial ends; the order is the same.
            self.oracle._populate_next.append(created.trial_id)
        values: Values = dict(created.hyperparameters.values)
        if PARENT_TRIAL in values:  # replace the oracle's id by that of the trial in the search
            numbers = {oracle_id: number for number, oracle_id in self._oracle_ids.items()}
            values[PARENT_TRIAL] = f"{numbers[str(values[PARENT_TRIAL])]:0{self._trial_digits}d}"
        return values

    def adopt(self, trial: int, values: Values) -> None:
        """Let the oracle propose once more, and replace its proposal by the recorded one.

        This restores the oracle's own bookkeeping, such as the rounds of Hyperband.
        """
        if not isinstance(self.propose(trial), dict):  # the ended trials differ from then
            self._add_running_trial(trial)
        hp = self.oracle.get_trial(self._oracle_ids[trial]).hyperparameters
        hp.values = dict(values)
        if PARENT_TRIAL in values:
            hp.values[PARENT_TRIAL] = self._oracle_ids[int(values[PARENT_TRIAL])]

    def _add_running_trial(self, trial: int) -> None:
        oracle_id = f"adopted-{trial}"
        running = kt.engine.trial.Trial(self.oracle.get_space(), oracle_id, status="RUNNING")
        self.oracle.trials[oracle_id] = self.oracle.ongoing_trials[str(trial)] = running
        self.oracle.start_order.append(oracle_id)
        self._oracle_ids[trial] = oracle_id

    def grow(self, new_parameters: Space) -> None:
        """Add parameters that a trial was the first to register.

        Raises:
            ProblemError: A grid search cannot list the values of a parameter.
            RuntimeError: The oracle allows no new entries.
        """
        if isinstance(self.oracle, kt.oracles.GridSearchOracle):
            mirror.check_grid(new_parameters)
        super().grow(new_parameters)
        self.oracle.update_space(mirror.to_hyperparameters(new_parameters))

    def observe(self, event: Event) -> None:
        """Tell the oracle how a trial ended."""
        super().observe(event)
        self._history.apply(event)
        if event["event"] == "trial_ended" and event["trial"] in self._oracle_ids:
            self._end(self._history.trials[event["trial"]])

    def learn(self, values: Values, score: float) -> None:
        """Add a completed trial that the oracle did not propose."""
        oracle = self.oracle
        number = len(oracle.trials)
        trial = kt.engine.trial.Trial(
            mirror.to_hyperparameters(self.space, values), f"earlier-{number}", status="COMPLETED"
        )
        trial.score = score
        trial.metrics.register(oracle.objective.name, direction=oracle.objective.direction)
        trial.metrics.update(oracle.objective.name, score)
        oracle.trials[trial.trial_id] = trial
        oracle._record_values(trial)
        if oracle.max_trials is not None:
            oracle.max_trials += 1

    def _end(self, record: TrialRecord) -> None:
        trial = self.oracle.get_trial(self._oracle_ids[record.trial])
        self._add_registered(trial.hyperparameters, record.values)
        metrics = self._metrics(record)
        if metrics is not None:
            step = record.best.epoch - 1 if record.best else 0
            self.oracle.update_trial(trial.trial_id, metrics, step)
        trial.status = "FAILED" if metrics is None else "COMPLETED"
        trial.message = record.error
        self.oracle.end_trial(trial)

    def _metrics(self, record: TrialRecord) -> dict[str, float] | None:
        """Return the metrics with which a trial has completed; None if it has failed."""
        metrics, value = _best_metrics(record, self._objective)
        if record.state in (State.COMPLETED, State.EARLY_STOPPED) and value is not None:
            if self._worst is None or self._objective.is_better(self._worst, value):
                self._worst = value
        elif record.state is State.STOPPED:
            value = self._worst
        elif record.state is not State.DIVERGED:
            value = None
        return None if value is None else metrics | {self._objective.name: value}

    def _add_registered(self, hp: kt.HyperParameters, values: Values) -> None:
        """Add the parameters that the trial itself registered, with the values that it used."""
        space = self.oracle.hyperparameters.space
        hp.merge([parameter for parameter in space if parameter.name in values], overwrite=False)
        hp.values |= {n: value for n, value in values.items() if not n.startswith(ORACLE_PREFIX)}


def _allow_missing_values(oracle: kt.oracles.GridSearchOracle) -> None:
    """Let a grid continue after trials that lack a parameter which another trial registered.

    The oracle of keras-tuner 1.4.8 raises a ``KeyError``. For a trial that does not use a
    parameter, no value of it is left to be tried.
    """
    next_combination, compare = oracle._get_next_combination, oracle._compare

    def next_of(values: Values) -> Values | None:
        complete = _with_last_values(oracle.get_space(), values)
        combination: Values | None = next_combination(complete)
        return combination

    def compare_all(a: Values, b: Values) -> int:
        defaults = {parameter.name: parameter.default for parameter in oracle.get_space().space}
        return int(compare(a, defaults | b))

    oracle._get_next_combination, oracle._compare = next_of, compare_all


def _with_last_values(hp: kt.HyperParameters, values: Values) -> dict[str, Any]:
    """Return the values, and the last one in a grid for each active parameter without a value."""
    hp.values = complete = dict(values)
    for parameter in hp.space:
        if parameter.name not in complete and hp.is_active(parameter):
            others = [value for value in parameter.values if value != parameter.default]
            complete[parameter.name] = others[-1] if others else parameter.default
    return complete


def scoring_oracle(oracle: kt.Oracle | None) -> kt.Oracle | None:
    """Return an oracle if its class overrides ``score_trial``, so that workers score trials by it.

    Returns:
        The oracle; None if a trial's score is keras-tuner's own: the best value of the objective.
    """
    is_own = oracle is None or type(oracle).score_trial is kt.Oracle.score_trial
    return None if is_own else oracle


def _best_metrics(
    record: TrialRecord, objective: Objective
) -> tuple[dict[str, float], float | None]:
    """Return the finite metrics of a trial's best epoch, and its objective before it is scored."""
    best = record.best or record.best_epoch
    if best is None:
        return {}, None
    metrics = {
        name: value for name, value in best.metrics.items() if isinstance(value, (int, float))
    }
    if record.best is None:
        return metrics, None  # its epochs do not say what it is worth
    return metrics, metrics.get(objective.name, best.objective)
