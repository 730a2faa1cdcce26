"""The most confident mistakes of a final model, as pictures that a page can hold."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from results.reading import read_table
from results.record import columns
from results.record.errors import RunFolderError
from results.run import Run


@dataclass(frozen=True)
class Mistake:
    """A test sample that the final model got wrong.

    Attributes:
        position: Its place in the test split, from 0.
        predicted: What the model took it for.
        confidence: The probability that the model gave that, in 0..1.
        pixels: Its picture, ``uint8`` of shape (height, width, 3); None where it is none.
    """

    position: int
    true: str
    predicted: str
    confidence: float
    pixels: np.ndarray | None

    @property
    def picture(self) -> str | None:
        """A ``data:`` URL of the picture as PNG; None where there is none."""
        if self.pixels is None:
            return None
        from matplotlib.image import imsave

        png = io.BytesIO()
        imsave(png, self.pixels, format="png")
        return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def mistakes_of(run: Run) -> list[Mistake]:
    """Return them, the surest first; none where the run kept none.

    Raises:
        RunFolderError: Their file is damaged.
    """
    path = run.path / columns.FINAL_DIR / columns.MISTAKES_FILE
    if not path.is_file():
        return []
    try:
        return [_mistake(row) for row in read_table(path).to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}): `fmnist-search retrain {run.path}` makes it anew."
        ) from error


def _mistake(row: dict[str, Any]) -> Mistake:
    return Mistake(
        position=row[columns.POSITION],
        true=row[columns.TRUE_CLASS],
        predicted=row[columns.PREDICTED_CLASS],
        confidence=row[columns.CONFIDENCE],
        pixels=None if row[columns.PIXELS] is None else _pixels(row),
    )


def _pixels(row: dict[str, Any]) -> np.ndarray:
    shape = row[columns.HEIGHT], row[columns.WIDTH], row[columns.CHANNELS]
    pixels = np.frombuffer(row[columns.PIXELS], np.uint8).reshape(shape)
    # One channel is grey: three equal ones.
    return np.repeat(pixels, 3 // shape[2], axis=2)
