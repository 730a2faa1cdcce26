"""The names of ``keras_tuner.engine.tuner``, with our ``Tuner``. Imports Keras."""

from keras_tuner.engine.tuner import maybe_distribute

from search.kt.tuners import Tuner

__all__ = ["Tuner", "maybe_distribute"]
