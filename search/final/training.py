"""Trains known configurations to their last epoch, side by side, and evaluates their models."""

import contextlib
import queue
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.record import columns
from results.record.columns import Device, Values
from results.record.history import Objective
from search.errors import TrainingError, one_line
from search.plan.directions import VALIDATION
from search.plan.plan import Problem
from search.ray.nodes import this_node_affinity
from search.ray.renewable import fetch
from search.storage import scratch
from search.worker import process, splits
from search.worker.data import Data
from search.worker.task import Task

if TYPE_CHECKING:
    import ray

    from search.final.scores import Evaluated

# Called after each epoch with the training and the epochs done.
Progress = Callable[["Training", int], None]


@dataclass(frozen=True)
class Training:
    """A training to do: all its epochs, on the training split, without early stopping.

    Attributes:
        name: Its name in error messages.
        seed: Seed of its initial weights, its dropout and the order of its samples.
        state: The file of its state until it ends, on the machine of the run folder.
        device: The device of its trial; None if the search chose none.
    """

    name: str
    values: Values
    epochs: int
    seed: int
    state: Path
    device: Device | None = None


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        history: The metrics of each epoch, in order.
        model: The bytes of the ``.keras`` file, with the weights of the last epoch.
    """

    history: list[dict[str, float | None]]
    model: bytes

    def score(self, objective: Objective) -> float | None:
        """The objective at the last epoch, or at the last one before it that reports it."""
        reporting = (row for row in reversed(self.history) if objective.name in row)
        return next(reporting, {}).get(objective.name)


@dataclass(frozen=True)
class Share:
    """The resources of one training.

    Attributes:
        cpus: CPUs, as Ray counts them; 0 on a head node that offers none.
        threads: Threads that may work on an operation.
        gpus: Number or share of GPUs; None: it trains on CPUs only.
        is_local: Whether it must run on this node.
    """

    cpus: float
    threads: int
    gpus: float | None = None
    is_local: bool = False

    def on(self, device: Device | None) -> "Share":
        """Return the resources for a trial's device: without GPUs if that is the CPU."""
        return replace(self, gpus=None) if device is Device.CPU else self

    def options(self) -> dict[str, Any]:
        """Return the options of a Ray task."""
        place = {"scheduling_strategy": this_node_affinity()} if self.is_local else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus or 0, **place}


@dataclass(frozen=True)
class Failure:
    """The error of a failed training: one line, and the traceback."""

    message: str
    traceback: str


@contextlib.contextmanager
def translated_ray_errors(action: str) -> Iterator[None]:
    """Turn an error of Ray, such as a process killed for its memory, into a TrainingError.

    Raises:
        TrainingError: Ray raised an error.
    """
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise TrainingError(f"{action} failed: {one_line(error)}") from error


@dataclass(frozen=True)
class Trainer:
    """Trains and evaluates configurations side by side, on a running Ray.

    Attributes:
        problem: Names of hypermodel and data, and the seed of the search.
        stored: The splits of the search, in shared memory.
        share: The resources of each training.
    """

    problem: Problem
    stored: "ray.ObjectRef[Data]"
    share: Share

    def train(
        self, trainings: Sequence[Training], progress: Progress = lambda _training, _epoch: None
    ) -> Iterator[tuple[Training, Trained]]:
        """Train configurations, as many at once as the cluster has resources for.

        Yields:
            Each training with its result, as soon as it is done.

        Raises:
            TrainingError: A training failed, or ended without a result.
        """
        import ray

        task_of = ray.remote(_train_reporting).options
        pending: dict[Any, Training] = {}
        for training in trainings:
            share = self.share.on(training.device)
            # In a list, or Ray would open datasets before the task has set up TensorFlow.
            stored = [self.stored]
            task = task_of(num_returns="streaming", **share.options())
            pending[task.remote(self.problem, stored, training, share)] = training
        while pending:
            [ready], _ = ray.wait(list(pending), num_returns=1)
            training = pending[ready]
            try:
                item = ray.get(next(ready))
            except StopIteration:
                message = f"{training.name} ended without a result: rerun the command."
                raise TrainingError(message) from None
            if isinstance(item, Trained):
                del pending[ready]
                yield training, item
            elif isinstance(item, Failure):
                error = TrainingError(f"{training.name}: {item.message}")
                error.add_note(item.traceback)
                raise error
            elif item is not None:
                progress(training, item)

    def evaluate(self, models: Sequence[tuple[Values, bytes]]) -> "Iterator[Evaluated]":
        """Evaluate models on the test split, each once; nothing else reads that split.

        Args:
            models: The configuration and the bytes of the ``.keras`` file of each model.

        Yields:
            The scores of each model, in the given order, as soon as they are known.
        """
        import ray

        evaluate = ray.remote(**self.share.on(Device.CPU).options())(_evaluate)
        pending = [evaluate.remote(self.problem, [self.stored], *model) for model in models]
        yield from map(ray.get, pending)


