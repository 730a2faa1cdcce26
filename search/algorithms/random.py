"""Random search."""

import numpy as np

from results.record.values import Values
from search.algorithms.drawing import DrawingSearcher, Position, fill
from search.space.parameters import Parameter


class RandomSearcher(DrawingSearcher):
    """Draws with Ray Tune's own domains, each configuration from the space, seed and trial."""

    def _draw(self, trial: int, collision: int) -> Values:
        generator = np.random.default_rng([self.seed, trial, collision])
        return fill(self.space, lambda parameter: _sample(parameter, generator))


def _sample(parameter: Parameter, generator: np.random.Generator) -> Position:
    from ray import tune

    size = parameter.size
    domain = tune.uniform(0.0, 1.0) if size is None else tune.randint(0, size)
    return float(domain.sample(random_state=generator))
