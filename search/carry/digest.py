"""Checksums of data, equal for equal contents in any process. Imports Keras."""

import inspect
import math
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, GeneratorType, ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from joblib.hashing import NumpyHasher

from search.carry.datasets import CarriedDataset
from search.carry.description import Numbers
from search.carry.generators import parts_of_generator
from search.carry.pickling import STATE_OF_GENERATOR, carry_dataset, state_of_iterator

DIGITS = 40  # of a checksum, hexadecimal
# Statistics are computed of so many numbers at a time: float64 takes eight times the memory of
# bytes.
CHUNK = 1 << 20
LOCKS = (type(threading.Lock()), type(threading.RLock()))


class UnstableError(Exception):
    """A value has no checksum that another process would find too."""


@dataclass(frozen=True)
class Contents:
    """What is known of the contents of a value.

    Attributes:
        digest: A checksum, as 40 hexadecimal digits.
        arrays: The arrays of numbers among the contents, in a fixed order.
    """

    digest: str
    arrays: tuple[Numbers, ...]


def contents(value: object) -> Contents:
    """Look at the contents of a value.

    Arrays, frames, sparse matrices, tensors, datasets, generators that have not begun, and objects
    with these as attributes are equal if their contents are. Of a class only the name counts; of a
    function of the script, its code and the values that it closes over.

    Raises:
        UnstableError: The value has no checksum that another process would find too, as a generator
            that has begun.
    """
    hasher = _ContentHasher("sha1")
    try:
        return Contents(str(hasher.hash(value)), tuple(hasher.arrays))
    except Exception as error:  # any class may raise anything when it is taken apart
        raise UnstableError(str(error)) from error


def digest(value: object) -> str:
    """Return the checksum of the contents of a value.

    Raises:
        UnstableError: It has none.
    """
    return contents(value).digest


def is_measured(value: object) -> bool:
    """Tell whether a value is an array of numbers, of which mean and deviation say something."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size > 0


def numbers_of(array: np.ndarray) -> Numbers:
    """Return shape, mean and standard deviation of an array for which ``is_measured``."""
    shape = "x".join(map(str, array.shape))
    mean = float(array.mean(dtype=np.float64))
    if not math.isfinite(mean):
        return Numbers(shape)
    squares = sum(float(np.square(chunk - mean).sum()) for chunk in _chunks(array))
    return Numbers(shape, mean, math.sqrt(squares / array.size))


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK].astype(np.float64)


def _named(*parts: Any) -> str:
    """Stand for what a pickle of ``parts`` describes; never called."""
    raise AssertionError(parts)


class _ContentHasher(NumpyHasher):
    """joblib's hasher, for which what belongs to one process does not count.

    Attributes:
        arrays: The arrays of numbers that were hashed so far.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.arrays: list[Numbers] = []

    def save(self, obj: Any) -> None:
        if is_measured(obj):
            self.arrays.append(numbers_of(obj))
        super().save(obj)

    def reducer_override(self, value: Any) -> Any:
        if value is _named:
            return NotImplemented
        if isinstance(value, tf.data.Dataset):
            return _named, ("dataset", *carry_dataset(value).content())
        if isinstance(value, CarriedDataset):
            return _named, ("dataset", *value.content())
        if isinstance(value, type):
            return _name(value)
        if isinstance(value, ModuleType):
            return _named, ("module", value.__name__)
        if isinstance(value, FunctionType):
            return _function(value)
        if isinstance(value, CodeType):
            return _named, ("code", value.co_code, value.co_consts, value.co_names)
        if isinstance(value, GeneratorType):
            return _named, ("generator", *parts_of_generator(value))
        if isinstance(value, STATE_OF_GENERATOR):
            return _named, ("generator", value._generator)
        if isinstance(value, LOCKS):
            return _named, ("lock",)
        if tf.is_tensor(value) and not isinstance(value, tf.Variable):
            parts = tf.nest.flatten(value, expand_composites=True)
            return _named, ("tensor", [part.numpy() for part in parts])
        if isinstance(value, keras.utils.PyDataset):
            return _named, ("dataset", type(value), state_of_iterator(value))
        if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "iloc"):
            return _frame(value)
        return NotImplemented


def _name(value: Any) -> Any:
    return _named, ("name", value.__module__, value.__qualname__)


def _function(function: FunctionType) -> Any:
    if function.__module__ != "__main__" and "<" not in function.__qualname__:
        return _name(function)
    closure = inspect.getclosurevars(function).nonlocals
    return _named, ("function", function.__code__, function.__defaults__, dict(closure))


def _frame(frame: Any) -> Any:
    """Describe a DataFrame or Series by pandas's own hash of its rows, which is stable."""
    pandas = sys.modules["pandas"]
    numbers = frame.to_frame() if frame.ndim == 1 else frame
    numbers = numbers.select_dtypes("number").to_numpy(dtype=float)
    names = list(frame.columns) if frame.ndim == 2 else [frame.name]
    dtypes = [str(dtype) for dtype in (frame.dtypes if frame.ndim == 2 else [frame.dtype])]
    rows = pandas.util.hash_pandas_object(frame).to_numpy().tobytes()
    return _named, ("frame", list(map(str, names)), dtypes, rows, numbers)
