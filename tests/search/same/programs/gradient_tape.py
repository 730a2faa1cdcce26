"""Trains by a loop of its own in ``run_trial``, which calls the hooks of the tuner."""

import json
import os

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(5)
x = rng.normal(size=(96, 6)).astype("float32")
y = x.argmax(axis=1)
dataset = tf.data.Dataset.from_tensor_slices((x, y))


def build_model(hp):
    model = keras.Sequential([keras.Input((6,))])
    model.add(keras.layers.Dense(hp.Int("units", 8, 24, step=8), activation="relu"))
    model.add(keras.layers.Dropout(hp.Float("dropout", 0, 0.4, step=0.2)))
    model.add(keras.layers.Dense(6))
    return model


class LoopTuner(kt.Tuner):
    def run_trial(self, trial, train_ds, epochs=1):
        hp = trial.hyperparameters
        batches = train_ds.batch(hp.Int("batch_size", 16, 48, step=16, default=32))
        model = self.hypermodel.build(hp)
        optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"))
        loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        mean_loss = keras.metrics.Mean()

        @tf.function
        def train_step(images, labels):
            with tf.GradientTape() as tape:
                loss = loss_fn(labels, model(images, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            mean_loss.update_state(loss)
            return loss

        self.calls = {"epoch_begin": 0, "epoch_end": 0, "batch_begin": 0, "batch_end": 0}
        best = float("inf")
        for epoch in range(epochs):
            self.on_epoch_begin(trial, model, epoch, logs={})
            for batch, data in enumerate(batches):
                self.on_batch_begin(trial, model, batch, logs={})
                self.on_batch_end(trial, model, batch, logs={"loss": float(train_step(*data))})
            loss = float(mean_loss.result())
            self.on_epoch_end(trial, model, epoch, logs={"loss": loss})
            mean_loss.reset_state()
            best = min(best, loss)
        with open(os.path.join(self.get_trial_dir(trial.trial_id), "calls.json"), "w") as file:
            json.dump(self.calls, file)
        return best

    def on_epoch_begin(self, trial, model, epoch, logs=None):
        self.calls["epoch_begin"] += 1
        super().on_epoch_begin(trial, model, epoch, logs=logs)

    def on_epoch_end(self, trial, model, epoch, logs=None):
        super().on_epoch_end(trial, model, epoch, logs=logs)
        self.calls["epoch_end"] += 1

    def on_batch_begin(self, trial, model, batch, logs):
        self.calls["batch_begin"] += 1
        super().on_batch_begin(trial, model, batch, logs)

    def on_batch_end(self, trial, model, batch, logs=None):
        super().on_batch_end(trial, model, batch, logs)
        self.calls["batch_end"] += "loss" in logs


oracle = kt.oracles.BayesianOptimizationOracle(kt.Objective("loss", "min"), max_trials=2, seed=1)
tuner = LoopTuner(oracle=oracle, hypermodel=build_model, directory="my_dir", project_name="tape")
tuner.search(train_ds=dataset, epochs=2)

rows = []
for trial_id, trial in sorted(tuner.oracle.trials.items()):
    with open(os.path.join(tuner.get_trial_dir(trial_id), "calls.json")) as file:
        calls = json.load(file)
    batches = 2 * -(-96 // trial.hyperparameters.get("batch_size"))
    expected = [2, 2, batches, batches]
    rows.append([trial.status, list(calls.values()) == expected, trial.best_step])
best = tuner.get_best_hyperparameters()[0]
model = tuner.hypermodel.build(best)
print(json.dumps({"trials": rows, "tuned": sorted(best.values), "outputs": list(model(x).shape)}))
