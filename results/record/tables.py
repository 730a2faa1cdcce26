"""Write trials.parquet, epochs.parquet and best.json from a journal."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from results.record import columns
from results.record.columns import Ending
from results.record.errors import RunFolderError
from results.record.files import replacing, write_json
from results.record.history import EpochRecord, History, TrialRecord
from results.record.journal import describe_damage, parse, read
from results.record.parquet import read_parquet_schema, write_parquet
from results.record.run_file import has_valid_run_file, objective_of, read_description

# Columns of a table by name: the type, and a function from a record to the value.
Columns = Mapping[str, tuple[pa.DataType, Callable[[Any], Any]]]
TRIAL_COLUMNS: Columns = {
    columns.TRIAL: (pa.int64(), lambda trial: trial.trial),
    columns.STATE: (pa.string(), lambda trial: trial.state),
    columns.SCHEDULER: (pa.string(), lambda trial: trial.scheduler),
    columns.EPOCHS: (pa.int64(), lambda trial: len(trial.epochs)),
    columns.BEST_OBJECTIVE: (pa.float64(), lambda trial: trial.best_value),
    columns.BEST_EPOCH: (pa.int64(), lambda trial: _best_epoch(trial)),
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


def _best_epoch(trial: TrialRecord) -> int | None:
    """Return the epoch of a trial's best value; None if the trial returned the value."""
    return None if trial.best is None or trial.best.is_score else trial.best.epoch


@dataclass(frozen=True)
class Tables:
    """The tables of a run, as its journal gives them.

    Attributes:
        trials: Content of trials.parquet.
        epochs: Content of epochs.parquet.
        best: Content of best.json; None without a value of the objective.
    """

    trials: pa.Table
    epochs: pa.Table
    best: dict[str, Any] | None

    @classmethod
    def of(cls, journal: Path, history: History) -> "Tables":
        """Return the tables of a history, marked with the content of its journal."""
        content = journal.read_bytes()
        damaged_lines = parse(content, journal).damaged_lines
        metadata = {
            columns.SCORE_KIND: history.score_kind,
            columns.JOURNAL_CRC: str(zlib.crc32(content)),
            columns.DAMAGED_LINES: ", ".join(str(number) for number in damaged_lines),
        }
        trials = list(history.trials.values())
        epochs = [epoch for trial in trials for epoch in trial.epochs]
        return cls(
            trials=_table(trials, TRIAL_COLUMNS, _trial_values, metadata),
            epochs=_table(epochs, EPOCH_COLUMNS, _epoch_values, metadata),
            best=best_record(history, history.best) if history.best is not None else None,
        )

    def write(self, folder: Path) -> None:
        """Write the tables, and best.json if there is a best value."""
        with replacing(folder / columns.TRIALS_FILE) as new_file:
            write_parquet(self.trials, new_file)
        with replacing(folder / columns.EPOCHS_FILE) as new_file:
            write_parquet(self.epochs, new_file)
        if self.best is not None:
            write_json(folder / columns.BEST_FILE, self.best)


@dataclass(frozen=True)
class ReplayedRun:
    """What the journal of a run gives, without its other files.

    Attributes:
        description: Content of run.json, or the journal's copy of it if run.json is damaged.
        tables: The tables.
        damaged_lines: Numbers of the journal's damaged lines; the tables leave them out.
    """

    description: dict[str, Any]
    tables: Tables
    damaged_lines: tuple[int, ...]


@dataclass(frozen=True)
class Damage:
    """The damage that ``rebuild`` met in a run.

    Attributes:
        damaged_lines: Numbers of the journal's damaged lines; the tables leave them out.
        run_file_note: A message if run.json was damaged and rewritten; else None.
    """

    damaged_lines: tuple[int, ...]
    run_file_note: str | None


