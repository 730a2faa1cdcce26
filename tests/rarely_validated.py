"""A hypermodel that validates every second epoch. Imports Keras, unlike ``problems``."""

import keras_tuner as kt

import problems


class EverySecond(kt.HyperModel):
    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, validation_freq=2, **kwargs)


class FailsOnceStopped(EverySecond):
    """Fails after a training that ended before its last epoch."""

    def fit(self, hp, model, *args, epochs, **kwargs):
        history = model.fit(*args, epochs=epochs, **kwargs)
        return history.history["val_accuracy"][epochs - 1]
