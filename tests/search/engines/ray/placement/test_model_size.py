"""How much a model computes."""

import keras
import pytest

from search.engines.ray.placement import model_size

DENSE, CONV = keras.layers.Dense, keras.layers.Conv2D


def made(*layers):
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(lambda: made(keras.Input((4,)), DENSE(8), DENSE(3)), 4 * 8 + 8 * 3, id="dense"),
        pytest.param(
            lambda: made(keras.Input((28, 28, 1)), CONV(16, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(), DENSE(10)),
            26 * 26 * (3 * 3 * 1 * 16) + 26 * 26 * 16 * 10,
            id="a-convolution-counts-for-every-pixel-of-its-output",
        ),
        pytest.param(
            lambda: made(keras.Input((5, 7)), keras.layers.LSTM(3), DENSE(2)),
            5 * (7 * 12 + 3 * 12) + 3 * 2,
            id="a-recurrent-layer-counts-for-every-step",
        ),
        pytest.param(
            lambda: made(keras.Input((9,)), keras.layers.Embedding(1000, 6), keras.layers.Flatten(), DENSE(2)),
            9 * 6 * 2,
            id="an-embedding-only-looks-up",
        ),
        pytest.param(
            lambda: made(keras.Input((6, 4)), DENSE(8)), 6 * 4 * 8, id="a-dense-layer-along-a-sequence"
        ),
        pytest.param(
            lambda: made(keras.Input((4,)), made(keras.Input((4,)), DENSE(5)), DENSE(2)),
            4 * 5 + 5 * 2,
            id="a-model-in-a-model",
        ),
        pytest.param(lambda: made(DENSE(8)), None, id="no-shapes-before-data"),
    ],
)  # fmt: skip
def test_the_multiply_adds_of_a_model_are_counted(model, expected):
    assert model_size.count_multiply_adds(model()) == expected
