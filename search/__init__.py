"""Run a keras-tuner search on Ray, stop weak trials early, and retrain the best configuration.

The package knows no particular problem: ``module:attribute`` names model and data, or a script
passes its own objects.
"""

from typing import TYPE_CHECKING, Any

from search.packages import check_import

check_import("results")  # the first import below would fail without naming the reason

from results.record.history import Objective  # noqa: E402
from search.errors import SearchError  # noqa: E402
from search.plan.plan import ASHA, Engine, Plan, Problem, Tuner  # noqa: E402
from search.plan.registry import Algorithm  # noqa: E402

if TYPE_CHECKING:
    from search.tuner.namesakes import BayesianOptimization, GridSearch, Hyperband, RandomSearch
    from search.tuner.ray_tuner import RayTuner

__all__ = [
    "ASHA",
    "Algorithm",
    "BayesianOptimization",
    "Engine",
    "GridSearch",
    "Hyperband",
    "Objective",
    "Plan",
    "Problem",
    "RandomSearch",
    "RayTuner",
    "SearchError",
    "Tuner",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: they import Keras, which would delay the commands.
    if name == "RayTuner":
        from search.tuner.ray_tuner import RayTuner

        return RayTuner
    if name in ("BayesianOptimization", "GridSearch", "Hyperband", "RandomSearch"):
        from search.tuner import namesakes

        return getattr(namesakes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
