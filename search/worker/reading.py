"""Reads what a data function returned as splits, and finds what Keras's ``fit`` cannot take."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from search.worker.splits import (
    Split,
    is_dataset,
    is_endless,
    is_frame,
    is_series,
    is_sparse,
    is_tensor,
    leaves,
    length,
    mapped,
)

NUMBERS = "biuf"  # the kinds of NumPy's types that columns of a DataFrame may have
ARRAYS = "arrays, DataFrames, Series, sparse matrices or tensors, or a list or dict of them"
TEXTS = "texts as an object array of shape (n,) or as tf.constant(texts)"


def as_split(value: Any) -> Split:
    """Return a value of a data function as a split, with plain arrays where that changes nothing.

    As in Keras's ``fit``, a DataFrame of numbers becomes an array of shape (n, columns) of their
    common type, and a Series one of shape (n, 1). Sparse matrices are compressed by rows.
    """
    if not isinstance(value, (tuple, list)):
        return (value,)
    inputs, targets = value
    return mapped(inputs, _as_array), mapped(targets, _as_array)


def problems(
    split: Split, name: str, *, may_be_endless: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """Yield what Keras's ``fit``, or a search, cannot take of a split.

    Args:
        split: As ``as_split`` returns it.
        name: The name of the split.
        may_be_endless: Tells whether it may be a dataset that never ends; only called for one.
    """
    if len(split) == 1:
        yield from _dataset_problems(split[0], f"the {name} split", may_be_endless)
        return
    found = False
    for part, role in zip(split, ("inputs", "targets"), strict=True):
        for array_name, array in leaves(part, f"the {role}"):
            problem = _problem(array)
            if problem is not None:
                found = True
                yield f"{array_name} of the {name} split: {problem}"
    if not found:
        yield from _length_problems(split, name)


def describe(value: Any) -> str:
    """Describe the type and the shape of a value, or its parts."""
    text, dtype = type(value).__name__, getattr(value, "dtype", None)
    if isinstance(value, (tuple, list)):
        parts = [_describe_part(part) for part in value[:4]] + ["..."] * (len(value) > 4)
        return f"{text} of {', '.join(parts) or 'nothing'}"
    text += f" of {getattr(dtype, 'name', dtype)}" if dtype is not None else ""
    return text + (f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else "")


def _describe_part(value: Any) -> str:
    is_container = isinstance(value, (tuple, list))
    return f"{type(value).__name__} of {len(value)}" if is_container else type(value).__name__


def _as_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) or is_tensor(value):
        return value
    if is_sparse(value):
        return value.tocsr()
    if is_frame(value):
        if not len(value.columns) or _odd_columns(value):
            return value
        return np.ascontiguousarray(value.to_numpy(np.result_type(*value.dtypes)))
    if is_series(value):
        return value.to_numpy()[:, np.newaxis] if _is_number(value.dtype) else value
    return np.asarray(value) if hasattr(value, "__array__") else value


def _is_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in NUMBERS


def _odd_columns(frame: Any) -> list[str]:
    """Describe each column of a DataFrame that does not hold numbers."""
    columns = zip(frame.columns, frame.dtypes, strict=True)
    return [f"{column!r} ({dtype})" for column, dtype in columns if not _is_number(dtype)]


def _problem(value: Any) -> str | None:
    """Return why Keras's ``fit`` cannot take an array; None if it can."""
    got = f"got {describe(value)}"
    if is_dataset(value):
        return f"{got} in a pair, but it holds inputs and targets itself. Return it alone."
    if is_frame(value):
        columns = ", ".join(_odd_columns(value)) or "none"
        return (
            f"{got} with the columns {columns}, expected columns of numbers. Encode these columns, "
            f"or return a dict with an array per column, {TEXTS}."
        )
    if is_series(value):
        return (
            f"{got}, expected numbers, or {TEXTS}. Encode the Series, as labels must be, or add "
            ".to_numpy(object) to texts that the model reads."
        )
    if not isinstance(value, np.ndarray):
        is_known = is_sparse(value) or is_tensor(value)
        return None if is_known else f"{got}, expected {ARRAYS}. Convert it, as by np.asarray."
    return _array_problem(value, got)


def _array_problem(array: np.ndarray, got: str) -> str | None:
    if array.ndim == 0:
        return f"{got}, which has no samples, expected the shape (samples, ...)."
    if array.dtype.kind in "mM":
        return f"{got}, expected numbers. Convert the times, as by .astype('int64')."
    if array.dtype.kind == "O":
        others = {type(item).__name__ for item in array.flat if not isinstance(item, (str, bytes))}
        if others:
            return (
                f"{got} that holds {', '.join(sorted(others))}, expected numbers, or {TEXTS}. "
                "Convert it, as by .astype('float32')."
            )
        if array.ndim == 1 and all(isinstance(item, str) for item in array):
            return None
    if array.dtype.kind in "OUST":
        return f"{got}, expected {TEXTS}. Convert it, as by .astype(object)."
    return None


def _length_problems(split: Split, name: str) -> Iterator[str]:
    inputs, targets = ({int(array.shape[0]) for _, array in leaves(part)} for part in split)
    if len(inputs | targets) == 1 and inputs != {0}:
        return
    counts = [" or ".join(map(str, sorted(counts))) for counts in (inputs, targets)]
    yield (
        f"the {name} split has {counts[0]} inputs and {counts[1]} targets, expected as many inputs "
        "as targets, and at least one."
    )


def _dataset_problems(dataset: Any, name: str, may_be_endless: Callable[[], bool]) -> Iterator[str]:
    if not is_dataset(dataset):
        yield (
            f"{name} is a {type(dataset).__name__}, which the first trial would use up. Return "
            "arrays, a tf.data.Dataset or a keras.utils.PyDataset."
        )
        return
    if is_endless(dataset):
        if not may_be_endless():
            yield f"{name} never ends, expected one pass in each epoch. Leave out repeat()."
    elif length((dataset,)) == 0:
        yield f"{name} is a dataset without a batch, expected at least one."
