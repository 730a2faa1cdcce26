"""The comparison of runs, in the formats people and programs read."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.compare.rows import REFERENCE, type_of_field
from results.record.words import format_interval, format_number
from results.run import Row

# A pipe or a file has no width: wide enough for one line a row.
PLAIN_WIDTH = 320


class Format(StrEnum):
    """How a table is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


# What the ending of a file says of its format.
SUFFIXES = {
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".md": Format.MARKDOWN,
    ".parquet": Format.PARQUET,
}
TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
# Columns of words, to the left; numbers are to the right.
WORDS = frozenset(
    ("run", "data", "ended", "engine", "space", "algorithm", "group", "metric", "tie",
     "configuration", "verdict")
)  # fmt: skip
# Not even an empty table has these.
OCCASIONAL = frozenset(
    ("confirmed", "95 % of confirmed", "new seeds", "confirmed test", "95 % of test",
     "wrongly stopped")
)  # fmt: skip

# The name may be folded to this, where the screen is narrow.
NAME_WIDTH = 30
GAP_WIDTH = 2

# Heading and text of each column on screen, in order.
Column = tuple[str, Callable[[Any], str]]


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _wrongly_stopped(row: Row) -> str:
    if row.audit_audited is None:
        return ""
    return f"{row.audit_wrong} of {row.audit_audited}"


COLUMNS: tuple[Column, ...] = (
    ("run", lambda row: row.name),
    ("best", lambda row: format_number(row.best)),
    # Beside it, what is left of it on new seeds.
    ("confirmed", lambda row: format_number(row.confirmed_mean)),
    ("95 % of confirmed", lambda row: format_interval(row.confirmed_low, row.confirmed_high)),
    ("new seeds", lambda row: _whole(row.confirmed_seeds)),
    ("confirmed test", lambda row: format_number(row.confirmed_test_mean)),
    ("95 % of test", lambda row: format_interval(row.confirmed_test_low, row.confirmed_test_high)),
    ("after s", lambda row: _whole(row.reached_seconds)),
    ("test acc.", lambda row: format_number(row.test_accuracy)),
    ("precision", lambda row: format_number(row.precision_macro)),
    ("recall", lambda row: format_number(row.recall_macro)),
    ("final epochs", lambda row: _whole(row.final_epochs)),
    ("ended", lambda row: row.ended or ""),
    ("wrongly stopped", _wrongly_stopped),
    ("trials", lambda row: _whole(row.trials)),
    ("epochs", lambda row: _whole(row.epochs)),
    ("wall s", lambda row: _whole(row.wall_seconds)),
    ("engine", lambda row: row.engine),
    ("space", lambda row: row.space or ""),
    ("algorithm", lambda row: row.algorithm or ""),
    ("workers", lambda row: _whole(row.workers)),
)


def as_json(rows: Sequence[Any]) -> str:
    """Return a JSON list of objects, with every field of the rows."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def as_csv(rows: Sequence[Any], kind: type = Row) -> str:
    """Return comma-separated values with a heading, with every field of the rows.

    Args:
        rows: Of one kind.
        kind: Their dataclass, which has the fields where there are no rows.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue().rstrip("\n")


def as_parquet(rows: Sequence[Any], kind: type = Row) -> bytes:
    """Return a parquet file, with every field of the rows in its own type; none is left out."""
    names = [field.name for field in fields(kind)]
    schema = pa.schema([(name, TYPES[type_of_field(kind, name)]) for name in names])
    file = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema), file)
    return bytes(file.getvalue())


def cells(rows: Iterable[Any], columns: Sequence[Column]) -> list[list[str]]:
    """Return the texts of a table; its headings are the first row."""
    heads = [heading for heading, _ in columns]
    return [heads, *([text(row) for _, text in columns] for row in rows)]


def as_markdown(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Return a Markdown table of what is shown on screen."""
    # A folder may be named so, and would begin a cell of its own.
    lines = [
        "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
        for row in cells(rows, columns)
    ]
    lines.insert(1, "|" + " --- |" * len(columns))
    return "\n".join(lines)


def fitting_columns(columns: Sequence[Column], rows: Sequence[Any], width: int) -> list[Column]:
    """Return the columns that a screen has room for, as many as fit from the left.

    The first, a name, may be folded; numbers and words are never cut.

    Args:
        columns: At least one.
        rows: What stands in them.
        width: Characters of a line.
    """
    kept, room = [columns[0]], width - _width(columns[0], rows, most=NAME_WIDTH)
    for column in columns[1:]:
        room -= _width(column, rows) + GAP_WIDTH
        if room < 0:
            break
        kept.append(column)
    return kept


def _width(column: Column, rows: Sequence[Any], most: int | None = None) -> int:
    heading, text = column
    longest = max([cell_len(heading), *(cell_len(text(row)) for row in rows)])
    return longest if most is None else min(longest, most)


def as_table(rows: Sequence[Any], columns: Sequence[Column]) -> Table:
    """Return a table for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        is_name = heading == columns[0][0]
        table.add_column(
            heading,
            justify="left" if heading in WORDS else "right",
            overflow="fold",
            no_wrap=not is_name,
        )
    for row in rows:
        style = "dim" if isinstance(row, Row) and row.engine == REFERENCE else None
        table.add_row(*(Text(text(row)) for _, text in columns), style=style)
    return table


def file_content(
    rows: Sequence[Any], output: Format, columns: Sequence[Column], kind: type = Row
) -> bytes:
    """Return what a file of a format holds."""
    match output:
        case Format.PARQUET:
            return as_parquet(rows, kind)
        case Format.JSON:
            text = as_json(rows)
        case Format.CSV:
            text = as_csv(rows, kind)
        case Format.MARKDOWN:
            text = as_markdown(rows, columns)
        case Format.TABLE:
            text = _plain(as_table(rows, columns))
    return f"{text}\n".encode()


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
    if not rows:
        return [column for column in columns if column[0] not in OCCASIONAL]
    return [column for column in columns if any(column[1](row) for row in rows)]


def _plain(table: Table) -> str:
    file = io.StringIO()
    Console(file=file, width=PLAIN_WIDTH, color_system=None).print(table)
    return file.getvalue().rstrip("\n")
