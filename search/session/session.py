"""A search under way: what an engine works with, and what is written when it ends."""

import os
import shlex
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.record.columns import State
from results.record.files import write_json
from results.record.history import EpochRecord, History
from results.record.journal import Event, Journal, parse
from results.record.tables import write_tables
from search.algorithms.searchers import RandomSearcher, Searcher, TPESearcher
from search.errors import RunFolderError
from search.plan.plan import Engine, Plan
from search.plan.registry import Algorithm
from search.session.resume import PreviousRun, teach_searcher, trials_outside
from search.session.run_file import describe
from search.session.warm_start import EarlierSearch, fitted
from search.space.parameters import Space
from search.storage.clock import Clock, seconds_since_process_start
from search.storage.folder import LockedRun, RunFolder
from search.storage.recorder import Listener, Recorder
from search.view.view import View

if TYPE_CHECKING:
    from search.loggers.tensorboard import TensorBoardLog


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

    @classmethod
    def open(
        cls,
        plan: Plan,
        space: Space,
        history: History,
        view: View,
        *,
        run: LockedRun,
        data_digest: Callable[[], str] = lambda: "",
        earlier: EarlierSearch | None = None,
        previous: PreviousRun | None = None,
        searcher: Searcher | None = None,
        listeners: Iterable[Listener] = (),
        clock: Clock = seconds_since_process_start,
    ) -> "Session":
        """Begin to write a run, or go on with one.

        Args:
            plan: What was asked.
            space: The space as discovered.
            history: What has happened so far; nothing in a new run.
            view: What the user sees.
            run: The folder, held by this process.
            data_digest: Tells what equal data share; asked when the space is known.
            earlier: An earlier search, told to the searcher as far as it fits the space.
            previous: The same run as it was left; None: a new one.
            searcher: Chooses the configurations; None: the one that the plan names.
            listeners: Told of every event, after the searcher and before the view.
            clock: Seconds since the start of what is measured.

        Raises:
            RunFolderError: The folder cannot be written, or was made with other data.
        """
        folder = run.folder
        if previous is not None:
            folder.sweep()
        searcher = searcher or make_searcher(plan, space)
        asked = describe(plan, space) | {"data_digest": data_digest()}
        if previous is not None:
            asked = _resumed(previous, asked)
        write_json(folder.run_file, asked)
        journal = Journal(folder.journal_file, guard=run.lock.check)
        names = ", ".join(dict.fromkeys(parameter.name for parameter in space))
        view.note(f"space {plan.problem.space}: {names}")
        for note in teach_searcher(searcher, previous) if previous else ():
            view.note(note)
        recorder = Recorder(journal, history, [searcher.observe, *listeners], clock=clock)
        kept = plan.kept_weights
        recorder.listen(Tidier(folder, history, kept))
        log = make_log(plan, folder, history, view, previous)
        if log is not None:
            recorder.listen(log)
        if previous is None:
            recorder.search_started(run=asked)
        else:
            recorder.search_resumed(run=asked)
            _settle(recorder, previous, searcher.space, view)
        if earlier is not None and previous is None:  # else the journal tells of it
            _tell_earlier(earlier, space, recorder, view)
        view.begin(plan, history, clock)
        recorder.listen(view.tell)
        return cls(folder, journal, searcher, recorder, view)

    def close(self, reason: str) -> None:
        """Record why the search ended, and write the tables and the best."""
        self.view.end()
        try:
            self.recorder.search_ended(reason)
        finally:
            self.journal.close()
        # A process that was cut off may have written once more.
        self.folder.forget_states(but={one.trial for one in self.recorder.history.unfinished()})
        write_outcome(self.folder, self.recorder.history)


class DeferredSession:
    """A session that opens once an engine knows the space; nothing is written before.

    Attributes:
        session: The session; None until it is opened.
    """

    def __init__(self, opens: Callable[[Space], Session]) -> None:
        self._opens = opens
        self.session: Session | None = None

    def open(self, space: Space) -> Session:
        """Return the session; the first call opens it."""
        if self.session is None:
            self.session = self._opens(space)
        return self.session


