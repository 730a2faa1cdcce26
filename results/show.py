"""The trials of one run and how each ended."""

from typing import Any

from rich.table import Table
from rich.text import Text

from results import columns
from results.reading import Run


def trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return the trials as JSON values: how each ended, its best, its configuration."""
    rows = []
    for row in run.trials.to_pylist():
        hps = {
            name.removeprefix(columns.HP_PREFIX): value
            for name, value in row.items()
            if name.startswith(columns.HP_PREFIX) and value is not None
        }
        others = {
            name: value for name, value in row.items() if not name.startswith(columns.HP_PREFIX)
        }
        rows.append(others | {"hyperparameters": hps})
    return rows


def trials_table(run: Run) -> Table:
    """Return the trials as a table for the terminal, in the order in which they started."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("trial", "ended", "epochs", f"best {run.objective}", "at epoch", "train s"):
        table.add_column(heading, justify="left" if heading == "ended" else "right", no_wrap=True)
    table.add_column("configuration", overflow="fold")
    for row in trial_rows(run):
        best = row[columns.BEST_OBJECTIVE]
        error = (row[columns.ERROR] or "").splitlines()[:1]
        # Runs of former versions, and of keras-tuner, do not say it.
        path = (
            [f"[{row[columns.PATH]}: {row[columns.PATH_REASON]}]"]
            if row.get(columns.PATH_REASON)
            else []
        )
        table.add_row(
            str(row[columns.TRIAL]),
            row[columns.STATE],
            str(row[columns.EPOCHS]),
            "" if best is None else f"{best:.4f}",
            "" if best is None else str(row[columns.BEST_EPOCH]),
            f"{row[columns.TRAIN_SECONDS]:.1f}",
            Text(" ".join([*error, *path, *_words(row["hyperparameters"])])),
        )
    return table


def _words(hyperparameters: dict[str, Any]) -> list[str]:
    return [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in hyperparameters.items()
    ]
