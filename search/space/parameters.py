"""The mirrored search space, as plain values without Keras objects.

A searcher draws a position on the axis of each parameter, and the position determines the value.
The axis of a finite parameter is 0, 1, ... n-1; that of a continuous one is [0, 1), and so is that
of one with too many values to number them. keras-tuner draws in the same way (it turns a
probability into an index or projects it onto the range), so every searcher gets keras-tuner's own
domains, scales and types.

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
# A position is a float, which tells at most so many whole numbers apart.
MAX_SIZE = 2**53


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
    def count(self) -> int | None:
        """Number of values; None if the parameter is continuous."""
        if self.kind in (Kind.CHOICE, Kind.BOOLEAN, Kind.FIXED):
            return len(self.choices)
        if self.step is None:
            return None
        if self.sampling == "linear":
            return int((self.high - self.low) // self.step + 1)
        return int(_log_ratio(self.high, self.low) / math.log(self.step) + 1e-8) + 1

    @property
    def size(self) -> int | None:
        """Number of positions on the axis; None if it is [0, 1)."""
        count = self.count
        return None if count is None or count > MAX_SIZE else count

    def is_active(self, values: Mapping[str, Scalar]) -> bool:
        """Tell whether all conditions hold, like ``is_active`` of keras-tuner."""
        return all(condition.holds(values) for condition in self.conditions)

    def value_at(self, position: float) -> Scalar:
        """Return the value at a position of the axis.

        Args:
            position: For a finite parameter an index in 0..size-1, else a fraction in [0, 1).
        """
        count = self.count
        if count is None:
            return self._projected(position)
        index = int(position) if count <= MAX_SIZE else _spread(position, count)
        return self.choices[index] if self.choices else self._stepped(index)

    def position_of(self, value: Scalar) -> float:
        """Return a position at which ``value_at`` returns this value.

        For a value off the grid, as a default may be, return that of the nearest lower value.
        """
        if self.choices:
            return self.choices.index(value)
        assert not isinstance(value, str)
        value = min(max(value, self.low), self.high)
        count = self.count
        if count is None:
            return min(max(self._fraction(value), 0.0), math.nextafter(1.0, 0.0))
        index = min(max(self._index(value), 0), count - 1)
        return index if count <= MAX_SIZE else _gathered(index, count)

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
        if self.sampling == "linear" and self.kind is Kind.INT:
            return int((math.floor(value) - self.low) // self.step)
        # Without 1e-8, rounding could move a value on the grid below it.
        if self.sampling == "linear":
            return math.floor((value - self.low) / self.step + 1e-8)
        if self.sampling == "reverse_log":
            value = max(self._mirrored(value, self.high), self.low)
        return math.floor(_log_ratio(value, self.low) / math.log(self.step) + 1e-8)

    def _fraction(self, value: float) -> float:
        # For an Int, take the middle of its interval, so that truncation restores the value.
        is_int = self.kind is Kind.INT
        value, high = (value + 0.5, self.high + 1) if is_int else (value, self.high)
        low = self.low
        if high == low:
            return 0.5
        if self.sampling == "linear":
            if math.isfinite(high - low):
                return (value - low) / (high - low)
            return (value / 2 - low / 2) / (high / 2 - low / 2)
        if self.sampling == "log":
            return _log_ratio(value, low) / _log_ratio(high, low)
        mirrored = max(self._mirrored(value, high), low)  # rounding may take it below
        return 1.0 - _log_ratio(mirrored, low) / _log_ratio(high, low)

    def _stepped(self, index: int) -> Scalar:
        assert self.step is not None
        if self.sampling == "linear":
            value = self.low + index * self.step
        elif self.sampling == "log":
            value = self._power(index)
        else:
            value = self._mirrored(self._power(index), self.high)
        # The type of a Float follows from its low and step, as in keras-tuner.
        return int(value) if self.kind is Kind.INT else value

    def _power(self, index: int) -> float:
        """Return ``low`` times a power of the step."""
        assert self.step is not None
        try:
            return self.low * math.pow(self.step, index)
        except OverflowError:  # of the power alone
            return math.exp(math.log(self.low) + index * math.log(self.step))

    def _projected(self, fraction: float) -> Scalar:
        # An Int is truncated: a range longer by 1 includes ``high``.
        high = self.high + 1 if self.kind is Kind.INT else self.high
        value = self._projected_to(fraction, high)
        if self.kind is not Kind.INT:
            return value
        return min(int(value), int(self.high))  # a fraction just below 1 may round up

    def _projected_to(self, fraction: float, high: float) -> float:
        """Return the value at a fraction of the range up to ``high``, as keras-tuner projects it.

        Where a difference or a ratio of two numbers is beyond the largest number, so that
        keras-tuner gets infinity or an error, the value is still the one that the scale has there.
        """
        low = self.low
        try:
            if self.sampling == "linear":
                value = fraction * (high - low) + low
            elif self.sampling == "log":
                value = low * math.pow(high / low, fraction)
            else:
                value = high + low - low * math.pow(high / low, 1 - fraction)
        except OverflowError:
            value = math.inf
        if math.isfinite(value):
            return value
        if self.sampling == "linear":
            value = low * (1 - fraction) + high * fraction
        elif self.sampling == "log":
            value = math.exp(math.log(low) + fraction * _log_ratio(high, low))
        else:
            powered = math.exp(math.log(low) + (1 - fraction) * _log_ratio(high, low))
            value = self._mirrored(powered, high)
        return min(max(value, low), high)

    def _mirrored(self, value: float, high: float) -> float:
        """Return the value that is as far below ``high`` as this one is above ``low``."""
        total = high + self.low
        return total - value if math.isfinite(total) else high - (value - self.low)


def _log_ratio(value: float, low: float) -> float:
    """Return the logarithm of ``value / low``, also if that is beyond the largest number."""
    try:
        ratio = value / low
    except OverflowError:
        ratio = math.inf
    return math.log(ratio) if ratio < math.inf else math.log(value) - math.log(low)


def _spread(fraction: float, count: int) -> int:
    """Return the index in 0..count-1 at a fraction in [0, 1); the ends of both correspond."""
    return int(fraction * MAX_SIZE) * (count - 1) // (MAX_SIZE - 1)


def _gathered(index: int, count: int) -> float:
    """Return a fraction in [0, 1) that ``_spread`` turns into an index near this one."""
    return index * (MAX_SIZE - 1) // (count - 1) / MAX_SIZE


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
