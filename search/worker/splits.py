"""The kinds of data that a split may hold, each as Keras's ``fit`` takes it.

A split is what ``fit`` is given: ``(inputs, targets)``, or ``(dataset,)`` if a dataset yields both.
Inputs and targets are arrays, or lists, tuples or dicts of arrays for several inputs or outputs.
Nothing here imports Keras, TensorFlow, pandas or SciPy: who made their objects has imported them.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from search.carry.carried import PickledObject
from search.carry.description import DATASET, DataPart, Way
from search.errors import ProblemError

Split = tuple[Any, ...]

NUMBERS = "biuf"  # the kinds of NumPy's types that columns of a DataFrame may have
ARRAYS = "arrays, DataFrames, Series, sparse matrices or tensors, or a list or dict of them"
TEXTS = "texts as an object array of shape (n,) or as tf.constant(texts)"


# --- Which kind a value is ------------------------------------------------------------------------


def is_split(value: object) -> bool:
    """Tell whether a value is meant as a split: a dataset, an iterator, or a pair that has data."""
    if is_dataset(value) or isinstance(value, Iterator):
        return True
    return isinstance(value, (tuple, list)) and len(value) == 2 and any(map(_is_data, value))


def is_dataset(value: object) -> bool:
    """Tell whether a value is a ``tf.data.Dataset`` or a ``keras.utils.PyDataset``."""
    return _is_pipeline(value) or _is_py_dataset(value)


def is_sparse(value: object) -> bool:
    """Tell whether a value is a sparse matrix or array of SciPy."""
    return "scipy.sparse" in sys.modules and bool(sys.modules["scipy.sparse"].issparse(value))


def _is_pipeline(value: object) -> bool:
    return _is_instance(value, "tensorflow", "data.Dataset")


def _is_py_dataset(value: object) -> bool:
    return _is_instance(value, "keras", "utils.PyDataset")


def _is_frame(value: object) -> bool:
    return _is_instance(value, "pandas", "DataFrame")


def _is_series(value: object) -> bool:
    return _is_instance(value, "pandas", "Series")


def _is_tensor(value: object) -> bool:
    """Tell whether a value is a tensor that does not become an array: of texts, ragged, sparse."""
    if _is_instance(value, "tensorflow", "RaggedTensor"):
        return True
    if _is_instance(value, "tensorflow", "SparseTensor"):
        return True
    return _is_instance(value, "tensorflow", "Tensor") and getattr(value, "dtype", None) == "string"


def _is_instance(value: object, module: str, name: str) -> bool:
    """Tell whether a value is of a class of a module, which may not have been imported."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(value, found)


def _is_data(value: object) -> bool:
    if _is_packed(value) or is_dataset(value) or _is_structure(value):
        return True
    return len(getattr(value, "shape", ())) > 0


def _is_structure(value: object) -> bool:
    if isinstance(value, dict):  # one kind of sparse matrix is a dict
        return not is_sparse(value) and len(value) > 0
    return isinstance(value, (tuple, list)) and bool(value) and all(map(_is_data, value))


