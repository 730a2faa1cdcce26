"""The whole state of an unfinished trial: what continuing it needs to give the same bits.

A file holds the model's variables, the optimizer's, and what the callbacks remember, as arrays and
JSON in NumPy's ``.npz`` form: nothing in it is pickled, and the checksum of each part is checked
when it is read. Imports Keras: for workers only.
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
ARRAY = "array"  # stands in the JSON for an array that is kept beside it
# Of a callback: what belongs to the process, or is worked out anew at its first epoch.
NOT_KEPT = ("_model", "params", "min_delta")


@dataclass(frozen=True)
class Checkpoint:
    """A trial between two epochs.

    Attributes:
        epochs: Epochs trained so far; the next one has this number, from 0.
        variables: Values of the model's variables, then of the optimizer's.
        callbacks: By place in the list, the class's name and what the callback remembers.
        seed: What the training's random numbers follow from; another training has another.
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
        """Take down the state of a training."""
        return cls(
            epochs,
            [keras.ops.convert_to_numpy(variable) for variable in _variables(model)],
            [(type(callback).__name__, _kept(vars(callback))) for callback in callbacks],
            seed,
        )

    def fits(self, model: keras.Model) -> bool:
        """Tell whether the variables are those of a model, built and with a built optimizer."""
        shapes = [(tuple(each.shape), str(each.dtype)) for each in _variables(model)]
        return shapes == [(array.shape, str(array.dtype)) for array in self.variables]

    def restore(self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Put the state back, once ``on_train_begin`` has cleared the callbacks."""
        for variable, value in zip(_variables(model), self.variables, strict=True):
            variable.assign(value)
        for callback, (kind, state) in zip(callbacks, self.callbacks, strict=False):
            if type(callback).__name__ == kind:
                vars(callback).update(state)

    def write(self, path: Path) -> None:
        """Write it beside its place; the one that stood there is kept as the one before."""
        arrays: list[np.ndarray] = []
        state = {
            "epochs": self.epochs,
            "seed": self.seed,
            "variables": _json(self.variables, arrays),
            "callbacks": _json(self.callbacks, arrays),
        }
        named: dict[str, Any] = {f"{ARRAY}{place}": array for place, array in enumerate(arrays)}
        named[STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        with replacing(path) as fresh:
            with fresh.open("wb") as file:
                np.savez(file, **named)
            if path.exists():
                os.replace(path, previous_state_file(path))


class Checkpoints:
    """The newest state of one trial on disk, written seldom enough to cost little.

    Args:
        path: The file.
        best_weights: The file of the trial's best weights so far. The training may be killed when
            it has written better ones, and then not meet them again: it goes back to those.
        seed: Of the training; the state of any other is none of this one.
        every_seconds: No more training than this, or one epoch where that is longer, is lost.
        written: Told of each file that was written or removed.
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
        self._kept_at = self._epoch_began_at = clock()

    def begin_epoch(self) -> None:
        self._epoch_began_at = self._clock()

    def is_due(self) -> bool:
        """Tell whether another epoch like this one would leave too much unkept."""
        now = self._clock()
        return now + (now - self._epoch_began_at) - self._kept_at > self._every_seconds

    def keep(self, checkpoint: Checkpoint) -> None:
        if self._best_weights is not None and self._best_weights.exists():
            _copy(self._best_weights, state_weights_file(self._path))
            self._on_change(state_weights_file(self._path))
        checkpoint.write(self._path)
        self._on_change(self._path)
        self._kept_at = self._clock()

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint of this training that is whole."""
        return read_newest(self._path, self.seed)

    def restore_best_weights(self) -> None:
        """Put the best weights back that belong to the newest checkpoint."""
        if self._best_weights is not None and state_weights_file(self._path).exists():
            _copy(state_weights_file(self._path), self._best_weights)
            self._on_change(self._best_weights)

    def remove(self) -> None:
        """Remove what is kept: the trial has ended, or begins anew."""
        for removed in remove_state(self._path):
            self._on_change(removed)


class KeepState(keras.callbacks.Callback):
    """Keeps the state of a training between its epochs; last in the list of callbacks."""

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
            self.model._initial_epoch = self.checkpoint.epochs  # as BackupAndRestore does

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
    """Read a checkpoint, or where it is missing, damaged or of another seed the one before it."""
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
            os.link(source, fresh)  # neither is ever written to: each is replaced
        except OSError:  # not on this file system
            shutil.copy(source, fresh)


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as opened, zipfile.ZipFile(opened) as archive:
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(part, allow_pickle=False)
            for name in archive.namelist()
            for part in [BytesIO(archive.read(name))]  # read whole: its checksum is checked
        }
    state = json.loads(arrays.pop(STATE).tobytes())
    variables, callbacks = (_values(state[name], arrays) for name in ("variables", "callbacks"))
    return Checkpoint(state["epochs"], variables, [tuple(row) for row in callbacks], state["seed"])


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _kept(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in attributes.items()
        if name not in NOT_KEPT and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "fiub"
    return value is None or isinstance(value, (bool, int, float, str))


def _json(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return a value as JSON, its arrays put into a list and named by their place there."""
    if isinstance(value, (np.ndarray, np.generic)):
        arrays.append(np.asarray(value))
        kind = str(value.dtype)  # NumPy's format does not know bfloat16
        return {ARRAY: len(arrays) - 1, "scalar": isinstance(value, np.generic), "dtype": kind}
    if isinstance(value, (list, tuple)):
        return [_json(part, arrays) for part in value]
    if isinstance(value, dict):
        return {"dict": {key: _json(part, arrays) for key, part in value.items()}}
    return value


def _values(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_values(part, arrays) for part in value]
    if isinstance(value, dict) and ARRAY in value:
        array = arrays[f"{ARRAY}{value[ARRAY]}"].view(value["dtype"])
        return array[()] if value["scalar"] else array
    if isinstance(value, dict):
        return {key: _values(part, arrays) for key, part in value["dict"].items()}
    return value
