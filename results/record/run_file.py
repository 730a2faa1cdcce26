"""Read run.json, the description of a run; the journal holds a copy of it."""

import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.errors import RunFolderError
from results.record.files import read_json
from results.record.history import Objective
from results.record.journal import Event


def read_description(folder: Path, events: Iterable[Event] = ()) -> dict[str, Any]:
    """Return the content of run.json, or the newest copy in the journal if that file is damaged.

    Args:
        folder: The run folder.
        events: The events of its journal.

    Raises:
        RunFolderError: Neither is readable.
    """
    copies = [event["run"] for event in events if "run" in event]
    if copies and not has_valid_run_file(folder):
        newest: dict[str, Any] = copies[-1]
        return newest
    file = folder / columns.RUN_FILE
    description = read_json(file)
    if not isinstance(description, dict):
        raise RunFolderError(f"{file} does not describe a search: expected a JSON object.")
    return description


def how_to_continue(folder: Path) -> str:
    """Return what continues the search of a run: a command, or the script that made the run."""
    with suppress(RunFolderError, LookupError, TypeError):
        if read_description(folder)["plan"]["problem"]["hypermodel"] is None:
            return "run the script again"
    return f"run fmnist-search resume {shlex.quote(str(folder))}"


def has_valid_run_file(folder: Path) -> bool:
    """Tell whether run.json is readable and holds a plan."""
    try:
        description = read_json(folder / columns.RUN_FILE)
    except RunFolderError:
        return False
    return isinstance(description, dict) and "plan" in description


def objective_of(folder: Path, description: dict[str, Any]) -> Objective:
    """Return the objective of a run.

    Raises:
        RunFolderError: Its run.json is damaged, or another program wrote it.
    """
    try:
        return Objective.from_json(description["plan"]["problem"]["objective"])
    except (KeyError, TypeError, AttributeError) as error:
        raise foreign_run_error(folder, error) from error


def foreign_run_error(folder: Path, error: Exception) -> RunFolderError:
    """Return the error for a run.json that another program wrote."""
    return RunFolderError(
        f"{folder / columns.RUN_FILE} does not describe a search ({type(error).__name__}: "
        f"{error}): expected a file that `fmnist-search run` wrote."
    )
