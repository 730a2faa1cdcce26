"""Reads images from a folder for each class, and augments them by layers of Keras in the pipeline."""

import json
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(5)
for number in range(32):
    path = Path("photos", ["cats", "dogs"][number % 2], f"{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 256, (10, 10, 3)) // (1 + number % 2)
    keras.utils.save_img(path, image, scale=False)

options = {"validation_split": 0.25, "seed": 7, "image_size": (8, 8), "batch_size": 4}
train, validation = keras.utils.image_dataset_from_directory("photos", subset="both", **options)
names = train.class_names
scale = keras.layers.Rescaling(1 / 255)
augment = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)])
colours = keras.layers.Normalization()
colours.adapt(validation.map(lambda x, y: scale(x)))

train = (
    train.map(lambda x, y: (scale(x), y))
    .cache("train.cache")
    .map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    .prefetch(tf.data.AUTOTUNE)
)
validation = validation.map(lambda x, y: (scale(x), y)).cache().prefetch(1)
for images, _ in train:  # a look at all batches
    shape = images.shape.as_list()


class Photos(kt.HyperModel):
    """Normalizes by a layer that has seen data before."""

    def build(self, hp):
        model = keras.Sequential([keras.Input((8, 8, 3)), colours])
        model.add(keras.layers.Conv2D(hp.Int("filters", 2, 6, step=2), 3))
        model.add(keras.layers.GlobalMaxPooling2D())
        model.add(keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros"))
        # The weights stay, whatever the pipeline draws.
        optimizer = keras.optimizers.SGD(0.0)
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        drawn = [np.concatenate([x for x, _ in args[0]]) for _ in range(2)]
        history = model.fit(*args, **kwargs)
        return {
            "judged": min(history.history["val_loss"]),
            "images": len(drawn[0]),
            "new": float(np.abs(drawn[0] - drawn[1]).max() > 0),
            "mean": float(colours.mean.numpy().mean()),
        }


tuner = kt.Hyperband(
    Photos(),
    kt.Objective("judged", "min"),
    max_epochs=2,
    factor=2,
    seed=1,
    directory="my_dir",
    project_name="photos",
)
tuner.search(train, validation_data=validation, verbose=0)
best = tuner.oracle.get_best_trials()[0].metrics
model = tuner.hypermodel.build(tuner.get_best_hyperparameters()[0])
print(
    json.dumps(
        {
            "names": names,
            "shape": shape,
            "seen": {
                name: round(best.get_best_value(name), 5) for name in ("images", "new", "mean")
            },
            "statuses": [trial.status for trial in tuner.oracle.trials.values()],
            "scores": [round(trial.score, 4) for trial in tuner.oracle.trials.values()],
            "evaluated": round(model.evaluate(validation, verbose=0)[0], 4),
        }
    )
)
