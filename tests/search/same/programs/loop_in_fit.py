"""Trains by a loop of its own in ``HyperModel.fit``, which calls the callbacks."""

import json

import keras
import keras_tuner as kt
import numpy as np

rng = np.random.default_rng(6)
x = rng.normal(size=(128, 8)).astype("float32")
y = x[:, :1] * x[:, 1:2]


class Epochs(keras.callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        with open(self.file, "a") as file:
            file.write(f"{epoch} {self.epochs} {sorted(logs)} {self.model.count_params() > 0}\n")


class Regression(kt.HyperModel):
    def build(self, hp):
        units = hp.Int("units", 4, 16, step=4)
        activation = hp.Choice("activation", ["relu", "tanh"])
        return keras.Sequential(
            [keras.layers.Dense(units, activation), keras.layers.Dense(1, name="output")]
        )

    def fit(self, hp, model, x, y, validation_data, callbacks=None, epochs=10, **kwargs):
        batch_size = hp.Choice("batch_size", [32, 64])
        if hp.Boolean("normalize"):
            x = (x - x.mean(axis=0)) / x.std(axis=0)
        model.compile(keras.optimizers.Adam(hp.Float("lr", 1e-4, 1e-2, sampling="log")), "mse")
        callbacks = keras.callbacks.CallbackList(callbacks, model=model)
        callbacks.on_train_begin()
        best = np.inf
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            for start in range(0, len(x), batch_size):
                loss = model.train_on_batch(
                    x[start : start + batch_size], y[start : start + batch_size]
                )
            error = float(model.test_on_batch(*validation_data))
            callbacks.on_epoch_end(epoch, {"loss": float(loss), "my_error": error})
            best = min(best, error)
            if model.stop_training:
                break
        callbacks.on_train_end()
        return best


tuner = kt.RandomSearch(
    Regression(),
    objective=kt.Objective("my_error", "min"),
    max_trials=2,
    seed=2,
    directory="my_dir",
    project_name="loop",
)
notes = Epochs("epochs.txt")
stopping = keras.callbacks.EarlyStopping("my_error", mode="min", patience=1, min_delta=100)
held_out = (x[96:], y[96:])
tuner.search(x[:96], y[:96], validation_data=held_out, callbacks=[notes, stopping], verbose=0)

best = tuner.oracle.get_best_trials(1)[0]
model = tuner.get_best_models()[0]
error = float(np.mean((model.predict(x[96:], verbose=0) - y[96:]) ** 2))
with open("epochs.txt") as file:
    lines = file.read().splitlines()
print(
    json.dumps(
        {
            "statuses": [trial.status for trial in tuner.oracle.trials.values()],
            "metrics": sorted(best.metrics.metrics),
            "weights": bool(np.isclose(error, best.score, rtol=1e-3)),
            "tuned": sorted(best.hyperparameters.values),
            "epochs": lines,
            "own": notes.epochs,
        }
    )
)
