"""The most confident mistakes of a final model, as pictures that a page can hold."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from results import columns
from results.reading import Run, RunError, read_table


@dataclass(frozen=True)
class Mistake:
    """A test sample that the final model got wrong.

    Attributes:
        position: Its place in the test split, from 0.
        true: Name of its class.
        predicted: What the model took it for.
        confidence: The probability that the model gave that, in 0..1.
        picture: A ``data:`` URL of it as PNG; None where it is no picture.
    """

    position: int
    true: str
    predicted: str
    confidence: float
    picture: str | None


def mistakes_of(run: Run) -> list[Mistake]:
    """Return them, the surest first; none where the run kept none.

    Raises:
        RunError: Their file is damaged.
    """
    path = run.path / columns.FINAL_DIR / columns.MISTAKES_FILE
    if not path.is_file():
        return []
    try:
        return [_mistake(row) for row in read_table(path).to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged ({error}): `fmnist-search retrain {run.path}` makes it anew."
        ) from error


def _mistake(row: dict[str, Any]) -> Mistake:
    return Mistake(
        position=row[columns.POSITION],
        true=row[columns.TRUE_CLASS],
        predicted=row[columns.PREDICTED_CLASS],
        confidence=row[columns.CONFIDENCE],
        picture=None if row[columns.PIXELS] is None else _data_url(row),
    )


def _data_url(row: dict[str, Any]) -> str:
    from matplotlib.image import imsave

    shape = row[columns.HEIGHT], row[columns.WIDTH], row[columns.CHANNELS]
    pixels = np.frombuffer(row[columns.PIXELS], np.uint8).reshape(shape)
    png = io.BytesIO()
    # One channel is grey: three equal ones.
    imsave(png, np.repeat(pixels, 3 // shape[2], axis=2), format="png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")
