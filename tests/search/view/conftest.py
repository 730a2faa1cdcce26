"""A search as its views see it: a recorder that passes events on, on a clock of the test."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from results.record.columns import Decision
from results.record.history import History, Objective
from results.record.journal import Journal
from search.plan.plan import Engine, Plan, Problem
from search.storage.recorder import Recorder

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plan_for(objective, **changes):
    problem = Problem(
        hypermodel=None, data="d", data_dir=None, space="s", objective=objective, epochs=30, patience=0, seed=0
    )  # fmt: skip
    plan = Plan(
        problem=problem, engine=Engine.RAY, algorithm="tpe", workers=2, grace_period=1, reduction_factor=3,
        trials=40, time_budget_seconds=None, target=None, retrain_epochs=(), out=Path("run"),
    )  # fmt: skip
    return replace(plan, **changes)


class ShownSearch:
    """A search that a view shows.

    Args:
        journal: The file of its journal.
        make: Makes the view of a console and a clock.
        terminal: Columns and lines of the terminal; None: a pipe.
        history: The history of a resumed search.
        plan: Changes of its plan.
    """

    VALUES = {
        "activation": "relu", "units": 192, "rate": 0.00151234, "optimizer": "nadam", "layers": 3,
    }  # fmt: skip

    def __init__(
        self, journal, make, *, terminal=None, name="val_accuracy", mode="max", history=None, **plan
    ):
        self.now = 0.0
        self.width, self.height = terminal or (80, 25)
        self.file = io.StringIO()
        console = Console(
            file=self.file, force_terminal=terminal is not None, color_system=None,
            width=self.width, height=self.height,
        )  # fmt: skip
        objective = Objective(name, mode)
        self.history = history or History(objective)
        self.view = make(console, self.clock)
        self.recorder = Recorder(
            Journal(journal), self.history, [self.view.observe], clock=self.clock, scheduler="asha"
        )
        self.view.begin(plan_for(objective, **plan), self.history, self.clock)

    def clock(self):
        return self.now

    def start(self, trial, **fields):
        self.recorder.trial_started(trial, fields.pop("values", self.VALUES), **fields)

    def epoch(self, trial, epoch, value, worker="vm:1", *, decision=Decision.CONTINUE, **fields):
        metrics = {self.history.objective.name: value, "loss": 1.0}
        report = {"epoch": epoch, "epoch_seconds": 0.5, "metrics": metrics} | fields
        self.recorder.epoch(trial, report, decision=decision, worker=worker)

    def end(self, trial, state, **fields):
        self.recorder.trial_ended(trial, state, **fields)

    @property
    def printed(self):
        """What the view has printed, without the control characters of a terminal."""
        return CONTROL.sub("", self.file.getvalue())


@pytest.fixture
def show(tmp_path):
    """Show a search in a new view; all views end with the test."""
    searches = []

    def show(make, **options):
        searches.append(ShownSearch(tmp_path / "journal.jsonl", make, **options))
        return searches[-1]

    yield show
    for search in searches:
        search.view.end()


@pytest.fixture
def make_plan():
    """Return a plan for an objective, with changes."""
    return plan_for
