"""Tunes the batch size and the number of epochs in ``run_trial``."""

import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(1)
x = rng.normal(size=(160, 6)).astype("float32")
y = (x[:, 0] + x[:, 1] > 0).astype("int32")


def build_model(hp):
    model = keras.Sequential([keras.Input((6,))])
    for i in range(hp.Int("num_layers", 1, 2)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", 4, 16, step=4), activation="relu"))
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class FitTuner(kt.RandomSearch):
    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        kwargs["batch_size"] = hp.Int("batch_size", 16, 64, step=16)
        kwargs["epochs"] = hp.Int("epochs", 1, 2)
        return super().run_trial(trial, *args, **kwargs)


tuner = FitTuner(
    build_model,
    objective="val_accuracy",
    max_trials=2,
    executions_per_trial=2,
    directory="my_dir",
    project_name="fit",
)
tuner.search(x[:120], y[:120], validation_data=(x[120:], y[120:]), verbose=0)

trials = tuner.oracle.get_best_trials(2)
best = tuner.get_best_hyperparameters()[0]
model = tuner.get_best_models()[0]
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in trials],
            "scores": [bool(0 <= trial.score <= 1) for trial in trials],
            "tuned": [
                {"batch_size", "epochs", "num_layers", "units_0"}
                <= set(trial.hyperparameters.values)
                for trial in trials
            ],
            "types": [type(best.get(name)).__name__ for name in ("batch_size", "epochs")],
            "steps": [
                bool(trial.best_step < trial.hyperparameters.get("epochs")) for trial in trials
            ],
            "space": {"batch_size", "epochs"} <= {p.name for p in tuner.oracle.get_space().space},
            "predictions": model.predict(x[120:], verbose=0).shape,
        }
    )
)
