"""A training loop of one's own in ``HyperModel.fit``, and fits that return their score."""

import json

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner import RandomSearch


class Regression(keras_tuner.HyperModel):
    def build(self, hp):
        units = hp.Int("units", 4, 32, step=4)
        return keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
        )

    def fit(self, hp, model, x, y, validation_data, callbacks=None, epochs=3):
        size = hp.Int("batch_size", 16, 64, step=16)
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
        held_out = tf.data.Dataset.from_tensor_slices(validation_data).batch(
            len(validation_data[0])
        )
        optimizer = keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-2, sampling="log"))
        loss = keras.losses.MeanSquaredError()
        seen = keras.metrics.Mean()

        @tf.function
        def step(inputs, targets):
            with tf.GradientTape() as tape:
                error = loss(targets, model(inputs, training=True))
            gradients = tape.gradient(error, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        for callback in callbacks:
            callback.set_model(model)
        best = float("inf")
        for epoch in range(epochs):
            for inputs, targets in batches:
                step(inputs, targets)
            for inputs, targets in held_out:
                seen.update_state(loss(targets, model(inputs)))
            score = float(seen.result())
            seen.reset_state()
            for callback in callbacks:
                # The name is the objective's: the best weights are kept by it.
                callback.on_epoch_end(epoch, logs={"my_error": score})
            best = min(best, score)
        return best


inputs = np.random.default_rng(3).normal(size=(240, 8)).astype("float32")
targets = inputs.sum(axis=1, keepdims=True)
data = {"x": inputs[:200], "y": targets[:200], "validation_data": (inputs[200:], targets[200:])}
arguments = {"max_trials": 3, "seed": 5, "overwrite": True, "directory": "my_dir"}

tuner = RandomSearch(
    Regression(),
    objective=keras_tuner.Objective("my_error", "min"),
    project_name="loop",
    **arguments,
)
tuner.search(**data)
best = tuner.get_best_hyperparameters()[0]
model = tuner.get_best_models()[0]
score = tuner.oracle.get_best_trials()[0].score
error = float(np.mean((model.predict(inputs[200:], verbose=0) - targets[200:]) ** 2))


class Measured(Regression):
    """Measures a model twice, by metrics of its own."""

    def fit(self, hp, model, x, y, validation_data, callbacks=None, epochs=1):
        model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-2)), "mse")
        model.fit(x, y, epochs=epochs, verbose=0)
        error = float(model.evaluate(*validation_data, verbose=0))
        return [{"error": error, "twice": 2 * error}, {"error": 0.0, "twice": 0.0}]


measured = RandomSearch(
    Measured(), keras_tuner.Objective("twice", "min"), project_name="measured", **arguments
)
measured.search(**data)
[first, *_] = measured.oracle.get_best_trials()
print(
    json.dumps(
        {
            "tuned": sorted(best.values),
            "weights are of the score": bool(np.isclose(error, score, rtol=1e-3)),
            "measured": bool(first.score == 2 * first.metrics.get_best_value("error") > 0),
            "trials": [len(one.oracle.trials) for one in (tuner, measured)],
        }
    )
)
