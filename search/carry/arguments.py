"""Packs the arguments of ``fit`` for the workers, and says how each of them travels.

Each kind of data travels in the cheapest way that keeps its meaning. Imports Keras.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import GeneratorType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from search.carry.carried import FitArguments, PickledObject
from search.carry.datasets import CarriedDataset, NotAGraphError
from search.carry.description import DATASET, DataDescription, DataPart, Numbers, Way
from search.carry.digest import UnstableError, contents, is_measured, numbers_of
from search.carry.generators import ReadElements
from search.carry.pickling import carry_dataset, is_image_iterator
from search.carry.saved import SavedDataset, save
from search.errors import ProblemError

# What a worker opens.
Closed = CarriedDataset | SavedDataset | PickledObject | ReadElements
# The argument of ``fit`` that says how many elements of an iterator make an epoch.
STEPS = {"x": "steps_per_epoch", "validation_data": "validation_steps"}
FIRST_ARGUMENT = "argument 1"


@dataclass(frozen=True)
class PackedArguments:
    """The arguments of ``fit``, packed for the workers.

    Attributes:
        arguments: What is sent.
        data: Describes the data among them.
        notes: What the user should know, a line each.
    """

    arguments: FitArguments
    data: DataDescription
    notes: tuple[str, ...]


def pack(arguments: FitArguments, scratch: Path, *, epochs: int | None = None) -> PackedArguments:
    """Pack the arguments of ``fit`` so that they can be sent to the workers.

    Arrays stay as they are: Ray keeps one read-only copy in each node's shared memory. Datasets
    travel as graphs; one that cannot is saved. Generators and image iterators are made anew. Other
    values are pickled, so that each trial unpacks its own copy.

    Args:
        arguments: The arguments that a script passed.
        scratch: A folder that exists as long as the search runs.
        epochs: Maximum number of epochs of a trial; None: unknown. So much is read of an iterator
            that only this process can use.

    Raises:
        ProblemError: Names each argument that cannot be sent to another process.
    """
    packer = _Packer(arguments, scratch, epochs)
    packed = _map_arguments(arguments, packer.pack)
    if packer.problems:
        raise ProblemError("\n".join(packer.problems))
    checksum = packer.digest.hexdigest()[:8]
    data = DataDescription(tuple(packer.parts), checksum, tuple(packer.unstable))
    return PackedArguments(packed, data, tuple(packer.notes))


def unpack(arguments: FitArguments) -> FitArguments:
    """Open the packed arguments, in a worker: each call returns new copies."""
    return _map_arguments(
        arguments, lambda _, value: value.open() if isinstance(value, Closed) else value
    )


def unpack_sample(arguments: FitArguments) -> FitArguments:
    """Open the packed arguments for a reader of their first elements."""

    def opened(_: str, value: Any) -> Any:
        return value.open(caches=False) if isinstance(value, CarriedDataset) else value

    return unpack(_map_arguments(arguments, opened))


class _Packer:
    """Packs one argument after the other, and notes what is found.

    Attributes:
        problems: The arguments that cannot be sent.
        parts: The data among the arguments.
        digest: The checksum of their contents.
        unstable: The places of data without a digest.
        notes: What the user should know.
    """

    def __init__(self, arguments: FitArguments, scratch: Path, epochs: int | None) -> None:
        self._arguments = arguments
        self._scratch = scratch
        self._epochs = epochs
        self._constants: list[np.ndarray] = []
        self.problems: list[str] = []
        self.parts: list[DataPart] = []
        self.digest = hashlib.sha256()
        self.unstable: list[str] = []
        self.notes: list[str] = []

    def pack(self, name: str, value: Any) -> Any:
        """Pack one value; a value that cannot be sent is noted as a problem."""
        try:
            return self._pack(name, value)
        except ProblemError as error:
            self.problems.append(str(error))
            return None

    def _pack(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        if isinstance(value, np.ndarray):
            self._note(name, value, Way.SHARED)
            return value
        if isinstance(value, tf.data.Dataset):
            return self._pack_dataset(name, value)
        if isinstance(value, keras.callbacks.BackupAndRestore):
            raise ProblemError(
                f"{name}: all trials would share the folder of BackupAndRestore, and continue each "
                "other's training. Leave it out: the search saves the states of its trials itself."
            )
        if isinstance(value, Iterator) and not isinstance(value, keras.utils.PyDataset):
            return self._pack_iterator(name, value)
        try:
            packed = PickledObject.of(value, f"{name} ({type(value).__name__})")
        except ProblemError:
            if not hasattr(value, "__array__"):
                raise
            return self._pack(name, np.asarray(value))  # such as a dataset of h5py, of an open file
        if not name.startswith("callbacks"):
            self._note(name, value, Way.ANEW if is_image_iterator(value) else Way.PICKLED)
        return packed

    def _pack_dataset(self, name: str, dataset: tf.data.Dataset) -> CarriedDataset | SavedDataset:
        try:
            carried = carry_dataset(dataset)
        except NotAGraphError as error:
            if int(dataset.cardinality()) < 0:  # endless, or unknown
                raise ProblemError(f"{name}: {error}") from error
            saved = save(dataset, self._scratch, shuffles=True)
            self._note(name, saved.digest, Way.SAVED, dataset)
            return saved
        except ProblemError as error:
            raise ProblemError(f"{name}: {error}") from error
        self._note(name, carried, Way.ANEW, dataset, may_differ=carried.has_state)
        constants = [self._shared(constant) for constant in carried.constants]
        return replace(carried, constants=tuple(constants))

    def _shared(self, constant: np.ndarray) -> np.ndarray:
        """Return the array of equal content that is sent already, or this one."""
        for other in self._constants:
            if other.dtype == constant.dtype and np.array_equal(other, constant):
                return other
        self._constants.append(constant)
        return constant

    def _pack_iterator(self, name: str, iterator: Iterator[Any]) -> PickledObject | ReadElements:
        try:
            packed = PickledObject.of(iterator, name)
        except ProblemError as error:
            count = self._elements_needed(name)
            if count is None:
                raise ProblemError(
                    f"{error} Pass a new generator, arrays or a tf.data.Dataset; or pass "
                    "steps_per_epoch and epochs, so that it can be read here."
                ) from error
            elements = ReadElements.of(iterator, count)
            self.parts.append(DataPart(name, _kind(iterator), "", Way.READ))
            self.unstable.append(name)
            self.notes.append(
                f"{name}: only this process can read the {_kind(iterator)}, so "
                f"{len(elements.elements)} batches were read once; each trial trains on these, in "
                "this order"
            )
            return elements
        self._note(name, iterator, Way.ANEW)
        return packed

    def _elements_needed(self, name: str) -> int | None:
        """Return how many elements a trial takes of an iterator; None if that is unknown."""
        steps_name = STEPS.get("x" if name == FIRST_ARGUMENT else name, "")
        steps = self._arguments.kwargs.get(steps_name)
        if steps is None or self._epochs is None:
            return None
        return int(steps) * self._epochs

    def _note(
        self, name: str, content: Any, way: Way, value: Any = None, *, may_differ: bool = False
    ) -> None:
        """Note a part of the data, and add its content to the digest."""
        value = content if value is None else value
        arrays: tuple[Numbers, ...] = ()
        try:
            content_bytes, arrays = _content(content)
        except UnstableError:
            self.unstable.append(name)
        else:
            self.digest.update(name.encode() + content_bytes)
        self.parts.append(DataPart(name, _kind(value), _shape(value), way, may_differ, arrays))


def _content(content: Any) -> tuple[bytes, tuple[Numbers, ...]]:
    """Return what the digest of a run covers, and the arrays of numbers in it.

    For an array, the digest covers the same bytes as in version 0.1.0.

    Raises:
        UnstableError: The content has no digest.
    """
    if isinstance(content, np.ndarray) and not content.dtype.hasobject:
        arrays = (numbers_of(content),) if is_measured(content) else ()
        return np.ascontiguousarray(content).tobytes(), arrays
    known = contents(content)
    return known.digest.encode(), known.arrays


def _kind(value: Any) -> str:
    if isinstance(value, tf.data.Dataset):
        return DATASET
    if isinstance(value, GeneratorType):
        return "generator"
    if type(value).__module__.startswith("tensorflow") and isinstance(value, Iterator):
        return "iterator"
    return "array" if isinstance(value, np.ndarray) else type(value).__name__


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(value, tf.data.Dataset) or shape is None:
        return ""
    return "x".join(str(length) for length in shape)


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
