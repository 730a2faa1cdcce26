"""The names of algorithms, schedulers and loggers, each with the class that implements it.

A new one is a class, and a line here.
"""

import importlib
from enum import StrEnum
from typing import Any, Self


class Registry(StrEnum):
    """Names that a user may choose from.

    Attributes:
        reference: ``module:class`` of the implementation. It is imported only when it is used, so
            that a name can be checked without Ray or Optuna.
    """

    reference: str

    def __new__(cls, name: str, reference: str = "") -> Self:
        """Make a member from its name and the reference of its class."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.reference = reference
        return member

    def load(self) -> Any:
        """Import and return the class."""
        module, _, attribute = self.reference.partition(":")
        return getattr(importlib.import_module(module), attribute)


class Algorithm(Registry):
    """The algorithms with which the Ray engine chooses configurations."""

    TPE = "tpe", "search.algorithms.tpe:TPESearcher"
    RANDOM = "random", "search.algorithms.drawing:RandomSearcher"


class Scheduler(Registry):
    """The schedulers, which stop trials early."""

    ASHA = "asha", "search.engines.ray.schedulers:AshaScheduler"
    NONE = "none", "search.engines.ray.schedulers:FifoScheduler"


class Log(Registry):
    """The loggers, which write a search for another viewer."""

    TENSORBOARD = "tensorboard", "search.loggers.tensorboard:TensorBoardLog"
