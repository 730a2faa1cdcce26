"""Decides when a search ends before its trials are done, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field

from results.record.columns import State
from results.record.history import History, TrialRecord
from search.errors import AllTrialsFailedError, FailureLimitError, SearchError, without_data
from search.plan.plan import Plan

# If this many first trials fail with the same error, every trial is expected to fail.
FIRST_FAILURES = 3
# How many different errors a message shows.
SHOWN_ERRORS = 3
INTERRUPTED = "interrupted"
TRIALS_DONE = "trials done"
TARGET_REACHED = "target reached"
TIME_BUDGET_SPENT = "time budget spent"


@dataclass
class Stopping:
    """The conditions under which a search must end, checked after every event.

    Attributes:
        plan: The run, with its target and its time budget.
        history: The history so far.
        clock: Returns the seconds since the start of the process.
        max_consecutive_failed_trials: The search ends after this many consecutive failures, as in
            keras-tuner; None: after the first few trials all failed with the same error.
        is_interrupted: Whether the user has interrupted the search.
        error: The error that ends the search; None if there is none.
    """

    plan: Plan
    history: History
    clock: Callable[[], float]
    max_consecutive_failed_trials: int | None = None
    is_interrupted: bool = field(default=False, init=False)
    error: SearchError | None = field(default=None, init=False)

    def interrupt(self) -> None:
        """End the search because the user has interrupted it."""
        self.is_interrupted = True

    def fail(self, error: SearchError) -> None:
        """End the search because no trial can succeed."""
        self.error = self.error or error

    @property
    def reason(self) -> str | None:
        """Why the search must end now; None while it continues."""
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
        """End the search if too many trials have failed."""
        limit = self.max_consecutive_failed_trials
        if limit is not None:
            self._check_consecutive(self._ended_trials(), limit)
        elif self.history.best is None:
            self._check_first(self._ended_trials())

    def check_results(self) -> None:
        """After the search: fail it if every trial has failed, however few they were."""
        trials = list(self.history.trials.values())
        if self.is_interrupted or not trials or not all(map(has_failed, trials)):
            return
        errors = dict.fromkeys(trial.error or str(trial.ending) for trial in trials)
        count = "The only trial" if len(trials) == 1 else f"All {len(trials)} trials"
        self.fail(AllTrialsFailedError(f"{count} failed: {'; '.join(list(errors)[:SHOWN_ERRORS])}"))

    def _ended_trials(self) -> list[TrialRecord]:
        """Return the ended trials in the order of their ends, as keras-tuner 1.4.8 counts them."""
        trials = self.history.trials.values()
        ended = [trial for trial in trials if trial.state is not State.RUNNING]
        return sorted(ended, key=lambda trial: (trial.ended_seconds or 0.0, trial.trial))

    def _check_first(self, ended: list[TrialRecord]) -> None:
        # A diverged trial does not mean that other trials will fail.
        errors = [None if t.state is State.DIVERGED else without_data(t.error) for t in ended]
        count = min(FIRST_FAILURES, self.plan.trials or FIRST_FAILURES)
        if any(trial.trial < count for trial in self.history.running()):
            return  # wait: a failing trial ends soon
        if len(ended) >= count and errors[0] is not None and len(set(errors)) == 1:
            self.fail(
                AllTrialsFailedError(f"The first {len(ended)} trials all failed: {ended[0].error}")
            )

    def _check_consecutive(self, ended: list[TrialRecord], limit: int) -> None:
        newest = ended[-limit:]
        if len(newest) == limit and all(has_failed(trial) for trial in newest):
            error = FailureLimitError(
                f"{limit} consecutive trials failed (max_consecutive_failed_trials={limit}); the "
                f"last: {newest[-1].error or newest[-1].ending}"
            )
            self.fail(error)


def has_failed(trial: TrialRecord) -> bool:
    """Tell whether an ended trial counts as failed in keras-tuner: an error or a NaN score."""
    is_error = trial.state in (State.FAILED, State.OUT_OF_MEMORY, State.LOST, State.HUNG)
    return is_error or (trial.state is State.DIVERGED and trial.best is None)
