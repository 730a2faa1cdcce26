"""A running search: its parts, how it starts, and what it writes at its end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from results.record.files import write_json
from results.record.history import History
from results.record.journal import Event, Journal
from results.record.tables import write_tables
from search.algorithms.base import Searcher, make_searcher
from search.loggers.base import make_logger
from search.plan.plan import Plan
from search.ray.renewable import StoredData
from search.session.origin import Origin
from search.session.run_file import describe
from search.session.stopping import INTERRUPTED, TRIALS_DONE, Stopping
from search.space.parameters import Space
from search.storage.clock import Clock
from search.storage.folder import LockedRun, RunFolder
from search.storage.recorder import Listener, Recorder
from search.view.view import View


@dataclass(frozen=True)
class Session:
    """A running search.

    Attributes:
        folder: The run folder, with its run.json.
        journal: Stores every event.
        searcher: Chooses the configurations for the Ray engine.
        recorder: Records every event.
        view: Shows the search to the user.
        before_proposal: Called before the searcher is asked for a configuration.
    """

    folder: RunFolder
    journal: Journal
    searcher: Searcher
    recorder: Recorder
    view: View
    before_proposal: Callable[[], None]

    def close(self, reason: str) -> None:
        """Record why the search ended, and write the tables and the best configuration."""
        self.view.end()
        try:
            self.recorder.search_ended(reason)
        finally:
            self.journal.close()
        # A process may have written a state just before it was killed.
        unfinished = {trial.trial for trial in self.recorder.history.unfinished()}
        self.folder.forget_states(but=unfinished)
        write_tables(self.folder.path, self.recorder.history)


@dataclass(kw_only=True)
class DeferredSession:
    """A session that opens once an engine knows the space, and writes nothing before.

    Attributes:
        plan: The run.
        run: The run folder, locked by this process.
        origin: The new or previous run that the session starts from.
        view: Shows the search to the user.
        clock: Returns the seconds since the start of the run.
        data_digest: Returns a digest of the data; called once the space is known.
        data_parts: Returns the data and how they travel to the workers, as run.json records them;
            called once the space is known.
        searcher: Chooses the configurations; None: the searcher that the plan names.
        listeners: Called with every event, after the searcher and before the view.
        before_proposal: Called before the searcher is asked for a configuration.
        session: The session; None until it is opened.
    """

    plan: Plan
    run: LockedRun
    origin: Origin
    view: View
    clock: Clock
    data_digest: Callable[[], str] = lambda: ""
    data_parts: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    searcher: Searcher | None = None
    listeners: tuple[Listener, ...] = ()
    before_proposal: Callable[[], None] = lambda: None
    session: Session | None = field(default=None, init=False)

    @property
    def history(self) -> History:
        """The history so far, also before the session is opened."""
        return self.origin.history

    def open(self, space: Space) -> Session:
        """Return the session; the first call opens it.

        Raises:
            RunFolderError: The folder cannot be written, or its run used other data.
        """
        if self.session is None:
            self.session = self._open(space)
        return self.session

    def _open(self, space: Space) -> Session:
        """Write run.json, open the journal, record the start and begin to show the search."""
        plan, origin, view, folder = self.plan, self.origin, self.view, self.run.folder
        folder.sweep()
        data = {"data_digest": self.data_digest(), "data": list(self.data_parts())}
        description = origin.describe(describe(plan, space) | data, view.note)
        write_json(folder.run_file, description)
        names = ", ".join(dict.fromkeys(parameter.name for parameter in space))
        view.note(f"space {plan.problem.space}: {names or 'the first trial registers it'}")
        searcher = self.searcher or make_searcher(plan, space)
        for note in origin.teach(searcher):
            view.note(note)
        journal = Journal(folder.journal_file, guard=self.run.lock.check)
        recorder = Recorder(
            journal,
            origin.history,
            [searcher.observe, *self.listeners],
            clock=self.clock,
            scheduler=plan.scheduler,
        )
        recorder.listen(Tidier(folder, origin.history, plan.kept_weights))
        logger = make_logger(plan, folder, origin.history, view.note, previous_events=origin.events)
        if logger is not None:
            recorder.listen(logger)
        origin.record(recorder, description, searcher, view.note)
        view.begin(plan, origin.history, self.clock)
        recorder.listen(view.observe)
        return Session(folder, journal, searcher, recorder, view, self.before_proposal)


class Tidier:
    """A listener that removes states of ended trials, and weights of trials not among the best.

    Args:
        folder: The run folder.
        history: The history, which already includes each event.
        kept_trials: Number of the best trials that keep their weights; None: all trials.
    """

    def __init__(self, folder: RunFolder, history: History, kept_trials: int | None) -> None:
        self._folder = folder
        self._history = history
        self._kept_trials = kept_trials
        # Trials that may have weights: only these few of thousands are ranked.
        self._trials_with_weights = set(history.trials)

    def __call__(self, event: Event) -> None:
        number = event.get("trial")
        if event["event"] == "trial_started":
            self._folder.forget(event["trial"])  # files of a trial whose record was lost
        if number is not None:
            self._trials_with_weights.add(number)
        if event["event"] != "trial_ended":
            return
        if not self._history.trials[event["trial"]].is_unfinished:
            self._folder.forget_state(event["trial"])
        if self._kept_trials is not None:
            self._remove_weights(self._kept_trials)

    def _remove_weights(self, kept_trials: int) -> None:
        ranked = self._history.ranked(self._trials_with_weights)
        of_unknown_worth = self._trials_with_weights - {trial.trial for trial in ranked}
        ranked += [self._history.trials[number] for number in sorted(of_unknown_worth)]
        for trial in ranked[kept_trials:]:
            if not trial.is_unfinished:
                self._folder.forget_weights(trial.trial)
                self._trials_with_weights.discard(trial.trial)


class SearchEngine(Protocol):
    """An engine that runs the trials of a search."""

    @property
    def plan(self) -> Plan:
        """The run, with the number of workers that the cluster has room for."""

    @property
    def stored(self) -> StoredData | None:
        """The data in Ray's memory; None if the engine loads the data itself."""

    def data_digest(self) -> str:
        """Return a digest of the data; empty if the engine cannot resume a run."""

    def data_parts(self) -> Sequence[Mapping[str, Any]]:
        """Return the data and how they travel, as run.json records them."""

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        """Run trials until they are done or ``stopping`` has a reason to end the search.

        The engine opens the session once it knows the space.
        """


def run_trials(engine: SearchEngine, deferred: DeferredSession, stopping: Stopping) -> str:
    """Run an engine's search, close its session, and return why the search ended."""
    reason = "failed"
    try:
        engine.search(deferred, stopping)
        reason = stopping.reason or TRIALS_DONE
    except KeyboardInterrupt:
        if deferred.session is None:
            raise
        reason = INTERRUPTED
    finally:
        if deferred.session is not None:
            deferred.session.close(reason)
    return reason
