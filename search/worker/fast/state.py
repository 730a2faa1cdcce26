"""The callback that keeps the state of a training between its epochs, and puts it back."""

from typing import Any

import keras

from search.worker.checkpoint import Checkpoint, Checkpoints
from search.worker.laps import KEEP
from search.worker.process import LAPS


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


def continued_from(callbacks: Any) -> int:
    """Return how many epochs had been trained when the state was kept, 0 without one."""
    last = callbacks[-1] if isinstance(callbacks, list) and callbacks else None
    checkpoint = last.checkpoint if isinstance(last, KeepState) else None
    return checkpoint.epochs if checkpoint else 0
