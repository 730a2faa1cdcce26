"""Counts the computation of a model. Imports Keras: for workers only."""

import math
from collections.abc import Iterator
from typing import Any

import keras


def count_multiply_adds(model: keras.Model) -> int | None:
    """Estimate the multiply-adds of one sample's forward pass through a model.

    A layer uses each weight of its kernel once for each position: a dense layer once, a convolution
    for each pixel of its output, a recurrent layer for each step of its input. Layers without a
    kernel (activations, normalization) and embeddings do not count.

    Returns:
        The number; None if the model has no shapes before it sees data.
    """
    if not model.built:
        return None
    return sum(_weights(layer) * _positions(layer) for layer in _layers(model))


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        elif not isinstance(layer, keras.layers.Embedding):
            yield layer


def _weights(layer: Any) -> int:
    kernels = [weight.shape for weight in layer.weights if len(weight.shape) > 1]
    return sum(math.prod(shape) for shape in kernels)


def _positions(layer: Any) -> int:
    is_recurrent = isinstance(layer, keras.layers.RNN)
    try:
        shape = (layer.input if is_recurrent else layer.output).shape
    except AttributeError:  # several inputs or outputs, or never called by itself
        return 1
    is_channels_last = keras.config.image_data_format() == "channels_last" or len(shape) == 3
    lengths = shape[1:-1] if is_channels_last else shape[2:]
    return math.prod(length or 1 for length in lengths)
