"""The most confident mistakes of a classifier on the test split, with their pictures."""

from typing import Any, NamedTuple

import numpy as np

from results.record import columns

# The most rows of mistakes.parquet.
MAX_MISTAKES = 24
# Inputs with sides of other lengths or proportions do not count as pictures for the report.
SIDE_PIXELS = range(8, 513)
MAX_ASPECT_RATIO = 4.0


class Mistake(NamedTuple):
    """An input whose predicted class is not its own.

    Attributes:
        position: Its position in the test split, from 0.
        label: Its true class.
        probabilities: Of each class, shape (classes,).
        picture: The input; None if the inputs are no pictures.
    """

    position: int
    label: int
    probabilities: np.ndarray
    picture: np.ndarray | None

    @property
    def confidence(self) -> float:
        """The probability of the predicted class."""
        return float(self.probabilities.max())


class Mistakes:
    """Keeps the most confident mistakes of a model, which reads the test split batch by batch."""

    def __init__(self) -> None:
        self._mistakes: list[Mistake] = []
        self._samples = 0
        self._low, self._high = np.inf, -np.inf

    def add(self, inputs: Any, labels: np.ndarray, outputs: np.ndarray) -> None:
        """Add a batch.

        Args:
            inputs: Its inputs; pictures are an array of shape (n, height, width) or (n, height,
                width, 1 or 3).
            labels: True labels, shape (n,); labels outside 0..classes-1 are ignored.
            outputs: Probability of each class, shape (n, classes); rows that are not probabilities
                count as logits.
        """
        has_pictures = _are_pictures(inputs)
        if has_pictures:
            finite = inputs[np.isfinite(inputs)]
            if finite.size:
                self._low = min(self._low, float(finite.min()))
                self._high = max(self._high, float(finite.max()))
        probabilities = _probabilities(outputs)
        is_wrong = (probabilities.argmax(axis=1) != labels) & (labels >= 0)
        wrong = np.flatnonzero(is_wrong & (labels < outputs.shape[1]))
        confidence = probabilities.max(axis=1)
        surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_MISTAKES]
        batch = [
            Mistake(
                self._samples + int(row),
                int(labels[row]),
                probabilities[row],
                np.array(inputs[row]) if has_pictures else None,
            )
            for row in surest
        ]
        ranked = sorted([*self._mistakes, *batch], key=lambda mistake: -mistake.confidence)
        self._mistakes = ranked[:MAX_MISTAKES]
        self._samples += len(labels)

    def rows(self, class_names: tuple[str, ...] | None) -> list[dict[str, Any]]:
        """Return at most ``MAX_MISTAKES`` rows of ``mistakes.parquet``, the most confident first.

        Each has the position in the test split, the true and the predicted class, the probability
        of each, and the picture as rows of ``uint8`` pixels with its height, width and channels,
        which are None if the inputs are no pictures. The range of all inputs becomes pixels 0-255.

        Args:
            class_names: Name of each label; None: their numbers.
        """
        return [self._row(mistake, class_names) for mistake in self._mistakes]

    def _row(self, mistake: Mistake, class_names: tuple[str, ...] | None) -> dict[str, Any]:
        names = class_names or tuple(map(str, range(len(mistake.probabilities))))
        return {
            columns.POSITION: mistake.position,
            columns.TRUE_CLASS: names[mistake.label],
            columns.PREDICTED_CLASS: names[mistake.probabilities.argmax()],
            columns.CONFIDENCE: mistake.confidence,
            columns.TRUE_PROBABILITY: float(mistake.probabilities[mistake.label]),
            **self._pixels(mistake.picture),
        }

    def _pixels(self, picture: np.ndarray | None) -> dict[str, Any]:
        low, high = self._low, self._high
        if picture is None or low > high:  # no input has a finite number
            names = (columns.PIXELS, columns.HEIGHT, columns.WIDTH, columns.CHANNELS)
            return dict.fromkeys(names)
        values = np.nan_to_num(picture.astype(np.float64), nan=low, posinf=high, neginf=low)
        scaled = (values - low) / (high - low or 1.0)
        return {
            columns.PIXELS: np.round(scaled * 255.0).astype(np.uint8).tobytes(),
            columns.HEIGHT: picture.shape[0],
            columns.WIDTH: picture.shape[1],
            columns.CHANNELS: picture.shape[2] if picture.ndim == 3 else 1,
        }


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return rows that sum to 1: probabilities unchanged, logits through a softmax."""
    rows = np.nan_to_num(outputs.astype(np.float64), nan=0.0)
    if rows.min() >= 0.0 and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):
        return rows
    exponentials = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _are_pictures(inputs: Any) -> bool:
    if not isinstance(inputs, np.ndarray) or not np.issubdtype(inputs.dtype, np.number):
        return False
    has_channels = inputs.ndim == 4 and inputs.shape[3] in (1, 3)
    if not (inputs.ndim == 3 or has_channels):
        return False
    short, long = sorted(inputs.shape[1:3])
    return short in SIDE_PIXELS and long in SIDE_PIXELS and long <= MAX_ASPECT_RATIO * short
