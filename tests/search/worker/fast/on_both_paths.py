"""Small models that train on the fast path and on Keras's, side by side.

Float32 training is chaotic (one moved ulp grows to 0.3 in 1,000 steps), so equality is expected
over few steps, or in float64; whole trainings are compared as distributions over seeds.
"""

import contextlib

import keras
import numpy as np

from search.worker import fast

CLASSES = 3
OPTIMIZERS = {
    "sgd": lambda **options: keras.optimizers.SGD(0.05, **options),
    "sgd-momentum": lambda **options: keras.optimizers.SGD(0.05, momentum=0.9, **options),
    "sgd-nesterov": lambda **options: keras.optimizers.SGD(
        0.05, momentum=0.9, nesterov=True, **options
    ),
    "adam": lambda **options: keras.optimizers.Adam(0.01, **options),
    "adam-weight-decay": lambda **options: keras.optimizers.Adam(
        0.01, weight_decay=0.01, **options
    ),
    "adamw": lambda **options: keras.optimizers.AdamW(0.01, weight_decay=0.05, **options),
    "nadam": lambda **options: keras.optimizers.Nadam(0.01, **options),
    "nadam-other-betas": lambda **options: keras.optimizers.Nadam(0.01, 0.8, 0.99, 1e-4, **options),
    "rmsprop": lambda **options: keras.optimizers.RMSprop(0.01, **options),
    "rmsprop-momentum": lambda **options: keras.optimizers.RMSprop(0.01, momentum=0.5, **options),
    "rmsprop-centered": lambda **options: keras.optimizers.RMSprop(0.01, centered=True, **options),
}


@contextlib.contextmanager
def in_float64():
    """Make Keras compute in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def points(samples, seed=0, width=6):
    """Return clouds of points that lie close enough to be worth learning, and their labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, samples)
    x = np.eye(CLASSES, width)[labels] + draw.normal(size=(samples, width)) * 0.8
    return x.astype("float32"), labels


def small(optimizer, *, layers=(), seed=1, **compiled):
    """Return a compiled model of two dense layers, with more layers between them."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(
                16, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3)
            ),
            *layers,
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | compiled
    model.compile(optimizer=optimizer, **options)
    return model


def both(make, *args, **kwargs):
    """Fit a model on both paths; return the fast one, Keras's and both histories."""
    quick, plain = make(), make()
    fit = fast.install(quick, seed=5)
    histories = [model.fit(*args, verbose=0, **kwargs).history for model in (quick, plain)]
    assert fit.path == fast.PathTaken("fast")
    return quick, plain, *histories


def assert_equal(quick, plain, first, second, *, rtol=2e-5, atol=2e-6):
    """Compare two models, their optimizers and the histories of their training."""
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=rtol, atol=atol, err_msg=name)
    variables = zip(
        [*quick.variables, *quick.optimizer.variables],
        [*plain.variables, *plain.optimizer.variables],
        strict=True,
    )
    for one, other in variables:
        if one.name != "seed_generator_state":
            np.testing.assert_allclose(one, other, rtol=rtol, atol=atol, err_msg=one.path)
