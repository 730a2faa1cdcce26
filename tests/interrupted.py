"""A problem whose process dies; apart from the others, as it needs keras-tuner to be imported."""

import os
import signal

import keras
import keras_tuner as kt

from problems import CLASSES, note


class Interrupted(kt.HyperModel):
    """The process dies in epoch 3 of trial 1, the first time that it is trained."""

    def build(self, hp):
        hp.Int("units", 2, 1000, default=8)
        layers = [keras.Input((4,)), keras.layers.Dropout(0.3), keras.layers.Dense(CLASSES)]
        model = keras.Sequential([*layers, keras.layers.Softmax()])
        model.compile("nadam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        def die_once(epoch, logs=None):
            if hp.get("units") != 8 and epoch == 2 and not note("died").exists():
                note("died").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        dying = keras.callbacks.LambdaCallback(on_epoch_begin=die_once)
        return model.fit(*args, callbacks=[dying, *callbacks], **kwargs)
