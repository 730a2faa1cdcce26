"""The names of ``keras_tuner.engine``, with our ``Tuner``. Imports Keras."""

import sys

from keras_tuner.engine import (
    base_tuner,
    hypermodel,
    hyperparameters,
    metrics_tracking,
    oracle,
    trial,
)

# Under these names too, for ``from search.kt.engine.trial import ...``.
sys.modules |= {
    f"{__name__}.base_tuner": base_tuner,
    f"{__name__}.hypermodel": hypermodel,
    f"{__name__}.hyperparameters": hyperparameters,
    f"{__name__}.metrics_tracking": metrics_tracking,
    f"{__name__}.oracle": oracle,
    f"{__name__}.trial": trial,
}

from search.kt.engine import tuner  # noqa: E402  # it imports what stands above

__all__ = [
    "base_tuner",
    "hypermodel",
    "hyperparameters",
    "metrics_tracking",
    "oracle",
    "trial",
    "tuner",
]
