"""What follows from a journal: both tables and best.json, at the end or anew."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.columns import Ending
from results.record.errors import RunFolderError
from results.record.files import beside, write_json
from results.record.history import EpochRecord, History, TrialRecord
from results.record.journal import parse, read
from results.record.run_file import described_objective, is_whole, read_description

TRIAL_SCHEMA = {
    columns.TRIAL: pa.int64(),
    columns.STATE: pa.string(),
    columns.SCHEDULER: pa.string(),
    columns.EPOCHS: pa.int64(),
    columns.BEST_OBJECTIVE: pa.float64(),
    columns.BEST_EPOCH: pa.int64(),
    columns.BEST_SECONDS: pa.float64(),
    columns.STARTED_SECONDS: pa.float64(),
    columns.ENDED_SECONDS: pa.float64(),
    columns.TRAIN_SECONDS: pa.float64(),
    columns.ATTEMPT: pa.int64(),
    columns.WORKER: pa.string(),
    columns.ERROR: pa.string(),
    columns.PATH: pa.string(),
    columns.PATH_REASON: pa.string(),
    columns.CONTINUED_FROM: pa.int64(),
}
EPOCH_SCHEMA = {
    columns.TRIAL: pa.int64(),
    columns.EPOCH: pa.int64(),
    columns.OBJECTIVE: pa.float64(),
    columns.DECISION: pa.string(),
    columns.AT_SECONDS: pa.float64(),
    columns.EPOCH_SECONDS: pa.float64(),
    columns.ATTEMPT: pa.int64(),
    columns.EXECUTION: pa.int64(),
    columns.WORKER: pa.string(),
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
    objective = described_objective(run, description)
    note = None
    if not is_whole(run):
        write_json(run / columns.RUN_FILE, description)
        note = f"{columns.RUN_FILE} was missing or damaged: made anew from the journal"
    try:
        write_outcome(run, History.replay(objective, content.events))
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
    if not is_whole(run):
        return False
    crc = str(zlib.crc32(journal.read_bytes()))
    tables = (columns.TRIALS_FILE, columns.EPOCHS_FILE)
    return all(_metadata(run / name, columns.JOURNAL_CRC) == crc for name in tables)


def write_outcome(run: Path, history: History) -> None:
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
    trials = [_trial_row(trial) for trial in history.trials.values()]
    epochs = [_epoch_row(epoch) for trial in history.trials.values() for epoch in trial.epochs]
    with beside(run / columns.TRIALS_FILE) as fresh:
        pq.write_table(_table(trials, TRIAL_SCHEMA, known), fresh)
    with beside(run / columns.EPOCHS_FILE) as fresh:
        pq.write_table(_table(epochs, EPOCH_SCHEMA, known), fresh)
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


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    best = trial.best
    row = {
        columns.TRIAL: trial.trial,
        columns.STATE: trial.state,
        columns.SCHEDULER: trial.scheduler,
        columns.EPOCHS: len(trial.epochs),
        columns.BEST_OBJECTIVE: best.objective if best else None,
        columns.BEST_EPOCH: best.epoch if best else None,
        columns.BEST_SECONDS: best.at_seconds if best else None,
        columns.STARTED_SECONDS: trial.started_seconds,
        columns.ENDED_SECONDS: trial.ended_seconds,
        columns.TRAIN_SECONDS: trial.train_seconds,
        columns.ATTEMPT: trial.attempt,
        columns.WORKER: trial.worker,
        columns.ERROR: trial.error,
        columns.PATH: trial.path,
        columns.PATH_REASON: trial.path_reason,
        columns.CONTINUED_FROM: trial.continued_from or None,
    }
    if trial.device is not None:
        row |= {columns.DEVICE: trial.device, columns.MULTIPLY_ADDS: trial.multiply_adds}
    return row | {columns.HP_PREFIX + name: value for name, value in trial.values.items()}


def _epoch_row(epoch: EpochRecord) -> dict[str, Any]:
    row = {
        columns.TRIAL: epoch.trial,
        columns.EPOCH: epoch.epoch,
        columns.OBJECTIVE: epoch.objective,
        columns.DECISION: epoch.decision,
        columns.AT_SECONDS: epoch.at_seconds,
        columns.EPOCH_SECONDS: epoch.epoch_seconds,
        columns.ATTEMPT: epoch.attempt,
        columns.EXECUTION: epoch.execution,
        columns.WORKER: epoch.worker,
    }
    row |= {columns.LAP_PREFIX + name: seconds for name, seconds in epoch.laps.items()}
    return row | {columns.METRIC_PREFIX + name: value for name, value in epoch.metrics.items()}


def _table(
    rows: list[dict[str, Any]], schema: dict[str, pa.DataType], known: dict[str, str]
) -> pa.Table:
    others = sorted({name for row in rows for name in row} - set(schema))
    arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in schema.items()}
    arrays |= {name: _column([row.get(name) for row in rows]) for name in others}
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
