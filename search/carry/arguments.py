"""Packs the arguments of ``fit`` for the workers.

A ``tf.data`` dataset cannot be pickled. The driver iterates over it once and saves it to a folder.
A worker on the same node opens that folder; one on another node first unpacks a copy of it.
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

from search.carry.carried import FitArguments, PickledObject
from search.errors import ProblemError

FAIL_ON_STATE = 2  # tf.raw_ops.DatasetToGraphV2, external_state_policy


@dataclass(frozen=True)
class SavedDataset:
    """A dataset that was iterated over once and saved.

    Attributes:
        folder: The saved dataset's folder, at the same path on every node.
        archive: The folder as a tar file, uint8 of shape (bytes,).
        shuffles: Whether the pipeline shuffles. If so, its elements (batches, if it batches) come
            in a new order each epoch.
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
        except OSError:  # another worker on this node was faster
            shutil.rmtree(fresh, ignore_errors=True)


def pack(arguments: FitArguments, scratch: Path) -> FitArguments:
    """Pack the arguments of ``fit`` so that they can be sent to the workers.

    Arrays stay as they are: Ray keeps one read-only copy in each node's shared memory. Datasets are
    saved. Other values are pickled, so that each trial unpacks its own copy.

    Args:
        arguments: The arguments that a script passed.
        scratch: A folder that exists as long as the search runs.

    Raises:
        ProblemError: Names each argument that cannot be sent to another process or that only one
            trial could use, such as a generator or an endless or stateful dataset.
    """
    problems: list[str] = []
    _map_arguments(arguments, lambda name, value: problems.extend(_problems(name, value)))
    if problems:
        raise ProblemError("\n".join(problems))
    return _map_arguments(arguments, lambda name, value: _pack(name, value, scratch))


def unpack(arguments: FitArguments) -> FitArguments:
    """Open the saved and pickled arguments, in a worker."""
    return _map_arguments(
        arguments,
        lambda _, value: (
            value.open() if isinstance(value, (SavedDataset, PickledObject)) else value
        ),
    )


def _pack(name: str, value: Any, scratch: Path) -> Any:
    if isinstance(value, tf.data.Dataset):
        return _save(value, scratch)
    if value is None or isinstance(value, (np.ndarray, str, bool, int, float)):
        return value
    return PickledObject.of(value, f"{name} ({type(value).__name__})")


def describe_data(arguments: FitArguments) -> str:
    """Return a description of the data: their shapes and a digest, equal for equal data."""
    digest = hashlib.sha256()
    shapes: list[str] = []

    def describe(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            shapes.append("x".join(str(length) for length in value.shape))
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, SavedDataset):
            shapes.append("dataset")
            digest.update(name.encode() + value.archive.tobytes())
        elif isinstance(value, PickledObject) and not name.startswith("callbacks"):
            digest.update(name.encode() + value.pickled)

    _map_arguments(arguments, describe)
    return f"search({', '.join(shapes[:2])}) {digest.hexdigest()[:8]}"


def _problems(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Iterator):
        yield (
            f"{name} is a {type(value).__name__}, which the first trial would use up: pass arrays, "
            "a keras.utils.PyDataset or a tf.data.Dataset, or create it in HyperModel.fit."
        )
    elif isinstance(value, keras.callbacks.BackupAndRestore):
        yield (
            f"{name}: all trials would share the folder of BackupAndRestore, and continue each "
            "other's training. Leave it out: the search saves the states of its trials itself."
        )
    elif isinstance(value, tf.data.Dataset):
        yield from (f"{name}: {problem}" for problem in _dataset_problems(value))
    else:
        try:
            _pack(name, value, Path())
        except ProblemError as error:
            yield str(error)


def _dataset_problems(dataset: tf.data.Dataset) -> Iterator[str]:
    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        yield (
            "the dataset never ends, so it cannot be saved for the workers: leave out repeat(). "
            "Each epoch iterates over it once."
        )
        return
    try:
        operations = _operations(dataset)
    except tf.errors.FailedPreconditionError:
        yield (
            "the dataset has a state (a Python generator or function, or random numbers), which "
            "cannot be sent to the workers: put random augmentation into the model or into "
            "HyperModel.fit, and pass arrays instead of a generator."
        )
        return
    if cardinality == tf.data.UNKNOWN_CARDINALITY and "RepeatDataset" in operations:
        yield "the dataset may never end, since it repeats and filters: leave out repeat()."


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


Transform = Callable[[str, Any], Any]


def _map_arguments(arguments: FitArguments, transform: Transform) -> FitArguments:
    return FitArguments(
        tuple(
            _map_value(f"argument {n}", value, transform)
            for n, value in enumerate(arguments.args, 1)
        ),
        {name: _map_value(name, value, transform) for name, value in arguments.kwargs.items()},
    )


def _map_value(name: str, value: Any, transform: Transform) -> Any:
    if type(value) in (tuple, list):
        return type(value)(
            _map_value(f"{name}[{n}]", part, transform) for n, part in enumerate(value)
        )
    if type(value) is dict:
        return {key: _map_value(f"{name}[{key!r}]", part, transform) for key, part in value.items()}
    return transform(name, value)
