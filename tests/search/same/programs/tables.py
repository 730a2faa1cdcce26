"""Trains on tables: frames and series of pandas, columns of texts, and sparse matrices."""

import json

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import scipy.sparse

rng = np.random.default_rng(11)
frame = pd.DataFrame(rng.normal(size=(80, 4)), columns=["age", "size", "rate", "share"])
frame["kind"] = rng.choice(["a", "b", "c"], 80)
price = (frame["age"] - 2 * frame["rate"] + (frame["kind"] == "b")).rename("price")
weight = pd.Series(np.linspace(0.5, 1.5, 80), name="weight")
numbers = frame[["age", "size", "rate", "share"]]
names = frame["kind"].to_numpy(dtype=object)
counts = scipy.sparse.random(80, 30, density=0.2, format="csr", random_state=1, dtype="float32")
kinds = keras.layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")


def dense(hp, name, tensor):
    if hp.Boolean("hidden"):
        initializer = keras.initializers.GlorotUniform(seed=12)
        tensor = keras.layers.Dense(5, "relu", kernel_initializer=initializer)(tensor)
    return keras.layers.Dense(1, kernel_initializer="zeros", name=name)(tensor)


def compiled(hp, model):
    optimizer = keras.optimizers.Adam(hp.Choice("lr", [0.1, 0.01]))
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def build_numbers(hp):
    inputs = keras.Input((4,))
    return compiled(hp, keras.Model(inputs, dense(hp, "price", inputs)))


def build_columns(hp):
    table, kind = keras.Input((4,), name="table"), keras.Input((), dtype="string", name="kind")
    merged = keras.layers.Concatenate()([table, kinds(kind)])
    return compiled(hp, keras.Model({"table": table, "kind": kind}, dense(hp, "price", merged)))


def build_sparse(hp):
    inputs = keras.Input((30,), sparse=True)
    return compiled(hp, keras.Model(inputs, dense(hp, "price", inputs)))


def search(name, build, *args, **kwargs):
    tuner = kt.RandomSearch(
        build, "val_mae", max_trials=2, seed=4, directory="my_dir", project_name=name
    )
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100)
    tuner.search(
        *args, epochs=4, batch_size=16, shuffle=False, callbacks=[stopping], verbose=0, **kwargs
    )
    trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
    return {
        "values": [dict(trial.hyperparameters.values) for trial in trials],
        "scores": [round(trial.score, 3) for trial in trials],
        "steps": [trial.best_step for trial in trials],
    }


train, test = slice(60), slice(60, 80)
told = {
    "frame": search(
        "frame",
        build_numbers,
        numbers[train],
        price[train],
        sample_weight=weight[train],
        validation_data=(numbers[test], price[test]),
    ),
    "split": search("split", build_numbers, x=numbers, y=price, validation_split=0.25),
    "columns": search(
        "columns",
        build_columns,
        {"table": numbers[train], "kind": names[train]},
        price[train],
        validation_data=({"table": numbers[test], "kind": names[test]}, price[test]),
    ),
    "sparse": search(
        "sparse",
        build_sparse,
        counts[:60],
        price[train],
        validation_data=(counts[60:], price[test]),
    ),
}
print(json.dumps(told))
