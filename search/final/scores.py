"""The scores of a final model: Keras's metrics, and a classifier's scores and surest mistakes."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from results.record import columns

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 512
# The most rows of mistakes.parquet.
MAX_MISTAKES = 24
# Inputs with sides of other lengths or proportions do not count as pictures for the report.
SIDE_PIXELS = range(8, 513)
MAX_ASPECT_RATIO = 4.0


@dataclass(frozen=True)
class Evaluated:
    """The scores of a model on the test split.

    Attributes:
        scores: JSON values by name.
        mistakes: Rows of ``mistakes.parquet``; empty if the model is not a classifier.
    """

    scores: dict[str, Any]
    mistakes: list[dict[str, Any]] = field(default_factory=list)


def evaluate(
    model: "keras.Model",
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    class_names: tuple[str, ...] | None,
) -> Evaluated:
    """Evaluate a model on the test split.

    Args:
        model: A compiled model.
        inputs: Test inputs of shape (n, ...), as the model takes them.
        targets: Test targets of shape (n, ...); with integer labels of shape (n,), and outputs of
            two or more columns, the model counts as a classifier.
        class_names: Name of each label; None: their numbers.

    Returns:
        ``test_<metric>`` of every compiled metric; for a classifier also the scores of
        ``classification_scores``, and its most confident mistakes.
    """
    metrics = model.evaluate(inputs, targets, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
    scores: dict[str, Any] = {f"test_{name}": float(value) for name, value in metrics.items()}
    if not np.issubdtype(targets.dtype, np.integer) or targets.ndim != 1:
        return Evaluated(scores)
    outputs = np.asarray(model.predict(inputs, batch_size=BATCH_SIZE, verbose=0))
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        return Evaluated(scores)
    scores |= classification_scores(
        targets, outputs.argmax(axis=1), classes=outputs.shape[1], class_names=class_names
    )
    return Evaluated(scores, most_confident(inputs, targets, outputs, class_names))


def classification_scores(
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    classes: int,
    class_names: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Score predicted labels.

    Args:
        labels: True labels in 0..classes-1, shape (n,).
        predicted: Predicted labels in 0..classes-1, shape (n,).
        classes: Number of classes.
        class_names: Name of each class; None: their numbers.

    Returns:
        ``test_accuracy``, ``precision_macro``, ``recall_macro``, ``per_class`` (name, precision,
        recall, f1, support) and ``confusion_matrix`` (rows are true classes). A class that was
        never predicted has precision 0.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = list(range(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=numbers, zero_division=0
    )
    names = class_names or tuple(str(number) for number in numbers)
    return {
        "test_accuracy": float(np.mean(labels == predicted)),
        "precision_macro": float(precision.mean()),
        "recall_macro": float(recall.mean()),
        "per_class": [
            {
                "name": names[number],
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
            }
            for number in numbers
        ],
        "confusion_matrix": confusion_matrix(labels, predicted, labels=numbers).tolist(),
    }


def most_confident(
    inputs: np.ndarray,
    labels: np.ndarray,
    outputs: np.ndarray,
    class_names: tuple[str, ...] | None,
) -> list[dict[str, Any]]:
    """Return the most confident mistakes of a model, the most confident first.

    Args:
        inputs: Test inputs; pictures are of shape (n, height, width) or (n, height, width, 1 or 3).
        labels: True labels, shape (n,); labels outside 0..classes-1 are ignored.
        outputs: Probability of each class, shape (n, classes); rows that are not probabilities
            count as logits.
        class_names: Name of each class; None: their numbers.

    Returns:
        At most ``MAX_MISTAKES`` rows of ``mistakes.parquet``: position in the test split, true and
        predicted class, probability of each, and the picture as rows of ``uint8`` pixels with its
        height, width and channels, which are None if the inputs are not pictures.
    """
    classes = outputs.shape[1]
    outputs = _probabilities(outputs)
    predicted = outputs.argmax(axis=1)
    confidence = outputs.max(axis=1)
    wrong = np.flatnonzero((predicted != labels) & (labels >= 0) & (labels < classes))
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_MISTAKES]
    names = class_names or tuple(str(number) for number in range(classes))
    pictures = _pictures(inputs, surest)
    return [
        {
            columns.POSITION: int(position),
            columns.TRUE_CLASS: names[labels[position]],
            columns.PREDICTED_CLASS: names[predicted[position]],
            columns.CONFIDENCE: float(confidence[position]),
            columns.TRUE_PROBABILITY: float(outputs[position, labels[position]]),
            **picture,
        }
        for position, picture in zip(surest, pictures, strict=True)
    ]


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return rows that sum to 1: probabilities unchanged, logits through a softmax."""
    rows = np.nan_to_num(outputs.astype(np.float64), nan=0.0)
    if rows.min() >= 0.0 and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):
        return rows
    exponentials = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _pictures(inputs: np.ndarray, positions: np.ndarray) -> list[dict[str, Any]]:
    """Return the picture columns of some inputs; the range of all inputs becomes pixels 0-255."""
    if not _are_pictures(inputs):
        names = (columns.PIXELS, columns.HEIGHT, columns.WIDTH, columns.CHANNELS)
        return [dict.fromkeys(names) for _ in positions]
    finite = inputs[np.isfinite(inputs)]
    low, high = float(finite.min()), float(finite.max())
    rows: list[dict[str, Any]] = []
    for picture in inputs[positions]:
        values = np.nan_to_num(picture.astype(np.float64), nan=low, posinf=high, neginf=low)
        scaled = (values - low) / (high - low or 1.0)
        rows.append(
            {
                columns.PIXELS: np.round(scaled * 255.0).astype(np.uint8).tobytes(),
                columns.HEIGHT: picture.shape[0],
                columns.WIDTH: picture.shape[1],
                columns.CHANNELS: picture.shape[2] if picture.ndim == 3 else 1,
            }
        )
    return rows


def _are_pictures(inputs: np.ndarray) -> bool:
    has_channels = inputs.ndim == 4 and inputs.shape[3] in (1, 3)
    if not (inputs.ndim == 3 or has_channels) or not np.issubdtype(inputs.dtype, np.number):
        return False
    if not np.isfinite(inputs).any():
        return False
    short, long = sorted(inputs.shape[1:3])
    return short in SIDE_PIXELS and long in SIDE_PIXELS and long <= MAX_ASPECT_RATIO * short
