"""The recorder, through which every event of a search is written."""

from collections.abc import Callable, Iterable
from typing import Any

from results.record.columns import Decision, Device, State, Values
from results.record.history import History
from results.record.journal import Event, Journal
from search.storage.clock import Clock, seconds_since_process_start

Listener = Callable[[Event], None]


class Recorder:
    """Writes each event to the journal, applies it to the history and passes it to listeners.

    Args:
        journal: Where events are stored.
        history: Updated before the listeners are called.
        listeners: Called with each event, such as the searcher and the live view.
        clock: Returns the seconds since the start of the search.
        scheduler: Name of the scheduler that stops trials early; None if there is none.
    """

    def __init__(
        self,
        journal: Journal,
        history: History,
        listeners: Iterable[Listener] = (),
        *,
        clock: Clock = seconds_since_process_start,
        scheduler: str | None = None,
    ) -> None:
        self.history = history
        self._journal = journal
        self._listeners = list(listeners)
        self._clock = clock
        self._scheduler = scheduler

    def listen(self, listener: Listener) -> None:
        """Call a listener with every event from now on."""
        self._listeners.append(listener)

    def search_started(self, **fields: Any) -> None:
        self._record("search_started", **fields)

    def earlier_trial(self, values: Values, score: float, source: str) -> None:
        """Record a finished trial of an earlier search that the searcher learns from."""
        self._record("earlier_trial", values=values, score=score, source=source)

    def search_resumed(self, **fields: Any) -> None:
        self._record("search_resumed", **fields)

    def trial_started(self, trial: int, values: Values, *, epochs: int | None = None) -> None:
        """Record a trial's configuration and its maximum number of epochs."""
        self._record("trial_started", trial=trial, values=values, epochs=epochs)

    def trial_placed(self, trial: int, device: Device, multiply_adds: int | None) -> None:
        """Record the device chosen for a trial, and the size of its model."""
        self._record("trial_placed", trial=trial, device=device, multiply_adds=multiply_adds)

    def worker_lost(self, trial: int, error: str, *, by_trial: bool) -> None:
        """Record that a trial's process ended, by the trial's own doing or with its node."""
        self._record("worker_lost", trial=trial, error=error, by_trial=by_trial)

    def epoch(self, trial: int, report: dict[str, Any], *, decision: Decision, worker: str) -> None:
        """Record an epoch: the trial's report and the scheduler's decision."""
        self._record("epoch", trial=trial, decision=decision, worker=worker, **report)

    def trial_retried(self, trial: int, error: str) -> None:
        """Record that a trial failed and starts again with the same values."""
        self._record("trial_retried", trial=trial, error=error)

    def trial_restarted(self, trial: int) -> None:
        """Record that another process continues an unfinished trial, or starts it again."""
        self._record("trial_restarted", trial=trial)

    def trial_ended(self, trial: int, state: State, **fields: Any) -> None:
        """Record how a trial ended, and which scheduler stopped it."""
        if state is State.STOPPED:
            fields["scheduler"] = self._scheduler
        self._record("trial_ended", trial=trial, state=state, **fields)

    def space_grown(self, parameters: list[dict[str, Any]]) -> None:
        """Record hyperparameters that a trial has registered first."""
        self._record("space_grown", parameters=parameters)

    def search_ended(self, reason: str) -> None:
        """Record the end of the search; trials that still run are interrupted."""
        for trial in self.history.running():
            self.trial_ended(trial.trial, State.INTERRUPTED)
        self._record("search_ended", reason=reason)

    def _record(self, kind: str, **fields: Any) -> None:
        event = {"event": kind, "at_seconds": round(self._clock(), 3), **fields}
        self._journal.append(event)
        self.history.apply(event)
        for listener in self._listeners:
            listener(event)
