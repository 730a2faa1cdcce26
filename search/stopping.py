"""When a search ends before its trials are done, and why."""

from collections.abc import Callable

from results.columns import State
from search.errors import AllTrialsFailedError, SearchError
from search.history import History
from search.plan import Plan

# So many first trials that all fail in the same way say that every trial will.
FIRST_FAILURES = 3
INTERRUPTED = "interrupted"


class Stopping:
    """Decides whether the search goes on; asked after every event.

    Args:
        plan: Says the target and the time budget.
        history: What has happened so far.
        clock: Seconds since the start of the process.
    """

    def __init__(self, plan: Plan, history: History, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._history = history
        self._clock = clock
        self._interrupted = False
        self.error: SearchError | None = None

    def interrupt(self) -> None:
        """End the search because the user said so."""
        self._interrupted = True

    def fail(self, error: SearchError) -> None:
        """End the search because no trial can succeed."""
        self.error = self.error or error

    @property
    def reason(self) -> str | None:
        """Why the search must end now, or None while it may go on."""
        if self.error:
            return "failed"
        if self._interrupted:
            return INTERRUPTED
        best = self._history.best
        if best and self._plan.problem.objective.is_reached(best.objective, self._plan.target):
            return "target reached"
        budget = self._plan.time_budget_seconds
        if budget is not None and self._clock() >= budget:
            return "time budget spent"
        return None

    def check_failures(self) -> None:
        """End the search when its first trials all failed in the same way."""
        ended = [t for t in self._history.trials.values() if t.state is not State.RUNNING]
        errors = [trial.error for trial in ended]
        needed = min(FIRST_FAILURES, self._plan.trials or FIRST_FAILURES)
        if self._history.best is None and len(ended) >= needed and _all_the_same(errors):
            self.fail(
                AllTrialsFailedError(f"The first {len(ended)} trials all failed: {errors[0]}")
            )


def _all_the_same(errors: list[str | None]) -> bool:
    return errors[0] is not None and len(set(errors)) == 1
