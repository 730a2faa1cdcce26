"""keras-tuner's oracles as algorithms. Imports Keras."""

import copy
import sys

import keras_tuner as kt

from results.record.columns import State, Values
from results.record.history import History, Objective, TrialRecord
from results.record.journal import Event
from search.algorithms.base import Pause, Searcher
from search.space import mirror
from search.space.parameters import ORACLE_PREFIX, PARENT_TRIAL, Space


class OracleSearcher(Searcher):
    """Lets an oracle of keras-tuner propose while Ray runs the trials.

    To the oracle, each running trial is a tuner of its own. A trial reaches it as

    - completed with its score, where it ended by itself;
    - failed, where it failed or its score is no number (the search itself retries trials, and
      counts failures in a row);
    - completed with the *worst* score of the trials that have ended by themselves, where it was
      stopped; failed, while there is no such score. Its own value is of an early epoch and is left
      out: the scheduler stopped it because it was not among the better.

    Args:
        oracle: Any oracle; a copy of it is used.
        space: The space as discovered.
        objective: What is searched for.
        scratch: Folder for the state that an oracle writes; the journal is the record.
    """

    def __init__(
        self, oracle: kt.Oracle, space: Space, *, objective: Objective, scratch: str
    ) -> None:
        super().__init__(space)
        self._oracle = copy.deepcopy(oracle)
        self._oracle._set_project_dir(scratch, "oracle")
        self._oracle.verbose = 0
        self._oracle.max_retries_per_trial = 0
        self._oracle.max_consecutive_failed_trials = sys.maxsize
        self._oracle.update_space(mirror.to_hyperparameters(space))
        self._objective = objective
        self._history = History(objective)
        self._ids: dict[int, str] = {}
        self._worst: float | None = None

    def propose(self, trial: int) -> Values | Pause | None:
        """Ask the oracle, as the tuner of that number."""
        created = self._oracle.create_trial(str(trial))
        if created.status == "STOPPED":
            return None
        if created.status == "IDLE":
            return Pause.WAIT
        self._ids[trial] = created.trial_id
        values: Values = dict(created.hyperparameters.values)
        if PARENT_TRIAL in values:  # the oracle's own name of a trial
            numbers = {own: number for number, own in self._ids.items()}
            values[PARENT_TRIAL] = str(numbers[str(values[PARENT_TRIAL])])
        return values

    def adopt(self, trial: int, values: Values) -> None:
        """Ask the oracle again, which then proposes what it did, and hold it to the record.

        Its own bookkeeping, such as Hyperband's rounds, is brought up to date by that.
        """
        if not isinstance(self.propose(trial), dict):  # it knows other trials as ended than it did
            self._give_out(trial)
        proposed = self._oracle.get_trial(self._ids[trial]).hyperparameters
        former = values.get(PARENT_TRIAL)
        own = {} if former is None else {PARENT_TRIAL: self._ids[int(former)]}
        proposed.values = dict(values) | own

    def _give_out(self, trial: int) -> None:
        name = f"adopted-{trial}"
        made = kt.engine.trial.Trial(self._oracle.get_space(), name, status="RUNNING")
        self._oracle.trials[name] = self._oracle.ongoing_trials[str(trial)] = made
        self._oracle.start_order.append(name)
        self._ids[trial] = name

    def grow(self, news: Space) -> None:
        """Take in parameters that a trial was the first to register.

        Raises:
            RuntimeError: The oracle allows no new ones.
        """
        super().grow(news)
        self._oracle.update_space(mirror.to_hyperparameters(news))

    def observe(self, event: Event) -> None:
        """Tell the oracle how a trial ended."""
        super().observe(event)
        self._history.apply(event)
        if event["event"] == "trial_ended" and event["trial"] in self._ids:
            self._end(self._history.trials[event["trial"]])

    def learn(self, values: Values, score: float) -> None:
        """Give the oracle a completed trial that it did not propose."""
        oracle = self._oracle
        number = len(oracle.trials)
        trial = kt.engine.trial.Trial(
            mirror.to_hyperparameters(self.space, values), f"earlier-{number}", status="COMPLETED"
        )
        trial.score = score
        self._give(trial, score)
        oracle.trials[trial.trial_id] = trial
        oracle._record_values(trial)
        if oracle.max_trials is not None:
            oracle.max_trials += 1

    def _end(self, record: TrialRecord) -> None:
        trial = self._oracle.get_trial(self._ids[record.trial])
        self._complete(trial.hyperparameters, record.values)
        score = record.best_value
        if record.state in (State.COMPLETED, State.EARLY_STOPPED) and score is not None:
            if self._worst is None or self._objective.is_better(self._worst, score):
                self._worst = score
        elif record.state is State.STOPPED:
            score = self._worst
        elif record.state is not State.DIVERGED:
            score = None
        trial.status = "FAILED" if score is None else "COMPLETED"
        trial.message = record.error
        if score is not None:
            self._give(trial, score)
        self._oracle.end_trial(trial)

    def _complete(self, hp: kt.HyperParameters, used: Values) -> None:
        """Add what the trial was the first to register, with the values that it took."""
        known = self._oracle.hyperparameters.space
        hp.merge([parameter for parameter in known if parameter.name in used], overwrite=False)
        hp.values |= {n: value for n, value in used.items() if not n.startswith(ORACLE_PREFIX)}

    def _give(self, trial: kt.engine.trial.Trial, score: float) -> None:
        objective = self._oracle.objective
        trial.metrics.register(objective.name, direction=objective.direction)
        trial.metrics.update(objective.name, score)
