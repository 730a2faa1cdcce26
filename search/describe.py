"""run.json: what was asked, and where and with what it ran."""

import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

from search.errors import RunFolderError
from search.folder import RunFolder, read_json
from search.history import Objective
from search.plan import Plan, Problem
from search.space import Space

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


def described_problem(folder: RunFolder) -> Problem:
    """Return the problem that a run was made for.

    Raises:
        RunFolderError: Its run.json is damaged, or of another program.
    """
    asked = read_json(folder.run_file)
    try:
        row = asked["plan"]["problem"]
        return Problem(**{**row, "objective": _objective(row["objective"])})
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder.run_file} does not say what was searched ({error}): expected what "
            "`fmnist-search run` writes."
        ) from error


def _objective(row: dict[str, Any]) -> Objective:
    parts = tuple(_objective(part) for part in row.get("parts", ()))
    return Objective(row["name"], row["mode"], parts)
