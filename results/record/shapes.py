"""JSON as frozen dataclasses: a file that a user hands over is checked whole before it is used."""

import reprlib
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import EnumType
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

# So much of what is wrong is told: of a file that is quite another, all of it is.
MOST_PROBLEMS = 5
LARGEST_INT = 2**63 - 1


def shaped(kind: type[T], value: Any) -> T:
    """Return a JSON value as a dataclass, by the types of its fields.

    Fields may be numbers, which must be finite, texts, booleans, enums of texts, literals, objects
    (``dict``), tuples of one kind, dataclasses, and each of these or None. What the dataclass has
    no field for is left out.

    Raises:
        ValueError: The value has another form; all that is wrong is told, up to five things.
    """
    problems = list(_problems(kind, value, ""))
    if problems:
        more = len(problems) - MOST_PROBLEMS
        told = problems[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("; ".join(told))
    made: T = _made(kind, value)
    return made


def _problems(hint: Any, value: Any, where: str) -> Iterator[str]:
    """Say what is wrong with a value, a text for each thing."""
    kind = _kind(hint)
    if value is None and NoneType in get_args(hint):
        return
    if is_dataclass(kind):
        yield from _of_object(kind, value, where)
    elif get_origin(kind) is tuple and isinstance(value, list):
        for place, one in enumerate(value):
            yield from _problems(get_args(kind)[0], one, f"{where}[{place}]")
    elif not _fits(kind, value):
        yield f"{where} is {reprlib.repr(value)}"


def _of_object(kind: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where or 'it'} is no object"
        return
    for name, hint in get_type_hints(kind).items():
        path = f"{where}.{name}" if where else name
        if name not in value:
            yield f"{path} is missing"
        else:
            yield from _problems(hint, value[name], path)


def _fits(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is dict:
        return isinstance(value, dict)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is int:
        return isinstance(value, int) and abs(value) <= LARGEST_INT
    if kind is float:
        # JSON writes a whole number without a point; NaN compares with nothing.
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    # A text, or one of an enum's.
    return isinstance(value, str) and (kind is str or value in _members(kind))


def _members(kind: Any) -> list[str]:
    return list(kind) if isinstance(kind, EnumType) else []


def _made(hint: Any, value: Any) -> Any:
    kind = _kind(hint)
    if value is None:
        return None
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        made: Any = kind  # its arguments are its fields
        return made(**{one.name: _made(hints[one.name], value[one.name]) for one in fields(kind)})
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], one) for one in value)
    return value if get_origin(kind) in (Literal, dict) else kind(value)


def _kind(hint: Any) -> Any:
    """Return what a field holds where it is not None."""
    parts = get_args(hint)
    if NoneType in parts:
        return next(part for part in parts if part is not NoneType)
    return hint