def _train_reporting(
    problem: Problem, stored: "list[ray.ObjectRef[Data]]", training: Training, share: Share
) -> Iterator[int | Trained | Failure | None]:
    """Yield the number of each epoch trained here, then the result or the failure.

    If its process dies, Ray restarts the task and skips as many items as the task had yielded. So
    a training that continues from a state yields None for each earlier epoch.
    """
    items: queue.Queue[int | Trained | Failure] = queue.Queue()

    def work() -> None:
        try:
            process.set_up(share.threads, sees_gpus=share.gpus is not None, gpu_share=share.gpus)
            items.put(_train(problem, fetch(stored[0]), training, items.put))
        except Exception as error:
            items.put(Failure(one_line(error), traceback.format_exc()))

    threading.Thread(target=work, daemon=True).start()
    reported = 0
    while not isinstance(item := items.get(), Failure):
        epochs = len(item.history) if isinstance(item, Trained) else item
        while reported < epochs:
            reported += 1
            yield reported if reported == item else None
        if isinstance(item, Trained):
            break
    yield item


def _train(
    problem: Problem, data: Data, training: Training, report: Callable[[int], None]
) -> Trained:
    from search.space import mirror
    from search.worker import fast
    from search.worker.callbacks import Rows
    from search.worker.checkpoint import Checkpoints

    hypermodel = process.load_hypermodel(Task.of(problem).hypermodel)
    process.reset_session(training.seed)
    hp = mirror.prepare_hyperparameters(hypermodel, training.values)
    model = hypermodel.build(hp)
    # A training that was cut off continues from its state, if this node sees the run folder.
    sees_run = training.state.parent.is_dir()
    checkpoints = Checkpoints(training.state, seed=training.seed) if sees_run else None
    fast.install(model, seed=training.seed, fast=problem.fast_epoch, checkpoints=checkpoints)
    metrics = Rows(report)
    arguments = data.arguments(epochs=training.epochs, callbacks=[metrics], verbose=0)
    hypermodel.fit(hp, model, *arguments.args, **arguments.kwargs)
    if metrics.rows and not any(name.startswith(VALIDATION) for name in metrics.rows[-1]):
        # A ``fit`` of the hypermodel's own that does not validate every epoch.
        metrics.rows[-1] |= _validate(model, data)
    with scratch.temporary("model-") as folder:
        path = folder / columns.MODEL_FILE
        model.save(path)
        return Trained(metrics.rows, path.read_bytes())


def _validate(model: Any, data: Data) -> dict[str, float | None]:
    """Return the validation metrics of a model, by their names in an epoch."""
    scores = model.evaluate(*splits.opened(data.validation), return_dict=True, verbose=0)
    named = {f"{VALIDATION}{name}": value for name, value in scores.items()}
    return process.json_values(named)


def _evaluate(
    problem: Problem, stored: "list[ray.ObjectRef[Data]]", values: Values, model_bytes: bytes
) -> "Evaluated":
    process.set_up(threads=1, sees_gpus=False)
    data: Data = fetch(stored[0])
    from search.final.scores import evaluate
    from search.space import mirror

    assert data.test is not None
    hypermodel = process.load_hypermodel(Task.of(problem).hypermodel)
    # Built again by the hypermodel, so that Keras loads no custom objects from the file.
    model = hypermodel.build(mirror.prepare_hyperparameters(hypermodel, values))
    if not model.built:  # its inputs create the weights of a model without a declared shape
        model.predict(splits.first(splits.opened(data.train), samples=1)[0], verbose=0)
    with scratch.temporary("model-") as folder:
        path = folder / columns.MODEL_FILE
        path.write_bytes(model_bytes)
        model.load_weights(path)
    evaluated = evaluate(model, splits.opened(data.test), class_names=data.class_names)
    return replace(evaluated, scores=process.json_values(evaluated.scores))
