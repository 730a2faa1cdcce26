"""Tells which objects of a script collect values that stay in the worker processes."""

from collections.abc import Iterator
from typing import Any

from search.plan.pickling import KERAS_PACKAGES
from search.worker.returned import NAMES, returned_names


def describe_collections(hypermodel: object, callbacks: Any) -> str | None:
    """Return a line on the lists, dicts and sets that trials change in copies; None without any.

    Args:
        hypermodel: The hypermodel of the script.
        callbacks: The argument ``callbacks`` of ``search``.
    """
    parts = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    names = [name for part in (hypermodel, *parts) for name in _collections(part)]
    if not names:
        return None
    return (
        f"{', '.join(dict.fromkeys(names))}: each trial changes a copy in its worker. To get "
        f"values back, name the attributes in a class attribute {NAMES} (docs/keras-tuner.md)."
    )


def _collections(part: object) -> Iterator[str]:
    """Yield the names of the collections of an object whose class is the script's own."""
    if type(part).__module__.partition(".")[0] in (*KERAS_PACKAGES, "search", "builtins"):
        return
    for name, value in getattr(part, "__dict__", {}).items():
        if isinstance(value, (list, dict, set)) and name not in returned_names(part):
            yield f"{type(part).__name__}.{name}"
