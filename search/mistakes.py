"""The final model's most confident mistakes on the test split, with their pictures."""

from typing import Any

import numpy as np

from results import columns

MOST = 24
# Inputs with longer sides are no pictures that a report could show side by side.
LONGEST_SIDE_PIXELS = 512


def most_confident(
    inputs: np.ndarray,
    labels: np.ndarray,
    outputs: np.ndarray,
    class_names: tuple[str, ...] | None,
) -> list[dict[str, Any]]:
    """Return the mistakes of which the model was surest, the surest first.

    Args:
        inputs: Test inputs; pictures are of shape (n, height, width) or (n, height, width, 1 or 3).
        labels: True labels in 0..classes-1, shape (n,).
        outputs: Probability of each class, shape (n, classes).
        class_names: Name of each class; without it classes are named by their numbers.

    Returns:
        Rows of ``mistakes.parquet``, ``MOST`` at most: position in the test split, true and
        predicted class, probability of each, and the picture as rows of ``uint8`` pixels with its
        height, width and channels; None for what is no picture.
    """
    predicted = outputs.argmax(axis=1)
    confidence = outputs.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST]
    names = class_names or tuple(str(number) for number in range(outputs.shape[1]))
    pictures = _Pictures(inputs)
    return [
        {
            columns.POSITION: int(one),
            columns.TRUE_CLASS: names[labels[one]],
            columns.PREDICTED_CLASS: names[predicted[one]],
            columns.CONFIDENCE: float(confidence[one]),
            columns.TRUE_PROBABILITY: float(outputs[one, labels[one]]),
            **pictures.columns_of(inputs[one]),
        }
        for one in surest
    ]


class _Pictures:
    """Turns inputs into pixels, on the scale of them all."""

    def __init__(self, inputs: np.ndarray) -> None:
        self._low, self._high = float(inputs.min()), float(inputs.max())
        sides = inputs.shape[1:3]
        has_channels = inputs.ndim == 4 and inputs.shape[3] in (1, 3)
        self._are_pictures = (
            (inputs.ndim == 3 or has_channels)
            and np.issubdtype(inputs.dtype, np.number)
            and max(sides) <= LONGEST_SIDE_PIXELS
        )

    def columns_of(self, one: np.ndarray) -> dict[str, Any]:
        if not self._are_pictures:
            names = (columns.PIXELS, columns.HEIGHT, columns.WIDTH, columns.CHANNELS)
            return dict.fromkeys(names)
        span = self._high - self._low or 1.0
        pixels = np.round((one.astype(np.float64) - self._low) / span * 255.0).astype(np.uint8)
        return {
            columns.PIXELS: pixels.tobytes(),
            columns.HEIGHT: one.shape[0],
            columns.WIDTH: one.shape[1],
            columns.CHANNELS: one.shape[2] if one.ndim == 3 else 1,
        }
