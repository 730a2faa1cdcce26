"""Carries ``tf.data`` pipelines to the workers as graphs. Imports TensorFlow.

TensorFlow itself writes a pipeline as a graph, with the values of the tables and variables that it
uses. Three things of a graph belong to the process that wrote it, and are replaced here: Python
functions (``from_generator``, ``numpy_function``), which a graph names by a token; names of
functions and resources; and large constants, which travel as arrays.
"""

import hashlib
import pickle
import random
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import script_ops  # no public module registers a Python function

from search.errors import ProblemError, one_line

# tf.raw_ops.DatasetToGraphV2, external_state_policy
IGNORE_STATE, FAIL_ON_STATE = 1, 2
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
PYTHON_FUNCTIONS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
CACHES = ("CacheDataset", "CacheDatasetV2")
CONSTANT = "Const"
PLACEHOLDER = "Placeholder"

GraphDef = tf.compat.v1.GraphDef
NodeDef = tf.compat.v1.NodeDef

# What an opened dataset needs for as long as it lives.
_kept: "weakref.WeakKeyDictionary[tf.data.Dataset, Any]" = weakref.WeakKeyDictionary()


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
    def of(cls, dataset: tf.data.Dataset) -> "CarriedDataset":
        """Take a pipeline apart.

        Raises:
            ProblemError: It cannot be written as a graph, or calls a function that cannot be
                pickled.
        """
        from search.carry import pickling

        graph, has_state = _graph_of(dataset)
        tokens = dict.fromkeys(node.attr["token"].s for node in _python_calls(graph))
        functions = {token: script_ops._py_funcs.get(token.decode()) for token in tokens}
        try:
            pickled = pickling.dumps(functions)
        except Exception as error:
            raise ProblemError(
                f"the dataset calls a Python function that cannot be sent to a worker process "
                f"({one_line(error)}): create open files and connections inside the function."
            ) from error
        return cls(
            constants=tuple(_take_constants(graph)),
            graph=graph.SerializeToString(deterministic=True),
            functions=pickled,
            element_spec=pickle.dumps(dataset.element_spec),
            has_state=has_state,
        )

    def open(self) -> tf.data.Dataset:
        """Make the dataset, in the process that uses it.

        What the pipeline draws without a seed follows from Python's random numbers. A cache in a
        file is one of this dataset alone, since trials run at the same time.
        """
        graph = GraphDef.FromString(self.graph)
        functions = pickle.loads(self.functions)
        tokens = {
            token: script_ops._py_funcs.insert(function).encode()
            for token, function in functions.items()
        }
        for node in _python_calls(graph):
            node.attr["token"].s = tokens[node.attr["token"].s]
        _separate_resources(graph)
        _set_seeds(graph)
        folder = _separate_caches(graph)
        _rename_functions(graph)
        make = _import(graph, [tf.TensorSpec(c.shape, c.dtype) for c in self.constants])
        variant = make(*[tf.constant(constant) for constant in self.constants])
        dataset = tf.data.experimental.from_variant(variant, pickle.loads(self.element_spec))
        _kept[dataset] = (make, functions)
        if folder is not None:
            weakref.finalize(dataset, shutil.rmtree, folder, ignore_errors=True)
        return dataset

    def digest(self) -> str:
        """Return a checksum that is equal for pipelines that do the same with the same data.

        Names that differ between processes are left out. Of files only the names count.
        """
        from search.carry.digest import digest

        functions = pickle.loads(self.functions)
        content, tokens = _canonical(GraphDef.FromString(self.graph))
        return digest([content, list(self.constants), [functions[token] for token in tokens]])


def operations(dataset: tf.data.Dataset) -> set[str]:
    """Return the operations of a pipeline outside its functions."""
    return {node.op for node in _graph_of(dataset)[0].node}


def _graph_of(dataset: tf.data.Dataset) -> tuple[GraphDef, bool]:
    """Return the graph of a pipeline, and whether it has a state."""
    try:
        return _serialized(dataset, FAIL_ON_STATE), False
    except tf.errors.FailedPreconditionError:
        pass
    except tf.errors.OpError as error:
        raise ProblemError(_not_a_graph(error)) from error
    try:
        return _serialized(dataset, IGNORE_STATE), True
    except tf.errors.OpError as error:
        raise ProblemError(_not_a_graph(error)) from error


def _not_a_graph(error: Exception) -> str:
    return (
        f"the dataset cannot be sent to a worker process ({one_line(error)}): create it in "
        "HyperModel.fit, or pass arrays or a keras.utils.PyDataset."
    )


def _serialized(dataset: tf.data.Dataset, policy: int) -> GraphDef:
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=policy,
        strip_device_assignment=True,
    )
    written = GraphDef.FromString(graph.numpy())
    for node in _nodes(written):
        node.device = ""  # TensorFlow 2.21 leaves a part that cannot be read
    return written


