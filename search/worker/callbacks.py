"""Callbacks: paths of its own for each trial that writes files, and what retraining remembers.

Imports Keras: for workers only.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from search.worker import process

# The attribute that holds the file a callback writes.
FILE_ATTRIBUTES = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
}


def own_paths(callbacks: Iterable[keras.callbacks.Callback], trial: str, execution: int) -> None:
    """Move what callbacks write into a folder of the trial, as keras-tuner does for TensorBoard.

    ``models/best.keras`` becomes ``models/0003/execution0/best.keras``.
    """
    for callback in callbacks:
        for kind, attribute in FILE_ATTRIBUTES.items():
            if isinstance(callback, kind):
                shared = Path(str(getattr(callback, attribute)))
                own = shared.parent / trial / f"execution{execution}" / shared.name
                own.parent.mkdir(parents=True, exist_ok=True)
                setattr(callback, attribute, str(own))


class Rows(keras.callbacks.Callback):
    """Keeps the metrics of each epoch, and goes on with them where a training goes on.

    Args:
        report: Called with the number of each finished epoch, from 1.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.rows: list[dict[str, float | None]] = []
        self._report = report

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append(process.plain(logs or {}))
        self._report(epoch + 1)
