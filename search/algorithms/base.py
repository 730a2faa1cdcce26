"""What an algorithm answers: which configuration a trial gets; and the searcher of a plan.

A searcher reads the events of the search and nothing else, so a journal played back to it teaches
it what the search taught it. A new algorithm is a subclass of ``Searcher`` and one line of
``search.plan.registry.Algorithm``; ``DrawingSearcher`` is the shorter way where it draws positions.
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
    """What a searcher answers when it has no configuration to give."""

    WAIT = "ask again when a trial has ended"


class Searcher(ABC):
    """Chooses configurations.

    Args:
        space: The space as discovered; it may grow while trials report new parameters.
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    @classmethod
    def from_plan(cls, plan: Plan, space: Space) -> Self:
        """Make the searcher of a plan. Every algorithm of the registry answers this."""
        raise NotImplementedError(f"{cls.__name__} is not made from a plan")

    @abstractmethod
    def propose(self, trial: int) -> Values | Pause | None:
        """Return the configuration of a trial.

        Returns:
            A value for each parameter that is active; ``Pause.WAIT`` where trials must end first;
            None when there is no other to try.
        """

    @abstractmethod
    def adopt(self, trial: int, values: Values) -> None:
        """Take in a configuration that was proposed before the search was cut off.

        The events of its trial follow, as they did then.
        """

    def observe(self, event: Event) -> None:
        """Learn from an event of the search; of other trials than its own, nothing."""
        if event["event"] == "earlier_trial":
            self.learn(event["values"], event["score"])

    def grow(self, news: Space) -> None:
        """Take in parameters that a trial was the first to register."""
        self.space = self.space.extended(news)

    @abstractmethod
    def learn(self, values: Values, score: float) -> None:
        """Learn from a finished trial of an earlier search, whose values the space allows."""


def make_searcher(plan: Plan, space: Space) -> Searcher:
    """Make the searcher of the algorithm that a plan names."""
    # The keras-tuner engine chooses by itself and asks no searcher.
    name = plan.algorithm if plan.engine is Engine.RAY else Algorithm.RANDOM
    algorithm: type[Searcher] = Algorithm(name).load()
    return algorithm.from_plan(plan, space)
