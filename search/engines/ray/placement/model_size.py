"""How much a model computes. Imports Keras: for workers only."""

import math
from collections.abc import Iterator
from typing import Any

import keras


def multiply_adds(model: keras.Model) -> int | None:
    """Count the multiply-adds that one sample takes on its way through a model, roughly.

    Each weight of a kernel is used once for each position that its layer looks at: in a dense
    layer once, in a convolution for every pixel of the output, in a recurrent layer for every
    step of the input. What has no kernel (activations, normalization, embeddings) is not counted.

    Returns:
        The number; None of a model that has no shapes before it has seen data.
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
    except AttributeError:  # of several inputs or outputs, or never called by itself
        return 1
    is_last = keras.config.image_data_format() == "channels_last"
    inner = shape[1:-1] if is_last or len(shape) == 3 else shape[2:]
    return math.prod(length or 1 for length in inner)
