"""Reading run folders: run.json, the parquet tables and the evaluation. Nothing is unpickled."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.audit import Audit
from results.record.confirmation import Confirmation
from results.record.errors import RunFolderError
from results.record.journal import decode
from results.record.json_record import JsonRecord
from results.record.tables import with_scheduler
from results.run import FIELDS, Row, Run, row_of

T = TypeVar("T", bound=JsonRecord)

# Why a search ended: it has not; or its driver was killed.
RUNNING, CUT_OFF = "running", "cut off"
# A driver touches its lock every two seconds; where the lock is older than this, a reader takes the
# driver for dead.
DEAD_AFTER_SECONDS = 30.0
# What a run may have besides, and the command that makes it.
CONFIRMATION = f"{columns.CONFIRM_DIR}/{columns.CONFIRMATION_FILE}", "confirm"
AUDIT = f"{columns.AUDIT_DIR}/{columns.AUDIT_FILE}", "audit"


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: It is no run, it is another program's, or a file is missing or damaged.
    """
    if not path.is_dir():
        raise RunFolderError(
            f"{str(path)!r} is no folder: expected a run, as `fmnist-search run` makes it."
        )
    run_file = path / columns.RUN_FILE
    if not run_file.is_file():
        raise RunFolderError(f"{str(path)!r} is no run: it has no {columns.RUN_FILE}.")
    description = _json(run_file)
    _check_description(path, description)
    evaluation_file = path / columns.FINAL_DIR / columns.EVALUATION_FILE
    run = Run(
        path=path,
        description=description,
        trials=_trials(path / columns.TRIALS_FILE),
        epochs=read_table(path / columns.EPOCHS_FILE),
        evaluation=_json(evaluation_file) if evaluation_file.is_file() else None,
        ended=_ended(path / columns.JOURNAL_FILE),
        confirmation=_extra(path, Confirmation, CONFIRMATION),
        audit=_extra(path, Audit, AUDIT),
    )
    _check(run)
    return run


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


def _extra(run: Path, kind: type[T], of: tuple[str, str]) -> T | None:
    """Read a file that a run need not have."""
    name, command = of
    path = run / name
    if not path.is_file():
        return None
    try:
        return kind.read(path)
    except RunFolderError as error:
        raise RunFolderError(
            f"{error} `fmnist-search {command} {run}` makes it anew; once it is removed, the run "
            "is shown without it."
        ) from error


def read_table(path: Path) -> pa.Table:
    """Read a parquet file of a run.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    try:
        # memory_map=False and one file: no dataset discovery in a folder that a user hands over.
        return pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise RunFolderError(
            f"{path} is missing, and cannot be made anew: `fmnist-search tables {path.parent}` "
            "says why."
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}). `fmnist-search tables {path.parent}` makes it anew from "
            "the journal."
        ) from error


def _trials(path: Path) -> pa.Table:
    trials = read_table(path)
    try:
        return with_scheduler(trials)
    except ValueError as error:
        raise RunFolderError(f"{path} is not of a run of this program ({error}).") from error


def _ended(journal: Path) -> str:
    if _is_driven(journal.with_name(columns.LOCK_FILE)):
        return RUNNING
    try:
        last = decode(journal.read_bytes().splitlines()[-1])
        return str(last["reason"]) if last["event"] == "search_ended" else CUT_OFF
    except (OSError, ValueError, LookupError, RecursionError):
        return CUT_OFF


def _is_driven(lock: Path) -> bool:
    """Tell whether a driver has shown lately that it lives."""
    try:
        return abs(time.time() - lock.stat().st_mtime) < DEAD_AFTER_SECONDS
    except OSError:
        return False


def _check_description(path: Path, description: dict[str, Any]) -> None:
    try:
        names = [
            str(description["plan"]["problem"]["objective"][name]) for name in ("name", "mode")
        ]
    except (LookupError, TypeError):
        names = []
    if not names:
        raise RunFolderError(
            f"{str(path)!r} is not a run of this program: its {columns.RUN_FILE} says nothing of a "
            "search and its objective."
        )


def _check(run: Run) -> None:
    try:
        values = asdict(row_of(run))
    except (KeyError, TypeError) as error:
        lack = f"lacks {error}" if isinstance(error, KeyError) else f"has another form ({error})"
        raise RunFolderError(
            f"{str(run.path)!r} is not a run of this program: {columns.RUN_FILE} or a table {lack}."
        ) from error
    wrong = [f"{name} {values[name]!r}" for name in FIELDS if not _fits(name, values[name])]
    if wrong:
        raise RunFolderError(
            f"{str(run.path)!r} is damaged, or not a run of this program: {columns.RUN_FILE}, "
            f"{columns.EVALUATION_FILE} or a table gives {', '.join(wrong)}."
        )


def _fits(name: str, value: Any) -> bool:
    """Tell whether a field of a row holds what it should."""
    hint = get_type_hints(Row)[name]
    # JSON writes a whole number without a point.
    kinds = hint | int if float in get_args(hint) else hint
    return isinstance(value, kinds) and not isinstance(value, bool)
