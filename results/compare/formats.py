"""Output formats of tables: text, JSON, CSV, Markdown and parquet."""

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

from results.compare.rows import PUBLISHED, type_of_field
from results.record.words import format_interval, format_number
from results.run import Row

# Width in characters if the output is no terminal: wide enough for one line per row.
PLAIN_WIDTH = 320


class Format(StrEnum):
    """Output format of a table."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


# Formats by the extension of a file.
SUFFIXES = {
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".md": Format.MARKDOWN,
    ".parquet": Format.PARQUET,
}
ARROW_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
# Columns of text, which are left-aligned; numbers are right-aligned.
TEXT_COLUMNS = frozenset(
    ("run", "data", "ended", "engine", "space", "algorithm", "group", "metric", "tie",
     "configuration", "verdict")
)  # fmt: skip
# Columns that an empty table does not show.
OPTIONAL_COLUMNS = frozenset(
    ("confirmed", "95 % of confirmed", "new seeds", "confirmed test", "95 % of test",
     "wrongly stopped")
)  # fmt: skip

# On a narrow screen, the first column is folded to this width in characters.
MAX_NAME_WIDTH = 30
GAP_WIDTH = 2

# A column of a table: the heading, and a function from a row to its text.
Column = tuple[str, Callable[[Any], str]]


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _wrongly_stopped(row: Row) -> str:
    if row.audit_audited is None:
        return ""
    return f"{row.audit_wrong} of {row.audit_audited}"


COLUMNS: tuple[Column, ...] = (
    ("run", lambda row: row.name),
    ("best", lambda row: format_number(row.best)),
    ("confirmed", lambda row: format_number(row.confirmed_mean)),
    ("95 % of confirmed", lambda row: format_interval(row.confirmed_low, row.confirmed_high)),
    ("new seeds", lambda row: _rounded(row.confirmed_seeds)),
    ("confirmed test", lambda row: format_number(row.confirmed_test_mean)),
    ("95 % of test", lambda row: format_interval(row.confirmed_test_low, row.confirmed_test_high)),
    ("after s", lambda row: _rounded(row.reached_seconds)),
    ("test acc.", lambda row: format_number(row.test_accuracy)),
    ("precision", lambda row: format_number(row.precision_macro)),
    ("recall", lambda row: format_number(row.recall_macro)),
    ("final epochs", lambda row: _rounded(row.final_epochs)),
    ("ended", lambda row: row.ended or ""),
    ("wrongly stopped", _wrongly_stopped),
    ("trials", lambda row: _rounded(row.trials)),
    ("epochs", lambda row: _rounded(row.epochs)),
    ("wall s", lambda row: _rounded(row.wall_seconds)),
    ("engine", lambda row: row.engine),
    ("space", lambda row: row.space or ""),
    ("algorithm", lambda row: row.algorithm or ""),
    ("workers", lambda row: _rounded(row.workers)),
)


def as_json(rows: Sequence[Any]) -> str:
    """Return the rows as a JSON list of objects, with all fields."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def as_csv(rows: Sequence[Any], row_class: type = Row) -> str:
    """Return the rows as comma-separated values, with all fields and a heading.

    Args:
        rows: Instances of ``row_class``.
        row_class: Dataclass of the rows; its fields are the columns.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(row_class)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue().rstrip("\n")


def as_parquet(rows: Sequence[Any], row_class: type = Row) -> bytes:
    """Return the rows as a parquet file, with all fields and their types."""
    names = [field.name for field in fields(row_class)]
    schema = pa.schema([(name, ARROW_TYPES[type_of_field(row_class, name)]) for name in names])
    file = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema), file)
    return bytes(file.getvalue())


def cells(rows: Iterable[Any], columns: Sequence[Column]) -> list[list[str]]:
    """Return the cells of a table as text; the first row holds the headings."""
    headings = [heading for heading, _ in columns]
    return [headings, *([text(row) for _, text in columns] for row in rows)]


def as_markdown(rows: Sequence[Any], columns: Sequence[Column]) -> str:
    """Return a Markdown table."""
    # A folder name may contain "|", which would start a new cell.
    lines = [
        "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
        for row in cells(rows, columns)
    ]
    lines.insert(1, "|" + " --- |" * len(columns))
    return "\n".join(lines)


def fitting_columns(columns: Sequence[Column], rows: Sequence[Any], width: int) -> list[Column]:
    """Return the columns that fit on a screen, from the left.

    The first column may be folded; no other text is ever cut.

    Args:
        columns: At least one.
        rows: The rows of the table.
        width: Width of the screen in characters.
    """
    fitting = [columns[0]]
    free_width = width - _width(columns[0], rows, max_width=MAX_NAME_WIDTH)
    for column in columns[1:]:
        free_width -= _width(column, rows) + GAP_WIDTH
        if free_width < 0:
            break
        fitting.append(column)
    return fitting


def _width(column: Column, rows: Sequence[Any], max_width: int | None = None) -> int:
    heading, text = column
    width = max([cell_len(heading), *(cell_len(text(row)) for row in rows)])
    return width if max_width is None else min(width, max_width)


def as_table(rows: Sequence[Any], columns: Sequence[Column]) -> Table:
    """Return a table for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        is_name = heading == columns[0][0]
        table.add_column(
            heading,
            justify="left" if heading in TEXT_COLUMNS else "right",
            overflow="fold",
            no_wrap=not is_name,
        )
    for row in rows:
        style = "dim" if isinstance(row, Row) and row.engine == PUBLISHED else None
        table.add_row(*(Text(text(row)) for _, text in columns), style=style)
    return table


def file_content(
    rows: Sequence[Any],
    table_format: Format,
    columns: Sequence[Column],
    row_class: type = Row,
) -> bytes:
    """Return a table in a format, as the bytes of a file."""
    match table_format:
        case Format.PARQUET:
            return as_parquet(rows, row_class)
        case Format.JSON:
            text = as_json(rows)
        case Format.CSV:
            text = as_csv(rows, row_class)
        case Format.MARKDOWN:
            text = as_markdown(rows, columns)
        case Format.TABLE:
            text = _plain(as_table(rows, columns))
    return f"{text}\n".encode()


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns to show: those that are not empty in every row.

    The heading of the best value names the objective. If the runs have different objectives, a
    separate column names them.
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
        return [column for column in columns if column[0] not in OPTIONAL_COLUMNS]
    return [column for column in columns if any(column[1](row) for row in rows)]


def _plain(table: Table) -> str:
    file = io.StringIO()
    Console(file=file, width=PLAIN_WIDTH, color_system=None).print(table)
    return file.getvalue().rstrip("\n")
