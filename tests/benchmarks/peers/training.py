"""What every peer has in common: the model of a configuration, its training, a record of epochs."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
from rules import BATCH_SIZE, EPOCHS, PATIENCE

from fmnist_model.data import Splits
from fmnist_model.mlp import Wide, published


def model_of(space: str, values: dict[str, Any]) -> keras.Model:
    """Build and compile the model of a configuration with the builder that all use."""
    hp = kt.HyperParameters()
    hp.values = dict(values)
    return published(hp) if space == "published" else Wide().build(hp)


def train(
    space: str,
    model: keras.Model,
    values: dict[str, Any],
    splits: Splits,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fit a model as its configuration says, with the early stopping of its space."""
    patience = PATIENCE[space]
    early = [keras.callbacks.EarlyStopping("val_loss", patience=patience)] if patience else []
    arguments = {
        "validation_data": splits.validation,
        "epochs": EPOCHS,
        "verbose": 0,
        "callbacks": [*early, *callbacks],
    }
    if space == "published":
        model.fit(*splits.train, batch_size=BATCH_SIZE, **arguments)
        return
    hp = kt.HyperParameters()
    hp.values = dict(values)
    Wide().fit(hp, model, *splits.train, **arguments)


class Reports(keras.callbacks.Callback):
    """Appends a line for each epoch: which training, its configuration, its metrics and when.

    Args:
        path: File of the lines.
        values: The configuration.
    """

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        super().__init__()
        self._path = path
        self._values = values

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._training = f"{os.getpid()}-{time.monotonic_ns()}"
        self._write(epoch=0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        seconds = time.monotonic() - self._began
        finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        self._write(epoch=epoch + 1, epoch_seconds=seconds, metrics=finite)

    def _write(self, **fields: Any) -> None:
        line = {"training": self._training, "values": self._values, "at": time.time(), **fields}
        with Path(self._path).open("a") as file:
            file.write(json.dumps(line, default=float) + "\n")
