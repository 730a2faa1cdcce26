"""Compiles a whole epoch into one call, traced from the current model and data."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from search.worker.fast.arrays import Arrays, NotFastError, class_sample_weights, split
from search.worker.fast.optimizers import fused
from search.worker.fast.randomness import EpochRandomness, Masks, seed_states
from search.worker.fast.reasons import graph_reasons, model_reasons

DEFAULT_BATCH_SIZE = 32  # Keras's default

Logs = dict[str, Any]
# Called with the number of a batch and the rows of its samples, int32 of shape (rows,).
Step = Callable[[tf.Tensor, tf.Tensor], Any]


class CompiledTraining:
    """The traced epochs of a training, which a later ``fit`` on the same data reuses.

    Keras also traces once for each ``compile``: a change between two calls of ``fit``, such as of
    ``trainable``, has no effect without ``compile``.

    Raises:
        NotFastError: The training is not known to give Keras's numbers.
    """

    def __init__(self, model: keras.Model, arguments: dict[str, Any]) -> None:
        self._model = model
        self._traced_objects = _traced_objects(model, arguments)
        training, validation = _splits(arguments)
        self.arrays = Arrays.of(*training)
        self.batch_size = int(arguments["batch_size"] or DEFAULT_BATCH_SIZE)
        self._validation_arrays = None if validation is None else Arrays.of(*validation)
        self._validation_batch_size = int(arguments["validation_batch_size"] or self.batch_size)
        self._build()
        self.trace_training()
        self.trace_validation()

    def serves(self, arguments: dict[str, Any]) -> bool:
        """Tell whether a call of ``fit`` has the same data and the same compiled model."""
        objects = _traced_objects(self._model, arguments)
        return len(objects) == len(self._traced_objects) and all(
            new is traced for new, traced in zip(objects, self._traced_objects, strict=True)
        )

    def trace_training(self) -> None:
        """Trace the training epoch from the current model and optimizer."""
        self._traced_settings = _settings(self._model)
        self.training = TrainingEpoch(self._model, self.arrays, self.batch_size)

    def trace_validation(self) -> None:
        """Trace the evaluation of the validation data, if there are any."""
        self.validation: TestEpoch | None = None
        if self._validation_arrays is not None:
            self.validation = TestEpoch(
                self._model, self._validation_arrays, self._validation_batch_size
            )

    def is_outdated(self) -> bool:
        """Tell whether a callback has changed the model since tracing, which Keras would notice."""
        return _settings(self._model) != self._traced_settings

    def _build(self) -> None:
        # Metrics and loss create their variables at the first step. Create them now, without
        # running anything, so that nothing is traced twice.
        batch = keras.tree.map_structure(
            lambda part: keras.KerasTensor((None, *part.shape[1:]), part.dtype.name),
            self.arrays.parts,
        )
        self._model._symbolic_build(data_batch=batch)
        for reason in model_reasons(self._model):  # now that it has its variables
            raise NotFastError(reason)


class TrainingEpoch:
    """Trains a model on every sample once, in its own ``train_step``.

    Args:
        model: Built, with a built optimizer.
        arrays: The samples.
        batch_size: Samples of a step; the last step takes the rest.

    Raises:
        NotFastError: The traced epoch may depend on more than the seed.
    """

    def __init__(self, model: keras.Model, arrays: Arrays, batch_size: int) -> None:
        self._seeds = seed_states(model)
        masks = Masks()

        @tf.function(autograph=False)
        def epoch(order: tf.Tensor, key: tf.Tensor) -> Logs:
            @_traced_once
            def step(number: tf.Tensor, rows: tf.Tensor) -> None:
                masks.begin(key, number)
                model.train_step(arrays.take(rows))

            _for_each_batch(order, arrays.samples, batch_size, step)
            return dict(model.get_metrics_result())

        with fused(model.optimizer) as optimizer, masks.installed(model):
            self._compiled = epoch.get_concrete_function(
                tf.TensorSpec((arrays.samples,), tf.int32), tf.TensorSpec((), tf.uint64)
            )
        for reason in graph_reasons(self._compiled, model, optimizer.scratch):
            raise NotFastError(reason)

    @property
    def random_layers(self) -> int:
        """Number of the model's seed generators; each gets a seed for every epoch."""
        return len(self._seeds)

    def run(self, randomness: EpochRandomness) -> Logs:
        """Train one epoch and return the metrics over it, scalars by name."""
        for state, seed in zip(self._seeds, randomness.layer_seeds, strict=True):
            state.assign([int(seed), 0])
        return dict(self._compiled(tf.constant(randomness.order), tf.constant(randomness.key)))


