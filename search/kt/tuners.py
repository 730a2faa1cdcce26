"""The tuners under the name of keras-tuner's module ``keras_tuner.tuners``. Imports Keras."""

from search.tuner.namesakes import (
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
    "Hyperband",
    "RandomSearch",
    "SklearnTuner",
    "Tuner",
]
