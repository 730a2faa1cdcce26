"""The hyperparameters of a run as axes: where a value stands on one, and how it is labelled."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.record import columns
from results.run import Run

# Of a search that declared no space, numbers that spread as far are drawn on a logarithmic axis.
WIDE_SPREAD = 100.0


@dataclass(frozen=True)
class Axis:
    """One hyperparameter.

    Attributes:
        name: Its name.
        values: The value of each trial, in the order of ``trials.parquet``; None: inactive.
        choices: What there is to choose from, in order; None of a range of numbers.
        is_ordered: Whether the order of the choices means something.
        is_log: Whether it is drawn on a logarithmic scale.
        bounds: The range that was declared, and all values in it; None where none was.
    """

    name: str
    values: tuple[Any, ...]
    choices: tuple[Any, ...] | None
    is_ordered: bool = True
    is_log: bool = False
    bounds: tuple[float, float] | None = None

    def position(self, value: Any) -> float:
        """Return where a value stands: the place of a choice, or the number, or its logarithm."""
        if self.choices is not None:
            return float(self.choices.index(value))
        return math.log10(value) if self.is_log else float(value)

    @cached_property
    def active(self) -> list[Any]:
        """The values of the trials in which it is active."""
        return [value for value in self.values if value is not None]

    @property
    def ends(self) -> tuple[float, float]:
        """The positions between which it is drawn: those of what there was to choose from."""
        if self.choices is not None:
            return 0.0, float(len(self.choices) - 1)
        low, high = self.bounds or (min(self.active), max(self.active))
        return self.position(low), self.position(high)

    @cached_property
    def is_integer(self) -> bool:
        """Whether all its values are whole numbers."""
        return all(isinstance(value, int) for value in self.active)


def axes_of(run: Run) -> list[Axis]:
    """Return the hyperparameters that any trial used, in the order of the space.

    One that the builder registered only later is known by its values alone.
    """
    found = []
    names = [
        name.removeprefix(columns.HP_PREFIX)
        for name in run.trials.column_names
        if name.startswith(columns.HP_PREFIX)
    ]
    space = run.description.get("space") or []
    declared = [row["name"] for row in space]
    for name in sorted(names, key=lambda one: (_place(declared, one), one)):
        values = run.trials[columns.HP_PREFIX + name].to_pylist()
        if any(value is not None for value in values):
            rows = [row for row in space if row["name"] == name]
            found.append(_axis(name, _decoded(values, rows), rows))
    return found


def _place(declared: Sequence[str], name: str) -> int:
    return declared.index(name) if name in declared else len(declared)


def _decoded(values: Sequence[Any], rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the values as they were: a column of several types is kept as JSON texts."""
    declared = {type(choice) for row in rows for choice in row["choices"]}
    has_numbers = any(not row["choices"] for row in rows) or declared - {str}
    are_texts = all(isinstance(value, str) for value in values if value is not None)
    if not (rows and has_numbers and are_texts):
        return tuple(values)
    return tuple(None if value is None else _loaded(value) for value in values)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _axis(name: str, values: tuple[Any, ...], rows: list[dict[str, Any]]) -> Axis:
    used = {value for value in values if value is not None}
    are_numbers = all(type(value) in (int, float) for value in used)
    if any(row["choices"] for row in rows) or not are_numbers:
        declared = [choice for row in rows for choice in row["choices"]]
        choices = _choices(declared, used)
        known = {choice: choice for choice in choices}  # 1.0 and 1 are one choice
        chosen = tuple(None if value is None else known[value] for value in values)
        return Axis(name, chosen, choices, is_ordered=bool(rows) and rows[0]["ordered"])
    return Axis(name, values, None, is_log=_is_log(rows, used), bounds=_bounds(rows, used))


def _bounds(rows: Sequence[dict[str, Any]], used: Iterable[float]) -> tuple[float, float] | None:
    ranges = [(row["low"], row["high"]) for row in rows if row["low"] < row["high"]]
    if not ranges:
        return None
    ends = [*used, *(end for one in ranges for end in one)]
    return min(ends), max(ends)


def _choices(declared: Sequence[Any], used: Iterable[Any]) -> tuple[Any, ...]:
    others = sorted(set(used) - set(declared), key=_sorted_as)
    return tuple(dict.fromkeys([*declared, *others]))


def _sorted_as(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float))
    return not is_number, float(value) if is_number else 0.0, str(value)


def _is_log(rows: Sequence[dict[str, Any]], used: Iterable[float]) -> bool:
    low, high = min(used), max(used)
    if low <= 0:
        return False
    return rows[0]["sampling"] == "log" if rows else high / low > WIDE_SPREAD