def replay(folder: Path) -> ReplayedRun:
    """Read a run from its journal; nothing is written.

    Raises:
        RunFolderError: The journal or its copy of run.json cannot be read.
    """
    journal = folder / columns.JOURNAL_FILE
    content = read(journal)
    description = read_description(folder, content.events)
    objective = objective_of(folder, description)
    try:
        tables = Tables.of(journal, History.replay(objective, content.events))
    except (LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{journal} holds events that this program does not write ({type(error).__name__}: "
            f"{error})."
        ) from error
    return ReplayedRun(description, tables, content.damaged_lines)


def rebuild(folder: Path) -> Damage:
    """Write the tables and best.json of a run again, and run.json if it is damaged.

    Raises:
        RunFolderError: The journal or its copy of run.json cannot be read, or a file cannot be
            written.
    """
    return _write(folder, replay(folder))


def refresh(folder: Path) -> str | None:
    """Write the tables of a run again if they do not match its journal.

    Returns:
        A message for the user: why the tables cannot be written, or what is damaged; else None.
    """
    if is_current(folder):
        lines = _metadata(folder / columns.TRIALS_FILE, columns.DAMAGED_LINES)
        return describe_damage(lines.split(", ")) if lines else None
    try:
        run = replay(folder)
    except RunFolderError as error:
        return f"its tables cannot be rewritten and may be out of date ({error})"
    try:
        note = _write(folder, run).run_file_note
    except RunFolderError as error:
        note = f"its tables cannot be written, so it is shown from its journal ({error})"
    damage = describe_damage(run.damaged_lines) if run.damaged_lines else None
    return "\n".join(filter(None, [note, damage])) or None


def _write(folder: Path, run: ReplayedRun) -> Damage:
    note = None
    if not has_valid_run_file(folder):
        write_json(folder / columns.RUN_FILE, run.description)
        note = f"{columns.RUN_FILE} was missing or damaged: rewritten from the journal"
    run.tables.write(folder)
    return Damage(run.damaged_lines, note)


def is_current(folder: Path) -> bool:
    """Tell whether run.json is readable and both tables match the journal.

    A run without a journal counts as current: there is nothing to rebuild its tables from.
    """
    journal = folder / columns.JOURNAL_FILE
    if not journal.is_file():
        return True
    if not has_valid_run_file(folder):
        return False
    content = journal.read_bytes()
    crc = str(zlib.crc32(content))
    tables = (columns.TRIALS_FILE, columns.EPOCHS_FILE)
    if any(_metadata(folder / name, columns.JOURNAL_CRC) != crc for name in tables):
        return False
    # Earlier versions ranked stopped trials by their epochs beside scores of another kind.
    is_ranked_anew = _metadata(folder / columns.TRIALS_FILE, columns.SCORE_KIND) is not None
    return is_ranked_anew or b'"score"' not in content


def write_tables(folder: Path, history: History) -> None:
    """Write both tables and best.json.

    Args:
        folder: The run folder, with its journal.
        history: The history that this journal gives.
    """
    Tables.of(folder / columns.JOURNAL_FILE, history).write(folder)


def best_record(history: History, best: EpochRecord) -> dict[str, Any]:
    """Return the content of best.json as JSON values."""
    return {
        "trial": best.trial,
        "epoch": best.epoch,
        "objective": history.objective.name,
        "value": best.objective,
        "at_seconds": best.at_seconds,
        "values": history.trials[best.trial].values,
    }


def with_scheduler(trials: pa.Table) -> pa.Table:
    """Return trials.parquet of any version with the column ``scheduler``.

    Raises:
        ValueError: The state of a trial is unknown.
    """
    if columns.SCHEDULER in trials.column_names or columns.STATE not in trials.column_names:
        return trials
    state_index = trials.column_names.index(columns.STATE)
    endings = [Ending.read(state) for state in trials[columns.STATE].to_pylist()]
    states = pa.array([ending.state for ending in endings], pa.string())
    schedulers = pa.array([ending.scheduler for ending in endings], pa.string())
    return trials.set_column(state_index, columns.STATE, states).add_column(
        state_index + 1, columns.SCHEDULER, schedulers
    )


def _trial_values(trial: TrialRecord) -> dict[str, Any]:
    """Return the hyperparameters and the columns that only some searches have."""
    device = {}
    if trial.device is not None:
        device = {columns.DEVICE: trial.device, columns.MULTIPLY_ADDS: trial.multiply_adds}
    return device | {columns.HP_PREFIX + name: value for name, value in trial.values.items()}


def _epoch_values(epoch: EpochRecord) -> dict[str, Any]:
    laps = {columns.LAP_PREFIX + name: seconds for name, seconds in epoch.laps.items()}
    return laps | {columns.METRIC_PREFIX + name: value for name, value in epoch.metrics.items()}


def _table(
    records: Sequence[Any],
    fixed: Columns,
    extra_values: Callable[[Any], dict[str, Any]],
    metadata: dict[str, str],
) -> pa.Table:
    """Return a table: the fixed columns, then the extra columns of the records, by name."""
    arrays = {
        name: pa.array([value_of(record) for record in records], type_)
        for name, (type_, value_of) in fixed.items()
    }
    rows = [extra_values(record) for record in records]
    for name in sorted({name for row in rows for name in row}):
        arrays[name] = _column([row.get(name) for row in rows])
    return pa.table(arrays).replace_schema_metadata(metadata)


def _column(values: list[Any]) -> pa.Array:
    types = {type(value) for value in values if value is not None}
    if len(types) > 1 and not types <= {int, float}:
        # A hyperparameter has values of several types in different scopes: JSON keeps the types.
        return _json_texts(values)
    try:
        return pa.array(values)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits, or beside floats
        return _json_texts(values)


def _json_texts(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _metadata(table: Path, name: str) -> str | None:
    """Return an entry of a table's metadata; None if it is missing or the table is unreadable."""
    try:
        metadata = read_parquet_schema(table).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    value: bytes | None = metadata.get(name.encode())
    return None if value is None else value.decode(errors="replace")
