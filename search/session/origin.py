"""The origin of a session: a new run, or a previous run that is resumed.

Both classes have the same methods; ``DeferredSession`` calls them in order.
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
from search.worker.data import UNKNOWN_DIGEST


@dataclass(frozen=True)
class NewRun:
    """A new run.

    Attributes:
        history: An empty history.
        earlier: An earlier search whose finished trials the searcher learns from; None: none.
        events: The events before this session: none.
    """

    history: History
    earlier: EarlierSearch | None = None
    events: tuple[Event, ...] = ()

    def clock(self, clock: Clock) -> Clock:
        """Return the clock of the run, given the clock of this process."""
        return clock

    def describe(self, session: dict[str, Any], _say: Say) -> dict[str, Any]:
        """Return the content of run.json, given the description of this session."""
        return session

    def teach(self, searcher: Searcher) -> Iterator[str]:
        """Teach the searcher the previous trials; yield a line for each that cannot be used."""
        return iter(())

    def record(
        self, recorder: Recorder, description: dict[str, Any], searcher: Searcher, say: Say
    ) -> None:
        """Record the start, and those trials of the earlier search that fit the space."""
        recorder.search_started(run=description)
        if self.earlier is None:
            return
        source = self.earlier.source
        trials, notes = fit_to_space(self.earlier, searcher.space)
        for trial in trials:
            recorder.earlier_trial(trial.values, trial.score, f"{source}, trial {trial.name}")
        for line in self.earlier.left_out:
            say(f"{source}: left out: {line}")
        for note in notes:
            say(note)
        say(f"{source} ({self.earlier.kind}): learnt from {len(trials)} finished trials")


@dataclass(frozen=True)
class ResumedRun:
    """A previous run that is resumed.

    Attributes:
        previous: The run before this session.
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

    def describe(self, session: dict[str, Any], say: Say) -> dict[str, Any]:
        """Return the previous content of run.json, with the changes of this session.

        Raises:
            RunFolderError: The data have changed since the run was started.
        """
        previous = self.previous.description
        check_data(self.previous.folder, previous, session["data_digest"], say)
        resumption = {key: session[key] for key in ("started_at", "command", "versions", "machine")}
        resumed = [*previous.get("resumed", []), resumption]
        return previous | {"plan": session["plan"], "space": session["space"], "resumed": resumed}

    def teach(self, searcher: Searcher) -> Iterator[str]:
        return teach_searcher(searcher, self.previous)

    def record(
        self, recorder: Recorder, description: dict[str, Any], searcher: Searcher, say: Say
    ) -> None:
        """Record the start, and the end of the trials that were stopped or cannot continue."""
        recorder.search_resumed(run=description)
        outside = [] if searcher.takes_any_values else trials_outside(self.previous, searcher.space)
        for number in outside:
            recorder.trial_ended(
                number, State.INTERRUPTED, error="its configuration no longer fits the search space"
            )
        for trial in recorder.history.unfinished():
            if trial.was_told_to_stop:
                recorder.trial_ended(trial.trial, State.STOPPED)
        unfinished = recorder.history.unfinished()
        ended_count = len(recorder.history.trials) - len(unfinished)
        continuing = [f"trial {t.trial} (after epoch {t.furthest[1]})" for t in unfinished]
        say(f"resumed; ended trials: {ended_count}; continuing: {', '.join(continuing) or 'none'}")


Origin = NewRun | ResumedRun


def check_data(folder: RunFolder, description: dict[str, Any], digest: str, say: Say) -> None:
    """Check that the data are those of the run, as far as that can be known.

    Args:
        folder: The run folder.
        description: The content of run.json.
        digest: Digest of the data now.
        say: Gets a line if the contents of the data cannot be known.

    Raises:
        RunFolderError: The data have changed since the run was started.
    """
    recorded_digest = description.get("data_digest")
    if not recorded_digest:
        return
    if UNKNOWN_DIGEST in (digest, recorded_digest):
        say(
            "whether the data have changed is not known, since a dataset does not tell its "
            f"contents: make sure that they are those of {str(folder.path)!r}"
        )
    elif digest != recorded_digest:
        raise RunFolderError(
            f"the data have changed since {str(folder.path)!r} was started (digest {digest}): "
            f"expected digest {recorded_digest}, so that all results are comparable. Restore the "
            "data, or start a new run with --warm-start."
        )


