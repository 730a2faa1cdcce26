"""Lines set in columns, and broken between their parts, for a screen."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

# Between the parts of a line.
SEPARATOR = " · "


class Column(NamedTuple):
    """A column: numbers stand to the right."""

    heading: str
    least_width: int = 0
    is_text: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[tuple[str, ...]], styles: Sequence[str]
) -> list[Text]:
    """Return a line of headings and a styled one for each row; the screen cuts what is too long.

    By hand: a table of Rich's takes several times as long, and it is the driver's time.
    """
    rows_of_text = [tuple(column.heading for column in columns), *rows]
    widths = [
        max(column.least_width, *map(len, cells))
        for column, cells in zip(columns, zip(*rows_of_text, strict=True), strict=True)
    ]
    return [
        Text("  ".join(_set(cells, columns, widths)).rstrip(), style=style)
        for cells, style in zip(rows_of_text, ["bold", *styles], strict=True)
    ]


def _set(cells: Iterable[str], columns: Iterable[Column], widths: Iterable[int]) -> Iterator[str]:
    for cell, column, width in zip(cells, columns, widths, strict=True):
        # A value may be a text of several lines.
        text = " ".join(cell.split())
        yield text.ljust(width) if column.is_text else text.rjust(width)


def folded(text: str, width: int) -> list[str]:
    """Break a line between its parts, so that each fits the width if it can."""
    lines: list[str] = []
    for part in text.split(SEPARATOR):
        longer = f"{lines[-1]}{SEPARATOR}{part}" if lines else ""
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
