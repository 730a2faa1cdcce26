"""A script of seconds: searches of four short trials, alike for both libraries.

Prints a line of JSON: for each search the seconds from the call of ``search`` to its first epoch,
the seconds from the start of the process to the end of the first search, and the memory (PSS, MiB) of the workers and of what is left running after the first search.
"""

import argparse
import json
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--library", choices=["keras_tuner", "search.kt"], required=True)
parser.add_argument("--searches", type=int, default=2)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--without-forks", action="store_true")
parser.add_argument("--folder", type=Path, required=True)
asked = parser.parse_args()

if asked.without_forks:
    from search.ray import kept

    kept.may_fork = lambda: False
if asked.library == "keras_tuner":
    import keras_tuner as kt

    options = {}
else:
    import search.kt as kt

    options = {"scheduler": None}  # as many epochs as keras-tuner trains

import keras  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

TRIALS = 4
MIB = 2**20


class Watch(keras.callbacks.Callback):
    """Writes down when the first epoch of a trial begins, and the memory of its process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            self._began = time.time()

    def on_train_end(self, logs=None):
        memory = psutil.Process().memory_full_info().pss / MIB
        with self._path.open("a") as file:
            file.write(json.dumps([self._began, memory]) + "\n")


def build(hp):
    """Return a small network."""
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(hp.Int("units", 8, 64), activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def memory_of_children() -> float:
    """Return the memory of all processes that this one has started."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_full_info().pss for child in children) / MIB


draw = np.random.default_rng(0)
x = draw.normal(size=(4000, 20)).astype("float32")
y = (x[:, 0] > 0).astype("int64")
first_epochs, worker_memory, idle_memory, first_search = [], [], 0.0, 0.0
for number in range(asked.searches):
    tuner = kt.RandomSearch(
        build, "val_accuracy", max_trials=TRIALS, seed=number, directory=asked.folder,
        project_name=f"search{number}", **options,
    )  # fmt: skip
    path = asked.folder / f"watched{number}"
    called = time.time()
    tuner.search(
        x, y, validation_split=0.2, epochs=asked.epochs, verbose=0, callbacks=[Watch(path)]
    )
    first_search = first_search or time.time() - psutil.Process().create_time()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    first_epochs.append(min(began for began, _ in lines) - called)
    worker_memory += [memory for _, memory in lines]
    idle_memory = idle_memory or memory_of_children()
print(
    json.dumps(
        {
            "first_epochs": first_epochs,
            "first_search": first_search,
            "worker_memory": sum(worker_memory) / len(worker_memory),
            "idle_memory": idle_memory,
        }
    )
)
