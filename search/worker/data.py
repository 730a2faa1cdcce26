"""Loads the data of a problem from the user's function, and checks them."""

import inspect
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.errors import ProblemError
from search.plan import importer
from search.plan.plan import Problem

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Data:
    """The inputs and targets of each split, equally long within a split.

    Attributes:
        train: For training.
        validation: For the objective.
        test: For the evaluation of the final model only; None if there is no such split.
        class_names: Name of each label, or None.
    """

    train: Arrays
    validation: Arrays
    test: Arrays | None = None
    class_names: tuple[str, ...] | None = None

    def digest(self) -> str:
        """Return a checksum of the shapes, types and contents of all splits."""
        checksum = 0
        for array in (*self.train, *self.validation, *(self.test or ())):
            checksum = zlib.crc32(f"{array.shape} {array.dtype}".encode(), checksum)
            checksum = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, checksum)
        return f"{checksum:08x}"


def load_data(problem: Problem, *, needs_test: bool) -> Data:
    """Call the problem's data function.

    The function gets ``seed`` and ``data_dir`` if it has parameters of these names. It returns two
    or three pairs of arrays: train, validation and optionally test. The returned object may have an
    attribute ``class_names``.

    Args:
        problem: Names the function, the seed and the folder.
        needs_test: Whether a test split is required, because a model will be evaluated.

    Raises:
        ProblemError: The function cannot be called, raises, or returns something else.
    """
    function = importer.load(problem.data, "data")
    if not callable(function):
        raise ProblemError(
            f"--data {problem.data!r} is not a function: expected one that returns the data."
        )
    try:
        loaded = function(
            **_accepted_arguments(function, seed=problem.seed, data_dir=problem.data_dir)
        )
    except Exception as error:
        raise ProblemError(f"--data {problem.data!r}: {type(error).__name__}: {error}") from error
    data = _check(loaded, problem.data)
    if needs_test and data.test is None:
        raise ProblemError(
            f"--data {problem.data!r} returns no test split, so the retrained model cannot be "
            "evaluated: return (x_test, y_test) as a third pair, or add --retrain-epochs none."
        )
    return data


def _accepted_arguments(function: Any, **offered: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return offered
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in offered.items() if name in names}


def _check(loaded: Any, reference: str) -> Data:
    expected = (
        f"--data {reference!r}: expected (x_train, y_train), (x_validation, y_validation) and "
        "optionally (x_test, y_test), as NumPy arrays"
    )
    parts = list(loaded) if isinstance(loaded, (tuple, list)) else [loaded]
    pairs = [part for part in parts if _is_pair(part)]
    if len(pairs) not in (2, 3) or not all(_is_pair(part) for part in parts[: len(pairs)]):
        raise ProblemError(f"{expected}; got {_describe(loaded)}.")
    for name, (inputs, targets) in zip(("train", "validation", "test"), pairs, strict=False):
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise ProblemError(
                f"{expected}, as many inputs as targets; got {len(inputs)} inputs and "
                f"{len(targets)} targets in the {name} split."
            )
    names = getattr(loaded, "class_names", None)
    return Data(
        train=pairs[0],
        validation=pairs[1],
        test=pairs[2] if len(pairs) == 3 else None,
        class_names=tuple(str(name) for name in names) if names is not None else None,
    )


def _is_pair(part: Any) -> bool:
    return (
        isinstance(part, (tuple, list))
        and len(part) == 2
        and all(isinstance(array, np.ndarray) and array.ndim > 0 for array in part)
    )


def _describe(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {[type(part).__name__ for part in value]}"
    return type(value).__name__
