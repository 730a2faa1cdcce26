"""The trials of a run as a table and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from results.record import columns
from results.record.words import first_line, format_values
from results.run import Run, ending_of


def trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return the trials as JSON values: how each ended, its best, its configuration.

    Where some were confirmed on new seeds or audited, each has what came of it as ``confirmed``,
    a list by number of epochs, and as ``audited``, or None.
    """
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
        rows.append(others | {"hyperparameters": hps} | _afterwards(run, row[columns.TRIAL]))
    return rows


def _afterwards(run: Run, trial: int) -> dict[str, Any]:
    """Return what came of a trial after the search."""
    told: dict[str, Any] = {}
    if run.confirmation:
        own = [one for one in run.confirmation.candidates if one.trial == trial]
        told["confirmed"] = [_without(asdict(one), "trial", "values") for one in own]
    if run.audit:
        found = [_without(asdict(one), "trial") for one in run.audit.trials if one.trial == trial]
        told["audited"] = found[0] if found else None
    return told


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def trials_table(run: Run) -> Table:
    """Return the trials as a table for the terminal, in the order in which they started."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("trial", "ended", "epochs", f"best {run.objective}", "at epoch", "train s"):
        table.add_column(heading, justify="left" if heading == "ended" else "right", no_wrap=True)
    table.add_column("configuration", overflow="fold")
    for row in trial_rows(run):
        best = row[columns.BEST_OBJECTIVE]
        error = first_line(row[columns.ERROR])
        # Runs of former versions, and of keras-tuner, do not say it.
        reason = row.get(columns.PATH_REASON)
        path = f"[{row[columns.PATH]}: {reason}]" if reason else ""
        table.add_row(
            str(row[columns.TRIAL]),
            str(ending_of(row)),
            str(row[columns.EPOCHS]),
            "" if best is None else f"{best:.4f}",
            "" if best is None else str(row[columns.BEST_EPOCH]),
            f"{row[columns.TRAIN_SECONDS]:.1f}",
            Text(" ".join(filter(None, [error, path, format_values(row["hyperparameters"])]))),
        )
    return table
