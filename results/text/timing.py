"""How the workers of a search spent their time, as a table and as JSON."""

import json
from typing import Any

from rich.table import Table

from results.record import columns
from results.record.errors import RunFolderError
from results.run import Run

# The activities that count as training; all others are overhead of the search.
TRAINING = ("train", "validate")
ACTIVITIES = {
    "before": "before the workers start: program and Ray",
    "start": "starting worker processes",
    "import": "importing TensorFlow and Keras",
    "between": "between trials: from the last report to the next start; waiting for the space",
    "data": "loading data",
    "reset": "resetting the process before a trial",
    "build": "building the model (the first time, to find the space)",
    "compile": "tracing the fast epoch (Keras's own loop: part of training)",
    "train": "training",
    "validate": "validation",
    "keep": "writing weights and checkpoints",
    "report": "waiting for the answer to a report",
    "waiting": "idle: at the end of the search, or while a process is replaced",
}


def timing(run: Run) -> dict[str, float]:
    """Return the workers' seconds by activity, from the start of the program to the last trial.

    The first epoch of a trial includes TensorFlow's optimization of the traced graph.

    Raises:
        RunFolderError: The trials of the run did not report their times.
    """
    epochs = run.epochs.to_pylist()
    names = [name for name in run.epochs.column_names if name.startswith(columns.LAP_PREFIX)]
    if not names or not epochs:
        raise RunFolderError(
            f"{str(run.path)!r} has no times: only trained runs of the ray engine have them."
        )
    report_seconds = [row[columns.AT_SECONDS] for row in epochs]
    end_seconds = [at for at in run.trials[columns.ENDED_SECONDS].to_pylist() if at]
    seconds = dict.fromkeys(ACTIVITIES, 0.0)
    for row in epochs:
        for name in names:
            seconds[name.removeprefix(columns.LAP_PREFIX)] += row[name] or 0.0
    reported = sum(seconds.values())
    workers = run.description["plan"]["workers"]
    seconds["before"] = workers * min(_start_seconds(epochs, names))
    total = workers * max(report_seconds + end_seconds)
    seconds["waiting"] = max(0.0, total - seconds["before"] - reported)
    return seconds


def _start_seconds(epochs: list[dict[str, Any]], names: list[str]) -> list[float]:
    """Return when each process started: the time of its last report minus its reported seconds."""
    last_report: dict[str, float] = {}
    reported: dict[str, float] = {}
    for row in epochs:
        worker = row[columns.WORKER]
        last_report[worker] = max(last_report.get(worker, 0.0), row[columns.AT_SECONDS])
        reported[worker] = reported.get(worker, 0.0) + sum(row[name] or 0.0 for name in names)
    return [max(0.0, last_report[worker] - reported[worker]) for worker in last_report]


def timing_table(run: Run) -> Table:
    """Return the seconds by activity as a table for the terminal."""
    seconds = timing(run)
    total = sum(seconds.values())
    shares = {name: spent / (total or 1.0) for name, spent in seconds.items()}
    training = sum(shares[name] for name in TRAINING)
    workers = run.description["plan"]["workers"]
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"{workers} workers x {total / workers:.1f} s, of which {training:.1%} training",
        title_justify="left",
    )
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    table.add_column("name")
    table.add_column("spent on")
    for name, spent in seconds.items():
        table.add_row(f"{spent:.1f}", f"{shares[name]:.1%}", name, ACTIVITIES[name])
    return table


def timing_json(run: Run) -> str:
    """Return the seconds by activity as JSON."""
    return json.dumps({name: round(spent, 3) for name, spent in timing(run).items()}, indent=2)
