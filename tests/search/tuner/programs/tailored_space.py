"""One builder, other spaces: entries are registered in advance, and compiled otherwise."""

import json

import keras
import keras_tuner
import numpy as np
from keras_tuner import RandomSearch


def build_model(hp):
    model = keras.Sequential([keras.Input((6,))])
    for _ in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int("units", 8, 128, step=8), activation="relu"))
    model.add(keras.layers.Dense(1))
    rate = hp.Choice("rate", [1e-2, 1e-3])
    model.compile(keras.optimizers.SGD(rate), loss="mae", metrics=["mse"])
    return model


generator = np.random.default_rng(1)
inputs = generator.normal(size=(200, 6)).astype("float32")
targets = inputs.sum(axis=1)
data = {"x": inputs[:160], "y": targets[:160], "validation_data": (inputs[160:], targets[160:])}
told = {}


def search(name, **arguments):
    tuner = RandomSearch(
        build_model,
        max_trials=3,
        seed=2,
        overwrite=True,
        directory="my_dir",
        project_name=name,
        **arguments,
    )
    names = [parameter.name for parameter in tuner.oracle.get_space().space]
    tuner.search(**data, epochs=1, verbose=0)
    tried = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    best = tuner.get_best_hyperparameters()[0]
    told[name] = {"space": sorted(names), "trials": len(tried), "best": sorted(best.values)}
    return tried


# Some values are fixed or bounded, the others are tuned as the builder says; and the model is
# compiled with another optimizer, loss and metric.
hp = keras_tuner.HyperParameters()
hp.Fixed("rate", 1e-3)
hp.Int("units", 8, 16, step=8)
compiled = {"optimizer": keras.optimizers.Adam(1e-3), "loss": "mse", "metrics": ["mae"]}
for values in search("bounded", objective="val_mae", hyperparameters=hp, **compiled):
    assert values["rate"] == 1e-3
    assert values["units"] in (8, 16)

# Only what is registered is tuned; the others keep their defaults.
hp = keras_tuner.HyperParameters()
hp.Choice("rate", [1e-2, 1e-4, 1e-5])
tried = search("few", objective="val_loss", hyperparameters=hp, tune_new_entries=False)
assert {values["rate"] for values in tried} <= {1e-2, 1e-4, 1e-5}
assert {(values.get("layers", 1), values.get("units", 8)) for values in tried} == {(1, 8)}

# The builder may ask for nothing else.
hp = keras_tuner.HyperParameters()
hp.Choice("rate", [1e-2, 1e-4])
try:
    search("none", objective="val_loss", hyperparameters=hp, allow_new_entries=False)
except RuntimeError as error:
    told["refused"] = "layers" in str(error)

print(json.dumps(told))
