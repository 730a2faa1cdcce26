"""run.json as it is read: what was searched, or what the journal repeats of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.errors import RunFolderError
from results.record.files import read_json
from results.record.history import Objective
from results.record.journal import Event


def read_description(run: Path, events: Iterable[Event] = ()) -> dict[str, Any]:
    """Return run.json's content, or what the journal repeats of it where that file is damaged.

    Args:
        run: The run folder.
        events: Its journal.

    Raises:
        RunFolderError: Neither has it.
    """
    repeated = [event["run"] for event in events if "run" in event]
    if repeated and not has_valid_run_file(run):
        newest: dict[str, Any] = repeated[-1]
        return newest
    file = run / columns.RUN_FILE
    description = read_json(file)
    if not isinstance(description, dict):
        raise RunFolderError(f"{file} does not say what was searched.")
    return description


def has_valid_run_file(run: Path) -> bool:
    """Tell whether run.json can be read and holds a plan."""
    try:
        description = read_json(run / columns.RUN_FILE)
    except RunFolderError:
        return False
    return isinstance(description, dict) and "plan" in description


def objective_of(run: Path, description: dict[str, Any]) -> Objective:
    """Return what a run searched for.

    Raises:
        RunFolderError: Its run.json is damaged, or of another program.
    """
    try:
        return Objective.from_json(description["plan"]["problem"]["objective"])
    except (KeyError, TypeError, AttributeError) as error:
        raise foreign_run_error(run, error) from error


def foreign_run_error(run: Path, error: Exception) -> RunFolderError:
    """Return the error of a run.json that another program wrote."""
    return RunFolderError(
        f"{run / columns.RUN_FILE} does not say what was searched ({type(error).__name__}: "
        f"{error}): expected what `fmnist-search run` writes."
    )
