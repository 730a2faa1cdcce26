"""A script that searches with each kind of data: ``kinds_of_data.py FOLDER STEPS [KIND...]``.

Its classes and functions stand in the script, as those of a user do. Each of ``STEPS``, such as
``first,again``, searches for one trial more: with ``equal`` data, with another ``split`` of them,
with ``other`` data, or ``again`` with the tuner and the data of the step before. It prints as JSON,
for each kind and step, how many trials were added, what was said of the project, and the error.
"""

import contextlib
import io
import itertools
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import ray
import scipy.sparse
import tensorflow as tf

import search.kt as kt
from search.errors import UsageError
from search.ray.runtime import local_cluster

ROWS = 6000  # so that arrays are large enough to travel apart from a graph
ROW = tf.TensorSpec((4,), tf.float32)
TARGET = tf.TensorSpec((), tf.float32)
STEPS = {"steps_per_epoch": 3}


@dataclass
class Data:
    """Rows of numbers with their targets.

    Attributes:
        x: float32 of shape (rows, 4).
        y: float32 of shape (rows,).
        name: Which data these are.
    """

    x: np.ndarray
    y: np.ndarray
    name: str

    @classmethod
    def named(cls, name):
        everything = np.random.default_rng(1).normal(size=(2 * ROWS, 4)).astype("float32")
        rows = np.random.default_rng(3 if name == "split" else 2).permutation(2 * ROWS)[:ROWS]
        x = everything[rows] + (5 if name == "other" else 0)
        return cls(x, x[:, 0] - x[:, 1], name)

    @property
    def dataset(self):
        return tf.data.Dataset.from_tensor_slices((self.x, self.y))

    def batches(self, size=1000):
        return [
            (self.x[start : start + size], self.y[start : start + size])
            for start in range(0, len(self.x), size)
        ]

    def file(self, suffix):
        return f"{self.name}.{suffix}"


@dataclass
class Settings:
    """How batches are drawn."""

    size: int
    scale: float = 1.0


class Batches(keras.utils.PyDataset):
    """Batches of the script, with a lock and settings of a class of the script."""

    def __init__(self, x, y, settings):
        super().__init__()
        self.x, self.y = x, y
        self.settings = settings
        self.lock = threading.Lock()

    def __len__(self):
        return len(self.x) // self.settings.size

    def __getitem__(self, index):
        with self.lock:
            rows = slice(index * self.settings.size, (index + 1) * self.settings.size)
            return self.x[rows] * self.settings.scale, self.y[rows]


class Endless:
    """An iterator of the script that never ends."""

    def __init__(self, batches):
        self.batches = batches
        self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.position += 1
        return self.batches[self.position % len(self.batches)]


