"""The scores of a final model: Keras's metrics, and a classifier's scores and surest mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from search.final.mistakes import Mistakes
from search.worker.splits import Split

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 512


@dataclass(frozen=True)
class Evaluated:
    """The scores of a model on the test split.

    Attributes:
        scores: JSON values by name.
        mistakes: Rows of ``mistakes.parquet``; empty if the model is not a classifier.
    """

    scores: dict[str, Any]
    mistakes: list[dict[str, Any]] = field(default_factory=list)


class Answers:
    """Gathers what a model answers to the test split, and scores it if it is a classifier.

    It counts as a classifier if the targets are labels (see ``as_labels``) and the outputs have
    two or more columns.

    Args:
        class_names: Name of each label; None: their numbers.
    """

    def __init__(self, class_names: tuple[str, ...] | None) -> None:
        self._class_names = class_names
        self._classes = 0
        self._is_classifier = True
        self._labels: list[np.ndarray] = []
        self._predicted: list[np.ndarray] = []
        self._mistakes = Mistakes()

    def add(self, inputs: Any, targets: Any, outputs: Any) -> None:
        """Add the inputs, targets and outputs of a batch, or of all samples."""
        labels, outputs = as_labels(targets), np.asarray(outputs)
        if labels is None or outputs.ndim != 2 or outputs.shape[1] < 2:
            self._is_classifier = False
        if not self._is_classifier or labels is None:
            return
        self._classes = outputs.shape[1]
        self._labels.append(labels)
        self._predicted.append(outputs.argmax(axis=1))
        self._mistakes.add(inputs, labels, outputs)

    def scored(self, metrics: Mapping[str, Any]) -> Evaluated:
        """Return the metrics of Keras, and the scores and mistakes of a classifier."""
        scores: dict[str, Any] = {f"test_{name}": float(value) for name, value in metrics.items()}
        if not self._is_classifier or not self._labels:
            return Evaluated(scores)
        scores |= classification_scores(
            np.concatenate(self._labels),
            np.concatenate(self._predicted),
            classes=self._classes,
            class_names=self._class_names,
        )
        return Evaluated(scores, self._mistakes.rows(self._class_names))


def evaluate(
    model: "keras.Model", split: Split, *, class_names: tuple[str, ...] | None
) -> Evaluated:
    """Evaluate a model on the test split. A dataset is read once.

    Args:
        model: A compiled model.
        split: The test split, as ``search.worker.splits`` describes it.
        class_names: Name of each label; None: their numbers.

    Returns:
        ``test_<metric>`` of every compiled metric; for a classifier also the scores of
        ``classification_scores``, and its most confident mistakes.
    """
    answers = Answers(class_names)
    if len(split) == 1:
        return answers.scored(_evaluate_dataset(model, split[0], answers))
    inputs, targets = split
    metrics = model.evaluate(inputs, targets, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
    if as_labels(targets) is not None:
        outputs = model.predict(inputs, batch_size=BATCH_SIZE, verbose=0)
        answers.add(inputs, targets, outputs)
    return answers.scored(metrics)


def _evaluate_dataset(model: "keras.Model", dataset: Any, answers: Answers) -> Mapping[str, Any]:
    """Return Keras's metrics; the answers are taken from the same pass.

    A second pass would be another order, or other pictures, if the dataset is random. A model
    whose own ``test_step`` does not call ``compute_metrics`` has no answers.
    """
    import tensorflow as tf

    compute_metrics, jit_compile = model.compute_metrics, model.jit_compile

    def compute(x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if isinstance(y, tf.Tensor) and isinstance(y_pred, tf.Tensor):
            inputs = x if isinstance(x, tf.Tensor) else ()
            tf.numpy_function(answers.add, [inputs, y, y_pred], [], stateful=True)
        return compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    model.compute_metrics, model.jit_compile = compute, False  # a compiled step calls no Python
    model.test_function = None
    try:
        metrics: Mapping[str, Any] = model.evaluate(dataset, verbose=0, return_dict=True)
    finally:
        model.compute_metrics, model.jit_compile = compute_metrics, jit_compile
        model.test_function = None
    return metrics


def as_labels(targets: Any) -> np.ndarray | None:
    """Return targets as integer labels of shape (n,); None if they are no labels.

    Labels are whole numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, classes).
    """
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iuf":
        return None
    if targets.ndim == 2 and targets.shape[1] > 1:
        is_one_hot = ((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all()
        return targets.argmax(axis=1) if is_one_hot else None
    labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] else targets
    if labels.ndim != 1:
        return None
    if labels.dtype.kind != "f":
        return labels
    return labels.astype(np.int64) if np.array_equal(labels, np.round(labels)) else None


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
