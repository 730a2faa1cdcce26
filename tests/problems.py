"""Small problems that tests search: named as ``problems:NAME``."""

import contextlib
import os
import signal
import time
from collections import namedtuple
from pathlib import Path

import numpy as np

CLASSES = 3


def note(name: str) -> Path:
    """Return a file through which a problem and its test tell each other something."""
    return Path(os.environ.get("NOTES", "/nonexistent")) / name


def blobs(seed: int = 0):
    """Three clouds of points: learnt in an epoch or two."""
    generator = np.random.default_rng(seed)

    def split(size):
        labels = generator.integers(0, CLASSES, size)
        centres = np.eye(CLASSES, 4)[labels] * 3
        return (centres + generator.normal(size=(size, 4))).astype("float32"), labels

    return split(240), split(60), split(60)


def blobs_without_test():
    return blobs()[:2]


Named = namedtuple("Named", "train validation test class_names")


def named_blobs(seed: int = 0):
    return Named(*blobs(seed), class_names=("red", "green", "blue"))


def mixed_blobs(seed: int = 0):
    """The blobs in every way: a table, texts and a sparse matrix, a tf.data dataset, batches."""
    import keras
    import pandas as pd
    import scipy.sparse
    import tensorflow as tf

    def mixed(x, y):
        words = np.array(["low", "high"], dtype=object)[(x[:, 0] > 1).astype(int)]
        table = pd.DataFrame(x, columns=list("abcd")).assign(row=np.arange(len(x)) / len(x))
        inputs = {"table": table, "text": words, "sparse": scipy.sparse.csr_matrix(x * (x > 1))}
        return inputs, pd.Series(y)

    def pipeline(x, y):
        inputs, targets = mixed(x, y)
        entries = inputs["sparse"].tocoo()
        sparse = tf.SparseTensor(np.stack(entries.coords, axis=1), entries.data, entries.shape)
        inputs |= {"table": inputs["table"].to_numpy("float32"), "sparse": sparse}
        dataset = tf.data.Dataset.from_tensor_slices((inputs, targets.to_numpy()))
        return dataset.shuffle(len(y), seed=seed).batch(16)

    class Batches(keras.utils.PyDataset):
        def __init__(self, dataset):
            super().__init__()
            self.batches = list(dataset)

        def __len__(self):
            return len(self.batches)

        def __getitem__(self, number):
            return self.batches[number]

    train, validation, test = blobs(seed)
    names = ("red", "green", "blue")
    return Named(mixed(*train), pipeline(*validation), Batches(pipeline(*test)), class_names=names)


def broken_data():
    raise FileNotFoundError("the disk with the data is not mounted")


def strange_data():
    return {"x": 1}


def _compiled(hp, units, **kwargs):
    import keras

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log", default=1e-2)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **kwargs,
    )
    return model


def small(hp):
    if note("fails").exists():
        raise ValueError("no memory for it")
    return _compiled(hp, hp.Int("units", 2, 16, default=8))


