"""The engine: a keras-tuner search on Ray, with early stopping, and the model it ends with.

It knows of no problem: model and data are named as ``module:attribute``, or are a script's own.
"""

from typing import TYPE_CHECKING, Any

from results.record.history import Objective
from search.errors import SearchError
from search.plan.plan import ASHA, Engine, Plan, Problem, Tuner
from search.plan.registry import Algorithm

if TYPE_CHECKING:
    from search.tuner.ray_tuner import RayTuner

__all__ = [
    "ASHA",
    "Algorithm",
    "Engine",
    "Objective",
    "Plan",
    "Problem",
    "RayTuner",
    "SearchError",
    "Tuner",
]


def __getattr__(name: str) -> Any:
    # Found when it is asked for: it imports Keras, which the command line must not wait for.
    if name == "RayTuner":
        from search.tuner.ray_tuner import RayTuner

        return RayTuner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
