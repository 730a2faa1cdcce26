"""The hyperparameters of a run as axes of charts."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.record import columns
from results.run import Run

# Without a declared space, an axis is logarithmic if the largest value exceeds the smallest by this
# factor.
LOG_AXIS_RATIO = 100.0


@dataclass(frozen=True)
class Axis:
    """A hyperparameter as the axis of a chart.

    Attributes:
        name: Name of the hyperparameter.
        values: Value of each trial, in the order of ``trials.parquet``; None if it is inactive.
        choices: The choices in order; None for a range of numbers.
        is_ordered: Whether the order of the choices has a meaning.
        is_log: Whether the axis is logarithmic.
        bounds: The declared range, extended to all values; None without a declared range.
    """

    name: str
    values: tuple[Any, ...]
    choices: tuple[Any, ...] | None
    is_ordered: bool = True
    is_log: bool = False
    bounds: tuple[float, float] | None = None

    def position(self, value: Any) -> float:
        """Return the position of a value: the index of a choice, or the number, or its log10."""
        if self.choices is not None:
            return float(self.choices.index(value))
        return math.log10(value) if self.is_log else float(value)

    @cached_property
    def active(self) -> list[Any]:
        """Values of the trials in which the hyperparameter is active."""
        return [value for value in self.values if value is not None]

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of the lowest and the highest possible value."""
        if self.choices is not None:
            return 0.0, float(len(self.choices) - 1)
        low, high = self.bounds or (min(self.active), max(self.active))
        return self.position(low), self.position(high)

    @cached_property
    def is_integer(self) -> bool:
        """Whether all values are integers."""
        return all(isinstance(value, int) for value in self.active)


def axes_of(run: Run) -> list[Axis]:
    """Return the hyperparameters that any trial used, in the order of the space.

    A hyperparameter that is missing from the recorded space is described by its values only.
    """
    axes = []
    names = [
        name.removeprefix(columns.HP_PREFIX)
        for name in run.trials.column_names
        if name.startswith(columns.HP_PREFIX)
    ]
    space = run.description.get("space") or []
    declared = [row["name"] for row in space]
    for name in sorted(names, key=lambda name: (_order(declared, name), name)):
        values = run.trials[columns.HP_PREFIX + name].to_pylist()
        if any(value is not None for value in values):
            rows = [row for row in space if row["name"] == name]
            axes.append(_axis(name, _decode(values, rows), rows))
    return axes


def _order(declared: Sequence[str], name: str) -> int:
    return declared.index(name) if name in declared else len(declared)


def _decode(values: Sequence[Any], rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Decode a column of several types, which is stored as JSON texts; else return it unchanged."""
    declared = {type(choice) for row in rows for choice in row["choices"]}
    has_numbers = any(not row["choices"] for row in rows) or declared - {str}
    is_text = all(isinstance(value, str) for value in values if value is not None)
    if not (rows and has_numbers and is_text):
        return tuple(values)
    return tuple(None if value is None else _load_json(value) for value in values)


def _load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _axis(name: str, values: tuple[Any, ...], rows: list[dict[str, Any]]) -> Axis:
    used = {value for value in values if value is not None}
    is_numeric = all(type(value) in (int, float) for value in used)
    if any(row["choices"] for row in rows) or not is_numeric:
        declared = [choice for row in rows for choice in row["choices"]]
        choices = _choices(declared, used)
        equal_choice = {choice: choice for choice in choices}  # 1.0 and 1 are the same choice
        chosen = tuple(None if value is None else equal_choice[value] for value in values)
        return Axis(name, chosen, choices, is_ordered=bool(rows) and rows[0]["ordered"])
    return Axis(name, values, None, is_log=_is_log(rows, used), bounds=_bounds(rows, used))


def _bounds(rows: Sequence[dict[str, Any]], used: Iterable[float]) -> tuple[float, float] | None:
    ranges = [(row["low"], row["high"]) for row in rows if row["low"] < row["high"]]
    if not ranges:
        return None
    ends = [*used, *(end for bounds in ranges for end in bounds)]
    return min(ends), max(ends)


def _choices(declared: Sequence[Any], used: Iterable[Any]) -> tuple[Any, ...]:
    undeclared = sorted(set(used) - set(declared), key=_numbers_first)
    return tuple(dict.fromkeys([*declared, *undeclared]))


def _numbers_first(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float))
    return not is_number, float(value) if is_number else 0.0, str(value)


def _is_log(rows: Sequence[dict[str, Any]], used: Iterable[float]) -> bool:
    low, high = min(used), max(used)
    if low <= 0:
        return False
    return rows[0]["sampling"] == "log" if rows else high / low > LOG_AXIS_RATIO