class Rows:
    """Rows that a dataset reads one by one."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __call__(self):
        yield from zip(self.x[:50], self.y[:50], strict=True)


def endless(x, y, size=1000):
    while True:
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]


def halve(rows):
    return (rows / 2).astype("float32")


def halved(x, y):
    return tf.ensure_shape(tf.numpy_function(halve, [x], tf.float32), (None, 4)), y


noise = keras.layers.GaussianNoise(0.01)


def augment(x, y):
    return noise(x, training=True) + tf.random.normal(tf.shape(x), stddev=0.01), y


def labelled(data):
    keys = tf.lookup.KeyValueTensorInitializer([f"key {n}" for n in range(50)], [1.0] * 50)
    table = tf.lookup.StaticHashTable(keys, 0.0)
    return data.dataset.map(lambda x, y: (x, y * table.lookup(tf.constant("key 7"))))


def records(data):
    path = Path(data.file("tfrecord"))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in np.column_stack([data.x, data.y])[:100]:
            writer.write(row.tobytes())

    def read(record):
        row = tf.reshape(tf.io.decode_raw(record, tf.float32), (5,))
        return row[:4], row[4]

    return tf.data.TFRecordDataset(str(path)).map(read).batch(50)


def image_files(data):
    for number, row in enumerate(data.x[:20]):
        path = Path(data.file("images"), "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, np.tile(row, 4).reshape(2, 2, 4), scale=True)
    return data.file("images")


IMAGES = {"color_mode": "rgba", "batch_size": 5}
ImageDataGenerator = tf.keras.preprocessing.image.ImageDataGenerator


def flow(data):
    return ImageDataGenerator(horizontal_flip=True).flow(
        data.x.reshape(-1, 2, 2, 1), data.y, batch_size=2000, seed=1
    )


def folder(data):
    return ImageDataGenerator().flow_from_directory(
        image_files(data), target_size=(2, 2), class_mode="binary", **IMAGES
    )


def photos(data):
    return keras.utils.image_dataset_from_directory(
        image_files(data), image_size=(2, 2), seed=1, **IMAGES
    )


def begun(batches):
    next(batches)
    return batches


def columns(data):
    return pd.DataFrame(data.x, columns=list("abcd")), pd.Series(data.y, name="target")


def texts(data):
    words = np.array([f"{data.name[0]} {value:.0f}" for value in data.x[:, 0]], dtype=object)
    return words, data.y


KINDS = {
    "arrays": lambda data: ((data.x, data.y), {"validation_split": 0.2, "batch_size": 1000}),
    "inputs": lambda data: (({"a": data.x}, data.y), {"sample_weight": np.abs(data.y)}),
    "texts": lambda data: (texts(data), {}),
    "frames": lambda data: (columns(data), {"validation_data": columns(data)}),
    "sparse": lambda data: ((scipy.sparse.csr_matrix(data.x), data.y), {}),
    "tensors": lambda data: ((tf.constant(data.x), tf.constant(data.y)), {}),
    "dataset": lambda data: (
        (data.dataset.shuffle(100, seed=1).batch(1000),),
        {"validation_data": data.dataset.batch(1000).take(2)},
    ),
    "repeated": lambda data: ((data.dataset.batch(1000).repeat().prefetch(1),), STEPS),
    "augmented": lambda data: ((data.dataset.batch(1000).map(augment),), {}),
    "table": lambda data: ((labelled(data).batch(1000).cache(),), {}),
    "cached": lambda data: ((data.dataset.batch(1000).cache(data.file("cache")),), {}),
    "from_generator": lambda data: (
        (
            tf.data.Dataset.from_generator(
                Rows(data.x, data.y), output_signature=(ROW, TARGET)
            ).batch(50),
        ),
        {},
    ),
    "numpy_function": lambda data: ((data.dataset.batch(1000).map(halved),), {}),
    "records": lambda data: ((records(data),), {}),
    "photos": lambda data: ((photos(data),), {}),
    "generator": lambda data: ((endless(data.x, data.y),), STEPS),
    "begun": lambda data: ((begun(batch for batch in itertools.cycle(data.batches())),), STEPS),
    "iterator": lambda data: (((batch for batch in Endless(data.batches())),), STEPS),
    "batches": lambda data: ((Batches(data.x, data.y, Settings(1000)),), {}),
    "flow": lambda data: ((flow(data),), {}),
    "folder": lambda data: ((folder(data),), {}),
}


def compiled(hp, inputs, outputs):
    hidden = keras.layers.Dense(hp.Int("units", 2, 64))(outputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mae", jit_compile=False)
    return model


def build_dense(hp):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(hp.Int("units", 2, 64))])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mae", jit_compile=False)
    return model


def build_inputs(hp):
    inputs = {"a": keras.Input((4,))}
    return compiled(hp, inputs, inputs["a"])


def build_sparse(hp):
    inputs = keras.Input((4,), sparse=True)
    return compiled(hp, inputs, inputs)


def build_text(hp):
    inputs = keras.Input((), dtype="string")
    return compiled(hp, inputs, keras.layers.Embedding(10, 4)(keras.layers.Hashing(10)(inputs)))


BUILDERS = {"inputs": build_inputs, "sparse": build_sparse, "texts": build_text}


def make_tuner(directory, kind):
    tuner = kt.RandomSearch(
        BUILDERS.get(kind, build_dense),
        "loss",
        max_trials=1,
        seed=4,
        overwrite=False,
        directory=directory,
        project_name=kind,
        scheduler=None,
        resources_per_trial={"cpu": 2},
    )
    tuner.oracle.max_trials = len(tuner.oracle.trials)
    return tuner


def search(tuner, args, kwargs):
    """Search for one trial more; return what comes of it."""
    output, error = io.StringIO(), None
    before = len(tuner.oracle.trials)
    tuner.oracle.max_trials = before + 1
    with contextlib.redirect_stdout(output):
        try:
            tuner.search(*args, epochs=1, **kwargs)
        except UsageError as raised:
            error = str(raised)
    return {
        "added": len(tuner.oracle.trials) - before,
        "said": [line for line in output.getvalue().splitlines() if tuner.project_dir in line],
        "error": error,
    }


def main(directory, steps, *kinds):
    told = {}
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(local_cluster(2, forks=True))
        for kind in kinds or KINDS:
            told[kind] = {}
            for step in steps.split(","):
                if step != "again":
                    tuner = make_tuner(directory, kind)
                    args, kwargs = KINDS[kind](Data.named(step))
                told[kind][step] = search(tuner, args, kwargs)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
