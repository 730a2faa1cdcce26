"""Callbacks that write files: trials run at the same time, so each gets paths of its own.

Imports Keras.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras

from search.errors import ProblemError
from search.task import Carried

# The attribute that holds the file a callback writes.
FILE_ATTRIBUTES = {
    keras.callbacks.ModelCheckpoint: "filepath",
    keras.callbacks.CSVLogger: "filename",
}


def problems(callbacks: Iterable[object]) -> Iterator[str]:
    """Say which callbacks cannot be used, a line each: before any trial begins."""
    for number, callback in enumerate(callbacks):
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            yield (
                f"callbacks[{number}]: BackupAndRestore would let a trial go on where another "
                "ended, as all share its folder. Leave it out: the search itself keeps the best "
                "weights."
            )
        try:
            Carried.of(callback, f"callbacks[{number}] ({type(callback).__name__})")
        except ProblemError as error:
            yield str(error)


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
