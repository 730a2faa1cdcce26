"""Algorithms that draw positions on the axes of the space, such as random search."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import numpy as np

from results.record.columns import Values
from search.algorithms.base import Searcher
from search.plan.plan import Plan
from search.space.parameters import Parameter, Space, fingerprint

# After this many draws of known configurations the space counts as exhausted, as in keras-tuner
# 1.4.8.
MAX_COLLISIONS = 20
Position = float


class DrawingSearcher(Searcher):
    """A searcher that draws positions on the axes of the space.

    Args:
        space: The space to draw from.
        seed: Seed of the run. The seed, the number of the trial, and the configurations and
            events before it determine what a trial draws.
        defaults_first: Whether trial 0 gets the defaults of the space.
    """

    def __init__(self, space: Space, *, seed: int, defaults_first: bool = True) -> None:
        super().__init__(space)
        self.seed = seed
        self._defaults_first = defaults_first
        self._tried: set[str] = set()

    @classmethod
    def from_plan(cls, plan: Plan, space: Space) -> Self:
        """Return the searcher with the seed of a plan."""
        return cls(space, seed=plan.problem.seed, defaults_first=plan.defaults_first)

    def propose(self, trial: int) -> Values | None:
        """Return the configuration of a trial; None if no untried one is found.

        Trial 0 gets the defaults even if they were tried before: they are the builder's own choice
        of a good start.
        """
        for collision in range(MAX_COLLISIONS + 1):
            is_default = self._defaults_first and trial == 0 and collision == 0
            values = self._defaults(trial) if is_default else self._draw(trial, collision)
            if is_default or fingerprint(values) not in self._tried:
                self._tried.add(fingerprint(values))
                return values
            self._discard(trial)
        return None

    def adopt(self, trial: int, values: Values) -> None:
        """Mark a configuration as tried."""
        self._tried.add(fingerprint(values))

    def learn(self, values: Values, score: float) -> None:
        """Mark a configuration of an earlier search as tried."""
        self._tried.add(fingerprint(values))

    def _defaults(self, trial: int) -> Values:
        return self.space.defaults()

    @abstractmethod
    def _draw(self, trial: int, collision: int) -> Values:
        """Draw a configuration for a trial."""

    def _discard(self, trial: int) -> None:
        """Forget the last draw, because its configuration is known."""
        return


class RandomSearcher(DrawingSearcher):
    """A searcher that draws each configuration at random, with Ray Tune's domains."""

    def _draw(self, trial: int, collision: int) -> Values:
        generator = np.random.default_rng([self.seed, trial, collision])
        return choose_values(self.space, lambda parameter: _sample(parameter, generator))


def choose_values(space: Space, choose: Callable[[Parameter], Position]) -> Values:
    """Choose a value for every active parameter, parents before children."""
    values: Values = {}
    for parameter in space:
        if parameter.is_active(values) and parameter.name not in values:
            values[parameter.name] = parameter.value_at(choose(parameter))
    return values


def _sample(parameter: Parameter, generator: np.random.Generator) -> Position:
    from ray import tune

    size = parameter.size
    domain = tune.uniform(0.0, 1.0) if size is None else tune.randint(0, size)
    return float(domain.sample(random_state=generator))
