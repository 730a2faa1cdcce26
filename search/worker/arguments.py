"""The arguments of ``fit`` on their way to the workers.

A ``tf.data`` dataset cannot be pickled. It is run through once, in the driver, and saved; a
worker on the same node opens that folder, one on another node unpacks a copy of it first.
Imports Keras.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from search.errors import ProblemError
from search.plan.task import Carried, FitArguments

FAIL_ON_STATE = 2  # tf.raw_ops.DatasetToGraphV2, external_state_policy


@dataclass(frozen=True)
class SavedDataset:
    """A dataset that was run through once and saved.

    Attributes:
        folder: Where it is, or is to be unpacked, on every node.
        archive: The folder as a tar file, uint8; in shared memory on the driver's node.
        shuffles: Whether the pipeline shuffled: its elements (batches, where it batches) then
            come in a new order each epoch.
    """

    folder: str
    archive: np.ndarray
    shuffles: bool

    def open(self) -> tf.data.Dataset:
        if not os.path.isdir(self.folder):
            self._unpack()
        dataset = tf.data.Dataset.load(self.folder)
        if self.shuffles:
            dataset = dataset.shuffle(max(int(dataset.cardinality()), 1))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _unpack(self) -> None:
        target = Path(self.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        with tarfile.open(fileobj=BytesIO(self.archive.tobytes())) as archive:
            archive.extractall(fresh, filter="data")
        try:
            fresh.rename(target)
        except OSError:  # another worker of this node was first
            shutil.rmtree(fresh, ignore_errors=True)


def pack(arguments: FitArguments, scratch: Path) -> FitArguments:
    """Make the arguments of ``fit`` fit for the way to the workers.

    Arrays go as they are, to lie once in each node's shared memory, where they are read-only;
    datasets are saved; anything else is pickled, so that each trial opens a copy of its own.

    Args:
        arguments: As a script gave them.
        scratch: A folder that stays for as long as the search runs.

    Raises:
        ProblemError: Names each argument that no second trial could use, such as an endless or
            stateful dataset or a generator, or that cannot be sent to another process.
    """
    problems: list[str] = []
    _replaced(arguments, lambda name, value: problems.extend(_problems(name, value)))
    if problems:
        raise ProblemError("\n".join(problems))
    return _replaced(arguments, lambda name, value: _packed(name, value, scratch))


def unpack(arguments: FitArguments) -> FitArguments:
    """Open what was saved or pickled, in a worker."""
    return _replaced(
        arguments,
        lambda _, value: value.open() if isinstance(value, (SavedDataset, Carried)) else value,
    )


def _packed(name: str, value: Any, scratch: Path) -> Any:
    if isinstance(value, tf.data.Dataset):
        return _save(value, scratch)
    if value is None or isinstance(value, (np.ndarray, str, bool, int, float)):
        return value
    return Carried.of(value, f"{name} ({type(value).__name__})")


def describe_data(arguments: FitArguments) -> str:
    """Return a description of the data that equal data share: a shape and a digest of content."""
    digest = hashlib.sha256()
    shapes: list[str] = []

    def describe(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            shapes.append("x".join(str(length) for length in value.shape))
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, SavedDataset):
            shapes.append("dataset")
            digest.update(name.encode() + value.archive.tobytes())
        elif isinstance(value, Carried) and not name.startswith("callbacks"):
            digest.update(name.encode() + value.pickled)

    _replaced(arguments, describe)
    return f"search({', '.join(shapes[:2])}) {digest.hexdigest()[:8]}"


def _problems(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Iterator):
        yield (
            f"{name} is a {type(value).__name__}, used up by the first trial: give arrays, a "
            "keras.utils.PyDataset or a tf.data.Dataset, or make it in HyperModel.fit."
        )
    elif isinstance(value, keras.callbacks.BackupAndRestore):
        yield (
            f"{name}: BackupAndRestore would let a trial go on where another ended, as all share "
            "its folder. Leave it out: the search itself keeps the best weights."
        )
    elif isinstance(value, tf.data.Dataset):
        yield from (f"{name}: {reason}" for reason in _reasons(value))
    else:
        try:
            _packed(name, value, Path())
        except ProblemError as error:
            yield str(error)


def _reasons(dataset: tf.data.Dataset) -> Iterator[str]:
    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        yield (
            "the dataset never ends, so it cannot be saved for the workers: leave out repeat(); "
            "each epoch runs through it once."
        )
        return
    try:
        operations = _operations(dataset)
    except tf.errors.FailedPreconditionError:
        yield (
            "the dataset has a state of its own (a Python generator or function, or random "
            "numbers), which workers cannot share: put random augmentation into the model or "
            "into HyperModel.fit, and give arrays instead of a generator."
        )
        return
    if cardinality == tf.data.UNKNOWN_CARDINALITY and "RepeatDataset" in operations:
        yield (
            "it cannot be known whether the dataset ends, as it repeats and filters: leave out "
            "repeat()."
        )


def _operations(dataset: tf.data.Dataset) -> set[str]:
    serialized = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=FAIL_ON_STATE,
        strip_device_assignment=True,
    )
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(serialized.numpy())
    return {node.op for node in graph.node}


def _save(dataset: tf.data.Dataset, scratch: Path) -> SavedDataset:
    folder = Path(tempfile.mkdtemp(prefix="dataset-", dir=scratch))
    shuffles = any(operation.startswith("ShuffleDataset") for operation in _operations(dataset))
    dataset.save(str(folder))
    packed_bytes = BytesIO()
    with tarfile.open(fileobj=packed_bytes, mode="w") as archive:
        archive.add(folder, arcname=".")
    return SavedDataset(
        str(folder), np.frombuffer(packed_bytes.getbuffer(), dtype=np.uint8), shuffles
    )


Visit = Callable[[str, Any], Any]


def _replaced(arguments: FitArguments, visit: Visit) -> FitArguments:
    return FitArguments(
        tuple(_visited(f"argument {n}", value, visit) for n, value in enumerate(arguments.args, 1)),
        {name: _visited(name, value, visit) for name, value in arguments.kwargs.items()},
    )


def _visited(name: str, value: Any, visit: Visit) -> Any:
    if type(value) in (tuple, list):
        return type(value)(_visited(f"{name}[{n}]", part, visit) for n, part in enumerate(value))
    if type(value) is dict:
        return {key: _visited(f"{name}[{key!r}]", part, visit) for key, part in value.items()}
    return visit(name, value)
