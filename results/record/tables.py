"""What follows from a journal: both tables and best.json, at the end or anew."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.columns import Ending
from results.record.errors import RunFolderError
from results.record.files import replacing, write_json
from results.record.history import EpochRecord, History, TrialRecord
from results.record.journal import parse, read
from results.record.run_file import has_valid_run_file, objective_of, read_description

# Of each column of a table: its type, and its value in a row.
Columns = Mapping[str, tuple[pa.DataType, Callable[[Any], Any]]]
TRIAL_COLUMNS: Columns = {
    columns.TRIAL: (pa.int64(), lambda trial: trial.trial),
    columns.STATE: (pa.string(), lambda trial: trial.state),
    columns.SCHEDULER: (pa.string(), lambda trial: trial.scheduler),
    columns.EPOCHS: (pa.int64(), lambda trial: len(trial.epochs)),
    columns.BEST_OBJECTIVE: (pa.float64(), lambda trial: trial.best_value),
    columns.BEST_EPOCH: (pa.int64(), lambda trial: trial.best and trial.best.epoch),
    columns.BEST_SECONDS: (pa.float64(), lambda trial: trial.best and trial.best.at_seconds),
    columns.STARTED_SECONDS: (pa.float64(), lambda trial: trial.started_seconds),
    columns.ENDED_SECONDS: (pa.float64(), lambda trial: trial.ended_seconds),
    columns.TRAIN_SECONDS: (pa.float64(), lambda trial: trial.train_seconds),
    columns.ATTEMPT: (pa.int64(), lambda trial: trial.attempt),
    columns.WORKER: (pa.string(), lambda trial: trial.worker),
    columns.ERROR: (pa.string(), lambda trial: trial.error),
    columns.PATH: (pa.string(), lambda trial: trial.path),
    columns.PATH_REASON: (pa.string(), lambda trial: trial.path_reason),
    columns.CONTINUED_FROM: (pa.int64(), lambda trial: trial.continued_from or None),
}
EPOCH_COLUMNS: Columns = {
    columns.TRIAL: (pa.int64(), lambda epoch: epoch.trial),
    columns.EPOCH: (pa.int64(), lambda epoch: epoch.epoch),
    columns.OBJECTIVE: (pa.float64(), lambda epoch: epoch.objective),
    columns.DECISION: (pa.string(), lambda epoch: epoch.decision),
    columns.AT_SECONDS: (pa.float64(), lambda epoch: epoch.at_seconds),
    columns.EPOCH_SECONDS: (pa.float64(), lambda epoch: epoch.epoch_seconds),
    columns.ATTEMPT: (pa.int64(), lambda epoch: epoch.attempt),
    columns.EXECUTION: (pa.int64(), lambda epoch: epoch.execution),
    columns.WORKER: (pa.string(), lambda epoch: epoch.worker),
}


@dataclass(frozen=True)
class Rebuilt:
    """What was damaged in a run that was rebuilt.

    Attributes:
        damaged_lines: Numbers of the journal's lines that are left out.
        run_file: What was done for run.json; None where it was whole.
    """

    damaged_lines: tuple[int, ...]
    run_file: str | None


def rebuild(run: Path) -> Rebuilt:
    """Write the tables and best.json of a run anew, and run.json where that is damaged.

    Raises:
        RunFolderError: The journal or what it repeats of run.json cannot be read, or a file cannot
            be written.
    """
    journal = run / columns.JOURNAL_FILE
    content = read(journal)
    description = read_description(run, content.events)
    objective = objective_of(run, description)
    note = None
    if not has_valid_run_file(run):
        write_json(run / columns.RUN_FILE, description)
        note = f"{columns.RUN_FILE} was missing or damaged: made anew from the journal"
    try:
        write_tables(run, History.replay(objective, content.events))
    except (LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{journal} holds what this program does not write ({type(error).__name__}: {error})."
        ) from error
    return Rebuilt(content.damaged_lines, note)


def refresh(run: Path) -> str | None:
    """Write the tables of a run anew where they do not tell the whole journal.

    Returns:
        Why that could not be done, or what is damaged, for the user; None where all is well.
    """
    note = None
    if not is_current(run):
        try:
            note = rebuild(run).run_file
        except RunFolderError as error:
            return f"its tables cannot be made anew ({error}): what they tell may be old"
    lines = _metadata(run / columns.TRIALS_FILE, columns.DAMAGED_LINES)
    damage = f"journal: damaged and left out: line {lines}" if lines else None
    return "\n".join(filter(None, [note, damage])) or None


def is_current(run: Path) -> bool:
    """Tell whether run.json is whole and both tables tell all that the journal does.

    So too where there is no journal, and so nothing to make them of.
    """
    journal = run / columns.JOURNAL_FILE
    if not journal.is_file():
        return True
    if not has_valid_run_file(run):
        return False
    crc = str(zlib.crc32(journal.read_bytes()))
    tables = (columns.TRIALS_FILE, columns.EPOCHS_FILE)
    return all(_metadata(run / name, columns.JOURNAL_CRC) == crc for name in tables)


def write_tables(run: Path, history: History) -> None:
    """Write both tables and best.json.

    Args:
        run: The run folder, with its journal.
        history: That journal, folded.
    """
    journal = run / columns.JOURNAL_FILE
    content = journal.read_bytes()
    damaged_lines = parse(content, journal).damaged_lines
    known = {
        columns.JOURNAL_CRC: str(zlib.crc32(content)),
        columns.DAMAGED_LINES: ", ".join(str(number) for number in damaged_lines),
    }
    trials = list(history.trials.values())
    epochs = [epoch for trial in trials for epoch in trial.epochs]
    with replacing(run / columns.TRIALS_FILE) as fresh:
        pq.write_table(_table(trials, TRIAL_COLUMNS, _trial_values, known), fresh)
    with replacing(run / columns.EPOCHS_FILE) as fresh:
        pq.write_table(_table(epochs, EPOCH_COLUMNS, _epoch_values, known), fresh)
    if history.best is not None:
        write_json(run / columns.BEST_FILE, best_record(history, history.best))


def best_record(history: History, best: EpochRecord) -> dict[str, Any]:
    """Return what best.json says of the best epoch, as JSON values."""
    return {
        "trial": best.trial,
        "epoch": best.epoch,
        "objective": history.objective.name,
        "value": best.objective,
        "at_seconds": best.at_seconds,
        "values": history.trials[best.trial].values,
    }


def with_scheduler(trials: pa.Table) -> pa.Table:
    """Return trials.parquet of any version with its column of schedulers.

    Raises:
        ValueError: A state is none that a trial can have.
    """
    if columns.SCHEDULER in trials.column_names or columns.STATE not in trials.column_names:
        return trials
    place = trials.column_names.index(columns.STATE)
    endings = [Ending.read(state) for state in trials[columns.STATE].to_pylist()]
    states = pa.array([ending.state for ending in endings], pa.string())
    schedulers = pa.array([ending.scheduler for ending in endings], pa.string())
    return trials.set_column(place, columns.STATE, states).add_column(
        place + 1, columns.SCHEDULER, schedulers
    )


def _trial_values(trial: TrialRecord) -> dict[str, Any]:
    """Return the columns that only some searches have, and the hyperparameters."""
    placed = {}
    if trial.device is not None:
        placed = {columns.DEVICE: trial.device, columns.MULTIPLY_ADDS: trial.multiply_adds}
    return placed | {columns.HP_PREFIX + name: value for name, value in trial.values.items()}


def _epoch_values(epoch: EpochRecord) -> dict[str, Any]:
    laps = {columns.LAP_PREFIX + name: seconds for name, seconds in epoch.laps.items()}
    return laps | {columns.METRIC_PREFIX + name: value for name, value in epoch.metrics.items()}


def _table(
    records: Sequence[Any],
    fixed: Columns,
    others_of: Callable[[Any], dict[str, Any]],
    known: dict[str, str],
) -> pa.Table:
    """Return a table: the columns that every run has, then those of its records, by name."""
    arrays = {
        name: pa.array([value_of(record) for record in records], kind)
        for name, (kind, value_of) in fixed.items()
    }
    rows = [others_of(record) for record in records]
    for name in sorted({name for row in rows for name in row}):
        arrays[name] = _column([row.get(name) for row in rows])
    return pa.table(arrays).replace_schema_metadata(known)


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        # The same name with values of several types in several scopes: kept apart as JSON.
        return pa.array([None if value is None else json.dumps(value) for value in values])
    return pa.array(values)


def _metadata(table: Path, name: str) -> str | None:
    """Return what a table says of itself by a name; None where it cannot be read."""
    try:
        metadata = pq.read_schema(table, memory_map=False).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    value: bytes | None = metadata.get(name.encode())
    return None if value is None else value.decode(errors="replace")
