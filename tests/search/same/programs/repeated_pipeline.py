"""Trains on a ``tf.data`` pipeline that shuffles, augments and repeats, for so many steps an epoch."""

import json

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(4)
images = rng.normal(size=(60, 6, 6, 1)).astype("float32")
labels = (images[:, :, :3].mean(axis=(1, 2, 3)) > 0).astype("int32")
whole = tf.data.Dataset.from_tensor_slices((images, labels))
counter = tf.data.Dataset.counter()


def augment(element, number):
    image, label = element
    image = tf.image.stateless_random_flip_up_down(image, seed=[1, tf.cast(number, tf.int32)])
    return tf.image.stateless_random_contrast(image, 0.8, 1.2, seed=[number, 2]), label


train = (
    tf.data.Dataset.zip((whole.take(48), counter))
    .shuffle(48, seed=3, reshuffle_each_iteration=False)
    .map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    .repeat()
    .batch(8, drop_remainder=True)
    .prefetch(tf.data.AUTOTUNE)
)
validation = whole.skip(48).batch(6).cache().repeat()
for batch, _ in train.take(1):  # a look at a batch
    shape = batch.shape.as_list()


def build_model(hp):
    inputs = keras.Input((6, 6, 1))
    outputs = keras.layers.Flatten()(inputs)
    if hp.Boolean("normalize"):
        outputs = keras.layers.LayerNormalization()(outputs)
    initializer = keras.initializers.GlorotUniform(seed=5)
    outputs = keras.layers.Dense(2, "softmax", kernel_initializer=initializer)(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(hp.Choice("lr", [0.2, 0.02])),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[],
    )
    return model


class Steps(keras.callbacks.Callback):
    """Reports how many batches were trained in all."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        logs["steps"] = self.steps


tuner = kt.BayesianOptimization(
    build_model,
    kt.Objective("val_loss", "min"),
    max_trials=3,
    num_initial_points=3,
    seed=6,
    directory="my_dir",
    project_name="repeated",
)
tuner.search(
    train,
    validation_data=validation,
    steps_per_epoch=5,
    validation_steps=2,
    epochs=3,
    class_weight={0: 1.0, 1: 2.0},
    callbacks=[Steps()],
    verbose=0,
)

trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
model = tuner.hypermodel.build(tuner.get_best_hyperparameters()[0])
history = model.fit(
    train,
    validation_data=validation,
    steps_per_epoch=5,
    validation_steps=2,
    epochs=3,
    class_weight={0: 1.0, 1: 2.0},
    verbose=0,
)
best_model = tuner.get_best_models()[0]
print(
    json.dumps(
        {
            "batch": shape,
            "values": [dict(trial.hyperparameters.values) for trial in trials],
            "scores": [round(trial.score, 3) for trial in trials],
            "metrics": sorted(trials[0].metrics.metrics),
            "steps": trials[0].metrics.get_best_value("steps") in (5, 10, 15),
            "as_fit": bool(
                np.isclose(
                    min(history.history["val_loss"]),
                    tuner.oracle.get_best_trials()[0].score,
                    rtol=1e-3,
                )
            ),
            "loss": round(best_model.evaluate(validation, steps=2, verbose=0)[0], 3),
        }
    )
)
