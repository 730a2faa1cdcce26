"""Finds the reasons why a training may not give Keras's numbers on the fast path."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from search.worker.fast.optimizers import FUSED

# A model that redefines one of these takes Keras's path.
METHODS = (
    "train_step",
    "test_step",
    "compute_loss",
    "compute_metrics",
    "compiled_loss",
    "get_metrics_result",
    "reset_metrics",
    "make_train_function",
    "make_test_function",
    "evaluate",
    "metrics",
)
BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)
# Optimizer settings that the kernels do not support, with the values that switch them off.
SETTINGS = {
    "clipnorm": (None, 0),
    "clipvalue": (None, 0),
    "global_clipnorm": (None, 0),
    "use_ema": (False,),
    "gradient_accumulation_steps": (None, 0, 1),
    "loss_scale_factor": (None,),
    "amsgrad": (False,),
}
DTYPES = ("float32", "float64")
# Random operations that ignore our seed, and calls back into Python.
UNSUPPORTED_OPERATIONS = frozenset(
    {
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoissonV2",
        "RandomShuffle",
        "Multinomial",
        "RngReadAndSkip",
        "RngSkip",
        "StatefulRandomBinomial",
        "StatefulStandardNormalV2",
        "StatefulTruncatedNormal",
        "StatefulUniform",
        "StatefulUniformFullInt",
        "StatefulUniformInt",
        "PyFunc",
        "EagerPyFunc",
    }
)


def reasons(model: keras.Model, arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a call of ``fit`` cannot take the fast path, as far as is known before tracing.

    Args:
        model: The model.
        arguments: The arguments of ``fit``, including defaults.
    """
    if not model.compiled:
        yield "the model is not compiled"
        return
    yield from model_reasons(model)
    yield from _optimizer_reasons(model.optimizer)
    yield from _arguments_reasons(arguments)
    yield from _callbacks_reasons(arguments["callbacks"])


def graph_reasons(
    concrete: Any, model: keras.Model, scratch: Sequence[tf.Variable]
) -> Iterator[str]:
    """Yield reasons that only the traced epoch shows: state that no checkpoint would contain."""
    graph = concrete.graph.as_graph_def()
    operations = {node.op for node in graph.node}
    operations |= {node.op for function in graph.library.function for node in function.node_def}
    for operation in sorted(operations & UNSUPPORTED_OPERATIONS):
        yield f"a layer uses {operation}, which ignores the seed"
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    known_ids = {id(variable.value) for variable in variables}
    known_ids |= {id(variable) for variable in scratch}
    for variable in concrete.graph.variables:
        if id(variable) not in known_ids:
            yield f"the step uses {variable.name}, a variable that is not the model's"


def model_reasons(model: keras.Model) -> Iterator[str]:
    """Yield reasons in a model and in the variables that it has already created."""
    for name in METHODS:
        is_overridden = getattr(type(model), name, None) is not getattr(keras.Model, name, None)
        if is_overridden or name in vars(model):
            yield f"the model overrides {name}"
    if model.run_eagerly or tf.config.functions_run_eagerly():
        yield "run_eagerly"
    if model.jit_compile:
        yield "jit_compile (Keras's default on a GPU)"
    if tf.distribute.has_strategy():
        yield "a distribution strategy"
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            yield f"{variable.path} has a constraint"
        if variable.dtype not in DTYPES:
            yield f"{variable.path} is {variable.dtype}"
    if model.built and not model.trainable_variables:
        yield "nothing is trainable"


def _optimizer_reasons(optimizer: Any) -> Iterator[str]:
    if type(optimizer) not in FUSED:
        yield f"optimizer {type(optimizer).__name__}"
        return
    for name, off_values in SETTINGS.items():
        value = getattr(optimizer, name, off_values[0])
        if value not in off_values:
            yield f"optimizer with {name}={value}"


def _arguments_reasons(arguments: Mapping[str, Any]) -> Iterator[str]:
    if arguments["shuffle"] not in (True, False):
        yield f"shuffle={arguments['shuffle']!r}"
    if arguments["class_weight"] is not None and arguments["sample_weight"] is not None:
        yield "class_weight and sample_weight at once"
    for name in ("class_weight", "sample_weight"):
        if arguments[name] is not None and keras.tree.is_nested(arguments["y"]):
            yield f"{name} for several outputs"
    for name in ("steps_per_epoch", "validation_steps"):
        if arguments[name] is not None:
            yield name
    if keras.config.max_epochs() or keras.config.max_steps_per_epoch():
        yield "a global limit of Keras for epochs or steps"


def _callbacks_reasons(callbacks: Any) -> Iterator[str]:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        yield "callbacks as a CallbackList"
        return
    for callback in keras.tree.flatten(callbacks) if callbacks else []:
        hooks = [hook for hook in BATCH_HOOKS if _overrides(callback, hook)]
        if hooks and not _is_idle_in_batches(callback):
            yield f"{type(callback).__name__}.{hooks[0]}"


def _overrides(callback: Any, hook: str) -> bool:
    function = getattr(getattr(callback, hook), "__func__", None)
    return function is not getattr(keras.callbacks.Callback, hook)


def _is_idle_in_batches(callback: Any) -> bool:
    """Tell whether a callback of Keras, as configured, does nothing in its batch hooks."""
    if type(callback) is keras.callbacks.ModelCheckpoint:
        return bool(callback.save_freq == "epoch")
    if type(callback) is keras.callbacks.TensorBoard:
        return bool(
            callback.update_freq == "epoch"
            and not callback.write_steps_per_second
            and not callback._should_trace  # profile_batch
        )
    return False
