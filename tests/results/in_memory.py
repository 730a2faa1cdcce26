"""Runs without a folder, of the trials and epochs that a test names."""

import copy
import json
from pathlib import Path

import pyarrow as pa

from results.record import columns
from results.record.tables import EPOCH_COLUMNS, TRIAL_COLUMNS
from results.run import Run

RUN_JSON = Path(__file__).parents[1] / "assets" / "version-0.1.0" / "finished" / "run.json"
DESCRIPTION = json.loads(RUN_JSON.read_text())


def trial_of(trial, best=None, **fields):
    """Return a row of trials.parquet: a completed trial of one epoch."""
    at = float(trial + 1)
    is_scored = best is not None
    return {
        columns.TRIAL: trial, columns.STATE: "completed", columns.EPOCHS: 1,
        columns.BEST_OBJECTIVE: best, columns.BEST_EPOCH: 1 if is_scored else None,
        columns.BEST_SECONDS: at if is_scored else None, columns.STARTED_SECONDS: at - 1.0,
        columns.ENDED_SECONDS: at, columns.TRAIN_SECONDS: 0.5, columns.ATTEMPT: 1,
        columns.WORKER: "host:1",
    } | fields  # fmt: skip


def epoch_of(trial, epoch, value, at, **fields):
    """Return a row of epochs.parquet: an epoch that ended ``at`` seconds after the start."""
    return {
        columns.TRIAL: trial, columns.EPOCH: epoch, columns.OBJECTIVE: value,
        columns.DECISION: "continue", columns.AT_SECONDS: at, columns.EPOCH_SECONDS: 0.5,
        columns.ATTEMPT: 1, columns.EXECUTION: 0, columns.WORKER: "host:1",
    } | fields  # fmt: skip


def run_of(
    trials=(), epochs=(), *, path="run", problem=None, description=None, evaluation=None,
    ended="trials done", confirmation=None, audit=None, **plan,
):  # fmt: skip
    """Return a run without a declared space.

    Its plan is that of a finished run, changed by ``plan`` and ``problem``.
    """
    content = copy.deepcopy(DESCRIPTION) | {"space": []}
    content["plan"] |= plan
    content["plan"]["problem"] |= problem or {}
    return Run(
        Path(path),
        content | (description or {}),
        _table(trials, TRIAL_COLUMNS),
        _table(epochs, EPOCH_COLUMNS),
        evaluation,
        ended,
        confirmation,
        audit,
    )


def _table(rows, fixed_columns):
    """Return rows as a table: its fixed columns with their types, then those of the rows."""
    others = dict.fromkeys(name for row in rows for name in row if name not in fixed_columns)
    arrays = {
        name: pa.array([row.get(name) for row in rows], type_)
        for name, (type_, _) in fixed_columns.items()
    }
    return pa.table(arrays | {name: pa.array([row.get(name) for row in rows]) for name in others})
