"""Changes the graph of a ``tf.data`` pipeline, so that it means the same in another process.

A graph is a ``GraphDef``: the pipeline's operations, and the functions that these call. Imports
TensorFlow.
"""

import hashlib
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from search.storage import scratch

# Constants of this size and larger travel apart from the graph.
LARGE_BYTES = 65536
# The inputs of operations that are the two parts of a seed; both are zero if there is none.
SEED_INPUTS = {
    "ShuffleDatasetV2": (2, 3),
    "ShuffleDatasetV3": (2, 3),
    "ShuffleAndRepeatDatasetV2": (2, 3),
    "RandomDataset": (0, 1),
    "RandomDatasetV2": (0, 1),
    "SamplingDataset": (2, 3),
}
SEED_ATTRIBUTES = ("seed", "seed2")
PYTHON_FUNCTIONS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
CACHES = ("CacheDataset", "CacheDatasetV2")
CONSTANT = "Const"
# Ragged and sparse tensors are written as variants.
NOT_ARRAYS = (tf.variant.as_datatype_enum, tf.resource.as_datatype_enum)
VARIABLE = "VarHandleOp"
PLACEHOLDER = "Placeholder"

# Their classes are made when TensorFlow is imported, so that mypy does not know them.
GraphDef = Any
NodeDef = Any


def _array(tensor: Any) -> np.ndarray:
    """Return the value of a ``TensorProto``; ``tf.make_ndarray`` does not read all strings."""
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    return np.asarray(tf.io.parse_tensor(tensor.SerializeToString(), dtype).numpy())