def write_outcome(folder: RunFolder, history: History) -> None:
    """Write what follows from the journal: both tables and best.json."""
    content = folder.journal_file.read_bytes()
    write_tables(
        folder.path,
        history,
        journal_crc=zlib.crc32(content),
        damaged_lines=parse(content, folder.journal_file).damaged_lines,
    )
    if history.best is not None:
        write_json(folder.best_file, best_record(history, history.best))


def best_record(history: History, best: EpochRecord) -> dict[str, Any]:
    """Return what best.json says of the best epoch, as JSON values."""
    return {
        "trial": best.trial,
        "epoch": best.epoch,
        "objective": history.objective.name,
        "value": best.objective,
        "at_seconds": best.at_seconds,
        "values": history.trials[best.trial].values,
    }


def make_searcher(plan: Plan, space: Space) -> Searcher:
    """Return the searcher that a plan names."""
    seed, first = plan.problem.seed, plan.defaults_first
    if plan.engine is Engine.RAY and plan.algorithm == Algorithm.TPE:
        objective = plan.problem.objective
        return TPESearcher(space, seed=seed, objective=objective, defaults_first=first)
    return RandomSearcher(space, seed=seed, defaults_first=first)


def make_log(
    plan: Plan, folder: RunFolder, history: History, view: View, previous: PreviousRun | None
) -> "TensorBoardLog | None":
    """Return the log that a plan asks for, if it does, and say how it is looked at."""
    if plan.log is None:
        return None
    from search.loggers.tensorboard import TensorBoardLog

    log = TensorBoardLog(folder, history, view.note, before=previous.events if previous else ())
    view.note(f"log: tensorboard --logdir {shlex.quote(os.path.relpath(log.path))}")
    return log


def _tell_earlier(earlier: EarlierSearch, space: Space, recorder: Recorder, view: View) -> None:
    told = fitted(earlier, space)
    for trial in told.trials:
        recorder.earlier_trial(trial.values, trial.score, f"{earlier.source}, trial {trial.name}")
    for note in (*(f"{earlier.source}: left out: {row}" for row in earlier.left_out), *told.notes):
        view.note(note)
    view.note(f"{earlier.source} ({earlier.kind}): learnt from {len(told.trials)} finished trials")


def _resumed(previous: PreviousRun, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json says of a run that goes on.

    Raises:
        RunFolderError: Its data have changed since.
    """
    check_data(previous.folder, previous.asked, asked["data_digest"])
    now = {key: asked[key] for key in ("started_at", "command", "versions", "machine")}
    resumed = [*previous.asked.get("resumed", []), now]
    return {**previous.asked, "plan": asked["plan"], "space": asked["space"], "resumed": resumed}


def check_data(folder: RunFolder, asked: dict[str, Any], digest: str) -> None:
    """Check that a run's data are those that it was begun with.

    Raises:
        RunFolderError: They have changed.
    """
    before = asked.get("data_digest")
    if before and digest != before:
        raise RunFolderError(
            f"the data have changed since {str(folder.path)!r} was begun (digest {digest}, then "
            f"{before}): its figures would not be of one problem. Restore them, or begin a new run "
            "with --warm-start."
        )


def _settle(recorder: Recorder, previous: PreviousRun, space: Space, view: View) -> None:
    """End what was decided on, or cannot go on; say what does."""
    for number in trials_outside(previous, space):
        recorder.trial_ended(
            number, State.INTERRUPTED, error="its configuration is not of the space any more"
        )
    for trial in recorder.history.unfinished():
        if trial.was_told_to_stop:
            recorder.trial_ended(trial.trial, State.STOPPED)
    unfinished = recorder.history.unfinished()
    ended = len(recorder.history.trials) - len(unfinished)
    left = [f"trial {one.trial} (after epoch {one.furthest[1]})" for one in unfinished]
    view.note(f"resumed; trials that have ended: {ended}; that go on: {', '.join(left) or 'none'}")


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
