"""Saves the complete state of an unfinished trial, so that continuing it gives the same bits.

A file holds the variables of model and optimizer and the attributes of the callbacks, as arrays and
JSON in NumPy's ``.npz`` format. Nothing is pickled; reading checks the checksum of each part.
Imports Keras: for workers only.
"""

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np

from results.record.files import replacing
from search.storage.folder import previous_state_file, remove_state, state_weights_file
from search.worker.laps import KEEP, LAPS

STATE = "state"
ARRAY = "array"  # refers, in the JSON, to an array of the file
# Attributes of callbacks that belong to the process, or are computed again at the first epoch.
EXCLUDED_ATTRIBUTES = ("_model", "params", "min_delta")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial between two epochs.

    Attributes:
        epochs: Epochs trained so far; also the number of the next epoch, from 0.
        variables: Values of the model's variables, then of the optimizer's.
        callbacks: Class name and plain attributes of each callback, in order.
        seed: Seed of the training's random numbers; identifies the training.
    """

    epochs: int
    variables: list[np.ndarray]
    callbacks: list[tuple[str, dict[str, Any]]]
    seed: int = 0

    @classmethod
    def of(
        cls,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        epochs: int,
        seed: int,
    ) -> "Checkpoint":
        """Return the state of a training."""
        return cls(
            epochs,
            [keras.ops.convert_to_numpy(variable) for variable in _variables(model)],
            [
                (type(callback).__name__, _plain_attributes(vars(callback)))
                for callback in callbacks
            ],
            seed,
        )

    def fits(self, model: keras.Model) -> bool:
        """Tell whether the variables have the shapes and types of those of a built model."""
        shapes = [(tuple(var.shape), str(var.dtype)) for var in _variables(model)]
        return shapes == [(array.shape, str(array.dtype)) for array in self.variables]

    def restore(self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Restore the state, after ``on_train_begin`` has reset the callbacks."""
        for variable, value in zip(_variables(model), self.variables, strict=True):
            variable.assign(value)
        for callback, (class_name, state) in zip(callbacks, self.callbacks, strict=False):
            if type(callback).__name__ == class_name:
                vars(callback).update(state)

    def write(self, path: Path) -> None:
        """Write the state to a file; keep an existing file as the previous state."""
        arrays: list[np.ndarray] = []
        state = {
            "epochs": self.epochs,
            "seed": self.seed,
            "variables": _to_json(self.variables, arrays),
            "callbacks": _to_json(self.callbacks, arrays),
        }
        parts: dict[str, Any] = {f"{ARRAY}{index}": array for index, array in enumerate(arrays)}
        parts[STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        with replacing(path) as fresh:
            with fresh.open("wb") as file:
                np.savez(file, **parts)
            if path.exists():
                os.replace(path, previous_state_file(path))


class Checkpoints:
    """Saves the state of one training to disk, seldom enough to cost little.

    Args:
        path: The state file.
        best_weights: The file of the trial's best weights. Each state keeps a copy, which a
            continued training restores: the killed one may have saved better weights since.
        seed: Seed of the training; states with another seed are ignored.
        every_seconds: A kill loses at most this much training, or one epoch if that is longer.
        on_change: Called with the path of each file that was written or removed.
    """

    def __init__(
        self,
        path: Path,
        best_weights: Path | None = None,
        *,
        seed: int = 0,
        every_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Path], None] = lambda _path: None,
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._best_weights = best_weights
        self.seed = seed
        self._every_seconds = every_seconds
        self._clock = clock
        self._saved_at = self._epoch_started_at = clock()

    def begin_epoch(self) -> None:
        self._epoch_started_at = self._clock()

    def is_due(self) -> bool:
        """Tell whether another epoch as long as this one would leave too much unsaved."""
        now = self._clock()
        return now + (now - self._epoch_started_at) - self._saved_at > self._every_seconds

    def keep(self, checkpoint: Checkpoint) -> None:
        if self._best_weights is not None and self._best_weights.exists():
            _copy(self._best_weights, state_weights_file(self._path))
            self._on_change(state_weights_file(self._path))
        checkpoint.write(self._path)
        self._on_change(self._path)
        self._saved_at = self._clock()

    def newest(self) -> Checkpoint | None:
        """Read the newest undamaged checkpoint of this training."""
        return read_newest(self._path, self.seed)

    def restore_best_weights(self) -> None:
        """Restore the best weights at the time of the newest checkpoint."""
        if self._best_weights is not None and state_weights_file(self._path).exists():
            _copy(state_weights_file(self._path), self._best_weights)
            self._on_change(self._best_weights)

    def remove(self) -> None:
        """Remove all saved states: the trial has ended, or starts over."""
        for path in remove_state(self._path):
            self._on_change(path)


class KeepState(keras.callbacks.Callback):
    """Saves the state of a training between epochs; last in the list of callbacks."""

    def __init__(
        self, checkpoints: Checkpoints, callbacks: list[Any], checkpoint: Checkpoint | None
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self._checkpoints = checkpoints
        self._callbacks = callbacks

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.checkpoint is not None:
            self.checkpoint.restore(self.model, self._callbacks)
            self.model._initial_epoch = self.checkpoint.epochs  # as Keras's BackupAndRestore does

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model._initial_epoch = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._checkpoints.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._checkpoints.is_due() and not self.model.stop_training:
            state = Checkpoint.of(
                self.model, self._callbacks, epochs=epoch + 1, seed=self._checkpoints.seed
            )
            self._checkpoints.keep(state)
            LAPS.lap(KEEP)


def read_newest(path: Path, seed: int | None = None) -> Checkpoint | None:
    """Read a checkpoint, or the previous one if it is missing, damaged or has another seed."""
    for candidate in (path, previous_state_file(path)):
        try:
            checkpoint = _read(candidate)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            continue
        if seed in (None, checkpoint.seed):
            return checkpoint
    return None


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as fresh:
        try:
            os.link(source, fresh)  # safe: files are replaced, never written in place
        except OSError:  # a file system without links
            shutil.copy(source, fresh)


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(part, allow_pickle=False)
            for name in archive.namelist()
            for part in [BytesIO(archive.read(name))]  # reading it completely checks its checksum
        }
    state = json.loads(arrays.pop(STATE).tobytes())
    variables, callbacks = (_from_json(state[name], arrays) for name in ("variables", "callbacks"))
    return Checkpoint(state["epochs"], variables, [tuple(row) for row in callbacks], state["seed"])


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in attributes.items()
        if name not in EXCLUDED_ATTRIBUTES and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "fiub"
    return value is None or isinstance(value, (bool, int, float, str))


def _to_json(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return a value as JSON; append its arrays to ``arrays`` and refer to them by index."""
    if isinstance(value, (np.ndarray, np.generic)):
        arrays.append(np.asarray(value))
        dtype = str(value.dtype)  # NumPy's format does not know bfloat16
        return {ARRAY: len(arrays) - 1, "scalar": isinstance(value, np.generic), "dtype": dtype}
    if isinstance(value, (list, tuple)):
        return [_to_json(part, arrays) for part in value]
    if isinstance(value, dict):
        return {"dict": {key: _to_json(part, arrays) for key, part in value.items()}}
    return value


def _from_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_from_json(part, arrays) for part in value]
    if isinstance(value, dict) and ARRAY in value:
        array = arrays[f"{ARRAY}{value[ARRAY]}"].view(value["dtype"])
        return array[()] if value["scalar"] else array
    if isinstance(value, dict):
        return {key: _from_json(part, arrays) for key, part in value["dict"].items()}
    return value
