"""Read run folders: run.json, the tables or the journal, the evaluation. Nothing is unpickled."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pyarrow as pa

from results.record import columns
from results.record.audit import Audit
from results.record.confirmation import Confirmation
from results.record.errors import RunFolderError
from results.record.journal import decode
from results.record.json_record import JsonRecord
from results.record.parquet import read_parquet
from results.record.tables import ReplayedRun, is_current, replay, with_scheduler
from results.run import FIELDS, Row, Run, row_of

T = TypeVar("T", bound=JsonRecord)

# Values of ``Run.ended`` for a search whose journal gives no reason: it runs, or its driver died.
RUNNING, CUT_OFF = "running", "cut off"
# A driver touches its lock file every two seconds. If the file is older than this, the driver is
# considered dead.
DEAD_AFTER_SECONDS = 30.0
# Optional files of a run, with the command that writes each.
CONFIRMATION = f"{columns.CONFIRM_DIR}/{columns.CONFIRMATION_FILE}", "confirm"
AUDIT = f"{columns.AUDIT_DIR}/{columns.AUDIT_FILE}", "audit"


def read_run(path: Path) -> Run:
    """Read a run folder: its tables, or its journal if the tables do not match it.

    Nothing is written; ``refresh`` writes the tables.

    Raises:
        RunFolderError: The folder is no run of this program, or a file is missing or damaged.
    """
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise RunFolderError(
            f"{str(path)!r} {problem}: expected a run folder that `fmnist-search run` made."
        )
    run_file = path / columns.RUN_FILE
    replayed = None if is_current(path) else _replay(path)
    if replayed is None and not run_file.is_file():
        raise RunFolderError(f"{str(path)!r} is not a run folder: it has no {columns.RUN_FILE}.")
    description = replayed.description if replayed else _json(run_file)
    _check_description(path, description)
    evaluation_file = path / columns.FINAL_DIR / columns.EVALUATION_FILE
    run = Run(
        path=path,
        description=description,
        trials=replayed.tables.trials if replayed else _trials(path / columns.TRIALS_FILE),
        epochs=replayed.tables.epochs if replayed else read_table(path / columns.EPOCHS_FILE),
        evaluation=_json(evaluation_file) if evaluation_file.is_file() else None,
        ended=_end_reason(path / columns.JOURNAL_FILE),
        confirmation=_optional(path, Confirmation, *CONFIRMATION),
        audit=_optional(path, Audit, *AUDIT),
    )
    _check_row(run)
    return run


def _replay(path: Path) -> ReplayedRun | None:
    """Read a run from its journal; None if that is impossible, and its files are what there is."""
    try:
        return replay(path)
    except RunFolderError:
        return None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged ({error}): expected JSON.") from error
    if not isinstance(value, dict):
        raise RunFolderError(
            f"{path} is damaged: expected a JSON object, got {type(value).__name__}."
        )
    return value


def _optional(folder: Path, record_class: type[T], name: str, command: str) -> T | None:
    """Read an optional file of a run, which ``command`` writes; None if it does not exist."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        return record_class.read(path)
    except RunFolderError as error:
        raise RunFolderError(
            f"{error} Write it again with `fmnist-search {command} {folder}`, or remove it to show "
            "the run without it."
        ) from error


def read_table(path: Path) -> pa.Table:
    """Read a parquet file of a run.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    try:
        return read_parquet(path)
    except FileNotFoundError:
        raise RunFolderError(
            f"{path} is missing and cannot be rebuilt: run `fmnist-search tables {path.parent}` to "
            "see why."
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}). Rebuild it from the journal with `fmnist-search tables "
            f"{path.parent}`."
        ) from error


def _trials(path: Path) -> pa.Table:
    trials = read_table(path)
    try:
        return with_scheduler(trials)
    except ValueError as error:
        raise RunFolderError(f"{path} was not written by this program ({error}).") from error


def _end_reason(journal: Path) -> str:
    if _has_live_driver(journal.with_name(columns.LOCK_FILE)):
        return RUNNING
    try:
        last_event = decode(journal.read_bytes().splitlines()[-1])
        return str(last_event["reason"]) if last_event["event"] == "search_ended" else CUT_OFF
    except (OSError, ValueError, LookupError, RecursionError):
        return CUT_OFF


def _has_live_driver(lock: Path) -> bool:
    """Tell whether a driver has touched the lock file recently."""
    try:
        return abs(time.time() - lock.stat().st_mtime) < DEAD_AFTER_SECONDS
    except OSError:
        return False


def _check_description(path: Path, description: dict[str, Any]) -> None:
    try:
        objective = description["plan"]["problem"]["objective"]
        _ = objective["name"], objective["mode"]
    except (LookupError, TypeError):
        raise RunFolderError(
            f"{str(path)!r} is not a run of this program: its {columns.RUN_FILE} does not name the "
            "objective of a search."
        ) from None


def _check_row(run: Run) -> None:
    try:
        values = asdict(row_of(run))
    except (KeyError, TypeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"is malformed ({error})"
        raise RunFolderError(
            f"{str(run.path)!r} is not a run of this program: {columns.RUN_FILE} or a table "
            f"{problem}."
        ) from error
    wrong = [f"{name} {values[name]!r}" for name in FIELDS if not _has_type(name, values[name])]
    if wrong:
        raise RunFolderError(
            f"{str(run.path)!r} is damaged, or not a run of this program: {columns.RUN_FILE}, "
            f"{columns.EVALUATION_FILE} or a table gives {', '.join(wrong)}."
        )


def _has_type(name: str, value: Any) -> bool:
    """Tell whether the value of a field of a row has the type of the field."""
    hint = get_type_hints(Row)[name]
    # JSON has no point in a whole float, which is then read as an int.
    types = hint | int if float in get_args(hint) else hint
    return isinstance(value, types) and not isinstance(value, bool)
