"""Retrain the best configuration, choose the number of epochs, evaluate once.

Trained on the training split only, without EarlyStopping, last-epoch weights; the number of
epochs is chosen on validation data, and only the chosen model sees the test set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.record.history import Objective, TrialRecord, has_diverged
from search.errors import TrainingError
from search.final.final_folder import FinalModel, write_final
from search.final.training import Share, Trained, Trainer, Training, ray_errors_as_ours
from search.storage.folder import RunFolder
from search.worker import process

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
