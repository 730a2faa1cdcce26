"""Trains on images from ``ImageDataGenerator``: of arrays, of folders, and of a table of files."""

import json
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pandas as pd
import tensorflow as tf

ImageDataGenerator = tf.keras.preprocessing.image.ImageDataGenerator

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (24, 8, 8, 3)).astype("uint8")
labels = np.arange(24) % 2
images[labels == 1] //= 2
for number, (image, label) in enumerate(zip(images, labels, strict=True)):
    path = Path("images", "dark" if label else "light", f"{number:02}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(path, image, scale=False)


class Batches(keras.callbacks.Callback):
    """Writes down how many batches an epoch has."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.batches = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        with open(self.file, "a") as file:
            file.write(f"{epoch}:{self.batches}\n")


def build_model(hp):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()])
    units = hp.Int("units", 2, 12)
    model.add(keras.layers.Dense(units, "relu", kernel_initializer=keras.initializers.Ones()))
    model.add(keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros"))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"])
    return model


def search(name, train, validation):
    tuner = kt.RandomSearch(
        build_model, "val_loss", max_trials=2, seed=1, directory="my_dir", project_name=name
    )
    batches = Batches(f"{name}.txt")
    tuner.search(
        train, validation_data=validation, epochs=2, shuffle=False, callbacks=[batches], verbose=0
    )
    trials = [tuner.oracle.trials[trial_id] for trial_id in sorted(tuner.oracle.trials)]
    model = tuner.get_best_models()[0]
    return {
        "units": [trial.hyperparameters.get("units") for trial in trials],
        "scores": [round(trial.score, 4) for trial in trials],
        "epochs": Path(f"{name}.txt").read_text().split(),
        "predictions": model.predict(validation, verbose=0).shape,
    }


plain = ImageDataGenerator(rescale=1 / 255)
augmenting = ImageDataGenerator(
    rescale=1 / 255, horizontal_flip=True, rotation_range=90, featurewise_center=True
)
augmenting.fit(images / 255)
held_out = plain.flow(images[16:], labels[16:], batch_size=4, shuffle=False)
table = pd.DataFrame(
    {"file": [f"{n:02}.png" for n in range(24)], "label": np.where(labels, "dark", "light")}
)
table["file"] = table["label"] + "/" + table["file"]
sizes = {"target_size": (8, 8), "class_mode": "binary", "batch_size": 6}
folder = plain.flow_from_directory("images", shuffle=False, **sizes)
files = plain.flow_from_dataframe(
    table, "images", x_col="file", y_col="label", seed=3, shuffle=True, **sizes
)
augmented = augmenting.flow(images[:16], labels[:16], batch_size=4, seed=2)
next(folder)  # a look at a batch

told = {
    "arrays": search("arrays", augmented, held_out),
    "folder": search("folder", folder, held_out),
    "table": search("table", files, folder),
}
# Random transformations go on from trial to trial in one process.
told["arrays"]["scores"] = told["arrays"]["scores"][:1]
told["table"]["scores"] = told["table"]["scores"][:1]
told["classes"] = [folder.class_indices, files.class_indices]
print(json.dumps(told))
