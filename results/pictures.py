"""Pictures of a run, as PNG files, from its numbers."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from results import columns
from results.reading import Run, RunError


def draw_confusion_matrix(run: Run, out: Path | None = None) -> Path:
    """Draw the confusion matrix of the final model.

    Args:
        run: A run whose best was retrained and evaluated.
        out: File to write. Default: ``final/confusion_matrix.png`` of the run.

    Returns:
        The file.

    Raises:
        RunError: Nothing was evaluated, or the model is no classifier.
    """
    evaluation = run.evaluation
    if not evaluation or "confusion_matrix" not in evaluation:
        raise RunError(
            f"{str(run.path)!r} has no confusion matrix: its best was not retrained and evaluated, "
            f"or is no classifier. `fmnist-search retrain {run.path}` does it."
        )
    path = out or run.path / columns.FINAL_DIR / columns.CONFUSION_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = confusion_figure(evaluation)
    fresh = path.with_name(f".{os.getpid()}-{path.name}")
    figure.savefig(fresh, dpi=120, format="png")
    fresh.replace(path)
    return path


def confusion_figure(evaluation: dict[str, Any]) -> Any:
    """Return the matplotlib figure of an evaluation's confusion matrix; rows are true classes."""
    from matplotlib.figure import Figure

    matrix = np.asarray(evaluation["confusion_matrix"])
    names = [entry["name"] for entry in evaluation["per_class"]]
    # Coloured by the share of the true class, so that classes of any size can be read.
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.6 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (true, predicted), count in np.ndenumerate(matrix):
        colour = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(count), ha="center", va="center", color=colour, size=9)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix, test accuracy {evaluation['test_accuracy']:.4f}")
    return figure
