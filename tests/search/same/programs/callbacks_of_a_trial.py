"""Gives each trial callbacks of its own, whose files lie in the folder of the trial."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(2)
x = rng.normal(size=(120, 5)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")


class MyHyperModel(kt.HyperModel):
    def __init__(self, num_features):
        super().__init__()
        self.num_features = num_features

    def build(self, hp):
        inputs = keras.Input((self.num_features,))
        outputs = keras.layers.Dense(hp.Choice("units", [4, 8]), activation="relu")(inputs)
        outputs = keras.layers.Dense(1, activation="sigmoid")(outputs)
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(hp.Choice("lr", [0.1, 0.01])), "binary_crossentropy")
        return model


class CallbackTuner(kt.BayesianOptimization):
    def run_trial(self, trial, *args, **kwargs):
        folder = self.get_trial_dir(trial.trial_id)
        checkpoint = os.path.join(folder, "best.keras")
        kwargs["callbacks"] = [
            *kwargs.pop("callbacks", []),
            # No loss falls by so much: training ends after the second epoch.
            keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100),
            keras.callbacks.ModelCheckpoint(checkpoint, monitor="val_loss", save_best_only=True),
            keras.callbacks.CSVLogger(os.path.join(folder, "log.csv")),
        ]
        histories = super().run_trial(trial, *args, **kwargs)
        best = self.load_model(trial).evaluate(x[90:], y[90:], verbose=0)
        with open(os.path.join(folder, "loss.json"), "w") as file:
            json.dump([best, min(histories[0].history["val_loss"])], file)
        return histories


tuner = CallbackTuner(
    MyHyperModel(5), "val_loss", max_trials=2, seed=7, directory="my_dir", project_name="callbacks"
)
tuner.search(
    x, y, epochs=5, validation_split=0.25, callbacks=[keras.callbacks.TerminateOnNaN()], verbose=0
)

best = tuner.oracle.get_best_trials(1)[0]
folder = tuner.get_trial_dir(best.trial_id)
saved = keras.models.load_model(os.path.join(folder, "best.keras"))
with open(os.path.join(folder, "log.csv")) as file:
    logged = file.read().splitlines()
with open(os.path.join(folder, "loss.json")) as file:
    losses = json.load(file)
model = tuner.get_best_models()[0]
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in tuner.oracle.trials.values()],
            "epochs": len(logged) - 1,
            "loaded": bool(np.allclose(losses, best.score)),
            "columns": sorted(logged[0].split(",")),
            "saved": bool(np.isclose(saved.evaluate(x[90:], y[90:], verbose=0), best.score)),
            "best": bool(np.isclose(model.evaluate(x[90:], y[90:], verbose=0), best.score)),
        }
    )
)
