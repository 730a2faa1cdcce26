"""A whole epoch as one compiled call."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from search.worker.fast.arrays import Arrays
from search.worker.fast.errors import NotFastError
from search.worker.fast.optimizers import fused
from search.worker.fast.randomness import EpochRandomness, Masks, seed_states
from search.worker.fast.reasons import reasons_of_the_graph

Logs = dict[str, Any]
# Called with the number of a batch and its rows, int32 of shape (rows,).
Step = Callable[[tf.Tensor, tf.Tensor], Any]


class TrainingEpoch:
    """Trains a model on every sample once, in its own ``train_step``.

    Args:
        model: Built, with a built optimizer.
        arrays: The samples.
        batch_size: Samples of a step; the last step takes what is left.

    Raises:
        NotFastError: What was traced cannot be known to be a function of the seed.
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

        with fused(model.optimizer) as optimizer, masks.in_place(model):
            self._compiled = epoch.get_concrete_function(
                tf.TensorSpec((arrays.samples,), tf.int32), tf.TensorSpec((), tf.uint64)
            )
        for reason in reasons_of_the_graph(self._compiled, model, optimizer.scratch):
            raise NotFastError(reason)

    @property
    def random_layers(self) -> int:
        """Number of the model's seed generators, each of which gets a seed for every epoch."""
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
        batch_size: Samples of a step; the whole set where it is as large.
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
    """Trace a loop over the batches; a shorter last one comes behind it."""
    whole, rest = divmod(samples, batch_size)
    batches = tf.reshape(order[: whole * batch_size], [whole, batch_size])

    def body(number: tf.Tensor) -> tuple[tf.Tensor]:
        step(number, batches[number])
        return (number + 1,)

    if whole:
        tf.while_loop(lambda number: number < whole, body, (tf.constant(0),))
    if rest:
        step(tf.constant(whole), order[whole * batch_size :])


def _traced_once(step: Step) -> Step:
    """Trace a step once for batches of any size; TensorFlow fills in the size where it is known."""
    signature = [tf.TensorSpec((), tf.int32), tf.TensorSpec((None,), tf.int32)]
    traced: Step = tf.function(step, autograph=False, input_signature=signature)
    return traced
