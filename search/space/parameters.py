"""The mirrored search space, as plain values without Keras objects.

A searcher draws a position on the axis of each parameter, and the position determines the value.
The axis of a finite parameter is 0, 1, ... n-1; that of a continuous one is [0, 1). keras-tuner
draws in the same way (it turns a probability into an index or projects it onto the range), so
every searcher gets keras-tuner's own domains, scales and types.

Source of every rule here: keras-tuner 1.4.8, ``engine/hyperparameters/hp_types``.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from results.record.columns import Scalar, Values

# Prefix of the values that keras-tuner's oracles keep for themselves in a configuration.
ORACLE_PREFIX = "tuner/"
# Hyperband's value that names the trial whose weights this trial starts from.
PARENT_TRIAL = f"{ORACLE_PREFIX}trial_id"


class Kind(StrEnum):
    """The kinds of hyperparameters, by their names in keras-tuner."""

    INT = "Int"
    FLOAT = "Float"
    CHOICE = "Choice"
    BOOLEAN = "Boolean"
    FIXED = "Fixed"


@dataclass(frozen=True)
class Condition:
    """A condition on a parent parameter: it must have one of these values."""

    parent: str
    values: tuple[Scalar, ...]

    def holds(self, values: Mapping[str, Scalar]) -> bool:
        """Tell whether the values drawn so far meet the condition."""
        return self.parent in values and values[self.parent] in self.values


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter of the space.

    Attributes:
        name: Name with its scopes, as in keras-tuner. Two conditional scopes may hold the same
            name; ``key`` distinguishes them.
        kind: The kind of the parameter.
        default: The value in the first configuration, and in the trial that registers it.
        conditions: The parameter is active if all of them hold.
        choices: The values of ``Choice``, ``Boolean`` and ``Fixed``, in order; else empty.
        ordered: Whether the order of the choices is meaningful.
        low: Lowest value of ``Int`` and ``Float``, included.
        high: Highest value of ``Int`` and ``Float``, included; excluded for ``Float`` without step.
        step: Difference of two adjacent values, or their ratio for the log samplings; None:
            continuous.
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
        """The name with its conditions, if any: unique in a space."""
        if not self.conditions:
            return self.name
        parents = ", ".join(f"{c.parent} in {list(c.values)}" for c in self.conditions)
        return f"{self.name} [{parents}]"

    @property
    def size(self) -> int | None:
        """Number of values; None if the parameter is continuous."""
        if self.kind in (Kind.CHOICE, Kind.BOOLEAN, Kind.FIXED):
            return len(self.choices)
        if self.step is None:
            return None
        if self.sampling == "linear":
            return int((self.high - self.low) // self.step + 1)
        return int(math.log(self.high / self.low, self.step) + 1e-8) + 1

    def is_active(self, values: Mapping[str, Scalar]) -> bool:
        """Tell whether all conditions hold, like ``is_active`` of keras-tuner."""
        return all(condition.holds(values) for condition in self.conditions)

    def value_at(self, position: float) -> Scalar:
        """Return the value at a position of the axis.

        Args:
            position: For a finite parameter an index in 0..size-1, else a fraction in [0, 1).
        """
        size = self.size
        if size is None:
            return self._projected(position)
        index = int(position)
        return self.choices[index] if self.choices else self._stepped(index)

    def position_of(self, value: Scalar) -> float:
        """Return a position at which ``value_at`` returns this value.

        For a value off the grid, as a default may be, return that of the nearest lower value.
        """
        if self.choices:
            return self.choices.index(value)
        size, number = self.size, float(value)
        if size is None:
            return min(max(self._fraction(number), 0.0), math.nextafter(1.0, 0.0))
        return min(max(self._index(number), 0), size - 1)

    def to_keras_tuner(self) -> dict[str, Any]:
        """Return keras-tuner's config of the parameter, as JSON values."""
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
        # Without 1e-8, rounding could move a value on the grid below it.
        if self.sampling == "linear":
            return math.floor((value - self.low) / self.step + 1e-8)
        if self.sampling == "log":
            return math.floor(math.log(value / self.low, self.step) + 1e-8)
        return math.floor(math.log((self.high + self.low - value) / self.low, self.step) + 1e-8)

    def _fraction(self, value: float) -> float:
        # For an Int, take the middle of its interval, so that truncation restores the value.
        is_int = self.kind is Kind.INT
        value, high = (value + 0.5, self.high + 1) if is_int else (value, self.high)
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
        # The type of a Float follows from its low and step, as in keras-tuner.
        return int(value) if self.kind is Kind.INT else value

    def _projected(self, fraction: float) -> Scalar:
        # An Int is truncated: a range longer by 1 includes ``high``.
        high = self.high + 1 if self.kind is Kind.INT else self.high
        if self.sampling == "linear":
            value = fraction * (high - self.low) + self.low
        elif self.sampling == "log":
            value = self.low * math.pow(high / self.low, fraction)
        else:
            value = high + self.low - self.low * math.pow(high / self.low, 1 - fraction)
        if self.kind is not Kind.INT:
            return value
        return min(int(value), int(self.high))  # a fraction just below 1 may round up


@dataclass(frozen=True)
class Space:
    """A search space: its parameters, each after the parents of its conditions."""

    parameters: tuple[Parameter, ...]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def is_tunable(self) -> bool:
        """Tell whether a parameter has more than one value."""
        return any(parameter.size != 1 for parameter in self.parameters)

    def defaults(self) -> Values:
        """Return the configuration in which every active parameter has its default."""
        values: Values = {}
        for parameter in self.parameters:
            if parameter.is_active(values):
                values.setdefault(parameter.name, parameter.default)
        return values

    def unknown_parameters(self, other: "Space") -> "Space":
        """Return the parameters of another space that this one lacks."""
        own_keys = {parameter.key for parameter in self.parameters}
        return Space(tuple(parameter for parameter in other if parameter.key not in own_keys))

    def extended(self, other: "Space") -> "Space":
        """Return this space with the parameters of another that it lacks."""
        added = self.unknown_parameters(other).parameters
        return Space(self.parameters + added) if added else self

    def to_json(self) -> list[dict[str, Any]]:
        """Return the space as JSON values, for run.json and for messages to processes."""
        return [asdict(parameter) for parameter in self.parameters]

    def to_keras_tuner(self, values: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the argument of ``HyperParameters.from_config``, without importing keras-tuner.

        Args:
            values: The configuration.

        Returns:
            The space and the configuration, as JSON values.
        """
        space = [parameter.to_keras_tuner() for parameter in self.parameters]
        return {"space": space, "values": dict(values)}

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> "Space":
        """Return the space of a ``to_json`` value, also after it was written as JSON text."""
        return cls(tuple(_parameter(row) for row in rows))


def _parameter(row: dict[str, Any]) -> Parameter:
    conditions = tuple(
        Condition(entry["parent"], tuple(entry["values"])) for entry in row["conditions"]
    )
    converted = {
        "kind": Kind(row["kind"]),
        "conditions": conditions,
        "choices": tuple(row["choices"]),
    }
    return Parameter(**{**row, **converted})


def fingerprint(values: Mapping[str, Scalar]) -> str:
    """Return a text that is equal only for equal configurations, including the types."""
    return json.dumps({name: [type(v).__name__, v] for name, v in values.items()}, sort_keys=True)
