"""Trains on Python generators that never end, and on pipelines that call Python."""

import json
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(7)
x = rng.normal(size=(64, 3)).astype("float32")
y = x @ np.array([1.0, 2.0, -1.0], "float32")


def batches(features, targets, batch_size, seed=None):
    """Yield batches for ever, in a new order each time around."""
    order = np.arange(len(features))
    drawing = np.random.default_rng(seed)
    while True:
        if seed is not None:
            drawing.shuffle(order)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield features[rows], targets[rows], np.ones(len(rows), "float32")


class Rows:
    """Rows that are read one by one."""

    def __init__(self, start, stop):
        self.numbers = range(start, stop)

    def __call__(self):
        for number in self.numbers:
            yield x[number], y[number]


def double(rows):
    return (2 * rows).astype("float32")


def doubled(rows, targets):
    rows = tf.numpy_function(double, [rows], tf.float32)
    rows = tf.py_function(lambda part: part / 2, [rows], tf.float32)
    return tf.ensure_shape(rows, (None, 3)), targets


def build_model(hp):
    model = keras.Sequential([keras.Input((3,))])
    if hp.Boolean("hidden"):
        initializer = keras.initializers.HeNormal(seed=1)
        model.add(keras.layers.Dense(4, "relu", kernel_initializer=initializer))
    model.add(keras.layers.Dense(1, kernel_initializer="zeros"))
    model.compile(keras.optimizers.SGD(hp.Choice("lr", [0.05, 0.01])), "mse", metrics=["mae"])
    return model


class Losses(keras.callbacks.Callback):
    """Writes down the loss of each epoch of each execution."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def on_epoch_end(self, epoch, logs=None):
        with open(self.file, "a") as file:
            file.write(f"{epoch} {logs['loss']:.4f} {logs['val_loss']:.4f}\n")


def search(name, *args, tuner_class=kt.RandomSearch, executions=1, **kwargs):
    tuner = tuner_class(
        build_model,
        "val_loss",
        seed=3,
        executions_per_trial=executions,
        directory="my_dir",
        project_name=name,
        **({"max_trials": 2} if tuner_class is kt.RandomSearch else {"max_epochs": 2}),
    )
    losses = Losses(f"{name}.txt")
    tuner.search(*args, epochs=2, callbacks=[losses], verbose=0, **kwargs)
    lines = Path(f"{name}.txt").read_text().splitlines()
    return {
        "trials": len(tuner.oracle.trials),
        "statuses": sorted({trial.status for trial in tuner.oracle.trials.values()}),
        "epochs": [line.split()[0] for line in lines],
        "first": lines[0],
        "predictions": tuner.get_best_models()[0].predict(x, verbose=0).shape,
    }


spec = (tf.TensorSpec((3,), tf.float32), tf.TensorSpec((), tf.float32))
rows = tf.data.Dataset.from_generator(Rows(0, 48), output_signature=spec).batch(16)
others = tf.data.Dataset.from_generator(Rows(48, 64), output_signature=spec).batch(16)
steps = {"steps_per_epoch": 3, "validation_steps": 2}
print(
    json.dumps(
        {
            "endless": search(
                "endless",
                batches(x[:48], y[:48], 16, seed=8),
                validation_data=batches(x[48:], y[48:], 8),
                **steps,
            ),
            "twice": search(
                "twice",
                batches(x[:48], y[:48], 16),
                validation_data=(x[48:], y[48:]),
                steps_per_epoch=3,
                executions=2,
            ),
            "rounds": search(
                "rounds",
                batches(x[:48], y[:48], 16),
                validation_data=others,
                steps_per_epoch=3,
                tuner_class=kt.Hyperband,
            ),
            "rows": search("rows", rows.map(doubled), validation_data=others),
        }
    )
)
