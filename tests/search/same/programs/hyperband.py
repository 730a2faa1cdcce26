"""Searches with Hyperband, finds the best number of epochs, and trains the best again."""

import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(8)
x = rng.normal(size=(120, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int32")


def model_builder(hp):
    model = keras.Sequential()
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(units=hp.Int("units", 4, 32, step=4), activation="relu"))
    model.add(keras.layers.Dense(2))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Choice("learning_rate", values=[1e-1, 1e-2, 1e-3])),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


tuner = kt.Hyperband(
    model_builder,
    objective="val_accuracy",
    max_epochs=2,
    factor=2,
    hyperband_iterations=2,
    directory="my_dir",
    project_name="intro_to_kt",
)
stop_early = keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)
tuner.search(x, y, epochs=50, validation_split=0.2, callbacks=[stop_early], verbose=0)
best_hps = tuner.get_best_hyperparameters(num_trials=1)[0]

model = tuner.hypermodel.build(best_hps)
history = model.fit(x, y, epochs=2, validation_split=0.2, verbose=0)
val_acc_per_epoch = history.history["val_accuracy"]
best_epoch = val_acc_per_epoch.index(max(val_acc_per_epoch)) + 1
hypermodel = tuner.hypermodel.build(best_hps)
hypermodel.fit(x, y, epochs=best_epoch, validation_split=0.2, verbose=0)

trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
names = [f"tuner/{name}" for name in ("epochs", "initial_epoch", "bracket", "round")]
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in trials],
            "rounds": [[trial.hyperparameters.get(name) for name in names] for trial in trials],
            "parents": ["tuner/trial_id" in trial.hyperparameters.values for trial in trials],
            "steps": [
                trial.best_step < trial.hyperparameters.get("tuner/epochs") for trial in trials
            ],
            "tuned": sorted(name for name in best_hps.values if "/" not in name),
            "epochs": best_epoch in (1, 2),
            "evaluated": len(hypermodel.evaluate(x, y, verbose=0)),
            "models": [m.predict(x, verbose=0).shape for m in tuner.get_best_models(2)],
        }
    )
)
