"""A search as TensorBoard shows it: the scalars of each trial's epochs, and a row for its values.

Each trial has one event file, written from the history. Where the past of a trial changes, because
its process died or its run was resumed, the file is written anew: no epoch stands in it twice. A
TensorBoard that is open follows, with one exception: of an interrupted trial that continues, it
keeps the row that it read first until it is started again.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.columns import State
from results.record.history import EpochRecord, TrialRecord
from results.record.journal import Event
from search.loggers.base import Logger
from search.loggers.tensorboard_file import Message, framed, heading, scalars, session

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


class TensorBoardLog(Logger):
    """Keeps a folder for each trial, for ``tensorboard --logdir``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._running: dict[int, _Written] = {}

    @property
    def path(self) -> Path:
        return self.folder.path / "tensorboard"

    @property
    def command(self) -> str:
        return f"tensorboard --logdir {shlex.quote(os.path.relpath(self.path))}"

    def _write(self, event: Event) -> None:
        if event["event"] in ("epoch", "trial_ended"):
            self._keep(self.history.trials[event["trial"]])

    def _write_all(self) -> None:
        self._running.clear()
        for trial in self.history.trials.values():
            if trial.epochs or trial.state is not State.RUNNING:
                self._keep(trial)

    def _keep(self, trial: TrialRecord) -> None:
        written = self._running.pop(trial.trial, None)
        epochs = [epoch for epoch in trial.epochs if epoch.execution == 0]
        with self._search_goes_on():
            # Where this fails, what is torn is written anew with the trial's next event.
            file = self._written(trial, epochs, written)
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
        at = self.times.at
        messages = [
            scalars(epoch.metrics, step=epoch.epoch, wall_time=at(epoch.at_seconds))
            for epoch in epochs
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
            best = {BEST + self.history.objective.name: trial.best.objective}
            wall_time = at(trial.best.at_seconds)
            messages.append(scalars(best, step=trial.best.epoch, wall_time=wall_time))
        return messages

    def _begun(self, trial: TrialRecord, messages: list[Message]) -> Path:
        """Write a trial's file anew; what stood there goes once it is in its place."""
        place = self.path / self.folder.prefix(trial.trial).rstrip("-")
        place.mkdir(parents=True, exist_ok=True)
        former = sorted(place.glob(f"{PREFIX}*{SUFFIX}"))
        # A TensorBoard that looks on goes from file to file in the order of their names.
        number = int(former[-1].name.split(".")[3]) + 1 if former else 1
        file = place / f"{PREFIX}{number:06d}{SUFFIX}"
        fresh = place / FRESH
        try:
            fresh.write_bytes(framed([*heading(self.times.at(trial.started_seconds)), *messages]))
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
        for left in former:
            left.unlink(missing_ok=True)
        return file


def _status(state: State) -> str:
    """Return TensorBoard's name of a state; one that is interrupted may go on."""
    if state is State.INTERRUPTED:
        return "STATUS_UNKNOWN"
    return "STATUS_SUCCESS" if state in SUCCEEDED else "STATUS_FAILURE"
