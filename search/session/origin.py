"""What a session starts from: nothing, or a run as it was left.

Both kinds answer the same questions; ``DeferredSession`` says in which order they are asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from results.record.columns import State
from results.record.history import History
from results.record.journal import Event
from search.algorithms.base import Searcher
from search.errors import RunFolderError
from search.session.resume import teach_searcher, trials_outside
from search.session.run_file import RecordedRun
from search.session.warm_start import EarlierSearch, fitted
from search.space.parameters import Space
from search.storage.clock import Clock, later
from search.storage.folder import RunFolder
from search.storage.lock import Say
from search.storage.recorder import Recorder


@dataclass(frozen=True)
class NewRun:
    """A run that begins.

    Attributes:
        history: Empty.
        earlier: An earlier search whose finished trials the searcher learns from; None: none.
    """

    history: History
    earlier: EarlierSearch | None = None
    events: tuple[Event, ...] = ()

    def clock(self, clock: Clock) -> Clock:
        """Return the clock of the run, given that of this process."""
        return clock

    def description(self, current: dict[str, Any]) -> dict[str, Any]:
        """Return what run.json is to say, given the description of this session."""
        return current

    def teach(self, searcher: Searcher) -> Iterator[str]:
        """Teach the searcher what the run has learnt so far; yield what could not be used."""
        return iter(())

    def record(
        self, recorder: Recorder, description: dict[str, Any], space: Space, say: Say
    ) -> None:
        """Record the start and the trials of the earlier search, as far as they fit the space."""
        recorder.search_started(run=description)
        if self.earlier is None:
            return
        source = self.earlier.source
        usable, notes = fitted(self.earlier, space)
        for trial in usable:
            recorder.earlier_trial(trial.values, trial.score, f"{source}, trial {trial.name}")
        for row in self.earlier.left_out:
            say(f"{source}: left out: {row}")
        for note in notes:
            say(note)
        say(f"{source} ({self.earlier.kind}): learnt from {len(usable)} finished trials")


@dataclass(frozen=True)
class ResumedRun:
    """A run that goes on.

    Attributes:
        previous: The run as it was left.
    """

    previous: RecordedRun

    @property
    def history(self) -> History:
        return self.previous.history

    @property
    def events(self) -> tuple[Event, ...]:
        return self.previous.events

    def clock(self, clock: Clock) -> Clock:
        return later(clock, self.previous.seconds)

    def description(self, current: dict[str, Any]) -> dict[str, Any]:
        """Return what run.json is to say: what it said, with what this session changes.

        Raises:
            RunFolderError: The data are not those of the run.
        """
        before = self.previous.description
        check_data(self.previous.folder, before, current["data_digest"])
        now = {key: current[key] for key in ("started_at", "command", "versions", "machine")}
        resumed = [*before.get("resumed", []), now]
        return before | {"plan": current["plan"], "space": current["space"], "resumed": resumed}

    def teach(self, searcher: Searcher) -> Iterator[str]:
        return teach_searcher(searcher, self.previous)

    def record(
        self, recorder: Recorder, description: dict[str, Any], space: Space, say: Say
    ) -> None:
        """Record the start, and end the trials that were stopped or that cannot go on."""
        recorder.search_resumed(run=description)
        for number in trials_outside(self.previous, space):
            recorder.trial_ended(
                number, State.INTERRUPTED, error="its configuration is not of the space any more"
            )
        for trial in recorder.history.unfinished():
            if trial.was_told_to_stop:
                recorder.trial_ended(trial.trial, State.STOPPED)
        unfinished = recorder.history.unfinished()
        ended = len(recorder.history.trials) - len(unfinished)
        left = [f"trial {trial.trial} (after epoch {trial.furthest[1]})" for trial in unfinished]
        going_on = ", ".join(left) or "none"
        say(f"resumed; trials that have ended: {ended}; that go on: {going_on}")


Origin = NewRun | ResumedRun


def check_data(folder: RunFolder, description: dict[str, Any], digest: str) -> None:
    """Check that a run's data are those that it was begun with.

    Raises:
        RunFolderError: They have changed.
    """
    before = description.get("data_digest")
    if before and digest != before:
        raise RunFolderError(
            f"the data have changed since {str(folder.path)!r} was begun (digest {digest}, then "
            f"{before}): its figures would not be of one problem. Restore them, or begin a new run "
            "with --warm-start."
        )
