"""What a trial returns to the script: attributes that its callbacks, hypermodel or tuner name.

A class names them in a class attribute ``returned_attributes``. Imports no Keras.
"""

import contextlib
import copy
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NAMES = "returned_attributes"
# The journal keeps what is returned; more than this of one attribute is left out.
MAX_BYTES = 1_000_000
# Lines that this process has printed: each trial would print the same.
_printed: set[str] = set()


def returned_names(value: object) -> tuple[str, ...]:
    """Return the attributes that the class of an object names; empty if it names none."""
    names = getattr(type(value), NAMES, ())
    return (names,) if isinstance(names, str) else tuple(names)


class ReturnedAttributes:
    """Collects the attributes that one trial returns.

    The hypermodel lives as long as its process: before each trial, its attributes get the values
    back that they had in the script. So do those of the tuner before each attempt.

    Args:
        parts: The hypermodel of the trial and its tuner, or None for one that it lacks.
    """

    def __init__(self, *parts: object | None) -> None:
        self._parts = [_Part(part) for part in parts if returned_names(part)]
        self._callbacks: list[Any] = []

    @property
    def is_empty(self) -> bool:
        """Whether no object of the trial, as far as they are known, returns anything."""
        return not self._parts and not any(map(returned_names, self._callbacks))

    def begin_attempt(self) -> None:
        """Forget what an earlier attempt has collected."""
        self._callbacks = []
        for part in self._parts:
            part.reset()

    def watch(self, callbacks: Iterable[Any]) -> None:
        """Return the attributes of these callbacks, which train now, instead of earlier ones."""
        self._callbacks = list(callbacks)
        for callback in self._callbacks:
            # The class lives as long as the process; what it holds must not pass between trials.
            of_class = [name for name in returned_names(callback) if name not in vars(callback)]
            for name, value in _copies(callback, of_class).items():
                setattr(callback, name, value)

    def take(self) -> dict[str, dict[str, Any]] | None:
        """Return the attributes as JSON values, by the class; None if no object returns any.

        Of two objects of a class, the second has the name ``CLASS 2``. Prints a line for each
        attribute that cannot be returned, once in a process.
        """
        if self.is_empty:
            return None
        returned: dict[str, dict[str, Any]] = {}
        for part in (*(part.value for part in self._parts), *self._callbacks):
            if returned_names(part):
                name = _free_name(type(part).__name__, returned)
                returned[name] = _json_attributes(part, name)
        self.begin_attempt()
        return returned


class _Part:
    """An object that several attempts share, with the attributes that it had before."""

    def __init__(self, value: object) -> None:
        self.value = value
        names = returned_names(value)
        self._initial = _copies(value, names)
        self._absent = [name for name in names if not hasattr(value, name)]

    def reset(self) -> None:
        """Give the attributes their first values back."""
        for name, value in copy.deepcopy(self._initial).items():
            setattr(self.value, name, value)
        for name in self._absent:
            vars(self.value).pop(name, None)


def _copies(part: object, names: Iterable[str]) -> dict[str, Any]:
    """Return copies of attributes; leave out what is absent or cannot be copied."""
    copies = {}
    for name in names:
        # Copying may raise anything; what cannot be copied is no JSON value either.
        with contextlib.suppress(Exception):
            copies[name] = copy.deepcopy(getattr(part, name))
    return copies


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    number = 1
    while (name if number == 1 else f"{name} {number}") in taken:
        number += 1
    return name if number == 1 else f"{name} {number}"


def _json_attributes(part: object, part_name: str) -> dict[str, Any]:
    attributes = {}
    for name in returned_names(part):
        try:
            value = to_json(getattr(part, name))
            size = len(json.dumps(value))
            if size > MAX_BYTES:
                raise TypeError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
            attributes[name] = value
        except (AttributeError, TypeError, RecursionError) as error:
            _print_once(f"{part_name}.{name} is not returned: {error}")
    return attributes


def _print_once(line: str) -> None:
    if line not in _printed:
        _printed.add(line)
        print(line)


def to_json(value: Any) -> Any:
    """Return a value as JSON can hold it.

    NumPy scalars become numbers, arrays and tuples become lists, keys become texts; a number that
    is not finite becomes None.

    Raises:
        TypeError: The value, or a part of it, is of another type.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        return to_json(value.tolist())
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, dict):
        return {_json_key(key): to_json(part) for key, part in value.items()}
    raise TypeError(
        f"got a {type(value).__name__}, expected numbers, texts, lists, dicts or NumPy arrays"
    )


def _json_key(key: Any) -> str:
    if isinstance(key, (str, int, float, np.generic)):
        return str(key)
    raise TypeError(f"got a key of type {type(key).__name__}, expected a text or a number")
