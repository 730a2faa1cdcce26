"""A row of the comparison: one run, or one published figure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What is compared of a run. None is what is not known.

    Attributes:
        name: The run's folder, or what the published figure is of.
        engine: ``ray``, ``keras-tuner`` or ``published``.
        data: Reference of the data that was learnt: rows of other data are no peers.
        ended: Why the search ended.
        objective: The metric that was searched by.
        mode: ``max`` or ``min``: which values of it are the better ones.
        best: Best value of the objective over all epochs of all trials.
        reached_seconds: When it was reached, from the start of the process.
        test_accuracy: Accuracy of the final model on the test set, in 0..1.
        precision_macro: Its mean precision over the classes, in 0..1.
        recall_macro: Its mean recall, in 0..1.
        test_loss: Its loss on the test set.
        final_epochs: Epochs that it was retrained for.
        trials: Trials started.
        epochs: Epochs trained by all of them.
        wall_seconds: Seconds from the start of the process to the end of the last trial.
        space: Name of the space.
        algorithm: How configurations were chosen.
        workers: Trials at once.
    """

    name: str
    engine: str
    data: str | None = None
    ended: str | None = None
    objective: str | None = None
    mode: str = "max"
    best: float | None = None
    reached_seconds: float | None = None
    test_accuracy: float | None = None
    precision_macro: float | None = None
    recall_macro: float | None = None
    test_loss: float | None = None
    final_epochs: int | None = None
    trials: int | None = None
    epochs: int | None = None
    wall_seconds: float | None = None
    space: str | None = None
    algorithm: str | None = None
    workers: int | None = None


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Sort rows: by data and objective, then the better first; a row without a value comes last."""
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[str, str, bool, float, str]:
    objective = row.objective or ""
    sign = 1.0 if row.mode == "min" else -1.0
    return row.data or "", objective, row.best is None, sign * (row.best or 0.0), row.name
