"""Callbacks that write files: trials run at the same time, so each gets paths of its own.

Imports Keras: for workers only.
"""

from collections.abc import Iterable
from pathlib import Path

import keras

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
