"""The TensorBoard log: the scalars of each epoch, and a row with the values of each trial.

Each trial has one event file, written from the history. If the past of a trial changes, because its
process died or its run was resumed, the file is rewritten, so that no epoch is in it twice. An open
TensorBoard follows, with one exception: for an interrupted trial that continues, it shows the first
row that it read until it is restarted.
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
from search.loggers.tensorboard_file import (
    Message,
    encode_messages,
    header_messages,
    hparams_messages,
    scalars_message,
)

# TensorBoard reads the files with "tfevents" in their names, in alphabetical order.
PREFIX, SUFFIX = "events.out.tfevents.", ".fmnist-search"
TEMPORARY_NAME = ".fresh"
# Names of columns. The space avoids a collision with the name of a parameter.
STATE_COLUMN = "trial state"
BEST_PREFIX = "hparam/best_"
SUCCESS_STATES = (State.COMPLETED, State.STOPPED, State.EARLY_STOPPED)


@dataclass(frozen=True)
class _EventFile:
    """The event file of a running trial, with the epochs that are written in it."""

    path: Path
    epochs: list[EpochRecord]


class TensorBoardLog(Logger):
    """A logger that writes a folder for each trial, for ``tensorboard --logdir``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._event_files: dict[int, _EventFile] = {}

    @property
    def path(self) -> Path:
        return self.folder.path / "tensorboard"

    @property
    def command(self) -> str:
        return f"tensorboard --logdir {shlex.quote(os.path.relpath(self.path))}"

    def _write(self, event: Event) -> None:
        if event["event"] in ("epoch", "trial_ended"):
            self._log_trial(self.history.trials[event["trial"]])

    def _write_all(self) -> None:
        self._event_files.clear()
        for trial in self.history.trials.values():
            if trial.epochs or trial.state is not State.RUNNING:
                self._log_trial(trial)

    def _log_trial(self, trial: TrialRecord) -> None:
        event_file = self._event_files.pop(trial.trial, None)
        epochs = [epoch for epoch in trial.epochs if epoch.execution == 0]
        with self._reporting_errors():
            # If this fails, the next event of the trial rewrites its file.
            path = self._update_file(trial, epochs, event_file)
            if trial.state is State.RUNNING:
                self._event_files[trial.trial] = _EventFile(path, epochs)

    def _update_file(
        self, trial: TrialRecord, epochs: list[EpochRecord], event_file: _EventFile | None
    ) -> Path:
        """Append the new epochs to a trial's file, or rewrite it if earlier epochs have changed."""
        if event_file is None or event_file.epochs != epochs[: len(event_file.epochs)]:
            return self._rewrite_file(trial, self._messages(trial, epochs))
        new_epochs = epochs[len(event_file.epochs) :]
        with event_file.path.open("ab") as file:
            file.write(encode_messages(self._messages(trial, new_epochs)))
        return event_file.path

    def _messages(self, trial: TrialRecord, epochs: list[EpochRecord]) -> list[Message]:
        """Return the messages for these epochs, and for the end of the trial if it has ended."""
        wall_time = self.wall_clock.seconds_since_1970
        messages = [
            scalars_message(epoch.metrics, step=epoch.epoch, wall_time=wall_time(epoch.at_seconds))
            for epoch in epochs
        ]
        if trial.state is State.RUNNING or trial.ended_seconds is None:
            return messages
        messages += hparams_messages(
            {**trial.values, STATE_COLUMN: str(trial.ending)},
            status=_status(trial.state),
            started=wall_time(trial.started_seconds),
            ended=wall_time(trial.ended_seconds),
        )
        if trial.best is not None:
            best = {BEST_PREFIX + self.history.objective.name: trial.best.objective}
            reached_at = wall_time(trial.best.at_seconds)
            messages.append(scalars_message(best, step=_best_step(trial), wall_time=reached_at))
        return messages

    def _rewrite_file(self, trial: TrialRecord, messages: list[Message]) -> Path:
        """Write a new file of a trial, then remove its old files; return the path."""
        trial_folder = self.path / self.folder.prefix(trial.trial).rstrip("-")
        trial_folder.mkdir(parents=True, exist_ok=True)
        old_files = sorted(trial_folder.glob(f"{PREFIX}*{SUFFIX}"))
        # An open TensorBoard continues with the next file in alphabetical order.
        number = int(old_files[-1].name.split(".")[3]) + 1 if old_files else 1
        new_file = trial_folder / f"{PREFIX}{number:06d}{SUFFIX}"
        header = header_messages(self.wall_clock.seconds_since_1970(trial.started_seconds))
        temporary_file = trial_folder / TEMPORARY_NAME
        try:
            temporary_file.write_bytes(encode_messages([*header, *messages]))
            temporary_file.replace(new_file)
        finally:
            temporary_file.unlink(missing_ok=True)
        for old_file in old_files:
            old_file.unlink(missing_ok=True)
        return new_file


def _best_step(trial: TrialRecord) -> int:
    """Return the epoch of a trial's best value; its last epoch if the trial returned the value."""
    assert trial.best is not None
    if not trial.best.is_score:
        return trial.best.epoch
    return trial.epochs[-1].epoch if trial.epochs else 0


def _status(state: State) -> str:
    """Return TensorBoard's name of a state; an interrupted trial may continue."""
    if state is State.INTERRUPTED:
        return "STATUS_UNKNOWN"
    return "STATUS_SUCCESS" if state in SUCCESS_STATES else "STATUS_FAILURE"