def of_mixed_blobs(hp):
    """A model of ``mixed_blobs``."""
    import keras

    inputs = {
        "table": keras.Input((5,), name="table"),
        "text": keras.Input((), name="text", dtype="string"),
        "sparse": keras.Input((4,), name="sparse", sparse=True),
    }
    counted = keras.layers.TextVectorization(output_mode="count", vocabulary=["low", "high"])
    units = keras.layers.Dense(hp.Int("units", 2, 8))
    parts = [inputs["table"], counted(inputs["text"]), units(inputs["sparse"])]
    outputs = keras.layers.Dense(CLASSES, "softmax")(keras.layers.Concatenate()(parts))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def printing(hp):
    print("units:", hp.Int("units", 8, 9) // 8)
    return _compiled(hp, 8)


def two_configurations(hp):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    rate = hp.Choice("rate", [1e-2, 1e-3])
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def growing(hp):
    """Registers a parameter only where the network is deep, as many builders do."""
    layers = hp.Int("layers", 1, 3, default=1)
    units = [hp.Int(f"units_{number}", 2, 8) for number in range(layers)]
    return _compiled(hp, sum(units))


def in_scopes(hp):
    """Names with scopes and a condition."""
    with hp.name_scope("head"):
        units = hp.Int("units", 2, 8)
    kind = hp.Choice("kind", ["plain", "scaled"])
    with hp.conditional_scope("kind", ["scaled"]):
        scale = hp.Int("scale", 2, 3)
    return _compiled(hp, units * (scale if kind == "scaled" else 1))


def raising(hp):
    raise ValueError(f"units may not be {hp.Int('units', 1, 9)} here")


def not_compiled(hp):
    import keras

    hp.Int("units", 1, 9)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def no_model(hp):
    hp.Int("units", 1, 9)


def nothing_to_tune(hp):
    hp.Fixed("units", 3)
    return _fixed()


def _fixed():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def failing_in_fit(hp):
    """Builds well, but every training fails in the same way."""
    import keras

    hp.Int("units", 1, 9)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(CLASSES, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def mixed_ends(hp):
    """Trials that complete, fail and diverge, by their configuration."""
    import keras

    end = hp.Choice("end", ["good", "bad", "nan"])
    if end == "bad" and hp.Int("units", 2, 16) > 1:
        raise RuntimeError("this configuration cannot be built")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    rate = float("nan") if end == "nan" else hp.Float("rate", 1e-3, 1e-1, sampling="log")
    model.compile(
        keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def _before_each_epoch(act):
    """Return a model that calls a function before each of its epochs."""
    import keras

    class Acting(keras.Sequential):
        def fit(self, *args, callbacks=(), **kwargs):
            acting = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: act(epoch))
            return super().fit(*args, callbacks=[acting, *callbacks], **kwargs)

    model = Acting([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def slow(hp):
    """Epochs of a second or more, for tests that interrupt."""
    hp.Int("units", 2, 1000)
    return _before_each_epoch(lambda _epoch: time.sleep(1.0))


def interrupting(hp):
    """Sends Ctrl-C to the driver before its fourth epoch, the first time; others wait for it."""
    hp.Int("units", 2, 1000)

    def act(epoch):
        time.sleep(0.2)
        if epoch == 3 and note("driver").exists():
            driver = int(note("driver").read_text())
            note("driver").unlink()
            os.kill(driver, signal.SIGINT)
            time.sleep(2.0)

    return _before_each_epoch(act)


def filling(hp):
    """Fills the disk of the run before its fourth epoch, the first time."""
    hp.Int("units", 2, 1000)

    def act(epoch):
        if epoch == 3 and note("disk").exists():
            filler = Path(note("disk").read_text()) / "filler"
            note("disk").unlink()
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))

    return _before_each_epoch(act)


def dying_once(hp):
    """The process dies in the first epoch of trial 1, the first time that it is trained."""
    import keras

    class Dying(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if hp.get("units") != 8 and not note("died").exists():
                note("died").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    class Mortal(keras.Sequential):
        def fit(self, *args, callbacks=(), **kwargs):
            return super().fit(*args, callbacks=[Dying(), *callbacks], **kwargs)

    hp.Int("units", 2, 1000, default=8)
    model = Mortal([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def counted(hp):
    """Writes down how often a model is evaluated on the test split."""
    import keras

    class Counted(keras.Sequential):
        def evaluate(self, x=None, *args, **kwargs):
            if np.array_equal(x, blobs()[2][0]):
                with note("reads").open("a") as file:
                    file.write("read\n")
            return super().evaluate(x, *args, **kwargs)

    hp.Int("units", 2, 1000, default=8)
    model = Counted([keras.Input((4,)), keras.layers.Dense(CLASSES, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def regression_data(seed: int = 0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(200, 4)).astype("float32")
    targets = inputs.sum(axis=1, keepdims=True)
    return (
        (inputs[:120], targets[:120]),
        (inputs[120:160], targets[120:160]),
        (
            inputs[160:],
            targets[160:],
        ),
    )


def regression(hp):
    import keras

    model = keras.Sequential([keras.layers.Dense(1)])  # declares no shape, as many builders
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-1)), "mse")
    return model
