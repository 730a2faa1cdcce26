"""Trains on classes of batches, in threads, and on datasets that a HyperModel holds."""

import json

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(9)
x = rng.normal(size=(70, 4)).astype("float32")
wide = rng.normal(size=(70, 2)).astype("float32")
y = (x.sum(axis=1) + wide[:, 0] > 0).astype("float32")


class Pairs(keras.utils.Sequence):
    """Batches of two inputs and two targets, with weights, in another order each epoch."""

    def __init__(self, rows, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.rows = np.array(rows)
        self.batch_size = batch_size
        self.epochs = 0

    def __len__(self):
        return int(np.ceil(len(self.rows) / self.batch_size))

    def __getitem__(self, index):
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        targets = {"kind": y[rows], "sum": x[rows].sum(axis=1)}
        weights = {"kind": 1 + y[rows], "sum": np.ones(len(rows), "float32")}
        return {"deep": x[rows], "wide": wide[rows]}, targets, weights

    def on_epoch_end(self):
        self.epochs += 1
        np.random.default_rng(self.epochs).shuffle(self.rows)


class Wide(kt.HyperModel):
    """A wide and deep model, which is judged by a dataset of its own."""

    def __init__(self, judged, monitored):
        super().__init__(name="wide")
        self.judged = judged
        self.monitored = monitored

    def build(self, hp):
        deep, wide = keras.Input((4,), name="deep"), keras.Input((2,), name="wide")
        initializer = keras.initializers.GlorotNormal(seed=2)
        hidden = keras.layers.Dense(
            hp.Int("units", 2, 16, step=2), "relu", kernel_initializer=initializer
        )(deep)
        merged = keras.layers.Concatenate()([hidden, wide])
        kind = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros", name="kind")(merged)
        total = keras.layers.Dense(1, kernel_initializer="zeros", name="sum")(merged)
        model = keras.Model({"deep": deep, "wide": wide}, {"kind": kind, "sum": total})
        model.compile(
            keras.optimizers.SGD(0.05),
            {"kind": "binary_crossentropy", "sum": "mse"},
            weighted_metrics={"kind": ["accuracy"], "sum": []},
        )
        return model

    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)
        errors = []
        for inputs, targets in self.judged:  # a loop of its own
            answers = model(inputs, training=False)
            errors.append(float(tf.reduce_mean(tf.abs(answers["sum"][:, 0] - targets["sum"]))))
        found = model.evaluate(self.monitored, verbose=0, return_dict=True)
        return {"error": float(np.mean(errors)), "batches": len(errors), "monitored": found["loss"]}


held_out = slice(50, 70)
inputs, targets = (
    {"deep": x[held_out], "wide": wide[held_out]},
    {"kind": y[50:], "sum": x[50:].sum(1)},
)
judged = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(8)
first = Pairs(range(50), 16)[0]  # a look at a batch


def search(name, **kwargs):
    tuner = kt.GridSearch(
        Wide(judged, Pairs(range(50, 70), 10)),
        kt.Objective("error", "min"),
        max_trials=2,
        directory="my_dir",
        project_name=name,
    )
    train = Pairs(range(50), 16, workers=2, max_queue_size=4)
    tuner.search(train, epochs=2, verbose=0, **kwargs)
    trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
    return {
        "units": [trial.hyperparameters.get("units") for trial in trials],
        "first": round(trials[0].score, 3),
        "monitored": round(trials[0].metrics.get_best_value("monitored"), 3),
        "batches": [trial.metrics.get_best_value("batches") for trial in trials],
    }


print(
    json.dumps(
        {
            "weights": sorted(first[2]),
            "ordered": search("ordered", shuffle=False),
            "validated": search("validated", shuffle=False, validation_data=judged),
        }
    )
)
