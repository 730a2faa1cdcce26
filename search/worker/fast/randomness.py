"""The random numbers of the fast path, a function of the seed, the ``fit`` call and the epoch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Dropout compares 16 random bits with the rate, which is thus exact to 2^-17.
BITS = 16
PHILOX = 1  # tf.raw_ops.Stateless*V2, alg: Salmon et al. 2011, counter-based


@dataclass(frozen=True)
class EpochRandomness:
    """The random numbers of one epoch.

    Attributes:
        order: Order of the samples, int32, shape (samples,).
        key: Key of the dropout masks, uint64 scalar.
        layer_seeds: A seed in 0..2**31-1 for each seed generator of the model.
    """

    order: np.ndarray
    key: np.ndarray
    layer_seeds: np.ndarray

    @classmethod
    def of(
        cls, seed: int, fit: int, epoch: int, *, samples: int, shuffles: bool, layers: int
    ) -> "EpochRandomness":
        """Draw the numbers for an epoch of a call of ``fit``, both counted from 0."""
        sequence = np.random.SeedSequence([seed, fit, epoch])
        order_seed, mask_seed, layer_seed = sequence.spawn(3)
        order = np.arange(samples, dtype=np.int32)
        if shuffles:
            np.random.Generator(np.random.PCG64(order_seed)).shuffle(order)
        return cls(
            order=order,
            key=mask_seed.generate_state(1, np.uint64)[0],
            layer_seeds=layer_seed.generate_state(max(layers, 1))[:layers] >> 1,
        )


class Masks:
    """Draws dropout masks from 16 random bits per element; Keras draws a float per element.

    Each step, and each call of a ``Dropout`` layer within a step, has its own numbers: epoch and
    call determine the key of the counter-based generator, the step its counter. A layer that is
    called in a loop within the step uses Keras's masks.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._key: tf.Tensor | None = None
        self._step: tf.Tensor | None = None
        self._graph: Any = None

    def begin(self, key: tf.Tensor, step: tf.Tensor) -> None:
        """Begin the trace of a step; ``key`` is a uint64 scalar, ``step`` an int32 scalar."""
        self._calls = 0
        self._key = key
        self._step = tf.cast(step, tf.uint64)
        self._graph = tf.compat.v1.get_default_graph()

    def drop(self, inputs: tf.Tensor, rate: float) -> tf.Tensor:
        """Set elements to 0 with probability ``rate``, in (0, 1), and scale up the others."""
        threshold = drop_threshold(rate)
        words = (tf.size(inputs) + 3) // 4
        bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=tf.reshape(words, [1]),
            key=tf.reshape(self._key + tf.constant(self._calls, tf.uint64), [1]),
            counter=tf.stack([tf.zeros((), tf.uint64), self._step]),
            alg=PHILOX,
            dtype=tf.uint64,
        )
        self._calls += 1
        numbers = tf.reshape(tf.bitcast(bits, tf.int16), [-1])[: tf.size(inputs)]
        is_kept = tf.reshape(numbers >= threshold - 2 ** (BITS - 1), tf.shape(inputs))
        scale = 1.0 / (1.0 - threshold / 2**BITS)
        return inputs * (tf.cast(is_kept, inputs.dtype) * tf.constant(scale, inputs.dtype))

    @contextlib.contextmanager
    def installed(self, model: keras.Model) -> Iterator[None]:
        """Make the ``Dropout`` layers of a model use these masks in functions traced inside."""
        layers = [layer for layer in _layers(model) if _is_plain_dropout(layer)]
        for layer in layers:
            layer.call = self._make_call(layer)
        try:
            yield
        finally:
            for layer in layers:
                del layer.call

    def _make_call(self, layer: Any) -> Any:
        def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
            if not training:
                return inputs
            if tf.compat.v1.get_default_graph() is not self._graph:
                return type(layer).call(layer, inputs, training=True)
            return self.drop(inputs, layer.rate)

        return call


def drop_threshold(rate: float) -> int:
    """Return how many of 2^16 random numbers drop an element."""
    return round(rate * float(2**BITS))


def seed_states(model: keras.Model) -> list[Any]:
    """Return the seed variables of a model's random layers, each [seed, draws so far]."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _is_plain_dropout(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Dropout
        and layer.noise_shape is None
        and 0 < drop_threshold(layer.rate) < 2**BITS
    )
