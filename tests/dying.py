"""A hypermodel whose process dies late: named as ``dying:DyingLate``."""

import os
import time

import keras
import keras_tuner as kt

import problems


class Dying(keras.callbacks.Callback):
    """Writes down the epochs that are trained after its death."""

    def on_epoch_begin(self, epoch, logs=None):
        marker = os.environ["DYING_MARKER"]
        if os.path.exists(marker):
            with open(marker, "a") as file:
                file.write(f"{epoch}\n")
        elif epoch == 3:
            time.sleep(11.0)  # a state is kept every ten seconds
        elif epoch == 5:
            open(marker, "w").close()
            os.kill(os.getpid(), 9)


class DyingLate(kt.HyperModel):
    """The process dies once, in the sixth epoch, with a state of an earlier one on disk."""

    def build(self, hp):
        return problems.small(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        return model.fit(*args, callbacks=[Dying(), *callbacks], **kwargs)
