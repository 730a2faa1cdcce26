"""A problem of small and large networks, named as ``on_devices:NAME``, and rules for devices."""

import os
import time

import keras
import keras_tuner as kt
import tensorflow as tf

CLASSES = 3
LARGE = 200_000
# Long enough for others to be seen beside it.
EPOCH_SECONDS = 0.3


class Devices(kt.HyperModel):
    """Each epoch tells what its process may use."""

    def build(self, hp):
        units = hp.Choice("units", [8, LARGE])  # of 4 + 3 multiply-adds each
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(units, "relu"),
                keras.layers.Dense(CLASSES, "softmax"),
            ]
        )
        rate = hp.Float("rate", 1e-3, 1e-2, sampling="log")
        model.compile(
            keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        def tell(epoch, logs):
            time.sleep(EPOCH_SECONDS)
            logs["gpus"] = float(os.environ.get("CUDA_VISIBLE_DEVICES", "-1") != "-1")
            logs["threads"] = float(tf.config.threading.get_intra_op_parallelism_threads())

        told = keras.callbacks.LambdaCallback(on_epoch_end=tell)
        return model.fit(*args, callbacks=[told, *callbacks], **kwargs)


def small_to_gpu(values, multiply_adds):
    """Return a device against what is usual: the small ones to a GPU."""
    return "cpu" if values["units"] == LARGE else "gpu"


def nowhere(values, multiply_adds):
    """Return no device."""
    return "tpu"


def lost(values, multiply_adds):
    """Fail."""
    raise KeyError("size")
