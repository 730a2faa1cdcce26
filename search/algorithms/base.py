"""The base class of the algorithms that choose configurations.

A searcher learns only from the events of the search, so replaying a journal restores it. A new
algorithm is a subclass of ``Searcher`` and one line of ``search.plan.registry.Algorithm``. If it
draws positions on the axes of the space, derive it from ``DrawingSearcher``.
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import Self

from results.record.columns import Values
from results.record.journal import Event
from search.plan.plan import Engine, Plan
from search.plan.registry import Algorithm
from search.space.parameters import Space


class Pause(Enum):
    """A reason why a searcher has no configuration for now."""

    WAIT = "ask again when a trial has ended"


class Searcher(ABC):
    """An algorithm that chooses configurations.

    Args:
        space: The space as discovered; it grows when a trial registers a new parameter.

    Attributes:
        takes_any_values: Whether a resumed search adopts recorded configurations that lie outside
            of the space.
    """

    takes_any_values = False

    def __init__(self, space: Space) -> None:
        self.space = space

    @classmethod
    def from_plan(cls, plan: Plan, space: Space) -> Self:
        """Return the searcher of a plan; every algorithm of the registry defines this."""
        raise NotImplementedError(f"{cls.__name__} defines no from_plan")

    @abstractmethod
    def propose(self, trial: int) -> Values | Pause | None:
        """Return the configuration of a trial.

        Returns:
            A value for each active parameter; ``Pause.WAIT`` if a trial must end first; None if
            there are no more configurations to try.
        """

    @abstractmethod
    def adopt(self, trial: int, values: Values) -> None:
        """Record a configuration that this searcher proposed before the search was resumed.

        ``observe`` is then called with the events of its trial.
        """

    def observe(self, event: Event) -> None:
        """Learn from an event; ignore trials that this searcher neither proposed nor adopted."""
        if event["event"] == "earlier_trial":
            self.learn(event["values"], event["score"])

    def grow(self, new_parameters: Space) -> None:
        """Add parameters that a trial was the first to register."""
        self.space = self.space.extended(new_parameters)

    @abstractmethod
    def learn(self, values: Values, score: float) -> None:
        """Learn from a finished trial of an earlier search; its values must fit the space."""


def make_searcher(plan: Plan, space: Space) -> Searcher:
    """Return the searcher of the algorithm that a plan names."""
    # The keras-tuner engine chooses configurations itself and never asks its searcher.
    name = plan.algorithm if plan.engine is Engine.RAY else Algorithm.RANDOM
    algorithm: type[Searcher] = Algorithm(name).load()
    return algorithm.from_plan(plan, space)
