"""How the rows of a comparison are sorted, chosen and written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from results.record.errors import nearest
from results.run import FIELDS, Row


@dataclass(frozen=True)
class Order:
    """By which field rows are sorted.

    Attributes:
        field: Name of a field of ``Row``.
        descending: Whether the largest comes first.
    """

    field: str
    descending: bool

    @classmethod
    def parse(cls, text: str) -> "Order":
        """Read ``FIELD``, or ``-FIELD`` for the largest first.

        Raises:
            ValueError: Rows have no such field.
        """
        name = text.removeprefix("-")
        _check_field(name)
        return cls(name, descending=text.startswith("-"))

    def sort(self, rows: Iterable[Row]) -> list[Row]:
        """Sort rows; of equals the better comes first, and one without a value comes last."""
        known: list[Row] = []
        unknown: list[Row] = []
        for row in ranked(rows):
            (unknown if _is_unknown(getattr(row, self.field)) else known).append(row)
        known.sort(key=lambda row: getattr(row, self.field), reverse=self.descending)
        return known + unknown


@dataclass(frozen=True)
class Condition:
    """Which rows are kept.

    Attributes:
        field: Name of a field of ``Row``.
        value: What it is compared with; None: with not being known.
        is_equal: Whether rows are kept that have the value, or those that have another or none.
    """

    field: str
    value: str | float | None
    is_equal: bool

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read ``FIELD=VALUE`` or ``FIELD!=VALUE``; without a value it is of what is not known.

        Raises:
            ValueError: It is neither, rows have no such field, or a field of numbers is compared
                with something else.
        """
        left, equals, value = text.partition("=")
        if not equals:
            raise ValueError("expected FIELD=VALUE or FIELD!=VALUE.")
        name = left.removesuffix("!").strip()
        _check_field(name)
        return cls(name, _value(name, value.strip()), is_equal=not left.endswith("!"))

    def holds(self, row: Row) -> bool:
        """Tell whether a row is kept."""
        found = getattr(row, self.field)
        return (found == self.value) is self.is_equal


def kind_of(row_class: type, field: str) -> type:
    """Return ``str``, ``int``, ``float`` or ``bool``: what a field of rows holds where known."""
    hint = get_type_hints(row_class)[field]
    kinds = (hint, *get_args(hint))
    return next(kind for kind in (str, bool, int, float) if kind in kinds)


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Sort rows: by data and objective, then the better first; a row without a value comes last."""
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[str, str, bool, float, str]:
    objective = row.objective or ""
    sign = 1.0 if row.mode == "min" else -1.0
    return row.data or "", objective, row.best is None, sign * (row.best or 0.0), row.name


def _check_field(name: str) -> None:
    if name not in FIELDS:
        raise ValueError(
            f"no field is named {name!r}.{nearest(name, FIELDS)} There are {', '.join(FIELDS)}."
        )


def _value(field: str, text: str) -> str | float | None:
    if not text:
        return None
    if kind_of(Row, field) is str:
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{field} is a number, got {text!r}.") from None


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
