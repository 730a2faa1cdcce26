"""Pickles objects of a script so that a worker process can open them. Imports Keras.

Keras pickles a model by its config, which names classes and functions that a worker does not know.
Here they travel with the model. Registered functions travel once, with the script's settings: an
object refers to them by name, so that Keras in the worker knows each function by its name too.
"""

import contextlib
import inspect
import io
import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, GeneratorType
from typing import Any

import keras
import tensorflow as tf
from keras.src.ops.node import Node  # the calls that made a symbolic tensor
from ray.cloudpickle import CloudPickler

from search.carry.datasets import CarriedDataset
from search.carry.generators import call_generator, parts_of_generator

# Their classes and functions are known wherever Keras is.
KERAS_PACKAGES = ("keras", "keras_tuner", "tensorflow")
LAMBDA = "<lambda>"
# What Keras pickles by its config.
PICKLED_BY_CONFIG = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
)

# What ``tf.data.Dataset.from_generator`` keeps: the function, and generators that it has begun.
STATE_OF_GENERATOR = tf.data.Dataset._GeneratorState

# Each process has its own: one that nobody holds is made anew.
LOCKS = {type(make()): make for make in (threading.Lock, threading.RLock)}


def dumps(value: object) -> bytes:
    """Pickle an object of the script; its registered functions by name."""
    return _dumps(value, frozenset(name for name, _ in registered_objects()))


def carry_dataset(dataset: tf.data.Dataset) -> CarriedDataset:
    """Take a pipeline apart, for another process.

    Raises:
        NotAGraphError: It cannot be written as a graph.
        ProblemError: It calls a function that cannot be pickled.
    """
    return CarriedDataset.of(dataset, dumps)


def dumps_registered() -> bytes | None:
    """Pickle the registered objects of the script; None if there are none.

    Returns:
        The pickle of a list: for each object its name, its value, and whether it was registered by
        ``register_keras_serializable``, so that Keras finds the name by the value too.
    """
    rows = [
        (
            name,
            value,
            isinstance(value, (type, FunctionType))
            and registered_name(value) == name != value.__name__,
        )
        for name, value in registered_objects()
    ]
    return _dumps(rows, frozenset()) if rows else None


def holds_symbolic_tensors(pickled: bytes) -> bool:
    """Tell whether a pickle makes symbolic tensors (``keras.Input`` and what follows from it)."""
    return _call_again.__name__.encode() in pickled


def registered_objects() -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each custom object that can be pickled.

    These are the global custom objects and those of the active ``custom_object_scope``.
    """
    with keras.saving.custom_object_scope({}) as scope:
        in_scope = scope.backup
    for name, value in (keras.saving.get_custom_objects() | in_scope).items():
        if not _is_of_keras(value) and _can_be_pickled(value):
            yield name, value


def registered_name(value: Any) -> str:
    """Return the name under which Keras stores a class or function in a config."""
    return str(keras.saving.get_registered_name(value))


def _dumps(value: object, by_name: frozenset[str]) -> bytes:
    with io.BytesIO() as file:
        _ScriptPickler(file, by_name).dump(value)
        return file.getvalue()


def _can_be_pickled(value: object) -> bool:
    try:
        _dumps(value, frozenset())
    except Exception:  # any class may raise anything
        return False
    return True


def _is_of_keras(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.partition(".")[0] in KERAS_PACKAGES


class _ScriptPickler(CloudPickler):
    """Pickles Keras objects with what their configs name.

    Args:
        file: Where the pickle is written.
        by_name: Names of the registered functions that a worker knows already.
    """

    def __init__(self, file: io.BytesIO, by_name: frozenset[str]) -> None:
        super().__init__(file)
        self._by_name = by_name

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            if _is_synchronized(value):
                from keras_tuner import synchronized

                return synchronized, (inspect.getclosurevars(value).nonlocals["func"],)
            name = registered_name(value)
            if name in self._by_name and keras.saving.get_registered_object(name) is value:
                return keras.saving.get_registered_object, (name,)
        elif isinstance(value, tf.data.Dataset):
            return CarriedDataset.open, (carry_dataset(value),)
        elif isinstance(value, GeneratorType):
            return call_generator, parts_of_generator(value)
        elif isinstance(value, STATE_OF_GENERATOR):
            return type(value), (value._generator,)
        elif is_image_iterator(value):
            return _image_iterator, (type(value), state_of_iterator(value))
        elif type(value) in LOCKS and "unlocked" in repr(value):
            return LOCKS[type(value)], ()
        elif isinstance(value, keras.KerasTensor) and hasattr(value, "_keras_history"):
            operation, node, position = value._keras_history
            return operator.getitem, (operation._inbound_nodes[node], position)
        elif isinstance(value, Node):
            return _call_again, (value.operation, value.arguments.args, value.arguments.kwargs)
        elif isinstance(value, PICKLED_BY_CONFIG):
            with _named_lambdas(value):
                custom_objects = _named_objects(value)
                if custom_objects:
                    rebuild, arguments, *rest = value.__reduce_ex__(self.proto)
                    return _rebuild, (custom_objects, rebuild, arguments), *rest
        return super().reducer_override(value)


def is_image_iterator(value: object) -> bool:
    """Tell whether a value is an image iterator of Keras, such as ``ImageDataGenerator.flow``."""
    return isinstance(value, keras.utils.PyDataset) and hasattr(value, "_flow_index")


def state_of_iterator(value: keras.utils.PyDataset) -> dict[str, Any]:
    """Return the attributes of a ``PyDataset``, without those that belong to this process."""
    return {
        name: part
        for name, part in vars(value).items()
        if not (is_image_iterator(value) and name in ("lock", "index_generator"))
    }


def _image_iterator(iterator_class: Any, state: dict[str, Any]) -> Any:
    """Make an image iterator anew; Keras's ``fit`` asks it for batches by their number."""
    iterator = iterator_class.__new__(iterator_class)
    vars(iterator).update(state)
    iterator.lock = threading.Lock()
    iterator.index_generator = iterator._flow_index()
    return iterator


