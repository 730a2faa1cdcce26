"""Converts the arrays of a training to tensors, without a copy if possible."""

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# TensorFlow reads memory in vectors of this size; arrays in Ray's shared memory are aligned to it.
ALIGNMENT_BYTES = 64


class NotFastError(Exception):
    """The training cannot take the fast path; the message is the recorded reason."""


@dataclass(frozen=True)
class Arrays:
    """The samples of an epoch.

    Attributes:
        parts: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, each a tensor or a structure of
            them, of shape (samples, ...).
        samples: Their common length, 1 or more.
    """

    parts: tuple[Any, ...]
    samples: int

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> "Arrays":
        """Convert the arrays that ``fit`` got, which must be numbers and have one length."""
        arrays = [x, y, sample_weight]
        while arrays[-1] is None:
            arrays.pop()
        leaves = keras.tree.flatten(arrays)
        for leaf in leaves:
            _check(leaf)
        lengths = {int(leaf.shape[0]) for leaf in leaves}
        if len(lengths) != 1 or lengths == {0}:
            raise NotFastError(f"the arrays have different or no samples: {sorted(lengths)}")
        parts = keras.tree.map_structure(as_tensor, tuple(arrays))
        return cls(keras.tree.lists_to_tuples(parts), lengths.pop())

    def take(self, rows: tf.Tensor) -> tuple[Any, ...]:
        """Return the samples at some rows, int32 of shape (rows,)."""
        samples: tuple[Any, ...] = keras.tree.map_structure(
            lambda part: tf.gather(part, rows), self.parts
        )
        return samples


def split(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Any, Any]:
    """Split off the last samples for validation, as Keras 3.15 does with ``validation_split``.

    Returns two tuples ``(x, y, sample_weight)``.
    """
    leaves = [leaf for leaf in keras.tree.flatten([x, y, sample_weight]) if leaf is not None]
    for leaf in leaves:
        _check(leaf)
    samples = int(leaves[0].shape[0])
    split_at = math.floor(samples * (1.0 - fraction))
    if not 0 < split_at < samples:
        raise NotFastError(f"validation_split={fraction} leaves one of the splits empty")

    def cut(part: slice) -> Any:
        return keras.tree.map_structure(
            lambda leaf: None if leaf is None else leaf[part], (x, y, sample_weight)
        )

    return cut(slice(split_at)), cut(slice(split_at, None))


def class_sample_weights(y: Any, class_weight: Mapping[int, float]) -> np.ndarray:
    """Return each sample's weight, as Keras 3.15 does for ``class_weight``; shape (samples,)."""
    classes = np.asarray(y)
    if classes.ndim > 1:
        classes = classes.argmax(-1) if classes.shape[-1] != 1 else classes[..., 0]
    labels, label_of_sample = np.unique(np.round(classes).astype("int32"), return_inverse=True)
    weights = [class_weight.get(int(label), 1.0) for label in labels]
    return np.asarray(weights, keras.config.floatx())[label_of_sample]


def as_tensor(array: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Return an array as a tensor, floats in Keras's float type, integers unchanged.

    The tensor shares the array's memory if that is aligned, so that all workers of a node read the
    one copy in Ray's shared memory.
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
    """Return a writable view, which DLPack requires; TensorFlow never writes to it."""
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array  # keeps the array alive as long as the view
    view: np.ndarray = np.frombuffer(memory, array.dtype)
    return view.reshape(array.shape)


def _check(leaf: Any) -> None:
    if isinstance(leaf, tf.Tensor):
        is_plain = leaf.shape.rank and (leaf.dtype.is_floating or leaf.dtype.is_integer)
    else:
        is_plain = isinstance(leaf, np.ndarray) and leaf.ndim and leaf.dtype.kind in "fiu"
    if not is_plain:
        class_name = f"{type(leaf).__module__.partition('.')[0]} {type(leaf).__name__.lstrip('_')}"
        raise NotFastError(f"the data are {class_name}, not arrays of numbers")
