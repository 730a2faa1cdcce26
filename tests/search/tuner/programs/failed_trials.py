"""Some configurations cannot be trained, and some trainings crash: the search goes on."""

import json
import pathlib

import keras
import keras_tuner
import numpy as np
from keras_tuner import RandomSearch

CRASHES = pathlib.Path("crashes").absolute()
CRASHES.mkdir(exist_ok=True)


class Unlucky(keras_tuner.HyperModel):
    """Some models are too large; the others crash the first time that they are trained."""

    def build(self, hp):
        units = hp.Choice("units", [4, 8, 16, 600])
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(units)])
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        if model.count_params() > 1000:
            raise keras_tuner.errors.FailedTrialError(f"{model.count_params()} weights are many")
        return model

    def fit(self, hp, model, *args, **kwargs):
        seen = CRASHES / str(hp.get("units"))
        if not seen.exists():
            seen.touch()
            raise OSError("the network drive is away")
        return model.fit(*args, **kwargs)


def build_for_other_data(hp):
    hp.Int("units", 1, 99)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])  # the data have five
    model.compile("sgd", "mse")
    return model


inputs = np.random.default_rng(0).normal(size=(100, 5))
targets = inputs[:, :1]


def search(name, hypermodel, **arguments):
    tuner = RandomSearch(
        hypermodel,
        objective="val_loss",
        max_trials=4,
        seed=1,
        overwrite=True,
        directory="my_dir",
        project_name=name,
        **arguments,
    )
    tuner.search(inputs, targets, epochs=1, validation_split=0.2, verbose=0)
    return tuner


unlucky = search("unlucky", Unlucky(), max_retries_per_trial=1)
trials = unlucky.oracle.trials.values()
[failed] = [trial for trial in trials if trial.status == "FAILED"]
try:
    search("hopeless", build_for_other_data, max_consecutive_failed_trials=2)
    hopeless = None
except RuntimeError as error:
    hopeless = "2" in str(error)
print(
    json.dumps(
        {
            "failed": failed.hyperparameters.get("units"),
            "says why": "4201 weights are many" in failed.message,
            "scored": sorted(t.hyperparameters.get("units") for t in trials if t.score is not None),
            "hopeless": hopeless,
        }
    )
)
