"""Retrains the best configuration, chooses the number of epochs and evaluates the model once.

A retraining uses only the training split, no early stopping, and the weights of the last epoch.
The validation split chooses the number of epochs; only the chosen model sees the test split.
``final/`` holds the final model of a run, its scores and its mistakes.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from results.record import columns
from results.record.columns import Values
from results.record.files import write_json
from results.record.history import Objective, TrialRecord, has_diverged
from results.record.parquet import write_parquet
from search.errors import TrainingError
from search.final.training import Share, Trained, Trainer, Training, translated_ray_errors
from search.storage.folder import RunFolder, replace_folder
from search.worker import process

if TYPE_CHECKING:
    from search.final.scores import Evaluated

# Called after each epoch with the epochs done of each retraining, by its planned epochs.
Progress = Callable[[Mapping[int, int]], None]


def retrain(
    trainer: Trainer,
    best: TrialRecord,
    retrain_epochs: Sequence[int],
    folder: RunFolder,
    progress: Progress,
) -> dict[str, Any]:
    """Retrain, choose, evaluate and write ``final/``; an older ``final/`` is kept beside it.

    Args:
        trainer: Trains, on the node of the run folder.
        best: The trial whose configuration to train.
        retrain_epochs: The numbers of epochs to try, trained side by side.
        folder: The run.
        progress: Called after each epoch.

    Returns:
        The content of ``final/evaluation.json``.

    Raises:
        TrainingError: A training failed, or none has a finite value.
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
    epochs_done = dict.fromkeys(planned, 0)

    def show_progress(training: Training, epoch: int) -> None:
        epochs_done[training.epochs] = epoch
        progress(epochs_done)

    with translated_ray_errors("Retraining or evaluating"):
        results = {
            training.epochs: result for training, result in trainer.train(trainings, show_progress)
        }
        trained = {epochs: results[epochs] for epochs in planned}
        epochs = choose(trained, objective)
        evaluator = replace(trainer, share=Share(min(trainer.share.cpus, 1), 1, is_local=True))
        [evaluated] = evaluator.evaluate([(best.values, trained[epochs].model)])
    final = FinalModel(best.trial, best.values, objective.name, seed, trained, epochs, evaluated)
    write_final(folder, final)
    folder.forget_retrainings()
    return final.evaluation()


def choose(trained: Mapping[int, Trained], objective: Objective) -> int:
    """Return the number of epochs with the best objective at the last epoch; of equals, the fewest.

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
            "configuration diverges. Try other --retrain-epochs, or extend the search."
        )
    return best


@dataclass(frozen=True)
class FinalModel:
    """A model that was chosen among its trainings and evaluated on the test split.

    Attributes:
        trial: Number of the trial that has its configuration; None: of no trial.
        objective: Name of the metric that chose it.
        seed: Seed of its training.
        trainings: All trainings to choose from, by planned epochs.
        epochs: The planned epochs of the chosen training.
        evaluated: Its scores on the test split.
        confirmed_seeds: The new seeds of the confirmation that it won; None after a retraining.
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
        """The chosen training."""
        return self.trainings[self.epochs]

    def evaluation(self) -> dict[str, Any]:
        """Return the content of ``final/evaluation.json``."""
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
    """Write ``final/`` under another name and rename it; the former one is kept beside it."""
    fresh = folder.path / f"{columns.FINAL_DIR}.fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    (fresh / columns.MODEL_FILE).write_bytes(final.training.model)
    _write_history(fresh / columns.HISTORY_FILE, final.trainings)
    if final.evaluated.mistakes:
        table = pa.Table.from_pylist(final.evaluated.mistakes)
        write_parquet(table, fresh / columns.MISTAKES_FILE)
    write_json(fresh / columns.EVALUATION_FILE, final.evaluation())
    replace_folder(fresh, folder.final)


def _write_history(path: Path, trainings: Mapping[int, Trained]) -> None:
    rows = [
        {columns.PLANNED_EPOCHS: epochs, columns.EPOCH: number}
        | {columns.METRIC_PREFIX + name: value for name, value in metrics.items()}
        for epochs, training in trainings.items()
        for number, metrics in enumerate(training.history, start=1)
    ]
    write_parquet(pa.Table.from_pylist(rows), path)
