"""The names of keras-tuner, with its tuners replaced by ours: ``import search.kt as kt``.

Everything is keras-tuner's own but ``Tuner``, ``RandomSearch``, ``BayesianOptimization``,
``Hyperband`` and ``GridSearch``, which run their trials on Ray, and ``SklearnTuner``, which is
refused. Imports Keras.
"""

import sys

import search.tuner  # noqa: F401  # first: it starts what runs beside the import of Keras

# isort: split
from keras_tuner import (
    HyperModel,
    HyperParameters,
    Objective,
    Oracle,
    __version__,
    applications,
    errors,
    oracles,
    synchronized,
)

# Under these names too, for ``from search.kt.oracles import ...``.
sys.modules |= {
    f"{__name__}.applications": applications,
    f"{__name__}.errors": errors,
    f"{__name__}.oracles": oracles,
}

from search.kt import engine, tuners  # noqa: E402  # they import what stands above
from search.kt.tuners import (  # noqa: E402
    BayesianOptimization,
    GridSearch,
    Hyperband,
    RandomSearch,
    SklearnTuner,
    Tuner,
)

__all__ = [
    "BayesianOptimization",
    "GridSearch",
    "HyperModel",
    "HyperParameters",
    "Hyperband",
    "Objective",
    "Oracle",
    "RandomSearch",
    "SklearnTuner",
    "Tuner",
    "__version__",
    "applications",
    "engine",
    "errors",
    "oracles",
    "synchronized",
    "tuners",
]
