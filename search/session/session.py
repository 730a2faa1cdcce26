"""A search under way: what runs its trials, with what, and what is written when it ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

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
    """A search under way.

    Attributes:
        folder: The run folder, made and with its run.json.
        journal: Where every event goes.
        searcher: Chooses the configurations (the Ray engine asks it).
        recorder: Is told of everything that happens.
        view: What the user sees of it.
    """

    folder: RunFolder
    journal: Journal
    searcher: Searcher
    recorder: Recorder
    view: View

    def close(self, reason: str) -> None:
        """Record why the search ended, and write the tables and the best."""
        self.view.end()
        try:
            self.recorder.search_ended(reason)
        finally:
            self.journal.close()
        # A process that was cut off may have written once more.
        unfinished = {trial.trial for trial in self.recorder.history.unfinished()}
        self.folder.forget_states(but=unfinished)
        write_tables(self.folder.path, self.recorder.history)


@dataclass(kw_only=True)
class DeferredSession:
    """A session that opens once an engine knows the space; nothing is written before.

    Attributes:
        plan: What was asked.
        run: The run folder, locked by this process.
        origin: What the session starts from.
        view: What the user sees.
        clock: Seconds since the start of what is measured.
        data_digest: Returns what equal data share; called once the space is known.
        searcher: Chooses the configurations; None: the one that the plan names.
        listeners: Told of every event, after the searcher and before the view.
        session: The session; None until it is opened.
    """

    plan: Plan
    run: LockedRun
    origin: Origin
    view: View
    clock: Clock
    data_digest: Callable[[], str] = lambda: ""
    searcher: Searcher | None = None
    listeners: tuple[Listener, ...] = ()
    session: Session | None = field(default=None, init=False)

    @property
    def history(self) -> History:
        """What has happened so far, before it is opened too."""
        return self.origin.history

    def open(self, space: Space) -> Session:
        """Return the session; the first call opens it.

        Raises:
            RunFolderError: The folder cannot be written, or was made with other data.
        """
        if self.session is None:
            self.session = self._opened(space)
        return self.session

    def _opened(self, space: Space) -> Session:
        """Write run.json, open the journal, record the start, and show the search from then on."""
        plan, origin, view, folder = self.plan, self.origin, self.view, self.run.folder
        folder.sweep()
        current = describe(plan, space) | {"data_digest": self.data_digest()}
        description = origin.description(current)
        write_json(folder.run_file, description)
        names = ", ".join(dict.fromkeys(parameter.name for parameter in space))
        view.note(f"space {plan.problem.space}: {names}")
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
        log = make_logger(plan, folder, origin.history, view.note, previous_events=origin.events)
        if log is not None:
            recorder.listen(log)
        origin.record(recorder, description, searcher.space, view.note)
        view.begin(plan, origin.history, self.clock)
        recorder.listen(view.observe)
        return Session(folder, journal, searcher, recorder, view)


class Tidier:
    """Removes an ended trial's state, and the weights of those that are not among the best.

    Args:
        folder: The run.
        history: Brought up to date before an event comes here.
        kept: So many of the best keep their weights; None: all do.
    """

    def __init__(self, folder: RunFolder, history: History, kept: int | None) -> None:
        self._folder = folder
        self._history = history
        self._kept = kept
        # Those that may have weights: of thousands of trials, the few that it is worth to look at.
        self._holders = set(history.trials)

    def __call__(self, event: Event) -> None:
        number = event.get("trial")
        if event["event"] == "trial_started":
            self._folder.forget(event["trial"])  # of one whose record was lost
        if number is not None:
            self._holders.add(number)
        if event["event"] != "trial_ended":
            return
        if not self._history.trials[event["trial"]].is_unfinished:
            self._folder.forget_state(event["trial"])
        if self._kept is not None:
            self._forget_weights(self._kept)

    def _forget_weights(self, kept: int) -> None:
        for trial in self._history.ranked(self._holders)[kept:]:
            if not trial.is_unfinished:
                self._folder.forget_weights(trial.trial)
                self._holders.discard(trial.trial)


class SearchEngine(Protocol):
    """Runs the trials of a search."""

    @property
    def plan(self) -> Plan:
        """What was asked, for as many trials at once as there is room for."""

    @property
    def stored(self) -> StoredData | None:
        """What all trials train on, in Ray's memory; None: the engine keeps it to itself."""

    def data_digest(self) -> str:
        """Return what equal data share; nothing where the engine's runs cannot be resumed."""

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        """Run trials until they are done or ``stopping`` says that the search must end.

        The session is opened with the space once it is known.
        """


def run_trials(engine: SearchEngine, deferred: DeferredSession, stopping: Stopping) -> str:
    """Run an engine's search, close the session that it opened, and return why it ended."""
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
