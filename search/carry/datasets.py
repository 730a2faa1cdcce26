"""Carries ``tf.data`` pipelines to the workers as graphs. Imports TensorFlow.

TensorFlow itself writes a pipeline as a graph, with the values of the tables and variables that it
uses. Three things of a graph belong to the process that wrote it, and are replaced here: Python
functions (``from_generator``, ``numpy_function``), which a graph names by a token; names of
functions and resources; and large constants, which travel as arrays.
"""

import pickle
import shutil
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import script_ops  # no public module registers a Python function

from search.carry.graphs import (
    PLACEHOLDER,
    GraphDef,
    canonical,
    clear_devices,
    forget_seeds,
    has_state,
    python_calls,
    remove_caches,
    rename_functions,
    separate_caches,
    separate_resources,
    set_seeds,
    small_constants,
    take_constants,
)
from search.errors import ProblemError, one_line

# tf.raw_ops.DatasetToGraphV2, external_state_policy
IGNORE_STATE = 1

# What an opened dataset needs for as long as it lives.
_kept: "weakref.WeakKeyDictionary[tf.data.Dataset, Any]" = weakref.WeakKeyDictionary()


class NotAGraphError(ProblemError):
    """TensorFlow cannot write a pipeline as a graph, such as one with 2 GB of constants."""


@dataclass(frozen=True)
class CarriedDataset:
    """A pipeline as a graph, from which each trial makes a dataset of its own.

    Attributes:
        graph: The graph, as a serialized ``GraphDef``. Its large constants are placeholders.
        constants: Their values, in the order of the placeholders.
        functions: The Python functions that it calls, by the tokens in the graph, as a pickle.
        element_spec: The types of an element, as a pickle.
        has_state: Whether it draws random numbers, or calls Python functions: then its elements
            may differ each time.
    """

    graph: bytes
    constants: tuple[np.ndarray, ...] = field(repr=False)
    functions: bytes
    element_spec: bytes
    has_state: bool

    @classmethod
    def of(cls, dataset: tf.data.Dataset, dumps: Callable[[object], bytes]) -> "CarriedDataset":
        """Take a pipeline apart.

        Args:
            dataset: The pipeline.
            dumps: Pickles the Python functions that it calls.

        Raises:
            NotAGraphError: It cannot be written as a graph.
            ProblemError: It calls a function that cannot be pickled.
        """
        graph = _graph_of(dataset)
        state = has_state(graph)
        tokens = dict.fromkeys(node.attr["token"].s for node in python_calls(graph))
        functions = {token: script_ops._py_funcs.get(token.decode()) for token in tokens}
        try:
            pickled = dumps(functions)
        except Exception as error:
            raise ProblemError(
                f"the dataset calls a Python function that cannot be sent to a worker process "
                f"({one_line(error)}): create open files and connections inside the function."
            ) from error
        return cls(
            constants=tuple(take_constants(graph)),
            graph=graph.SerializeToString(deterministic=True),
            functions=pickled,
            element_spec=pickle.dumps(dataset.element_spec),
            has_state=state,
        )

    def open(self, *, caches: bool = True) -> tf.data.Dataset:
        """Make the dataset, in the process that uses it.

        What the pipeline draws without a seed follows from the state of Python's random numbers.
        A cache in a file is one of this dataset alone, since trials run at the same time.

        Args:
            caches: Whether it has the caches of the pipeline. Without them, TensorFlow does not
                warn of a reader that reads only the first elements.
        """
        graph = tf.compat.v1.GraphDef.FromString(self.graph)
        functions = pickle.loads(self.functions)
        tokens = {
            token: script_ops._py_funcs.insert(function).encode()
            for token, function in functions.items()
        }
        for node in python_calls(graph):
            node.attr["token"].s = tokens[node.attr["token"].s]
        separate_resources(graph)
        set_seeds(graph)
        if not caches:
            remove_caches(graph)
        folder = separate_caches(graph)
        rename_functions(graph)
        make = _import(graph, [tf.TensorSpec(c.shape, c.dtype) for c in self.constants])
        variant = make(*[tf.constant(constant) for constant in self.constants])
        dataset = tf.data.experimental.from_variant(variant, pickle.loads(self.element_spec))
        _kept[dataset] = (make, functions)
        if folder is not None:
            weakref.finalize(dataset, shutil.rmtree, folder, ignore_errors=True)
        return dataset

    def content(self) -> tuple[bytes, list[np.ndarray], list[Any]]:
        """Return what the pipeline does and its data, equal for equal pipelines of two processes.

        Returns:
            The graph without names that differ between processes, its constants, and the Python
            functions in the order of their calls. Of files it has the names.
        """
        functions = pickle.loads(self.functions)
        written = tf.compat.v1.GraphDef.FromString(self.graph)
        forget_seeds(written)
        constants = [*self.constants, *small_constants(written)]
        graph, tokens = canonical(written)
        return graph, constants, [functions[token] for token in tokens]


def _graph_of(dataset: tf.data.Dataset) -> GraphDef:
    try:
        serialized = tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset),
            external_state_policy=IGNORE_STATE,
            strip_device_assignment=True,
        )
    except tf.errors.OpError as error:
        raise _not_a_graph(error) from error
    graph = tf.compat.v1.GraphDef.FromString(serialized.numpy())
    clear_devices(graph)
    return graph


def _not_a_graph(error: Exception) -> NotAGraphError:
    return NotAGraphError(
        f"the dataset cannot be sent to a worker process ({one_line(error)}): create it in "
        "HyperModel.fit, or pass arrays or a keras.utils.PyDataset."
    )


def _import(graph: GraphDef, specs: Iterable[tf.TensorSpec]) -> Any:
    """Return a function that makes the variant of a dataset from its large constants."""
    placeholders = [node.name for node in graph.node if node.op == PLACEHOLDER]
    [output] = [node.input[0] for node in graph.node if node.op == "_Retval"]

    def make(*constants: tf.Tensor) -> tf.Tensor:
        [variant] = tf.graph_util.import_graph_def(
            graph,
            input_map=dict(zip(placeholders, constants, strict=True)),
            return_elements=[output if ":" in output else f"{output}:0"],
            name="",
        )
        return variant

    return tf.compat.v1.wrap_function(make, list(specs))
