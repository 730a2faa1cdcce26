"""The hyperparameters of a run as axes: where a value stands on one, and how it is labelled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from results import columns
from results.reading import Run


@dataclass(frozen=True)
class Axis:
    """One hyperparameter.

    Attributes:
        name: Its name.
        values: The value of each trial, in the order of ``trials.parquet``; None: inactive.
        choices: What there is to choose from, in order; None of a range of numbers.
        is_ordered: Whether the order of the choices means something.
        is_log: Whether it is drawn on a logarithmic scale.
    """

    name: str
    values: tuple[Any, ...]
    choices: tuple[Any, ...] | None
    is_ordered: bool = True
    is_log: bool = False

    def position(self, value: Any) -> float:
        """Return where a value stands: the place of a choice, or the number, or its logarithm."""
        if self.choices is not None:
            return float(self.choices.index(value))
        return math.log10(value) if self.is_log else float(value)

    @property
    def active(self) -> list[Any]:
        """The values of the trials in which it is active."""
        return [value for value in self.values if value is not None]


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
    declared = [row["name"] for row in run.asked["space"]]
    for name in sorted(names, key=lambda one: (_place(declared, one), one)):
        values = run.trials[columns.HP_PREFIX + name].to_pylist()
        if any(value is not None for value in values):
            rows = [row for row in run.asked["space"] if row["name"] == name]
            found.append(_axis(name, tuple(values), rows))
    return found


def _place(declared: Sequence[str], name: str) -> int:
    return declared.index(name) if name in declared else len(declared)


def _axis(name: str, values: tuple[Any, ...], rows: list[dict[str, Any]]) -> Axis:
    used = {value for value in values if value is not None}
    are_numbers = all(type(value) in (int, float) for value in used)
    declared = [choice for row in rows for choice in row["choices"]]
    if declared or not are_numbers:
        others = sorted(used - set(declared), key=str)
        choices = tuple(dict.fromkeys([*declared, *others]))
        return Axis(name, values, choices, is_ordered=bool(rows) and rows[0]["ordered"])
    is_log = bool(rows) and rows[0]["sampling"] in ("log", "reverse_log") and min(used) > 0
    return Axis(name, values, None, is_log=is_log)
