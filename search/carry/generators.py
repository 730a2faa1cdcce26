"""Carries Python generators: taken apart into their function and its arguments, and called anew."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from types import CellType, FunctionType, GeneratorType
from typing import Any

from search.errors import ProblemError

GeneratorParts = tuple[FunctionType, tuple[Any, ...], dict[str, Any]]


def parts_of_generator(generator: "GeneratorType[Any, Any, Any]") -> GeneratorParts:
    """Return the function of a generator, and the arguments with which it was called.

    Raises:
        ProblemError: The generator has begun: what it has drawn cannot be drawn again.
    """
    frame = generator.gi_frame
    if frame is None or inspect.getgeneratorstate(generator) != inspect.GEN_CREATED:
        raise ProblemError(
            f"the generator {generator.__name__} has begun, so no worker can begin it anew."
        )
    code = generator.gi_code
    values = dict(frame.f_locals)
    cells = tuple(CellType(values[name]) for name in code.co_freevars)
    function = FunctionType(code, frame.f_globals, generator.__name__, None, cells)
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames)
    args = [values[name] for name in names[: code.co_argcount]]
    kwargs = {name: values[name] for name in names[code.co_argcount : count]}
    if code.co_flags & inspect.CO_VARARGS:
        args += values[names[count]]
        count += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        kwargs |= values[names[count]]
    return function, tuple(args), kwargs


def call_generator(
    function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Any]:
    """Make a generator anew, from what ``parts_of_generator`` returned."""
    generator: Iterator[Any] = function(*args, **kwargs)
    return generator


@dataclass(frozen=True)
class ReadElements:
    """What was read from an iterator that only this process can use.

    Attributes:
        elements: The first elements, in their order.
    """

    elements: tuple[Any, ...]

    @classmethod
    def of(cls, iterator: Iterator[Any], count: int) -> "ReadElements":
        """Read at most ``count`` elements."""
        return cls(tuple(islice(iterator, count)))

    def open(self) -> Iterator[Any]:
        """Return a generator of the elements, which begins again after the last."""
        while self.elements:
            yield from self.elements
