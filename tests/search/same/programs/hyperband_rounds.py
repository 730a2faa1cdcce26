"""Trains the rounds of Hyperband in ``run_trial``, each from the model of the round before."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(13)
x = rng.normal(size=(60, 4)).astype("float32")
y = x[:, 0]


def build_model(hp):
    model = keras.Sequential([keras.Input((4,))])
    model.add(keras.layers.Dense(hp.Int("units", 1, 8)))
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    return model


class RoundsTuner(kt.Hyperband):
    def run_trial(self, trial, x, y):
        hp = trial.hyperparameters
        first, last = hp.get("tuner/initial_epoch"), hp.get("tuner/epochs")
        is_same = None
        if "tuner/trial_id" in hp.values:
            former = self.oracle.get_trial(hp.get("tuner/trial_id"))
            is_same = former.hyperparameters.get("units") == hp.get("units")
            model = self.load_model(former)
        else:
            model = self.hypermodel.build(hp)
        batch_size = hp.Int("batch_size", 16, 32, step=16)
        history = model.fit(
            x, y, batch_size, last, initial_epoch=first, validation_split=0.2, verbose=0
        )
        with open("rounds.txt", "a") as file:
            file.write(f"{trial.trial_id} {first} {last} {history.epoch} {is_same}\n")
        model.save(os.path.join(self.get_trial_dir(trial.trial_id), "model.keras"))
        return {"val_loss": history.history["val_loss"][-1]}

    def load_model(self, trial):
        folder = self.get_trial_dir(trial.trial_id)
        return keras.models.load_model(os.path.join(folder, "model.keras"))


tuner = RoundsTuner(
    build_model, "val_loss", max_epochs=3, factor=3, directory="my_dir", project_name="rounds"
)
tuner.search(x, y)

with open("rounds.txt") as file:
    rounds = file.read().splitlines()
print(
    json.dumps(
        {
            "statuses": [[key, t.status] for key, t in sorted(tuner.oracle.trials.items())],
            "rounds": rounds,
            "predictions": tuner.get_best_models()[0].predict(x, verbose=0).shape,
            "tuned": "batch_size" in tuner.get_best_hyperparameters()[0].values,
        }
    )
)
