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


# --- Which kind a value is ------------------------------------------------------------------------


def is_split(value: object) -> bool:
    """Tell whether a value is meant as a split: a dataset, an iterator, or a pair that has data."""
    if is_dataset(value) or isinstance(value, Iterator):
        return True
    return isinstance(value, (tuple, list)) and len(value) == 2 and any(map(_is_data, value))


def is_dataset(value: object) -> bool:
    """Tell whether a value is a ``tf.data.Dataset`` or a ``keras.utils.PyDataset``."""
    return is_pipeline(value) or _is_py_dataset(value)


def is_sparse(value: object) -> bool:
    """Tell whether a value is a sparse matrix or array of SciPy."""
    return "scipy.sparse" in sys.modules and bool(sys.modules["scipy.sparse"].issparse(value))


def is_pipeline(value: object) -> bool:
    """Tell whether a value is a ``tf.data.Dataset``."""
    return _is_instance(value, "tensorflow", "data.Dataset")


def _is_py_dataset(value: object) -> bool:
    return _is_instance(value, "keras", "utils.PyDataset")


def is_frame(value: object) -> bool:
    """Tell whether a value is a DataFrame of pandas."""
    return _is_instance(value, "pandas", "DataFrame")


def is_series(value: object) -> bool:
    """Tell whether a value is a Series of pandas."""
    return _is_instance(value, "pandas", "Series")


def is_tensor(value: object) -> bool:
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
    count = int(dataset.cardinality()) if is_pipeline(dataset) else dataset.num_batches
    return None if count is None or count < 0 else int(count)


def is_endless(dataset: Any) -> bool:
    """Tell whether a dataset says that it never ends."""
    if not is_pipeline(dataset):
        return dataset.num_batches is None
    import tensorflow as tf

    return bool(dataset.cardinality() == tf.data.INFINITE_CARDINALITY)


def first(split: Split, samples: int) -> Split:
    """Return the first samples of a split; of a dataset the first batch, as a dataset."""
    if len(split) == 2:
        return tuple(mapped(part, lambda array: _rows(array, samples)) for part in split)
    [dataset] = split
    if is_pipeline(dataset):
        return (dataset.take(1),)
    import tensorflow as tf

    batch = dataset[0]
    batch = tuple(batch) if isinstance(batch, list) else batch  # TensorFlow stacks a list
    return (tf.data.Dataset.from_tensors(batch),)


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
    if is_pipeline(value):
        from search.carry.pickling import carry_dataset

        try:
            return carry_dataset(value)
        except ProblemError as error:
            raise ProblemError(f"{name}: {error}") from error
    if is_dataset(value) or is_tensor(value):
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
            kind = DATASET if is_pipeline(value) else type(value).__name__
        shape = "" if is_dataset(value) else "x".join(map(str, value.shape))
        # Of a pipeline the state is known: random numbers, or Python functions.
        may_differ = getattr(carried, "has_state", False)
        yield DataPart(place, kind, shape, _way(value, carried), may_differ)


def _way(value: Any, carried: Any) -> Way:
    if is_pipeline(value):
        return Way.ANEW
    if isinstance(carried, PickledObject):
        from search.carry.pickling import is_image_iterator

        return Way.ANEW if is_image_iterator(value) else Way.PICKLED
    has_objects = isinstance(value, np.ndarray) and value.dtype.hasobject
    return Way.PICKLED if has_objects else Way.SHARED


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
    if is_tensor(array):
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
