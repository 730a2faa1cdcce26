"""Makes the searcher that a plan names."""

from typing import TYPE_CHECKING

from search.algorithms.base import Searcher
from search.plan.plan import Engine, Plan
from search.plan.registry import Algorithm
from search.space.parameters import Space

if TYPE_CHECKING:
    import keras_tuner as kt


def make_searcher(
    plan: Plan, space: Space, *, oracle: "kt.Oracle | None" = None, scratch: str = ""
) -> Searcher:
    """Make the searcher of a plan.

    Args:
        plan: Names the algorithm.
        space: The space as discovered.
        oracle: An oracle of keras-tuner, in the place of the algorithm.
        scratch: Folder for the state that an oracle writes.
    """
    if oracle is not None:
        from search.algorithms.oracles import OracleSearcher

        return OracleSearcher(oracle, space, objective=plan.problem.objective, scratch=scratch)
    # The keras-tuner engine chooses by itself and asks no searcher.
    name = plan.algorithm if plan.engine is Engine.RAY else Algorithm.RANDOM
    algorithm: type[Searcher] = Algorithm(name).load()
    return algorithm.from_plan(plan, space)
