"""A search by Optuna, TPE with a pruner, by a process a core that share a journal file.

Source: https://optuna.readthedocs.io, "Easy Parallelization" and "Efficient Optimization
Algorithms" (TPE goes with Hyperband), Optuna 5.0.
"""

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rules import EPOCHS

from fmnist_model.data import load_data

STUDY = "optuna"


def suggested(trial, space):
    """Return the configuration of a trial."""
    values = {
        "activation": trial.suggest_categorical("activation", ["relu", "tanh"]),
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "nadam"]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
    }
    if space == "published":
        return values | {
            "hidden_layers": trial.suggest_int("hidden_layers", 1, 10),
            "neurons": trial.suggest_int("neurons", 16, 512),
            "l2": trial.suggest_categorical("l2", [0.0, 1e-5, 1e-4]),
        }
    if values["optimizer"] == "sgd":
        rate = {"sgd_learning_rate": trial.suggest_float("sgd_learning_rate", 0.01, 0.3, log=True)}
    else:
        rate = {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}
    values["penalize_weights"] = trial.suggest_categorical("penalize_weights", [False, True])
    if values["penalize_weights"]:
        values["l2"] = trial.suggest_float("l2", 1e-6, 1e-3, log=True)
    sizes = [32, 64, 96, 128, 192, 256, 384, 512]
    return values | rate | {
        "hidden_layers": trial.suggest_int("hidden_layers", 1, 6),
        "neurons": trial.suggest_int("neurons", 64, 1024, log=True),
        "batch_size": trial.suggest_categorical("batch_size", sizes),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine"]),
    }  # fmt: skip


def search(asked: argparse.Namespace, process: int) -> None:
    """Run trials in this process until the time is over."""
    import keras
    import tensorflow as tf
    from training import Reports, model_of, train

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    splits = load_data(seed=asked.seed)

    class Pruning(keras.callbacks.Callback):
        """Reports the objective; ends the training of a trial that the pruner gives up."""

        def __init__(self, trial) -> None:
            super().__init__()
            self.trial = trial

        def on_epoch_end(self, epoch, logs=None):
            self.trial.report(logs["val_accuracy"], epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def objective(trial):
        keras.backend.clear_session()
        values = suggested(trial, asked.space)
        model = model_of(asked.space, values)
        train(asked.space, model, values, splits, [Reports(asked.out, values), Pruning(trial)])
        return max(model.history.history["val_accuracy"])

    study = optuna.load_study(
        study_name=STUDY,
        storage=_storage(asked),
        sampler=optuna.samplers.TPESampler(seed=2 * asked.seed + process, constant_liar=True),
        pruner=_pruner(),
    )
    study.optimize(objective, timeout=asked.seconds)


def _storage(asked: argparse.Namespace):
    return JournalStorage(JournalFileBackend(os.path.join(asked.folder, "optuna.log")))


def _pruner():
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)


def main() -> None:
    """Make the study and search in as many processes as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=["published", "wide"], required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--first", type=json.loads, help="configuration, as JSON")
    asked = parser.parse_args()
    study = optuna.create_study(
        study_name=STUDY, storage=_storage(asked), direction="maximize", pruner=_pruner()
    )
    if asked.first:
        study.enqueue_trial(asked.first)
    processes = [
        multiprocessing.get_context("spawn").Process(
            target=search, args=(asked, number), daemon=True
        )
        for number in range(os.cpu_count() or 1)
    ]
    for process in processes:
        process.start()
    multiprocessing.connection.wait([process.sentinel for process in processes])
    if any(process.exitcode for process in processes):
        raise SystemExit("a process has failed")  # the others end with this one
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
