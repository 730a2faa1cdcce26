"""Tells which objects of a script collect values that stay in the worker processes.

Imports Keras.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import keras_tuner as kt

from search.carry.pickling import KERAS_PACKAGES
from search.worker.returned import NAMES, returned_names
from search.worker.tuner import WORKER_METHODS, overrides


def describe_collections(tuner: kt.Tuner, callbacks: Any) -> str | None:
    """Return a line on the lists, dicts and sets that trials change in copies; None without any.

    Args:
        tuner: The tuner of the script, with its hypermodel.
        callbacks: The argument ``callbacks`` of ``search``.
    """
    parts = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    names = [name for part in (tuner.hypermodel, *parts) for name in _collections(part)]
    in_workers = _names_in_workers(type(tuner))
    names += [name for name in _collections(tuner) if name.partition(".")[2] in in_workers]
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


def _names_in_workers(tuner_class: type) -> set[str]:
    """Return the names in the code of those methods that the class runs in workers."""
    methods = [getattr(tuner_class, n) for n in WORKER_METHODS if overrides(tuner_class, n)]
    codes = [getattr(inspect.unwrap(method), "__code__", None) for method in methods]
    return {name for code in codes if code is not None for name in code.co_names}
