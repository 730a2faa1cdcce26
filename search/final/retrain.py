"""Retrain the best configuration, choose the number of epochs, evaluate once.

Trained on the training split only, without EarlyStopping, last-epoch weights; the number of
epochs is chosen on validation data, and only the chosen model sees the test set.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.record.history import Objective, has_diverged
from results.record.values import Values
from search.errors import TrainingError
from search.final.final_folder import write_final
from search.final.training import (
    Share,
    Trained,
    Training,
    evaluate_all,
    last_metrics,
    ray_errors_told,
    train_all,
)
from search.plan.plan import Problem
from search.storage.folder import RunFolder
from search.worker import process
from search.worker.data import Data

if TYPE_CHECKING:
    import ray

# Called after each epoch with the epochs done by each retraining, by its planned epochs.
Progress = Callable[[Mapping[int, int]], None]


def retrain(
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    values: Values,
    *,
    trial: int,
    folder: RunFolder,
    retrain_epochs: Sequence[int],
    cores: int,
    gpu_share: float | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Retrain, choose, evaluate and write ``final/``. Ray is running already.

    Args:
        problem: Names of model and data, and the seed.
        stored: The splits, in shared memory.
        values: The configuration to train.
        trial: Number of the trial whose it is.
        folder: Run whose ``final/`` is written; one that stands there is kept beside it.
        retrain_epochs: The numbers of epochs to try, trained side by side.
        cores: CPU cores of this machine that the trainings share.
        gpu_share: What each training takes of a GPU of this machine; None: none.
        progress: Told of each epoch.

    Returns:
        What ``final/evaluation.json`` says.

    Raises:
        TrainingError: The configuration cannot be trained any more, or no number of epochs
            gave a value.
    """
    plans = sorted(set(retrain_epochs))
    trainings = [
        Training(
            f"Retraining at {epochs} epochs",
            values,
            epochs,
            process.trial_seed(problem.seed, epochs),
            folder.retraining_state_file(trial, epochs),
        )
        for epochs in plans
    ]
    threads = max(1, cores // len(plans))
    # On this node, where the run folder is; a head of a cluster may offer no CPU.
    share = Share(threads if cores else 0, threads, gpu_share, is_here=True)
    done = dict.fromkeys(plans, 0)

    def tell(training: Training, epoch: int) -> None:
        done[training.epochs] = epoch
        progress(done)

    with ray_errors_told("Retraining or evaluating"):
        trained = {
            training.epochs: one
            for training, one in train_all(problem, stored, trainings, share, tell)
        }
        epochs = choose(trained, problem.objective)
        chosen = trained[epochs]
        alone = Share(min(cores, 1), 1, is_here=True)
        [evaluated] = evaluate_all(problem, stored, [(values, chosen.model)], alone)
    about = {
        "epochs": epochs,
        "seed": problem.seed,
        "objective": problem.objective.name,
        "trial": trial,
        "values": values,
        "retrain_epochs": plans,
    }
    evaluation = evaluated.scores | last_metrics(chosen.history) | about
    histories = {number: trained[number].history for number in plans}
    write_final(folder, chosen.model, histories, evaluated, evaluation)
    folder.forget_retrainings()
    return evaluation


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
