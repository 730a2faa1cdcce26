"""The trials of a run as a table and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from results.record import columns
from results.record.words import first_line, format_values
from results.run import Run, ending_of, epoch_cells, executions_of, hyperparameters_of


def trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return the trials as JSON values.

    In a run with a confirmation, each trial has a list ``confirmed`` of its results, one for each
    number of epochs. In a run with an audit, each has its result as ``audited``, or None. If trials
    have several executions, each has the epochs of its executions as ``execution_epochs``.
    """
    rows = []
    executions = executions_of(run)
    has_several = any(len(counts) > 1 for counts in executions.values())
    values_by_name = hyperparameters_of(run)
    for index, row in enumerate(run.trials.to_pylist()):
        hyperparameters = {
            name: values[index]
            for name, values in values_by_name.items()
            if values[index] is not None
        }
        other_columns = {
            name: value for name, value in row.items() if not name.startswith(columns.HP_PREFIX)
        }
        if has_several:
            counts = executions.get(row[columns.TRIAL])
            other_columns["execution_epochs"] = list(counts.values()) if counts else []
        follow_up = _follow_up_results(run, row[columns.TRIAL])
        rows.append(other_columns | {"hyperparameters": hyperparameters} | follow_up)
    return rows


def _follow_up_results(run: Run, number: int) -> dict[str, Any]:
    """Return the results of the confirmation and the audit for a trial."""
    results: dict[str, Any] = {}
    if run.confirmation:
        results["confirmed"] = [
            _without(asdict(candidate), "trial", "values")
            for candidate in run.confirmation.candidates
            if candidate.trial == number
        ]
    if run.audit:
        trials = (trial for trial in run.audit.trials if trial.trial == number)
        results["audited"] = next((_without(asdict(trial), "trial") for trial in trials), None)
    return results


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def describe_data(run: Run) -> str | None:
    """Say what data the trials trained on and how they travelled; None if that is not recorded."""
    rows = run.description.get("data")
    if not rows:
        return None
    parts = []
    for row in rows:
        what = " ".join(filter(None, [row["kind"], row["shape"]]))
        differs = ", may differ each time" if row["may_differ"] else ""
        parts.append(f"{row['argument']} ({what}, {row['way']}{differs})")
    return f"data: {'; '.join(parts)}"


def trials_table(run: Run) -> Table:
    """Return the trials as a table for the terminal, in order of their start."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    epochs = epoch_cells(run)
    for heading in ("trial", "ended", *epochs, f"best {run.objective}", "at epoch", "train s"):
        table.add_column(heading, justify="left" if heading == "ended" else "right", no_wrap=True)
    table.add_column("configuration", overflow="fold")
    for row, *epoch_texts in zip(trial_rows(run), *epochs.values(), strict=True):
        best = row[columns.BEST_OBJECTIVE]
        error = first_line(row[columns.ERROR])
        # Runs of earlier versions and of keras-tuner have no such column.
        reason = row.get(columns.PATH_REASON)
        path = f"[{row[columns.PATH]}: {reason}]" if reason else ""
        table.add_row(
            str(row[columns.TRIAL]),
            str(ending_of(row)),
            *epoch_texts,
            "" if best is None else f"{best:.4f}",
            "" if row[columns.BEST_EPOCH] is None else str(row[columns.BEST_EPOCH]),
            f"{row[columns.TRAIN_SECONDS]:.1f}",
            Text(" ".join(filter(None, [error, path, format_values(row["hyperparameters"])]))),
        )
    return table
