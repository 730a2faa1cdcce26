"""What a user may choose by name: each name stands with the class that answers to it.

A new scheduler, algorithm or logger is a class of its own and one line here.
"""

import importlib
from enum import StrEnum
from typing import Any, Self


class Registry(StrEnum):
    """Names that a user may give.

    Attributes:
        reference: ``module:class`` of what the name stands for. It is imported when it is used,
            so that a name can be checked without Ray or Optuna.
    """

    reference: str

    def __new__(cls, name: str, reference: str = "") -> Self:
        """Make a member of its name and the reference of its class."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.reference = reference
        return member

    def load(self) -> Any:
        """Import and return the class."""
        module, _, attribute = self.reference.partition(":")
        return getattr(importlib.import_module(module), attribute)


class Algorithm(Registry):
    """How the Ray engine chooses configurations."""

    TPE = "tpe", "search.algorithms.tpe:TPESearcher"
    RANDOM = "random", "search.algorithms.drawing:RandomSearcher"


class Scheduler(Registry):
    """What stops trials early."""

    ASHA = "asha", "search.engines.ray.schedulers:AshaScheduler"
    NONE = "none", "search.engines.ray.schedulers:FifoScheduler"


class Log(Registry):
    """What shows a search beside its tables."""

    TENSORBOARD = "tensorboard", "search.loggers.tensorboard:TensorBoardLog"
