"""What a session starts from: nothing, or a run as it was left, which its searcher learns from.

Both kinds answer the same questions; ``DeferredSession`` says in which order they are asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.columns import State, Values
from results.record.history import History, TrialRecord
from results.record.journal import Event
from search.algorithms.base import Searcher
from search.errors import RunFolderError, UsageError
from search.plan.plan import Engine
from search.session.run_file import RecordedRun, read_run
from search.session.warm_start import EarlierSearch, fit_to_space, fit_values, user_values
from search.space.parameters import Space
from search.storage.clock import Clock, offset_clock
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
        usable, notes = fit_to_space(self.earlier, space)
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
        return offset_clock(clock, self.previous.seconds)

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


def read_previous_run(path: Path) -> RecordedRun:
    """Read a run that is to be resumed.

    Raises:
        RunFolderError: It is no run, of a newer version, or damaged beyond use.
        UsageError: It is of a kind that cannot go on.
    """
    run = read_run(RunFolder.open(path))
    row = run.description.get("plan")
    engine = row.get("engine") if isinstance(row, dict) else None
    if isinstance(row, dict) and engine != Engine.RAY:
        raise UsageError(
            f"{str(run.folder.path)!r} was made by {engine}, whose search cannot be gone on with: "
            f"expected a run of --engine ray. `fmnist-search run --warm-start {run.folder.path}` "
            "learns from it."
        )
    _ = run.plan  # what is damaged there is said before anything is done
    return run


def teach_searcher(searcher: Searcher, previous: RecordedRun) -> Iterator[str]:
    """Teach a searcher what it had learnt when the run was left.

    The searcher is told of each trial whose configuration the space still holds as it happened;
    of any other trial that has finished it learns what still applies.

    Args:
        searcher: Knows the space as it is discovered today.
        previous: The run.

    Yields:
        What could not be used, a line each.
    """
    adopted: set[int] = set()
    changed: list[int] = []
    for event in previous.events:
        number = event.get("trial")
        if event["event"] == "trial_started" and number not in adopted:
            values = values_within(event["values"], searcher.space)
            if values is None:
                changed.append(event["trial"])
            else:
                searcher.adopt(event["trial"], values)
                searcher.observe(event)
                adopted.add(event["trial"])
        elif event["event"] == "space_grown":
            searcher.grow(Space.from_json(event["parameters"]))
        elif event["event"] == "earlier_trial":
            yield from _learnt_earlier(searcher, event)
        elif event.get("state") != State.INTERRUPTED and (number is None or number in adopted):
            searcher.observe(event)
    for number in changed:
        yield _learnt(searcher, previous.history.trials[number])


def _learnt_earlier(searcher: Searcher, event: Event) -> Iterator[str]:
    try:
        searcher.learn(fit_values(event["values"], searcher.space), event["score"])
    except ValueError as error:
        yield f"{event['source']} is left out: {error}"


def trials_outside(previous: RecordedRun, space: Space) -> list[int]:
    """Return the unfinished trials whose configuration a space does not hold any more."""
    unfinished = previous.history.unfinished()
    return [trial.trial for trial in unfinished if values_within(trial.proposed, space) is None]


def values_within(values: Values, space: Space) -> Values | None:
    """Return a configuration as the space holds it; None where it does not."""
    own = user_values(values)
    known = {parameter.name for parameter in space}
    try:
        fitting = fit_values(own, space)
    except ValueError:
        return None
    if set(own) - known or any(own.get(name, value) != value for name, value in fitting.items()):
        return None
    return values | fitting


def _learnt(searcher: Searcher, trial: TrialRecord) -> str:
    name = f"trial {trial.trial}"
    has_finished = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
    if not has_finished or trial.best_value is None:
        return f"{name} ({trial.ending}): its configuration is not of this space: left out"
    known = {parameter.name for parameter in searcher.space}
    gone = [name for name in user_values(trial.values) if name not in known]
    try:
        values = fit_values(trial.values, searcher.space)
    except ValueError as error:
        return f"{name} is left out: {error}"
    searcher.learn(values, trial.best_value)
    return f"{name}: learnt from without {', '.join(gone)}" if gone else f"{name}: learnt from"
