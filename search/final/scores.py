"""The numbers of a final model: Keras's own, and a classifier's scores and surest mistakes."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from results.record import columns

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 512
# Of mistakes.parquet.
MOST_MISTAKES = 24
# Of other sides inputs are no pictures that a report could show side by side, but rows of numbers.
SIDE_PIXELS = range(8, 513)
MOST_OBLONG = 4.0


@dataclass(frozen=True)
class Evaluated:
    """What a model does on the test split.

    Attributes:
        scores: JSON values by name.
        mistakes: Rows of ``mistakes.parquet``; empty where the model is no classifier.
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
        inputs: Test inputs, of any shape the model takes.
        targets: Test targets, as long; integer labels of shape (n,) make it a classifier.
        class_names: Name of each label; without it labels are named by their numbers.

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
        predicted: Predicted labels, likewise.
        classes: Number of classes.
        class_names: Name of each class.

    Returns:
        ``test_accuracy``, ``precision_macro``, ``recall_macro``, ``per_class`` (name, precision,
        recall, f1, support) and ``confusion_matrix`` (rows are true classes). A class never
        predicted has precision 0, as scikit-learn counts it.
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
    """Return the mistakes of which the model was surest, the surest first.

    Args:
        inputs: Test inputs; pictures are of shape (n, height, width) or (n, height, width, 1 or 3).
        labels: True labels, shape (n,); those outside 0..classes-1 are passed over.
        outputs: Probability of each class, shape (n, classes); where rows are no probabilities,
            they are taken for logits.
        class_names: Name of each class; without it classes are named by their numbers.

    Returns:
        Rows of ``mistakes.parquet``, ``MOST_MISTAKES`` at most: position in the test split, true
        and predicted class, probability of each, and the picture as rows of ``uint8`` pixels with
        its height, width and channels; None for what is no picture.
    """
    classes = outputs.shape[1]
    outputs = _probabilities(outputs)
    predicted = outputs.argmax(axis=1)
    confidence = outputs.max(axis=1)
    wrong = np.flatnonzero((predicted != labels) & (labels >= 0) & (labels < classes))
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
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
    """Return rows that sum to 1: those of a softmax as they are, of logits by one."""
    exact = np.nan_to_num(outputs.astype(np.float64), nan=0.0)
    if exact.min() >= 0.0 and np.allclose(exact.sum(axis=1), 1.0, atol=1e-3):
        return exact
    raised = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _pictures(inputs: np.ndarray, positions: np.ndarray) -> list[dict[str, Any]]:
    """Return the columns of some pictures, whose pixels are on the scale of all inputs."""
    if not _are_pictures(inputs):
        names = (columns.PIXELS, columns.HEIGHT, columns.WIDTH, columns.CHANNELS)
        return [dict.fromkeys(names) for _ in positions]
    finite = inputs[np.isfinite(inputs)]
    low, high = float(finite.min()), float(finite.max())
    rows: list[dict[str, Any]] = []
    for picture in inputs[positions]:
        exact = np.nan_to_num(picture.astype(np.float64), nan=low, posinf=high, neginf=low)
        shares = (exact - low) / (high - low or 1.0)
        rows.append(
            {
                columns.PIXELS: np.round(shares * 255.0).astype(np.uint8).tobytes(),
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
    return short in SIDE_PIXELS and long in SIDE_PIXELS and long <= MOST_OBLONG * short
