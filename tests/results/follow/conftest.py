"""A search that a test lets happen, one event at a time, while it is followed."""

import os
from pathlib import Path

import pytest

from results.follow.follow import follow_run
from results.record import columns
from results.record.columns import Decision
from results.record.history import History, Objective
from results.record.journal import Journal
from search.storage.recorder import Recorder

STARTED_AT = 1000.0


class Search:
    """A search in a run folder, with a clock of its own.

    Attributes:
        run: The run folder.
        now: The time in seconds; following lets it pass.
        printed: What was printed at each look, in order.
        notes: What was printed on the screen's second stream, of all looks together.
    """

    def __init__(self, run: Path, capture) -> None:
        self.run = run
        self.now = STARTED_AT
        self.objective = Objective("val_accuracy", "max")
        self.printed: list[str] = []
        self.notes = ""
        self._capture = capture

    @property
    def journal(self) -> Path:
        return self.run / columns.JOURNAL_FILE

    @property
    def description(self) -> dict:
        """The content of run.json, as events repeat it."""
        objective = {"name": self.objective.name, "mode": self.objective.mode}
        problem = {"space": "small", "objective": objective}
        return {"plan": {"problem": problem, "algorithm": "tpe", "trials": 4}}

    def recorder(self) -> Recorder:
        """Return a recorder, as a new driver opens one."""
        self.touch_lock()
        journal, history = Journal(self.journal), History(self.objective)
        return Recorder(
            journal, history, clock=lambda: self.now - STARTED_AT, scheduler="asha"
        )  # fmt: skip

    def started(self) -> Recorder:
        """Return a recorder of a search that has started."""
        recorder = self.recorder()
        recorder.search_started(run=self.description)
        return recorder

    def append(self, content: bytes) -> None:
        """Append bytes to the journal, whatever they are."""
        with self.journal.open("ab") as file:
            file.write(content)

    def touch_lock(self) -> None:
        """Show that the driver lives."""
        lock = self.run / columns.LOCK_FILE
        lock.touch()
        os.utime(lock, (self.now, self.now))

    def remove_lock(self) -> None:
        (self.run / columns.LOCK_FILE).unlink()

    def follow(self, printer, actions=(), *, limit=200) -> str:
        """Follow the run; between any two looks, the next action happens."""
        remaining = iter(actions)
        looks = 0

        def keep_output() -> None:
            printed, notes = self._capture.readouterr()
            self.printed.append(printed)
            self.notes += notes

        def sleep(seconds: float) -> None:
            nonlocal looks
            looks += 1
            assert looks < limit, "following does not end"
            keep_output()
            self.now += seconds
            next(remaining, lambda: None)()

        reason = follow_run(self.run, printer, clock=lambda: self.now, sleep=sleep)
        keep_output()
        return reason


@pytest.fixture
def search(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    return Search(run, capsys)


@pytest.fixture
def report():
    """Return a function that returns the action of reporting an epoch."""

    def action(recorder, trial, epoch, value, **fields):
        metrics = {"val_accuracy": value, "loss": 1.0}
        content = {"epoch": epoch, "epoch_seconds": 0.5, "metrics": metrics, **fields}
        return lambda: recorder.epoch(
            trial, content, decision=Decision.CONTINUE, worker="vm:1"
        )  # fmt: skip

    return action
