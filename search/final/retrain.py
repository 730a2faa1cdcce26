"""Retrain the best configuration, choose the number of epochs, evaluate once.

Trained on the training split only, without EarlyStopping, last-epoch weights; the number of
epochs is chosen on validation data, and only the chosen model sees the test set. ``final/`` is the
model that a run comes to, its numbers and its mistakes.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.columns import Values
from results.record.files import write_json
from results.record.history import Objective, TrialRecord, has_diverged
from search.errors import TrainingError
from search.final.training import Share, Trained, Trainer, Training, ray_errors_as_ours
from search.storage.folder import RunFolder, replace_folder
from search.worker import process

if TYPE_CHECKING:
    from search.final.scores import Evaluated

# Called after each epoch with the epochs done by each retraining, by its planned epochs.
Progress = Callable[[Mapping[int, int]], None]


def retrain(
    trainer: Trainer,
    best: TrialRecord,
    retrain_epochs: Sequence[int],
    folder: RunFolder,
    progress: Progress,
) -> dict[str, Any]:
    """Retrain, choose, evaluate and write ``final/``; one that stands there is kept beside it.

    Args:
        trainer: Trains, on the node of the run folder.
        best: The trial whose configuration is trained.
        retrain_epochs: The numbers of epochs to try, trained side by side.
        folder: The run.
        progress: Told of each epoch.

    Returns:
        What ``final/evaluation.json`` says.

    Raises:
        TrainingError: The configuration cannot be trained any more, or no number of epochs
            gave a value.
    """
    objective, seed = trainer.problem.objective, trainer.problem.seed
    planned = sorted(set(retrain_epochs))
    trainings = [
        Training(
            f"Retraining at {epochs} epochs",
            best.values,
            epochs,
            process.trial_seed(seed, epochs),
            folder.retraining_state_file(best.trial, epochs),
        )
        for epochs in planned
    ]
    done = dict.fromkeys(planned, 0)

    def count(training: Training, epoch: int) -> None:
        done[training.epochs] = epoch
        progress(done)

    with ray_errors_as_ours("Retraining or evaluating"):
        trained = {training.epochs: result for training, result in trainer.train(trainings, count)}
        trained = {epochs: trained[epochs] for epochs in planned}
        epochs = choose(trained, objective)
        alone = replace(trainer, share=Share(min(trainer.share.cpus, 1), 1, is_here=True))
        [evaluated] = alone.evaluate([(best.values, trained[epochs].model)])
    final = FinalModel(best.trial, best.values, objective.name, seed, trained, epochs, evaluated)
    write_final(folder, final)
    folder.forget_retrainings()
    return final.evaluation()


def choose(trained: Mapping[int, Trained], objective: Objective) -> int:
    """Choose a number of epochs by the objective at the last; of equals, the fewer.

    Raises:
        TrainingError: None has a finite value.
    """
    best: int | None = None
    for epochs, candidate in sorted(trained.items()):
        diverged = has_diverged(candidate.history[-1], objective)
        best_score = None if best is None else trained[best].score(objective)
        if not diverged and objective.is_better(candidate.score(objective), best_score):
            best = epochs
    if best is None:
        raise TrainingError(
            f"Retraining gave no finite {objective.name} at {sorted(trained)} epochs: the "
            "configuration diverges. Retrain another, or search on."
        )
    return best


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
