"""Problems for searches that are disturbed; apart from the others, as they need keras-tuner."""

import os
import time
from pathlib import Path

import keras
import keras_tuner as kt

from problems import CLASSES, note

EPOCH_SECONDS = float(os.environ.get("STORMY_EPOCH_SECONDS", "0.5"))


class Steady(kt.HyperModel):
    """Everything that has a state between two epochs, and epochs long enough to be hit."""

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(hp.Int("units", 4, 64, default=8), hp.Choice("activation", ["relu", "tanh"])),
                keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5)),
                keras.layers.Dense(CLASSES, "softmax"),
            ]
        )  # fmt: skip
        rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
        model.compile(
            keras.optimizers.Nadam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        wait = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: time.sleep(EPOCH_SECONDS))
        return model.fit(*args, callbacks=[wait, *callbacks], batch_size=32, **kwargs)


class Misfortunes(Steady):
    """Trials that end their process, or never come back, by their configuration."""

    def build(self, hp):
        hp.Choice("fate", ["none", "hangs", "dies", "eats"])
        return super().build(hp)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        def meet(epoch, logs=None):
            if epoch == 1:
                _FATES[hp.get("fate")]()

        met = keras.callbacks.LambdaCallback(on_epoch_begin=meet)
        return super().fit(hp, model, *args, callbacks=[met, *callbacks], **kwargs)


class Greedy(Misfortunes):
    """Some trials take more and more memory, until they are stopped."""

    def build(self, hp):
        hp.Choice("fate", ["none", "grows"])
        return Steady.build(self, hp)


def _grow():
    held = []
    while True:
        held.append(bytearray(os.urandom(1024) * 100 * 1024))
        time.sleep(0.05)


def _eat():
    # A cgroup of a test's own, whose limit this process then exceeds.
    group = Path(note("group").read_text())
    (group / "cgroup.procs").write_text(str(os.getpid()))
    bytearray(1024**3)


_FATES = {
    "none": lambda: None,
    "hangs": lambda: time.sleep(3600),
    "dies": lambda: os.kill(os.getpid(), 9),
    "eats": _eat,
    "grows": _grow,
}
