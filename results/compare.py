"""The comparison of runs, in the formats people and programs read."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from enum import StrEnum

from rich.table import Table
from rich.text import Text

from results.rows import Row


class Format(StrEnum):
    """How a table is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


# Heading and text of each column on screen, in order.
Column = tuple[str, Callable[[Row], str]]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


COLUMNS: tuple[Column, ...] = (
    ("run", lambda row: row.name),
    ("best", lambda row: _share(row.best)),
    ("after s", lambda row: _whole(row.reached_seconds)),
    ("test acc.", lambda row: _share(row.test_accuracy)),
    ("precision", lambda row: _share(row.precision_macro)),
    ("recall", lambda row: _share(row.recall_macro)),
    ("final epochs", lambda row: _whole(row.final_epochs)),
    ("ended", lambda row: row.ended or ""),
    ("trials", lambda row: _whole(row.trials)),
    ("epochs", lambda row: _whole(row.epochs)),
    ("wall s", lambda row: _whole(row.wall_seconds)),
    ("engine", lambda row: row.engine),
    ("space", lambda row: row.space or ""),
    ("algorithm", lambda row: row.algorithm or ""),
    ("workers", lambda row: _whole(row.workers)),
)


def as_json(rows: Sequence[Row]) -> str:
    """Return a JSON list of objects, with every field of the rows."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def as_csv(rows: Sequence[Row]) -> str:
    """Return comma-separated values with a heading, with every field of the rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue().rstrip("\n")


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table of what is shown on screen."""
    columns = shown_columns(rows)
    lines = [
        "| " + " | ".join(heading for heading, _ in columns) + " |",
        "|" + " --- |" * len(columns),
    ]
    lines += ["| " + " | ".join(text(row) for _, text in columns) + " |" for row in rows]
    return "\n".join(lines)


def as_table(rows: Sequence[Row]) -> Table:
    """Return a table for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = shown_columns(rows)
    for heading, _ in columns:
        is_text = heading in ("run", "data", "ended", "engine", "space", "algorithm")
        table.add_column(
            heading, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text
        )
    for row in rows:
        style = "dim" if row.engine == "published" else None
        table.add_row(*(Text(text(row)) for _, text in columns), style=style)
    return table


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns worth showing: those in which any row has something.

    The column of the best value is headed by the objective; where runs differ in it, a column
    of its own says which.
    """
    objectives = {row.objective for row in rows if row.objective}
    columns = list(COLUMNS)
    if len(objectives) == 1:
        columns[1] = (f"best {objectives.pop()}", COLUMNS[1][1])
    elif objectives:
        columns.insert(1, ("objective", lambda row: row.objective or ""))
    if len({row.data for row in rows}) > 1:
        columns.insert(1, ("data", lambda row: row.data or ""))
    return [column for column in columns if not rows or any(column[1](row) for row in rows)]
