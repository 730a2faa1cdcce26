"""A search as TensorBoard shows it: the scalars of each trial's epochs, and a row for its values.

A trial has one event file, which tells what the history tells of it: where that changes, since a
process died or a run goes on, the file is written anew. So no epoch stands in it twice. A
TensorBoard that looks on follows, but for the row of a trial that was interrupted and goes on: of
that it keeps what it read first until it is started again.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from pathlib import Path

from results.record.columns import State
from results.record.history import EpochRecord, History, TrialRecord
from results.record.journal import Event
from search.loggers.event_file import Message, framed, heading, scalars, session
from search.storage.folder import RunFolder

# Readers take the files with "tfevents" in their names, in the order of these.
PREFIX, SUFFIX = "events.out.tfevents.", ".fmnist-search"
FRESH = ".fresh"
# Among a trial's values: how it ended. With a space, as no parameter is called.
STATE = "trial state"
BEST = "hparam/best_"
SUCCEEDED = (State.COMPLETED, State.STOPPED, State.EARLY_STOPPED)


@dataclass(frozen=True)
class _Written:
    """What the event file of a running trial holds."""

    file: Path
    epochs: list[EpochRecord]


class TensorBoardLog:
    """Told of every event; keeps a folder for each trial, for ``tensorboard --logdir``.

    It is derived from the journal: where it cannot be written the search goes on without.

    Args:
        folder: The run.
        history: Brought up to date before an event comes here.
        say: Told, once, that the log cannot be written.
        before: The events of the run as it was left, of one that goes on.
    """

    def __init__(
        self,
        folder: RunFolder,
        history: History,
        say: Callable[[str], None],
        *,
        before: Iterable[Event] = (),
    ) -> None:
        self.path = folder.tensorboard
        self._folder = folder
        self._history = history
        self._say = say
        self._has_said = False
        self._times = _Times()
        self._running: dict[int, _Written] = {}
        for event in before:
            self._times.know(event)

    def __call__(self, event: Event) -> None:
        """Write what an event tells."""
        self._times.know(event)
        if event["event"] == "search_resumed":
            self.write_all()
        elif event["event"] in ("epoch", "trial_ended"):
            self._keep(self._history.trials[event["trial"]])

    def write_all(self) -> None:
        """Write what the history holds, whatever stands there already."""
        self._running.clear()
        for trial in self._history.trials.values():
            if trial.epochs or trial.state is not State.RUNNING:
                self._keep(trial)

    def _keep(self, trial: TrialRecord) -> None:
        written = self._running.pop(trial.trial, None)
        epochs = [one for one in trial.epochs if one.execution == 0]
        try:
            # Where this fails, what is torn is written anew with the trial's next event.
            file = self._written(trial, epochs, written)
        except OSError as error:
            self._say_once(error)
            return
        if trial.state is State.RUNNING:
            self._running[trial.trial] = _Written(file, epochs)

    def _written(
        self, trial: TrialRecord, epochs: list[EpochRecord], written: _Written | None
    ) -> Path:
        """Add what is new to a trial's file, or write it anew where its past is another now."""
        if written is None or written.epochs != epochs[: len(written.epochs)]:
            return self._begun(trial, self._messages(trial, epochs))
        with written.file.open("ab") as file:
            file.write(framed(self._messages(trial, epochs[len(written.epochs) :])))
        return written.file

    def _messages(self, trial: TrialRecord, epochs: list[EpochRecord]) -> list[Message]:
        """Return what tells of some epochs, and of the trial's end where it has ended."""
        at = self._times.at
        messages = [
            scalars(one.metrics, step=one.epoch, wall_time=at(one.at_seconds)) for one in epochs
        ]
        if trial.state is State.RUNNING or trial.ended_seconds is None:
            return messages
        messages += session(
            {**trial.values, STATE: str(trial.ending)},
            status=_status(trial.state),
            started=at(trial.started_seconds),
            ended=at(trial.ended_seconds),
        )
        if trial.best is not None:
            best = {BEST + self._history.objective.name: trial.best.objective}
            wall_time = at(trial.best.at_seconds)
            messages.append(scalars(best, step=trial.best.epoch, wall_time=wall_time))
        return messages

    def _begun(self, trial: TrialRecord, messages: list[Message]) -> Path:
        """Write a trial's file anew; what stood there goes once it is in its place."""
        place = self.path / self._folder.prefix(trial.trial).rstrip("-")
        place.mkdir(parents=True, exist_ok=True)
        former = sorted(place.glob(f"{PREFIX}*{SUFFIX}"))
        # A TensorBoard that looks on goes from file to file in the order of their names.
        number = int(former[-1].name.split(".")[3]) + 1 if former else 1
        file = place / f"{PREFIX}{number:06d}{SUFFIX}"
        fresh = place / FRESH
        try:
            fresh.write_bytes(framed([*heading(self._times.at(trial.started_seconds)), *messages]))
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
        for one in former:
            one.unlink(missing_ok=True)
        return file

    def _say_once(self, error: OSError) -> None:
        if not self._has_said:
            self._has_said = True
            self._say(
                f"{os.path.relpath(self.path)} cannot be written ({error.strerror}): the search "
                "goes on, and nothing else is lost. To have the log whole, make that possible, and "
                "resume the run once it has ended."
            )


class _Times:
    """Tells the time of day of a journal's seconds, which run on over the sessions of a run."""

    def __init__(self) -> None:
        self._zeros: list[tuple[float, float]] = []

    def know(self, event: Event) -> None:
        """Learn from an event with which the run was begun or gone on with."""
        if "run" in event:
            newest = [event["run"], *event["run"].get("resumed", [])][-1]
            now = datetime.fromisoformat(newest["started_at"]).timestamp()
            self._zeros.append((event["at_seconds"], now - event["at_seconds"]))

    def at(self, seconds: float) -> float:
        """Return seconds since 1970; of a journal that lost its beginning, those of the search."""
        session = bisect_right(self._zeros, seconds, key=itemgetter(0)) - 1
        return seconds + (self._zeros[max(session, 0)][1] if self._zeros else 0.0)


def _status(state: State) -> str:
    """Return TensorBoard's name of a state; one that is interrupted may go on."""
    if state is State.INTERRUPTED:
        return "STATUS_UNKNOWN"
    return "STATUS_SUCCESS" if state in SUCCEEDED else "STATUS_FAILURE"