def _nodes(graph: GraphDef) -> Iterator[NodeDef]:
    """Yield all nodes, also those inside functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def clear_devices(graph: GraphDef) -> None:
    """Remove all devices: TensorFlow 2.21 leaves parts of them that it cannot read."""
    for node in _nodes(graph):
        node.device = ""


def has_state(graph: GraphDef) -> bool:
    """Tell whether a pipeline draws random numbers in a function, has variables or calls Python.

    Operations that shuffle do not count: they follow from their seed.
    """
    in_functions = (node for function in graph.library.function for node in function.node_def)
    return (
        any(node.op == VARIABLE for node in graph.node)
        or any(set(SEED_ATTRIBUTES) <= node.attr.keys() for node in in_functions)
        or any(True for _ in python_calls(graph))
    )


def python_calls(graph: GraphDef) -> Iterator[NodeDef]:
    """Yield the nodes that call a Python function, which the attribute ``token`` names."""
    return (node for node in _nodes(graph) if node.op in PYTHON_FUNCTIONS)


def take_constants(graph: GraphDef) -> Iterator[np.ndarray]:
    """Replace each large constant of numbers by a placeholder, and yield its value."""
    for node in graph.node:
        if node.op != CONSTANT:
            continue
        tensor = node.attr["value"].tensor
        if tensor.ByteSize() < LARGE_BYTES or tensor.dtype in NOT_ARRAYS:
            continue
        value = _array(tensor)
        node.op = PLACEHOLDER
        node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        del node.attr["value"]
        yield value


def forget_seeds(graph: GraphDef) -> None:
    """Set the seeds of Keras's layers to zero: without a seed, each process draws its own.

    The state of a ``keras.random.SeedGenerator`` is a variable of two int64.
    """
    by_name = {node.name: node for node in graph.node}
    zero = tf.make_tensor_proto([0, 0], tf.int64)
    for node in graph.node:
        if node.op != "AssignVariableOp":
            continue
        value = by_name[node.input[1].partition(":")[0]].attr["value"].tensor
        if value.dtype == zero.dtype and value.tensor_shape == zero.tensor_shape:
            value.CopyFrom(zero)


def small_constants(graph: GraphDef) -> Iterator[np.ndarray]:
    """Yield the arrays of numbers that stayed in a graph."""
    for node in graph.node:
        if node.op == CONSTANT and node.attr["value"].tensor.dtype not in NOT_ARRAYS:
            value = _array(node.attr["value"].tensor)
            if value.ndim and value.dtype.kind in "biuf":
                yield value


def separate_resources(graph: GraphDef) -> None:
    """Name the seeds and caches of a pipeline anew, or datasets of one process would share them."""
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op == CONSTANT:
            for handle in node.attr["value"].tensor.resource_handle_val:
                handle.name = names.setdefault(handle.name, uuid.uuid4().hex)


def set_seeds(graph: GraphDef) -> None:
    """Give a seed to what draws random numbers without one.

    The seeds follow from the state of Python's random numbers, which stays as it is: Keras draws
    initial weights from them.
    """
    seeds = random.Random(repr(random.getstate()))
    scopes = [graph.node, *(function.node_def for function in graph.library.function)]
    for nodes in scopes:
        by_name = {node.name: node for node in nodes}
        for node in list(nodes):
            names = [name for name in SEED_ATTRIBUTES if name in node.attr]
            if names and not any(node.attr[name].i for name in names):
                for name in names:
                    node.attr[name].i = seeds.randrange(1, 2**31)
            positions = SEED_INPUTS.get(node.op, ())
            former = [by_name.get(node.input[p].partition(":")[0]) for p in positions]
            if former and all(map(_is_zero, former)):
                for position in positions:
                    _replace_seed(nodes, node, position, seeds.randrange(1, 2**31))


def _is_zero(node: NodeDef | None) -> bool:
    if node is None or node.op != CONSTANT:
        return False
    return not np.any(_array(node.attr["value"].tensor))


def _replace_seed(nodes: Any, node: NodeDef, position: int, value: int) -> None:
    is_in_function = ":output:" in node.input[position]
    seed = nodes.add(name=f"{node.name.replace('/', '_')}_seed_{position}", op=CONSTANT)
    seed.attr["dtype"].type = tf.int64.as_datatype_enum
    seed.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int64))
    node.input[position] = f"{seed.name}:output:0" if is_in_function else seed.name


def separate_caches(graph: GraphDef) -> str | None:
    """Move each cache in a file into a new folder; return the folder, None if there is no cache."""
    by_name = {node.name: node for node in graph.node}
    folder = None
    for number, node in enumerate(list(graph.node)):
        if node.op not in CACHES:
            continue
        file = by_name[node.input[1]]
        if file.op != CONSTANT or not _array(file.attr["value"].tensor).item():
            continue
        folder = folder or str(scratch.make("cache-"))
        path = graph.node.add(name=f"{file.name}_{number}", op=CONSTANT)
        path.attr["dtype"].type = tf.string.as_datatype_enum
        path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(f"{folder}/{number}"))
        node.input[1] = path.name
    return folder


def remove_caches(graph: GraphDef) -> None:
    """Let each step read what its cache would read, for a reader of a few elements."""
    sources = {node.name: node.input[0] for node in graph.node if node.op in CACHES}
    for node in graph.node:
        for number, source in enumerate(node.input):
            while source in sources:
                source = sources[source]
            node.input[number] = source


def rename_functions(graph: GraphDef) -> None:
    """Name each function by the content of the graph: another graph may have the old names."""
    content = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:16]
    _rename(
        graph,
        {
            function.signature.name: f"carried_{content}_{number}"
            for number, function in enumerate(graph.library.function)
        },
    )


def _rename(graph: GraphDef, names: Mapping[str, str]) -> None:
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
    for node in _nodes(graph):
        node.op = names.get(node.op, node.op)
        for function in _functions_of(node):
            function.name = names.get(function.name, function.name)


def _functions_of(node: NodeDef) -> Iterator[Any]:
    """Yield each name of a function among the attributes of a node."""
    for _, attribute in sorted(node.attr.items()):
        if attribute.HasField("func"):
            yield attribute.func
        yield from attribute.list.func


def canonical(graph: GraphDef) -> tuple[bytes, list[bytes]]:
    """Return what a graph does, and the tokens of the Python functions in the order of their calls.

    The names that differ between processes are left out.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    names: dict[str, str] = {}
    ordered: list[NodeDef] = []

    def visit(nodes: Iterable[NodeDef]) -> None:
        for node in nodes:
            ordered.append(node)
            for name in (node.op, *(function.name for function in _functions_of(node))):
                if name in functions and name not in names:
                    names[name] = f"function_{len(names)}"
                    visit(functions[name].node_def)

    _sort_tables(graph)
    _number_nodes(graph.node)
    for function in functions.values():
        del function.signature.control_output[:]
        numbers = _number_nodes(function.node_def, function.signature.input_arg)
        for result, source in list(function.ret.items()):  # it changes
            function.ret[result] = _renamed(source, numbers)
    visit(graph.node)
    _rename(graph, {name: names.get(name, "") for name in functions})
    tokens = [node.attr["token"].s for node in ordered if node.op in PYTHON_FUNCTIONS]
    for node in ordered:
        node.ClearField("experimental_debug_info")
        for name in ("metadata", "shared_name", "debug_name", "token"):
            node.attr.pop(name, None)
        if node.op == CONSTANT:
            del node.attr["value"].tensor.resource_handle_val[:]
    used = [functions[name] for name in names]
    parts = [*ordered, *(function.signature for function in used)]
    content = b"".join(part.SerializeToString(deterministic=True) for part in parts)
    results = repr([sorted(function.ret.items()) for function in used])
    return content + results.encode(), tokens


def _number_nodes(nodes: Any, arguments: Any = ()) -> dict[str, str]:
    """Name nodes and arguments by their position, and return the new names.

    Keras numbers its layers, and TensorFlow its tables, after those that the process had before.
    """
    names = {node.name: f"node_{number}" for number, node in enumerate(nodes)}
    for number, argument in enumerate(arguments):
        names[argument.name] = f"argument_{number}"
        argument.name = names[argument.name]
    for node in nodes:
        node.name = names[node.name]
        for number, source in enumerate(node.input):
            node.input[number] = _renamed(source, names)
    return names


def _renamed(source: str, names: Mapping[str, str]) -> str:
    """Rename the node of an input, such as ``name``, ``name:1``, ``^name`` or ``name:output:0``."""
    name, colon, output = source.lstrip("^").partition(":")
    control = "^" if source.startswith("^") else ""
    return f"{control}{names.get(name, name)}{colon}{output}"


def _sort_tables(graph: GraphDef) -> None:
    """Sort the entries of lookup tables, which TensorFlow writes in any order."""
    by_name = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op != "LookupTableImportV2":
            continue
        columns = [by_name[name] for name in node.input[1:3]]
        if any(column.op != CONSTANT for column in columns):
            continue
        keys, values = (_array(column.attr["value"].tensor) for column in columns)
        order = np.argsort(keys)
        for column, entries in zip(columns, (keys, values), strict=True):
            column.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(entries[order]))
