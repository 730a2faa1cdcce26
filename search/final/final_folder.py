"""final/: the model that a run comes to, its numbers, its mistakes."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.columns import Values
from results.record.files import write_json
from search.final.training import Trained
from search.storage.folder import RunFolder, replace_folder

if TYPE_CHECKING:
    from search.final.scores import Evaluated


@dataclass(frozen=True)
class FinalModel:
    """A model that was chosen among its trainings, and has read the test split.

    Attributes:
        trial: Number of the trial whose configuration it has.
        objective: The metric that chose.
        seed: Of its training.
        trainings: By planned epochs, all that it was chosen among.
        epochs: Which of them it is.
        evaluated: Its scores on the test split.
        confirmed_seeds: The new seeds of the confirmation that it won; None of a retraining.
    """

    trial: int | None
    values: Values
    objective: str
    seed: int
    trainings: Mapping[int, Trained]
    epochs: int
    evaluated: "Evaluated"
    confirmed_seeds: Sequence[int] | None = None

    @property
    def training(self) -> Trained:
        """Its own training."""
        return self.trainings[self.epochs]

    def evaluation(self) -> dict[str, Any]:
        """Return what ``final/evaluation.json`` says of it."""
        last = self.training.history[-1]
        evaluation = self.evaluated.scores | {
            "validation_loss": last.get("val_loss"),
            "validation_accuracy": last.get("val_accuracy"),
            "train_loss": last.get("loss"),
            "train_accuracy": last.get("accuracy"),
            "epochs": self.epochs,
            "seed": self.seed,
            "objective": self.objective,
            "trial": self.trial,
            "values": self.values,
            "retrain_epochs": list(self.trainings),
        }
        if self.confirmed_seeds is not None:
            evaluation[columns.CONFIRMED_SEEDS] = list(self.confirmed_seeds)
        return evaluation


def write_final(folder: RunFolder, final: FinalModel) -> None:
    """Write ``final/`` beside its place and move it there; the one before is kept beside it."""
    fresh = folder.path / f"{columns.FINAL_DIR}.fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    (fresh / columns.MODEL_FILE).write_bytes(final.training.model)
    _write_history(fresh / columns.HISTORY_FILE, final.trainings)
    if final.evaluated.mistakes:
        table = pa.Table.from_pylist(final.evaluated.mistakes)
        pq.write_table(table, fresh / columns.MISTAKES_FILE)
    write_json(fresh / columns.EVALUATION_FILE, final.evaluation())
    replace_folder(fresh, folder.final)


def _write_history(path: Path, trainings: Mapping[int, Trained]) -> None:
    rows = [
        {columns.PLANNED_EPOCHS: epochs, columns.EPOCH: number}
        | {columns.METRIC_PREFIX + name: value for name, value in metrics.items()}
        for epochs, training in trainings.items()
        for number, metrics in enumerate(training.history, start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
