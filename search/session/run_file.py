"""run.json: what was asked, and where and with what it ran."""

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from results.record.files import read_json
from results.record.history import Objective
from results.record.journal import Event
from search.errors import RunFolderError, one_line
from search.plan.plan import Engine, Plan, Problem, Tuner
from search.plan.registry import Log, Scheduler
from search.space.parameters import Space
from search.storage.folder import RunFolder

RECORDED_VERSIONS = ("tensorflow", "keras", "keras-tuner", "ray", "optuna", "numpy")


def describe(plan: Plan, space: Space) -> dict[str, Any]:
    """Return run.json's content, as JSON values."""
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


def read_asked(folder: RunFolder, events: Iterable[Event] = ()) -> dict[str, Any]:
    """Return run.json's content, or what the journal repeats of it where that file is damaged.

    Args:
        folder: The run.
        events: Its journal.

    Raises:
        RunFolderError: Neither has it.
    """
    repeated = [event["run"] for event in events if "run" in event]
    if repeated and not is_whole(folder):
        newest: dict[str, Any] = repeated[-1]
        return newest
    asked = read_json(folder.run_file)
    if not isinstance(asked, dict):
        raise RunFolderError(f"{folder.run_file} does not say what was searched.")
    return asked


def is_whole(folder: RunFolder) -> bool:
    """Tell whether run.json can be read and holds a plan."""
    try:
        return "plan" in read_json(folder.run_file)
    except (RunFolderError, TypeError):
        return False


def described_problem(folder: RunFolder, asked: dict[str, Any] | None = None) -> Problem:
    """Return the problem that a run was made for.

    Raises:
        RunFolderError: Its run.json is damaged, or of another program.
    """
    asked = read_asked(folder) if asked is None else asked
    try:
        row = asked["plan"]["problem"]
        return Problem(**{**row, "objective": _objective(row["objective"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise _foreign(folder, error) from error


def described_plan(folder: RunFolder, asked: dict[str, Any]) -> Plan:
    """Return the plan of a run, as it stands.

    Raises:
        RunFolderError: Its run.json is damaged, or of another program.
    """
    problem = described_problem(folder, asked)
    try:
        row = dict(asked["plan"])
        row.pop("algorithm_name", None)
        tuner = row["tuner"]
        log = row.get("log")  # earlier versions knew none
        return Plan(
            **row
            | {
                "problem": problem,
                "engine": Engine(row["engine"]),
                "tuner": None if tuner is None else Tuner(tuner),
                "algorithm": row["algorithm"],
                "scheduler": Scheduler(row["scheduler"]),
                "retrain_epochs": tuple(row["retrain_epochs"]),
                "log": None if log is None else Log(log),
                "out": folder.path,
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(folder, error) from error


def _foreign(folder: RunFolder, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{folder.run_file} does not say what was searched ({one_line(error)}): expected what "
        "`fmnist-search run` writes."
    )


def _objective(row: dict[str, Any]) -> Objective:
    parts = tuple(_objective(part) for part in row.get("parts", ()))
    return Objective(row["name"], row["mode"], parts)
