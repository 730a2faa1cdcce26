"""Write run.json, and read a run folder: run.json and the journal."""

import datetime
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from results.record.history import History
from results.record.journal import Event, describe_damage, read
from results.record.run_file import (
    foreign_run_error,
    has_valid_run_file,
    objective_of,
    read_description,
)
from search.plan.plan import Plan, Problem
from search.space.parameters import Space
from search.storage.folder import RunFolder

RECORDED_VERSIONS = ("tensorflow", "keras", "keras-tuner", "ray", "optuna", "numpy")


def describe(plan: Plan, space: Space) -> dict[str, Any]:
    """Return the content of run.json, as JSON values."""
    versions = {name: importlib.metadata.version(name) for name in RECORDED_VERSIONS}
    return {
        "version": importlib.metadata.version("fmnist-search"),
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "plan": plan.to_json(),
        "space": space.to_json(),
        "versions": versions | {"python": platform.python_version()},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": platform.platform(),
        },
    }


@dataclass(frozen=True)
class RecordedRun:
    """A run as read from its folder.

    A property raises a RunFolderError if its part of the description is damaged or unknown.

    Attributes:
        description: Content of run.json, or the copy of it in the journal.
        events: Undamaged events of the journal.
        damaged_lines: Numbers of the damaged lines of the journal, from 1.
    """

    folder: RunFolder
    description: dict[str, Any]
    events: tuple[Event, ...]
    damaged_lines: tuple[int, ...]

    @cached_property
    def problem(self) -> Problem:
        """The problem of the run."""
        objective = objective_of(self.folder.path, self.description)
        try:
            return Problem(**{**self.description["plan"]["problem"], "objective": objective})
        except TypeError as error:
            raise foreign_run_error(self.folder.path, error) from error

    @cached_property
    def plan(self) -> Plan:
        """The plan of the run."""
        try:
            return Plan.from_json(self.description["plan"], self.problem, self.folder.path)
        except (KeyError, TypeError, ValueError) as error:
            raise foreign_run_error(self.folder.path, error) from error

    @cached_property
    def history(self) -> History:
        """The history that the events describe."""
        return History.replay(self.problem.objective, self.events)

    @property
    def seconds(self) -> float:
        """Seconds of search so far."""
        return max((event["at_seconds"] for event in self.events), default=0.0)

    @property
    def space(self) -> Space:
        """The space, including hyperparameters that trials added; empty if none is recorded."""
        space = Space.from_json(self.description.get("space", []))
        for event in self.events:
            if event["event"] == "space_grown":
                space = space.extended(Space.from_json(event["parameters"]))
        return space

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each damaged part."""
        notes = [describe_damage(self.damaged_lines)] if self.damaged_lines else []
        if not has_valid_run_file(self.folder.path):
            name = self.folder.run_file.name
            notes.append(f"{name} is missing or damaged: its copy in the journal is used")
        return tuple(notes)


def read_run(folder: RunFolder) -> RecordedRun:
    """Read a run from its folder.

    Raises:
        RunFolderError: It is too damaged, or was written by a newer version.
    """
    content = read(folder.journal_file)
    description = read_description(folder.path, content.events)
    return RecordedRun(folder, description, content.events, content.damaged_lines)
