"""The mirrored search space: a plain value, made once, free of Keras objects.

A parameter is drawn as a position on its axis, and its natural value follows from the position.
A finite parameter has the axis 0, 1, ... n-1; a continuous one has [0, 1). keras-tuner draws in
the same way (a probability becomes an index or is projected onto the range), so the domain, the
scale and the types are its own, for every searcher that can draw an index or a fraction.

Source of every rule here: keras-tuner 1.4.8, ``engine/hyperparameters/hp_types``.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from results.record.columns import Scalar, Values

# Names under which keras-tuner's oracles keep their own bookkeeping among the values.
ORACLE_PREFIX = "tuner/"
# Of these, the trial from whose weights one of Hyperband trains on.
PARENT_TRIAL = f"{ORACLE_PREFIX}trial_id"


class Kind(StrEnum):
    """The kinds of hyperparameter, by their names in keras-tuner."""

    INT = "Int"
    FLOAT = "Float"
    CHOICE = "Choice"
    BOOLEAN = "Boolean"
    FIXED = "Fixed"


@dataclass(frozen=True)
class Condition:
    """A parameter is active only where the parent has one of these values."""

    parent: str
    values: tuple[Scalar, ...]

    def holds(self, values: Mapping[str, Scalar]) -> bool:
        """Tell whether the condition is met by the values drawn so far."""
        return self.parent in values and values[self.parent] in self.values


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter of the space.

    Attributes:
        name: Name with its scopes, as keras-tuner knows it. The same name may stand in two
            conditional scopes; ``key`` tells them apart.
        kind: The kind of the parameter.
        default: Value of the first configuration, and of a trial that first meets it.
        conditions: All of them must hold for the parameter to be active.
        choices: The values of ``Choice``, ``Boolean`` and ``Fixed``, in order; else empty.
        ordered: Whether the choices have an order that a model may use.
        low: Lowest value of ``Int`` and ``Float``, included.
        high: Highest value, included (for ``Float`` without a step: approached).
        step: Distance of two values, or their ratio for the log samplings; None: every value.
        sampling: ``linear``, ``log`` or ``reverse_log``.
    """

    name: str
    kind: Kind
    default: Scalar
    conditions: tuple[Condition, ...] = ()
    choices: tuple[Scalar, ...] = ()
    ordered: bool = True
    low: float = 0
    high: float = 0
    step: float | None = None
    sampling: str = "linear"

    @property
    def key(self) -> str:
        """The name, with the conditions where there are any: unique within a space."""
        if not self.conditions:
            return self.name
        parents = ", ".join(f"{c.parent} in {list(c.values)}" for c in self.conditions)
        return f"{self.name} [{parents}]"

    @property
    def size(self) -> int | None:
        """Number of values the parameter can take, or None where it is continuous."""
        if self.kind in (Kind.CHOICE, Kind.BOOLEAN, Kind.FIXED):
            return len(self.choices)
        if self.step is None:
            return None
        if self.sampling == "linear":
            return int((self.high - self.low) // self.step + 1)
        return int(math.log(self.high / self.low, self.step) + 1e-8) + 1

    def is_active(self, values: Mapping[str, Scalar]) -> bool:
        """Tell whether all conditions hold, as keras-tuner's ``is_active`` does."""
        return all(condition.holds(values) for condition in self.conditions)

    def value_at(self, position: float) -> Scalar:
        """Return the natural value at a position of the axis.

        Args:
            position: An index in 0..size-1 for a finite parameter, else a fraction in [0, 1).
        """
        size = self.size
        if size is None:
            return self._projected(position)
        index = int(position)
        return self.choices[index] if self.choices else self._stepped(index)

    def position_of(self, value: Scalar) -> float:
        """Return a position of the axis at which ``value_at`` gives this value.

        A value off the grid, as a default may be, is given the position of the nearest below.
        """
        if self.choices:
            return self.choices.index(value)
        size, number = self.size, float(value)
        if size is None:
            return min(max(self._fraction(number), 0.0), math.nextafter(1.0, 0.0))
        return min(max(self._index(number), 0), size - 1)

    def to_keras_tuner(self) -> dict[str, Any]:
        """Return what keras-tuner keeps of the parameter: JSON values."""
        config: dict[str, Any] = {
            "name": self.name,
            "conditions": [
                {"class_name": "Parent", "config": {"name": c.parent, "values": list(c.values)}}
                for c in self.conditions
            ],
        }
        match self.kind:
            case Kind.FIXED:
                config |= {"value": self.choices[0]}
            case Kind.BOOLEAN:
                config |= {"default": self.default}
            case Kind.CHOICE:
                config |= {
                    "default": self.default,
                    "values": list(self.choices),
                    "ordered": self.ordered,
                }
            case Kind.INT | Kind.FLOAT:
                config |= {
                    "default": self.default,
                    "min_value": self.low,
                    "max_value": self.high,
                    "step": self.step,
                    "sampling": self.sampling,
                }
        return {"class_name": str(self.kind), "config": config}

    def _index(self, value: float) -> int:
        assert self.step is not None
        # 1e-8: a value that stands on the grid must not fall below it by rounding.
        if self.sampling == "linear":
            return math.floor((value - self.low) / self.step + 1e-8)
        if self.sampling == "log":
            return math.floor(math.log(value / self.low, self.step) + 1e-8)
        return math.floor(math.log((self.high + self.low - value) / self.low, self.step) + 1e-8)

    def _fraction(self, value: float) -> float:
        # The middle of an Int's share of the axis, so that truncation gives it back.
        whole = self.kind is Kind.INT
        value, high = (value + 0.5, self.high + 1) if whole else (value, self.high)
        if high == self.low:
            return 0.5
        if self.sampling == "linear":
            return (value - self.low) / (high - self.low)
        if self.sampling == "log":
            return math.log(value / self.low) / math.log(high / self.low)
        return 1.0 - math.log((high + self.low - value) / self.low) / math.log(high / self.low)

    def _stepped(self, index: int) -> Scalar:
        assert self.step is not None
        if self.sampling == "linear":
            value = self.low + index * self.step
        elif self.sampling == "log":
            value = self.low * math.pow(self.step, index)
        else:
            value = self.high + self.low - self.low * math.pow(self.step, index)
        # keras-tuner leaves the type of a Float's low and step as they add up.
        return int(value) if self.kind is Kind.INT else value

    def _projected(self, fraction: float) -> Scalar:
        # An Int is truncated, so its range is one longer for high to be drawn.
        high = self.high + 1 if self.kind is Kind.INT else self.high
        if self.sampling == "linear":
            value = fraction * (high - self.low) + self.low
        elif self.sampling == "log":
            value = self.low * math.pow(high / self.low, fraction)
        else:
            value = high + self.low - self.low * math.pow(high / self.low, 1 - fraction)
        if self.kind is not Kind.INT:
            return value
        return min(int(value), int(self.high))  # just below 1 a fraction is rounded up


@dataclass(frozen=True)
class Space:
    """All parameters, each after the parents its conditions name."""

    parameters: tuple[Parameter, ...]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def is_tunable(self) -> bool:
        """Tell whether there is anything to choose: a parameter with more than one value."""
        return any(parameter.size != 1 for parameter in self.parameters)

    def defaults(self) -> Values:
        """Return the configuration of all defaults: what the builder builds when asked nothing."""
        values: Values = {}
        for parameter in self.parameters:
            if parameter.is_active(values):
                values.setdefault(parameter.name, parameter.default)
        return values

    def unknown_parameters(self, other: "Space") -> "Space":
        """Return the parameters of another space that this one does not know."""
        known = {parameter.key for parameter in self.parameters}
        return Space(tuple(parameter for parameter in other if parameter.key not in known))

    def extended(self, other: "Space") -> "Space":
        """Return this space with the parameters of another that it does not know yet."""
        added = self.unknown_parameters(other).parameters
        return Space(self.parameters + added) if added else self

    def to_json(self) -> list[dict[str, Any]]:
        """Return the space as JSON values, for run.json and between processes."""
        return [asdict(parameter) for parameter in self.parameters]

    def to_keras_tuner(self, values: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the space and a configuration as ``HyperParameters.from_config`` takes them.

        JSON values, made without keras-tuner.
        """
        space = [parameter.to_keras_tuner() for parameter in self.parameters]
        return {"space": space, "values": dict(values)}

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> "Space":
        """Rebuild a space from ``to_json``, also after a trip through JSON text."""
        return cls(tuple(_parameter(row) for row in rows))


def _parameter(row: dict[str, Any]) -> Parameter:
    conditions = tuple(
        Condition(entry["parent"], tuple(entry["values"])) for entry in row["conditions"]
    )
    changed = {
        "kind": Kind(row["kind"]),
        "conditions": conditions,
        "choices": tuple(row["choices"]),
    }
    return Parameter(**{**row, **changed})


def fingerprint(values: Mapping[str, Scalar]) -> str:
    """Return a text that two configurations share only when they are the same, types included."""
    return json.dumps({name: [type(v).__name__, v] for name, v in values.items()}, sort_keys=True)
