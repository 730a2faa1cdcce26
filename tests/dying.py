"""A hypermodel whose process dies late: named as ``dying:DyingLate``."""

import os
import signal
import time

import keras
import keras_tuner as kt

import problems
from problems import note


class Dying(keras.callbacks.Callback):
    """Writes down the epochs that are trained after its death."""

    def on_epoch_begin(self, epoch, logs=None):
        if note("died").exists():
            with note("died").open("a") as file:
                file.write(f"{epoch}\n")
        elif epoch == 3:
            time.sleep(11.0)  # a state is kept every ten seconds
        elif epoch == 5:
            note("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class DyingLate(kt.HyperModel):
    """The process dies once, in the sixth epoch, with a state of an earlier one on disk."""

    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        return model.fit(*args, callbacks=[Dying(), *callbacks], **kwargs)