def _call_again(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Repeat the call that made symbolic tensors, and return these."""
    if isinstance(operation, keras.layers.InputLayer):
        return [operation.output]
    return list(keras.tree.flatten(operation(*args, **kwargs)))


def _is_synchronized(function: FunctionType) -> bool:
    """Tell whether keras-tuner 1.4.8 made a function by ``synchronized``: it refers to locks."""
    is_wrapper = function.__qualname__ == "synchronized.<locals>.wrapped_func"
    return is_wrapper and function.__module__.startswith("keras_tuner.")


def _rebuild(
    custom_objects: Mapping[str, Any], rebuild: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Rebuild a Keras object whose config names custom objects."""
    with keras.saving.custom_object_scope(dict(custom_objects)):
        return rebuild(*arguments)


@contextlib.contextmanager
def _named_lambdas(value: Any) -> Iterator[None]:
    """Give each lambda of a Keras object a name: Keras itself keeps no globals of a lambda."""
    lambdas = [part for name, part in _parts(value) if name == LAMBDA]
    for number, function in enumerate(lambdas):
        function.__name__ = f"lambda_{number}"
    try:
        yield
    finally:
        for function in lambdas:
            function.__name__ = LAMBDA


def _named_objects(value: Any) -> dict[str, Any]:
    """Return the classes and functions of the script that the config of a Keras object names."""
    names = set(_names_in(keras.saving.serialize_keras_object(value)))
    return {name: part for name, part in _parts(value) if name in names}


def _names_in(config: Any) -> Iterator[str]:
    """Yield the names in a config for which Keras looks among the custom objects."""
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _names_in(part)
    elif isinstance(config, dict):
        if config.get("class_name") == "function":
            yield str(config["config"])
        elif "class_name" in config:
            yield str(config.get("registered_name"))
        for part in config.values():
            yield from _names_in(part)


def _parts(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the class or function of each part of a Keras object, but Keras's own."""
    seen: set[int] = set()
    remaining = [root]
    while remaining:
        value = remaining.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            if not _is_of_keras(value):
                yield registered_name(value), value
        elif isinstance(value, (list, tuple, set)):
            remaining.extend(value)
        elif isinstance(value, dict):
            remaining.extend(value.values())
        elif hasattr(type(value), "get_config") or type(value).__module__.startswith("keras."):
            if not _is_of_keras(type(value)):
                yield registered_name(type(value)), type(value)
            remaining.extend(getattr(value, "__dict__", {}).values())