def _array(tensor: Any) -> np.ndarray:
    """Return the value of a ``TensorProto``; ``tf.make_ndarray`` does not read all strings."""
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    return np.asarray(tf.io.parse_tensor(tensor.SerializeToString(), dtype).numpy())


def _nodes(graph: GraphDef) -> Iterator[NodeDef]:
    """Yield all nodes, also those inside functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _python_calls(graph: GraphDef) -> Iterator[NodeDef]:
    return (node for node in _nodes(graph) if node.op in PYTHON_FUNCTIONS)


def _take_constants(graph: GraphDef) -> Iterator[np.ndarray]:
    """Replace each large constant of numbers by a placeholder, and yield its value."""
    for node in graph.node:
        if node.op != CONSTANT:
            continue
        tensor = node.attr["value"].tensor
        if tensor.ByteSize() < LARGE_BYTES or tensor.resource_handle_val:
            continue
        value = _array(tensor)
        node.op = PLACEHOLDER
        node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        del node.attr["value"]
        yield value


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


# --- What belongs to one process ------------------------------------------------------------------


def _separate_resources(graph: GraphDef) -> None:
    """Name the seeds and caches of a pipeline anew, or datasets of one process would share them."""
    names: dict[str, str] = {}
    for node in graph.node:
        if node.op == CONSTANT:
            for handle in node.attr["value"].tensor.resource_handle_val:
                handle.name = names.setdefault(handle.name, uuid.uuid4().hex)


def _set_seeds(graph: GraphDef) -> None:
    """Give a seed to what draws random numbers without one."""
    scopes = [graph.node, *(function.node_def for function in graph.library.function)]
    for nodes in scopes:
        by_name = {node.name: node for node in nodes}
        for node in list(nodes):
            if {"seed", "seed2"} <= node.attr.keys():
                if not node.attr["seed"].i and not node.attr["seed2"].i:
                    node.attr["seed"].i, node.attr["seed2"].i = _new_seed(), _new_seed()
            for positions in (SEED_INPUTS.get(node.op, ()),):
                seeds = [by_name.get(node.input[p].partition(":")[0]) for p in positions]
                if positions and all(_is_zero(seed) for seed in seeds):
                    _replace_inputs(nodes, node, positions)


def _is_zero(node: NodeDef | None) -> bool:
    if node is None or node.op != CONSTANT:
        return False
    return not np.any(_array(node.attr["value"].tensor))


def _replace_inputs(nodes: Any, node: NodeDef, positions: tuple[int, ...]) -> None:
    for position in positions:
        is_in_function = ":output:" in node.input[position]
        seed = nodes.add(name=f"{node.name.replace('/', '_')}_seed_{position}", op=CONSTANT)
        seed.attr["dtype"].type = tf.int64.as_datatype_enum
        seed.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(_new_seed(), tf.int64))
        node.input[position] = f"{seed.name}:output:0" if is_in_function else seed.name


def _new_seed() -> int:
    return random.randrange(1, 2**31)


def _separate_caches(graph: GraphDef) -> str | None:
    """Move each cache in a file into a new folder; return the folder, None if there is no cache."""
    by_name = {node.name: node for node in graph.node}
    folder = None
    for number, node in enumerate(list(graph.node)):
        if node.op not in CACHES:
            continue
        file = by_name[node.input[1]]
        if file.op != CONSTANT or not _array(file.attr["value"].tensor).item():
            continue
        folder = folder or tempfile.mkdtemp(prefix="cache-")
        path = graph.node.add(name=f"{file.name}_{number}", op=CONSTANT)
        path.attr["dtype"].type = tf.string.as_datatype_enum
        path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(f"{folder}/{number}"))
        node.input[1] = path.name
    return folder


def _rename_functions(graph: GraphDef) -> None:
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


def _canonical(graph: GraphDef) -> tuple[bytes, list[bytes]]:
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
    _number_nodes(graph)
    visit(graph.node)
    _rename(graph, {name: names.get(name, "") for name in functions})
    tokens = [node.attr["token"].s for node in ordered if node.op in PYTHON_FUNCTIONS]
    for node in ordered:
        node.ClearField("experimental_debug_info")
        for name in ("metadata", "shared_name", "debug_name", "token"):
            node.attr.pop(name, None)
        if node.op == CONSTANT:
            del node.attr["value"].tensor.resource_handle_val[:]
    signatures = {function.signature.name: function.signature for function in functions.values()}
    parts = [*ordered, *(signatures[name] for name in names.values())]
    content = b"".join(part.SerializeToString(deterministic=True) for part in parts)
    return content, tokens


def _number_nodes(graph: GraphDef) -> None:
    """Name the nodes outside functions by their position: the names of tables are drawn."""
    names = {node.name: f"node_{number}" for number, node in enumerate(graph.node)}
    for node in graph.node:
        node.name = names[node.name]
        for number, source in enumerate(node.input):
            name, colon, output = source.lstrip("^").partition(":")
            control = "^" if source.startswith("^") else ""
            node.input[number] = f"{control}{names[name]}{colon}{output}"


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