# --- Parts of a split -----------------------------------------------------------------------------


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each array of a structure with its name, such as ``x['a']``."""
    if not _is_structure(value):
        yield name, value
        return
    keyed = isinstance(value, dict)
    parts = sorted(value.items(), key=lambda item: str(item[0])) if keyed else enumerate(value)
    for key, part in parts:
        yield from leaves(part, f"{name}[{key!r}]")


def mapped(value: Any, transform: Callable[[Any], Any]) -> Any:
    """Return a structure with each array transformed."""
    if not _is_structure(value):
        return transform(value)
    if isinstance(value, dict):
        return {key: mapped(part, transform) for key, part in value.items()}
    parts = [mapped(part, transform) for part in value]
    return parts if isinstance(value, list) else tuple(parts)


def length(split: Split) -> int | None:
    """Return the samples of a split, or the batches of a dataset; None if they are unknown."""
    if len(split) == 2:
        return int(next(leaves(split))[1].shape[0])
    [dataset] = split
    if not _is_pipeline(dataset):
        return _batches(dataset)
    batches = int(dataset.cardinality())
    return batches if batches >= 0 else None


def first(split: Split, samples: int) -> Split:
    """Return the first samples of a split; of a dataset the first batch, as a dataset."""
    if len(split) == 2:
        return tuple(mapped(part, lambda array: _rows(array, samples)) for part in split)
    [dataset] = split
    if _is_pipeline(dataset):
        return (dataset.take(1),)
    import tensorflow as tf

    return (tf.data.Dataset.from_tensors(tuple(dataset[0])),)


def packed(split: Split, name: str) -> Split:
    """Return a split in the form in which Ray carries it.

    A ``tf.data`` dataset is taken apart into its graph and its large constants, which are in shared
    memory, as arrays are. Other datasets and tensors are pickled.

    Raises:
        ProblemError: A dataset cannot be sent to another process.
    """
    return tuple(mapped(part, lambda value: _packed(value, name)) for part in split)


def opened(split: Split) -> Split:
    """Return a split with fresh copies of the datasets and tensors that were packed."""
    return tuple(
        mapped(part, lambda value: value.open() if _is_packed(value) else value) for part in split
    )


def _packed(value: Any, name: str) -> Any:
    if _is_pipeline(value):
        from search.carry.pickling import carry_dataset

        try:
            return carry_dataset(value)
        except ProblemError as error:
            raise ProblemError(f"{name}: {error}") from error
    if is_dataset(value) or _is_tensor(value):
        return PickledObject.of(value, f"{name} ({type(value).__name__})")
    return value


def _is_packed(value: object) -> bool:
    if isinstance(value, PickledObject):
        return True
    return _is_instance(value, "search.carry.datasets", "CarriedDataset")


def _rows(array: Any, samples: int) -> Any:
    if _is_instance(array, "tensorflow", "SparseTensor"):
        import tensorflow as tf

        shape = (samples, *array.shape[1:])
        return tf.sparse.slice(array, [0] * len(shape), shape)
    return array[:samples]


def _batches(dataset: Any) -> int | None:
    """Return the number of batches of a PyDataset; None if it never ends."""
    batches = dataset.num_batches
    return None if batches is None else int(batches)


def described(split: Split, sent: Split, name: str) -> Iterator[DataPart]:
    """Yield each array or dataset of a split, and how it travels.

    Args:
        split: The split.
        sent: The same as ``packed`` returns it.
        name: The name of the split.
    """
    for (place, value), (_, carried) in zip(leaves(split, name), leaves(sent, name), strict=True):
        if isinstance(value, np.ndarray):
            kind = "array"
        else:
            kind = DATASET if _is_pipeline(value) else type(value).__name__
        shape = "" if is_dataset(value) else "x".join(map(str, value.shape))
        # Of a pipeline the state is known: random numbers, or Python functions.
        may_differ = getattr(carried, "has_state", False)
        yield DataPart(place, kind, shape, _way(value, carried), may_differ)


def _way(value: Any, carried: Any) -> Way:
    if _is_pipeline(value):
        return Way.ANEW
    if isinstance(carried, PickledObject):
        from search.carry.pickling import is_image_iterator

        return Way.ANEW if is_image_iterator(value) else Way.PICKLED
    has_objects = isinstance(value, np.ndarray) and value.dtype.hasobject
    return Way.PICKLED if has_objects else Way.SHARED


# --- Reading --------------------------------------------------------------------------------------


def as_split(value: Any) -> Split:
    """Return a value of a data function as a split, with plain arrays where that changes nothing.

    As in Keras's ``fit``, a DataFrame of numbers becomes an array of shape (n, columns) of their
    common type, and a Series one of shape (n, 1). Sparse matrices are compressed by rows.
    """
    if not isinstance(value, (tuple, list)):
        return (value,)
    inputs, targets = value
    return mapped(inputs, _as_array), mapped(targets, _as_array)


def problems(split: Split, name: str) -> Iterator[str]:
    """Yield what Keras's ``fit``, or a search, cannot take of a split.

    Args:
        split: As ``as_split`` returns it.
        name: The name of the split.
    """
    if len(split) == 1:
        yield from _dataset_problems(split[0], f"the {name} split")
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
    if isinstance(value, np.ndarray) or _is_tensor(value):
        return value
    if is_sparse(value):
        return value.tocsr()
    if _is_frame(value):
        if not len(value.columns) or _odd_columns(value):
            return value
        return np.ascontiguousarray(value.to_numpy(np.result_type(*value.dtypes)))
    if _is_series(value):
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
    if _is_frame(value):
        columns = ", ".join(_odd_columns(value)) or "none"
        return (
            f"{got} with the columns {columns}, expected columns of numbers. Encode these columns, "
            f"or return a dict with an array per column, {TEXTS}."
        )
    if _is_series(value):
        return f"{got}, expected numbers, or {TEXTS}. Encode the Series, or add .to_numpy(object)."
    if not isinstance(value, np.ndarray):
        is_known = is_sparse(value) or _is_tensor(value)
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


def _dataset_problems(dataset: Any, name: str) -> Iterator[str]:
    if not is_dataset(dataset):
        yield (
            f"{name} is a {type(dataset).__name__}, which the first trial would use up. Return "
            "arrays, a tf.data.Dataset or a keras.utils.PyDataset."
        )
        return
    is_endless = _never_ends(dataset) if _is_pipeline(dataset) else _batches(dataset) is None
    if is_endless:
        yield f"{name} never ends, expected one pass in each epoch. Leave out repeat()."
    elif length((dataset,)) == 0:
        yield f"{name} is a dataset without a batch, expected at least one."


def _never_ends(dataset: Any) -> bool:
    import tensorflow as tf

    return bool(dataset.cardinality() == tf.data.INFINITE_CARDINALITY)


# --- The digest -----------------------------------------------------------------------------------


def checksum(split: Split, start: int) -> int | None:
    """Continue a CRC-32 with the shapes, types and contents of a split.

    Returns:
        The checksum; None if the contents of a dataset cannot be known.
    """
    if len(split) == 1:
        content = _dataset_digest(split[0])
        return None if content is None else zlib.crc32(content.encode(), start)
    for name, array in leaves(split):
        path = name.partition("]")[2]
        start = _array_checksum(array, zlib.crc32(path.encode(), start))
    return start


def _dataset_digest(dataset: Any) -> str | None:
    from search.carry.digest import UnstableError, digest

    try:
        return digest(dataset)
    except UnstableError:
        return None


def _array_checksum(array: Any, start: int) -> int:
    if is_sparse(array):
        return _sparse_checksum(array, start)
    if _is_tensor(array):
        import tensorflow as tf

        for tensor in tf.nest.flatten(array, expand_composites=True):
            start = _array_checksum(tensor.numpy(), start)
        return start
    start = zlib.crc32(f"{array.shape} {array.dtype}".encode(), start)
    if array.dtype.kind != "O":
        return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, start)
    for text in array.flat:
        data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        start = zlib.crc32(data, zlib.crc32(b"%d " % len(data), start))
    return start


def _sparse_checksum(matrix: Any, start: int) -> int:
    rows = matrix.copy()
    rows.sum_duplicates()
    start = zlib.crc32(f"sparse {rows.shape}".encode(), start)
    for part in (rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data):
        start = _array_checksum(part, start)
    return start
