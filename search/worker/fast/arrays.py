"""Arrays of a training as tensors, without a copy where that can be had."""

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# TensorFlow reads memory in vectors of this size; Ray's shared memory begins at multiples of it.
ALIGNMENT_BYTES = 64


class NotFastError(Exception):
    """The training cannot take the fast path; the message is the reason that the record gives."""


@dataclass(frozen=True)
class Arrays:
    """What an epoch runs through.

    Attributes:
        parts: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, each a tensor or a structure of
            them, of shape (samples, ...).
        samples: Their common length, 1 or more.
    """

    parts: tuple[Any, ...]
    samples: int

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> "Arrays":
        """Take in arrays as they are given to ``fit``: plain ones, all of one length."""
        arrays = [x, y, sample_weight]
        while arrays[-1] is None:
            arrays.pop()
        leaves = keras.tree.flatten(arrays)
        for leaf in leaves:
            _check(leaf)
        lengths = {int(leaf.shape[0]) for leaf in leaves}
        if len(lengths) != 1 or lengths == {0}:
            raise NotFastError(f"the arrays have {sorted(lengths)} samples")
        parts = keras.tree.map_structure(as_tensor, tuple(arrays))
        return cls(keras.tree.lists_to_tuples(parts), lengths.pop())

    def take(self, rows: tf.Tensor) -> tuple[Any, ...]:
        """Return the samples of some rows, int32 of shape (rows,)."""
        taken: tuple[Any, ...] = keras.tree.map_structure(
            lambda part: tf.gather(part, rows), self.parts
        )
        return taken


def split(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Any, Any]:
    """Split off the last samples for validation, as Keras 3.15 does with ``validation_split``.

    Returns two tuples ``(x, y, sample_weight)``.
    """
    leaves = [leaf for leaf in keras.tree.flatten([x, y, sample_weight]) if leaf is not None]
    for leaf in leaves:
        _check(leaf)
    samples = int(leaves[0].shape[0])
    begin = math.floor(samples * (1.0 - fraction))
    if not 0 < begin < samples:
        raise NotFastError(f"validation_split={fraction} leaves one of the parts empty")

    def cut(part: slice) -> Any:
        return keras.tree.map_structure(
            lambda leaf: None if leaf is None else leaf[part], (x, y, sample_weight)
        )

    return cut(slice(begin)), cut(slice(begin, None))


def weights_of_classes(y: Any, class_weight: Mapping[int, float]) -> np.ndarray:
    """Return a weight a sample, as Keras 3.15 does with ``class_weight``; shape (samples,)."""
    classes = np.asarray(y)
    if classes.ndim > 1:
        classes = classes.argmax(-1) if classes.shape[-1] != 1 else classes[..., 0]
    kinds, places = np.unique(np.round(classes).astype("int32"), return_inverse=True)
    weights = [class_weight.get(int(kind), 1.0) for kind in kinds]
    return np.asarray(weights, keras.config.floatx())[places]


def as_tensor(array: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Return an array as a tensor, floats in Keras's float type, integers as they are.

    The tensor shares the array's memory where its place allows it, so that all workers of a node
    read the one copy in Ray's shared memory.
    """
    floatx = keras.config.floatx()
    if isinstance(array, tf.Tensor):
        return tf.cast(array, floatx) if array.dtype.is_floating else array
    if array.dtype.kind == "f" and array.dtype != floatx:
        array = array.astype(floatx)
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT_BYTES == 0 and array.size:
        return tf.experimental.dlpack.from_dlpack(_writable(array).__dlpack__())
    return tf.constant(array)


def _writable(array: np.ndarray) -> np.ndarray:
    """Return a view that may be exported; what reads it as a tensor never writes."""
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array  # kept for as long as the view is
    view: np.ndarray = np.frombuffer(memory, array.dtype)
    return view.reshape(array.shape)


def _check(leaf: Any) -> None:
    if isinstance(leaf, tf.Tensor):
        is_plain = leaf.shape.rank and (leaf.dtype.is_floating or leaf.dtype.is_integer)
    else:
        is_plain = isinstance(leaf, np.ndarray) and leaf.ndim and leaf.dtype.kind in "fiu"
    if not is_plain:
        kind = f"{type(leaf).__module__.partition('.')[0]} {type(leaf).__name__}"
        raise NotFastError(f"data come as {kind}, not as arrays of numbers")
