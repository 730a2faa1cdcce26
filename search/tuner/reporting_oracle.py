"""What ``RayTuner.oracle`` is: the trials of a search in keras-tuner's own form. Imports Keras."""

from typing import Any

import keras_tuner as kt

from results.record.columns import State
from results.record.history import TrialRecord
from search.errors import UsageError

# How keras-tuner would call the ways in which a trial may end. It has no word for a trial that
# was stopped by a scheduler: STOPPED is its word for a search that ended.
STATUSES = {
    State.RUNNING: "RUNNING",
    State.COMPLETED: "COMPLETED",
    State.EARLY_STOPPED: "COMPLETED",
    State.STOPPED: "STOPPED",
    State.DIVERGED: "COMPLETED",
    State.FAILED: "FAILED",
    State.OUT_OF_MEMORY: "FAILED",
    State.LOST: "FAILED",
    State.HUNG: "FAILED",
    State.INTERRUPTED: "INVALID",
}


class ReportingOracle(kt.Oracle):
    """Shows the trials of a search as keras-tuner's tuners do; it proposes nothing.

    A trial that was stopped has the status ``STOPPED`` and, as score, the best value that it
    reached: it may be the best of all, so it is ranked with the completed ones.
    """

    def __init__(self, objective: Any, **arguments: Any) -> None:
        super().__init__(objective, **arguments)
        self.verbose = 0

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose nothing.

        Raises:
            UsageError: Always: the search itself chooses.
        """
        raise UsageError("RayTuner.oracle only reports trials: call RayTuner.search to run them.")

    def save(self) -> None:
        """Do nothing: the journal is the record."""

    def clear(self) -> None:
        """Forget the trials of a search that another takes the place of."""
        self.trials.clear()
        self.start_order.clear()
        self.end_order.clear()

    def name(self, number: int) -> str:
        """Return the name of a trial, as keras-tuner would call it."""
        return f"{number:0{len(str(self.max_trials))}d}"

    def show(self, record: TrialRecord) -> kt.engine.trial.Trial:
        """Bring a trial up to date with what is known of it."""
        name = self.name(record.trial)
        hp = self.hyperparameters.copy()
        hp.values = dict(record.values)
        trial = kt.engine.trial.Trial(hp, name, status=STATUSES[record.state])
        if name not in self.trials:
            self.start_order.append(name)
        if record.state is not State.RUNNING and name not in self.end_order:
            self.end_order.append(name)
        trial.message = record.traceback or record.error
        if record.state is State.STOPPED:  # keras-tuner's summary shows it
            trial.message = f"{record.ending} after {len(record.epochs)} epochs"
        if record.best is not None:
            self._score(trial, record)
        elif record.state is State.DIVERGED:
            trial.status = "FAILED"
        self.trials[name] = trial
        return trial

    def _score(self, trial: Any, record: TrialRecord) -> None:
        assert record.best is not None
        step = record.best.epoch - 1
        trial.score, trial.best_step = record.best.objective, step
        for name, value in record.best.metrics.items():
            if isinstance(value, (int, float)):
                is_objective = name == self.objective.name
                direction = self.objective.direction if is_objective else None
                trial.metrics.register(name, direction=direction)
                trial.metrics.update(name, value, step=step)

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials, stopped ones among them; then those without a score."""
        sign = -1.0 if self.objective.direction == "max" else 1.0
        ended = ("COMPLETED", "STOPPED")
        scored = [t for t in self.trials.values() if t.score is not None and t.status in ended]
        ranked = sorted(scored, key=lambda trial: sign * trial.score)
        others = [trial for trial in self.trials.values() if trial not in ranked]
        return (ranked + others)[:num_trials]
