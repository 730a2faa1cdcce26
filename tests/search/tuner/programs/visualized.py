"""A search watched in TensorBoard: scalars and hyperparameters of every trial."""

import contextlib
import json
import pathlib

import keras
import numpy as np
from keras_tuner import RandomSearch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


def build_model(hp):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(hp.Choice("filters", [4, 8]), 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.compile(
        hp.Choice("optimizer", ["sgd", "adam"]),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


generator = np.random.default_rng(0)
images = generator.normal(size=(80, 6, 6, 1)).astype("float32")
labels = (images.mean(axis=(1, 2, 3)) > 0).astype("int64")
tuner = RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=2,
    seed=4,
    overwrite=True,
    directory="my_dir",
    project_name="watched",
)
tuner.search(
    images,
    labels,
    validation_split=0.2,
    epochs=2,
    callbacks=[keras.callbacks.TensorBoard("my_logs")],
)

logs = pathlib.Path("my_logs")
trials = sorted(path.name for path in logs.iterdir() if path.is_dir())
scalars, named = set(), set()
for folder in logs.glob("*/execution0/**/"):
    events = EventAccumulator(str(folder))
    events.Reload()
    scalars |= set(events.Tags()["tensors"])
    with contextlib.suppress(KeyError):
        for content in events.PluginTagToContent("hparams").values():
            session = HParamsPluginData.FromString(content).session_start_info
            named |= set(session.hparams)
print(
    json.dumps(
        {
            "trials": trials == sorted(tuner.oracle.trials),
            "scalars": sorted(scalars & {"epoch_accuracy", "epoch_loss"}),
            "hparams": sorted(named),
            "names": sorted(tuner.get_best_hyperparameters()[0].values),
        }
    )
)
