"""When a search ends before its trials are done, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field

from results.record.columns import State
from results.record.history import History, TrialRecord
from search.errors import AllTrialsFailedError, FailureLimitError, SearchError
from search.plan.plan import Plan

# So many first trials that all fail in the same way say that every trial will.
FIRST_FAILURES = 3
INTERRUPTED = "interrupted"
TRIALS_DONE = "trials done"
TARGET_REACHED = "target reached"
TIME_BUDGET_SPENT = "time budget spent"


@dataclass
class Stopping:
    """Decides whether the search goes on; asked after every event.

    Attributes:
        plan: Says the target and the time budget.
        history: What has happened so far.
        clock: Seconds since the start of the process.
        max_consecutive_failed_trials: The search ends when so many trials failed one after the
            other, as keras-tuner's does; None: when the first few all failed in the same way.
    """

    plan: Plan
    history: History
    clock: Callable[[], float]
    max_consecutive_failed_trials: int | None = None
    is_interrupted: bool = field(default=False, init=False)
    error: SearchError | None = field(default=None, init=False)

    def interrupt(self) -> None:
        """End the search because the user said so."""
        self.is_interrupted = True

    def fail(self, error: SearchError) -> None:
        """End the search because no trial can succeed."""
        self.error = self.error or error

    @property
    def reason(self) -> str | None:
        """Why the search must end now, or None while it may go on."""
        if self.error:
            return "failed"
        if self.is_interrupted:
            return INTERRUPTED
        best = self.history.best
        if best and self.plan.problem.objective.is_reached(best.objective, self.plan.target):
            return TARGET_REACHED
        budget = self.plan.time_budget_seconds
        if budget is not None and self.clock() >= budget:
            return TIME_BUDGET_SPENT
        return None

    def check_failures(self) -> None:
        """End the search when its trials fail so that going on makes no sense."""
        limit = self.max_consecutive_failed_trials
        if limit is not None:
            self._check_last(self._ended(), limit)
        elif self.history.best is None:
            self._check_first(self._ended())

    def _ended(self) -> list[TrialRecord]:
        """Return the trials in the order in which they ended, as keras-tuner 1.4.8 counts."""
        trials = self.history.trials.values()
        ended = [trial for trial in trials if trial.state is not State.RUNNING]
        return sorted(ended, key=lambda trial: (trial.ended_seconds or 0.0, trial.trial))

    def _check_first(self, ended: list[TrialRecord]) -> None:
        # One that diverged says nothing of the others.
        errors = [None if t.state is State.DIVERGED else t.error for t in ended]
        needed = min(FIRST_FAILURES, self.plan.trials or FIRST_FAILURES)
        if any(trial.trial < needed for trial in self.history.running()):
            return  # one that fails is soon done: the others are waited for
        if len(ended) >= needed and errors[0] is not None and len(set(errors)) == 1:
            self.fail(
                AllTrialsFailedError(f"The first {len(ended)} trials all failed: {errors[0]}")
            )

    def _check_last(self, ended: list[TrialRecord], limit: int) -> None:
        last = ended[-limit:]
        if len(last) == limit and all(has_failed(trial) for trial in last):
            error = FailureLimitError(
                f"{limit} trials failed one after the other (max_consecutive_failed_trials="
                f"{limit}); the last: {last[-1].error or last[-1].ending}"
            )
            self.fail(error)


def has_failed(trial: TrialRecord) -> bool:
    """Tell whether keras-tuner would call an ended trial failed: an error, or a score of NaN."""
    is_error = trial.state in (State.FAILED, State.OUT_OF_MEMORY, State.LOST, State.HUNG)
    return is_error or (trial.state is State.DIVERGED and trial.best is None)