class TestEpoch:
    """Evaluates a model on every sample, in its own ``test_step``.

    Args:
        model: Built.
        arrays: The samples.
        batch_size: Samples of a step; the last step takes the rest.
    """

    def __init__(self, model: keras.Model, arrays: Arrays, batch_size: int) -> None:
        @tf.function(autograph=False)
        def epoch() -> Logs:
            @_traced_once
            def step(number: tf.Tensor, rows: tf.Tensor) -> None:
                del number
                model.test_step(arrays.take(rows))

            order = tf.range(arrays.samples)
            _for_each_batch(order, arrays.samples, batch_size, step)
            return dict(model.get_metrics_result())

        self._compiled = epoch.get_concrete_function()

    def run(self) -> Logs:
        """Return the metrics over all samples, scalars by name."""
        return dict(self._compiled())


def _for_each_batch(order: tf.Tensor, samples: int, batch_size: int, step: Step) -> None:
    """Trace a loop over the full batches, then a shorter last one."""
    full_batches, rest = divmod(samples, batch_size)
    batches = tf.reshape(order[: full_batches * batch_size], [full_batches, batch_size])

    def body(number: tf.Tensor) -> tuple[tf.Tensor]:
        step(number, batches[number])
        return (number + 1,)

    if full_batches:
        tf.while_loop(lambda number: number < full_batches, body, (tf.constant(0),))
    if rest:
        step(tf.constant(full_batches), order[full_batches * batch_size :])


def _traced_once(step: Step) -> Step:
    """Trace a step once for batches of any size; TensorFlow infers the size if it can."""
    signature = [tf.TensorSpec((), tf.int32), tf.TensorSpec((None,), tf.int32)]
    traced: Step = tf.function(step, autograph=False, input_signature=signature)
    return traced


def _traced_objects(model: keras.Model, arguments: dict[str, Any]) -> list[Any]:
    """Return the objects that a trace depends on; each ``compile`` creates a new loss tracker."""
    names = ("x", "y", "sample_weight", "class_weight", "validation_data")
    data = keras.tree.flatten([arguments[name] for name in names])
    sizes = ("batch_size", "validation_batch_size", "validation_split")
    return [model.optimizer, model._loss_tracker, *data, *(arguments[size] for size in sizes)]


def _settings(model: keras.Model) -> list[Any]:
    """Return the settings that a trace contains as constants."""
    optimizer = model.optimizer
    rate = optimizer._learning_rate
    config = {name: value for name, value in optimizer.get_config().items() if "rate" not in name}
    return [
        None if isinstance(rate, keras.Variable) else rate,
        config,
        [variable.trainable for variable in model.variables],
        [getattr(layer, "rate", None) for layer in model._flatten_layers()],
    ]


def _splits(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return the training and validation data, each ``(x, y, sample_weight)`` or shorter."""
    training = (arguments["x"], arguments["y"], arguments["sample_weight"])
    validation = arguments["validation_data"]
    if validation is not None:
        if not isinstance(validation, (tuple, list)) or not 1 <= len(validation) <= 3:
            Arrays.of(*training)  # if these are no arrays either, that is the reason
            raise NotFastError("the validation data are not arrays of numbers")
        validation = tuple(validation)
    elif arguments["validation_split"]:
        training, validation = split(*training, arguments["validation_split"])
    if arguments["class_weight"] is not None:
        x, y, _ = training
        training = (x, y, class_sample_weights(y, arguments["class_weight"]))
    return training, validation
