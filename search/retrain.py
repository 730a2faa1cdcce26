"""Retrain the best configuration, choose the number of epochs, evaluate once.

Trained on the training split only, without EarlyStopping, last-epoch weights; the number of
epochs is chosen on validation data, and only the chosen model sees the test set.
"""

import contextlib
import queue
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from results import columns
from search import worker
from search.data import Data
from search.errors import TrainingError, one_line
from search.folder import RunFolder, replace_folder, write_json
from search.history import Objective, has_diverged
from search.plan import Problem
from search.ray_nodes import here
from search.space import Values
from search.task import Task

if TYPE_CHECKING:
    import ray

    from search.scores import Evaluated

# Called after each epoch with the epochs done by each retraining, by its planned epochs.
Progress = Callable[[Mapping[int, int]], None]


@dataclass(frozen=True)
class Failure:
    """Why a retraining failed: in one line, and where."""

    message: str
    traceback: str


@dataclass(frozen=True)
class Retrained:
    """One retraining.

    Attributes:
        epochs: How many epochs it was trained for.
        history: The metrics of each epoch, in order.
        model: The bytes of the ``.keras`` file, with the weights of the last epoch.
    """

    epochs: int
    history: list[dict[str, float | None]]
    model: bytes

    def score(self, objective: Objective) -> float | None:
        """The objective at the last epoch."""
        return self.history[-1].get(objective.name)


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
    import ray

    with _ray_errors_told():
        plans = sorted(set(retrain_epochs))
        threads = max(1, cores // len(plans))
        cpus = min(cores, 1)  # a head of a cluster may offer none
        states = {epochs: folder.retraining_state_file(trial, epochs) for epochs in plans}
        on_this_node = {"scheduling_strategy": here()}  # where the run folder is
        train = ray.remote(
            num_cpus=threads if cpus else 0, num_gpus=gpu_share or 0, **on_this_node
        )(_train_reporting)
        trained = _train_all(train, problem, stored, values, states, threads, gpu_share, progress)
        chosen = choose(trained, problem.objective)
        fresh = folder.path / f"{columns.FINAL_DIR}.fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        (fresh / columns.MODEL_FILE).write_bytes(chosen.model)
        _write_history(fresh / columns.HISTORY_FILE, trained)
        evaluate = ray.remote(num_cpus=cpus, **on_this_node)(_evaluate)
        evaluated = ray.get(evaluate.remote(problem, stored, values, chosen.model))
        if evaluated.mistakes:
            mistakes = pa.Table.from_pylist(evaluated.mistakes)
            pq.write_table(mistakes, fresh / columns.MISTAKES_FILE)
        asked = {"trial": trial, "values": values, "retrain_epochs": plans}
        evaluation = _evaluation(problem, chosen, evaluated.scores) | asked
        write_json(fresh / columns.EVALUATION_FILE, evaluation)
        replace_folder(fresh, folder.final)
        folder.forget_retrainings()
        return evaluation


def choose(trained: Sequence[Retrained], objective: Objective) -> Retrained:
    """Choose by the objective at the last epoch; of equals, the one with fewer epochs.

    Raises:
        TrainingError: None has a finite value.
    """
    best: Retrained | None = None
    for candidate in sorted(trained, key=lambda one: one.epochs):
        diverged = has_diverged(candidate.history[-1], objective)
        best_score = best.score(objective) if best else None
        if not diverged and objective.is_better(candidate.score(objective), best_score):
            best = candidate
    if best is None:
        raise TrainingError(
            f"Retraining gave no finite {objective.name} at {[one.epochs for one in trained]} "
            "epochs: the configuration diverges. Retrain another, or search on."
        )
    return best


@contextlib.contextmanager
def _ray_errors_told() -> Iterator[None]:
    """Turn an error of Ray, such as a process killed for its memory, into one of ours."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise TrainingError(f"Retraining or evaluating failed: {one_line(error)}") from error


def _train_all(
    train: "ray.remote_function.RemoteFunction",
    problem: Problem,
    stored: "ray.ObjectRef[Data]",
    values: Values,
    states: Mapping[int, Path],
    threads: int,
    gpu_share: float | None,
    progress: Progress,
) -> list[Retrained]:
    import ray

    waiting = {
        train.options(num_returns="streaming").remote(
            problem, stored, values, epochs, state, threads, gpu_share
        ): epochs
        for epochs, state in states.items()
    }
    done = dict.fromkeys(states, 0)
    finished = []
    while waiting:
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        try:
            item = ray.get(next(ready))
        except StopIteration:
            del waiting[ready]
            continue
        if isinstance(item, Retrained):
            finished.append(item)
        elif isinstance(item, Failure):
            failed = TrainingError(f"Retraining at {waiting[ready]} epochs: {item.message}")
            failed.add_note(item.traceback)
            raise failed
        else:
            done[waiting[ready]] = item
            progress(done)
    return finished


def _train_reporting(
    problem: Problem,
    data: Data,
    values: Values,
    epochs: int,
    state: Path,
    threads: int,
    gpu_share: float | None,
) -> Iterator[int | Retrained | Failure]:
    """Yield the number of each finished epoch, then the result or why there is none."""
    items: queue.Queue[int | Retrained | Failure] = queue.Queue()

    def work() -> None:
        try:
            worker.set_up(threads=threads, sees_gpus=gpu_share is not None, gpu_share=gpu_share)
            items.put(_train(problem, data, values, epochs, state, items.put))
        except Exception as error:
            items.put(Failure(one_line(error), traceback.format_exc()))

    threading.Thread(target=work, daemon=True).start()
    while isinstance(item := items.get(), int):
        yield item
    yield item


def _train(
    problem: Problem,
    data: Data,
    values: Values,
    epochs: int,
    state: Path,
    report: Callable[[int], None],
) -> Retrained:
    from search import fast, mirror
    from search.callbacks import Rows
    from search.checkpoint import Checkpoints

    hypermodel = worker.hypermodel(Task.of(problem).hypermodel)
    seed = worker.trial_seed(problem.seed, epochs)
    worker.start_trial(seed)
    hp = mirror.prepared(hypermodel, values)
    model = hypermodel.build(hp)
    # One that was cut off goes on where it was.
    kept = Checkpoints(state, seed=seed)
    fast.install(model, seed=seed, fast=problem.fast_epoch, checkpoints=kept)
    told = Rows(report)
    hypermodel.fit(
        hp,
        model,
        *data.train,
        epochs=epochs,
        validation_data=data.validation,
        callbacks=[told],
        verbose=0,
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / columns.MODEL_FILE
        model.save(path)
        return Retrained(epochs, told.rows, path.read_bytes())


def _evaluate(problem: Problem, data: Data, values: Values, model_bytes: bytes) -> "Evaluated":
    """Evaluate the chosen model's file on the test split: the only place that reads it."""
    worker.set_up(threads=1, sees_gpus=False)
    from search import mirror
    from search.scores import evaluate

    assert data.test is not None
    hypermodel = worker.hypermodel(Task.of(problem).hypermodel)
    # Rebuilt by the same builder, so that the file needs no knowledge of custom objects.
    model = hypermodel.build(mirror.prepared(hypermodel, values))
    model(data.train[0][:1])  # a builder need not declare the shape of its input
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / columns.MODEL_FILE
        path.write_bytes(model_bytes)
        model.load_weights(path)
    found = evaluate(model, *data.test, class_names=data.class_names)
    return replace(found, scores=worker.plain(found.scores))


def _evaluation(problem: Problem, chosen: Retrained, scores: dict[str, Any]) -> dict[str, Any]:
    last = chosen.history[-1]
    return scores | {
        "epochs": chosen.epochs,
        "seed": problem.seed,
        "objective": problem.objective.name,
        "validation_loss": last.get("val_loss"),
        "validation_accuracy": last.get("val_accuracy"),
        "train_loss": last.get("loss"),
        "train_accuracy": last.get("accuracy"),
    }


def _write_history(path: Path, trained: Sequence[Retrained]) -> None:
    rows = [
        {columns.PLANNED_EPOCHS: one.epochs, columns.EPOCH: number}
        | {columns.METRIC_PREFIX + name: value for name, value in metrics.items()}
        for one in sorted(trained, key=lambda one: one.epochs)
        for number, metrics in enumerate(one.history, start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
