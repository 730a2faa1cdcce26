"""An oracle of keras-tuner that is made when all its arguments have been checked. Imports Keras."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner as kt

from search.plan.options import Rule, at_least, more_than

# What keras-tuner's oracles take beside what all oracles take. None and 0 mean a default there, or
# that Hyperband never ends.
RULES: dict[str, tuple[type | tuple[type, ...], Rule]] = {
    "max_epochs": (int, at_least(1)),
    "factor": ((int, float), at_least(2)),
    "hyperband_iterations": (int, at_least(0)),
    "num_initial_points": (int, at_least(0)),
    "alpha": ((int, float), more_than(0)),
    "beta": ((int, float), at_least(0)),
}
MAY_BE_NONE = ("hyperband_iterations", "num_initial_points")


@dataclass(frozen=True)
class OracleRecipe:
    """The class of an oracle, and those of its arguments that not every oracle takes.

    Attributes:
        oracle_class: The class; its constructor raises errors one at a time.
        arguments: Its own arguments, such as ``factor`` of Hyperband.
    """

    oracle_class: type[kt.Oracle]
    arguments: Mapping[str, Any]

    def takes(self, name: str) -> bool:
        """Tell whether the oracle has an argument."""
        return name in inspect.signature(self.oracle_class).parameters

    def problems(self) -> Iterator[str]:
        """Yield each problem of its own arguments, one per line."""
        for name, value in self.arguments.items():
            kinds, rule = RULES[name]
            if value is None and name in MAY_BE_NONE:
                continue
            if isinstance(value, bool) or not isinstance(value, kinds) or not rule.holds(value):
                kind = "a whole number" if kinds is int else "a number"
                yield f"{name}={value!r}: expected {kind}, {rule.expected}."

    def make(self, shared: Mapping[str, Any]) -> kt.Oracle:
        """Return a new oracle.

        Args:
            shared: Arguments of oracles; those that this one does not take are left out.
        """
        taken = {name: value for name, value in shared.items() if self.takes(name)}
        return self.oracle_class(**taken, **self.arguments)
