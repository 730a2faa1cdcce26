"""The numbers of a final model: Keras's own, and scikit-learn's where it is a classifier."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from search.final.mistakes import most_confident

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 512


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