def read_previous_run(path: Path) -> RecordedRun:
    """Read a run that is to be resumed.

    Raises:
        RunFolderError: The folder holds no run, a run of a newer version, or a damaged one.
        UsageError: The engine of the run cannot resume a search.
    """
    run = read_run(RunFolder.open(path))
    plan = run.description.get("plan")
    if isinstance(plan, dict) and plan.get("engine") != Engine.RAY:
        raise UsageError(
            f"{str(run.folder.path)!r} was made by {plan.get('engine')}, which cannot resume a "
            "search: expected a run of --engine ray. Start a new run that learns from it with "
            f"`fmnist-search run --warm-start {run.folder.path}`."
        )
    _ = run.plan  # raises an error if the plan is damaged
    return run


def teach_searcher(searcher: Searcher, previous: RecordedRun) -> Iterator[str]:
    """Teach a searcher the trials of the run that it resumes.

    It adopts each trial whose configuration fits its space (or any trial, if it takes any values),
    and observes the trial's events. From any other finished trial it learns the values that fit.

    Args:
        searcher: A searcher of the space that was discovered now.
        previous: The run before this session.

    Yields:
        A line for each trial that is not used, or not completely.
    """
    adopted: set[int] = set()
    unfitting: list[int] = []
    for event in previous.events:
        number = event.get("trial")
        if event["event"] == "trial_started" and number not in adopted:
            values = event["values"]
            if not searcher.takes_any_values:
                values = values_within(values, searcher.space)
            if values is None:
                unfitting.append(event["trial"])
            else:
                searcher.adopt(event["trial"], values)
                searcher.observe(event)
                adopted.add(event["trial"])
        elif event["event"] == "space_grown":
            searcher.grow(Space.from_json(event["parameters"]))
        elif event["event"] == "earlier_trial":
            yield from _learn_earlier(searcher, event)
        elif event.get("state") != State.INTERRUPTED and (number is None or number in adopted):
            searcher.observe(event)
    for number in unfitting:
        yield _learn_unfitting(searcher, previous.history.trials[number])


def _learn_earlier(searcher: Searcher, event: Event) -> Iterator[str]:
    try:
        searcher.learn(fit_values(event["values"], searcher.space), event["score"])
    except ValueError as error:
        yield f"{event['source']} is left out: {error}"


def trials_outside(previous: RecordedRun, space: Space) -> list[int]:
    """Return the numbers of the unfinished trials whose configuration does not fit a space."""
    unfinished = previous.history.unfinished()
    return [trial.trial for trial in unfinished if values_within(trial.proposed, space) is None]


def values_within(values: Values, space: Space) -> Values | None:
    """Return a configuration with the defaults of new parameters; None if it does not fit."""
    given_values = user_values(values)
    try:
        fitting_values = fit_values(given_values, space)
    except ValueError:
        return None
    has_unknown = bool(given_values.keys() - {parameter.name for parameter in space})
    has_changed = any(given_values.get(name, v) != v for name, v in fitting_values.items())
    return None if has_unknown or has_changed else values | fitting_values


def _learn_unfitting(searcher: Searcher, trial: TrialRecord) -> str:
    name = f"trial {trial.trial}"
    has_finished = trial.state in (State.COMPLETED, State.EARLY_STOPPED)
    if not has_finished or trial.best_value is None:
        return f"{name} ({trial.ending}) is left out: its configuration does not fit the space"
    parameters = {parameter.name for parameter in searcher.space}
    unknown = [name for name in user_values(trial.values) if name not in parameters]
    try:
        values = fit_values(trial.values, searcher.space)
    except ValueError as error:
        return f"{name} is left out: {error}"
    searcher.learn(values, trial.best_value)
    return f"learnt from {name}" + (f" without {', '.join(unknown)}" if unknown else "")
