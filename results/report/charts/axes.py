"""The hyperparameters of a run as axes of charts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.run import Run, hyperparameters_of

# Without a declared space, an axis is logarithmic if the largest value exceeds the smallest by this
# factor.
LOG_AXIS_RATIO = 100.0
# Beyond these, powers of ten and differences are no numbers any more.
LEAST, LARGEST = 1e-300, 1e300


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
    values_by_name = hyperparameters_of(run)
    space = run.description.get("space") or []
    declared = [row["name"] for row in space]
    for name in sorted(values_by_name, key=lambda name: (_order(declared, name), name)):
        values = values_by_name[name]
        if any(value is not None for value in values):
            axes.append(_axis(name, values, [row for row in space if row["name"] == name]))
    return axes


def _order(declared: Sequence[str], name: str) -> int:
    return declared.index(name) if name in declared else len(declared)


def _axis(name: str, values: tuple[Any, ...], rows: list[dict[str, Any]]) -> Axis:
    used = {value for value in values if value is not None}
    is_numeric = all(type(value) in (int, float) for value in used)
    if any(row["choices"] for row in rows) or not is_numeric or not _is_scale(rows, used):
        declared = [choice for row in rows for choice in row["choices"]]
        choices = _choices(declared, used)
        equal_choice = {choice: choice for choice in choices}  # 1.0 and 1 are the same choice
        chosen = tuple(None if value is None else equal_choice[value] for value in values)
        return Axis(name, chosen, choices, is_ordered=bool(rows) and rows[0]["ordered"])
    return Axis(name, values, None, is_log=_is_log(rows, used), bounds=_bounds(rows, used))


def _is_scale(rows: Sequence[dict[str, Any]], used: Iterable[float]) -> bool:
    """Tell whether numbers can be drawn on a scale; of the least and largest ones, none can."""
    low, high = _bounds(rows, used) or (min(used), max(used))
    numbers = (low, high, high / 2 - low / 2)
    return all(number == 0 or LEAST <= abs(number) <= LARGEST for number in numbers)


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
