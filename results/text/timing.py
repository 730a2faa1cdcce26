"""Where the seconds of a search's workers went, as a table and as JSON."""

import json
from typing import Any

from rich.table import Table

from results.record import columns
from results.record.errors import RunFolderError
from results.run import Run

# What is training itself; all else is the cost of searching.
TRAINING = ("train", "validate")
SPENT_ON = {
    "before": "before the workers start (program, Ray)",
    "start": "worker processes start",
    "import": "TensorFlow and Keras are imported",
    "between": "from a trial's last report to the next trial; waiting for the space",
    "data": "data",
    "reset": "the process is cleared for a trial",
    "build": "model is built (once: the space is found)",
    "compile": "fast epoch is traced (Keras's own loop: within training)",
    "train": "training",
    "validate": "validation",
    "keep": "weights and checkpoints are written",
    "report": "a report is answered",
    "waiting": "no trial reports: at the search's end, or while a process is replaced",
}


def timing(run: Run) -> dict[str, float]:
    """Return the workers' seconds by kind of work, from the program's start to the search's end.

    The first epoch of a trial contains what TensorFlow still does to the traced graph.

    Raises:
        RunFolderError: The run's trials did not report it.
    """
    epochs = run.epochs.to_pylist()
    names = [name for name in run.epochs.column_names if name.startswith(columns.LAP_PREFIX)]
    if not names or not epochs:
        raise RunFolderError(
            f"{str(run.path)!r} does not say where its time went: expected a run of the ray engine "
            "that trained an epoch."
        )
    told_at = [row[columns.AT_SECONDS] for row in epochs]
    ended = max(told_at + [at for at in run.trials[columns.ENDED_SECONDS].to_pylist() if at])
    seconds = dict.fromkeys(SPENT_ON, 0.0)
    for row in epochs:
        for name in names:
            seconds[name.removeprefix(columns.LAP_PREFIX)] += row[name] or 0.0
    told = sum(seconds.values())
    slots = run.description["plan"]["workers"]
    seconds["before"] = slots * min(_began(epochs, names))
    seconds["waiting"] = max(0.0, slots * ended - seconds["before"] - told)
    return seconds


def _began(epochs: list[dict[str, Any]], names: list[str]) -> list[float]:
    """Return when each process began: its last report less all that it told of its time."""
    last: dict[str, float] = {}
    told: dict[str, float] = {}
    for row in epochs:
        worker = row[columns.WORKER]
        last[worker] = max(last.get(worker, 0.0), row[columns.AT_SECONDS])
        told[worker] = told.get(worker, 0.0) + sum(row[name] or 0.0 for name in names)
    return [max(0.0, last[worker] - told[worker]) for worker in last]


def timing_table(run: Run) -> Table:
    """Return the parts as a table for the terminal."""
    seconds = timing(run)
    total = sum(seconds.values())
    shares = {name: taken / (total or 1.0) for name, taken in seconds.items()}
    training = sum(shares[name] for name in TRAINING)
    slots = run.description["plan"]["workers"]
    shown = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"{slots} workers x {total / slots:.1f} s, of which {training:.1%} trained",
        title_justify="left",
    )
    shown.add_column("seconds", justify="right")
    shown.add_column("share", justify="right")
    shown.add_column("name")
    shown.add_column("spent on")
    for name, taken in seconds.items():
        shown.add_row(f"{taken:.1f}", f"{shares[name]:.1%}", name, SPENT_ON[name])
    return shown


def timing_json(run: Run) -> str:
    """Return the parts as JSON."""
    return json.dumps({name: round(taken, 3) for name, taken in timing(run).items()}, indent=2)
