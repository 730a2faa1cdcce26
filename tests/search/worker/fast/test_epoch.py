"""The numbers of the fast epoch against those of Keras: weights, losses, metrics, curves."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_both_paths import CLASSES, OPTIMIZERS, assert_equal, both, in_float64, points, small

from fmnist_model.mlp import Wide, published
from search.algorithms.drawing import RandomSearcher
from search.space import mirror
from search.worker import fast

# One with the state of each kind of kernel; test_optimizers.py compares the steps of all.
SHORT = ("sgd-momentum", "adam", "nadam", "rmsprop-centered")
each_optimizer = pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(make, id=name, marks=() if name in SHORT else pytest.mark.long)
        for name, make in OPTIMIZERS.items()
    ],
)
IN_ORDER = {"epochs": 2, "batch_size": 16, "shuffle": False}


# --- Optimizers -----------------------------------------------------------------------------------


@each_optimizer
def test_ten_steps_equal_those_of_keras_to_float32_rounding(optimizer):
    # Two epochs of five steps, the last of which is short.
    assert_equal(
        *both(lambda: small(optimizer()), *points(75), **IN_ORDER, validation_data=points(40, 1))
    )


@each_optimizer
def test_hundreds_of_steps_equal_those_of_keras_in_float64(optimizer, float64):
    options = IN_ORDER | {"epochs": 30}  # 300 steps
    result = both(lambda: small(optimizer()), *points(150), **options)
    assert_equal(*result, rtol=1e-7, atol=1e-9)


# --- Data and models ------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(3).random(75).astype("float32")


def full_model():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.7)
    return small(
        keras.optimizers.Adam(schedule),
        layers=[keras.layers.BatchNormalization(), keras.layers.ActivityRegularization(0.01)],
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")],
        weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(name="entropy")],
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"sample_weight": WEIGHTS, "validation_split": 0.2}, id="sample-weights"),
        pytest.param({"class_weight": {0: 0.5, 2: 3.0}}, id="class-weights"),
        pytest.param(
            {"validation_data": (*points(40, 1), WEIGHTS[:40]), "validation_batch_size": 64},
            id="weighted-validation",
        ),
    ],
)
def test_weights_regularization_metrics_and_schedules_are_those_of_keras(options):
    assert_equal(*both(full_model, *points(75), **IN_ORDER, **options))


def test_several_inputs_and_outputs_are_those_of_keras():
    x, y = points(50)

    def make():
        keras.utils.set_random_seed(2)
        inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
        hidden = keras.layers.concatenate(list(inputs.values()))
        outputs = [
            keras.layers.Dense(CLASSES, activation="softmax", name="kind")(hidden),
            keras.layers.Dense(1, name="height")(hidden),
        ]
        model = keras.Model(inputs, outputs)
        model.compile("adam", loss=["sparse_categorical_crossentropy", "mse"])
        return model

    inputs = {"a": x, "b": x[:, ::-1].copy()}
    assert_equal(*both(make, inputs, [y, x[:, :1]], **IN_ORDER, validation_split=0.3))


def test_a_model_without_a_declared_shape_is_built():
    def make():
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(CLASSES)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    assert_equal(*both(make, *points(40), **IN_ORDER))


@pytest.mark.parametrize("samples", [20, 64, 80], ids=["one-short", "one-full", "full-and-short"])
def test_batches_may_be_short(samples):
    options = {"epochs": 2, "batch_size": 64, "shuffle": False}
    assert_equal(*both(lambda: small("adam"), *points(samples), **options))


def test_a_batch_has_32_samples_unless_fit_says_otherwise():
    assert_equal(*both(lambda: small("adam"), *points(75), epochs=1, shuffle=False))


# --- The shipped spaces ---------------------------------------------------------------------------

SPACES = {"published": published, "wide": Wide()}


@pytest.fixture(scope="module")
def shipped_spaces():
    hypermodels = [mirror.load_hypermodel(build, name) for name, build in SPACES.items()]
    return [(hypermodel, mirror.discover_space(hypermodel)) for hypermodel in hypermodels]


def assert_trains_as_keras_trains(hypermodel, values, number=0):
    """Compare a configuration on both paths.

    Without dropout, whose chance is drawn otherwise; in float64, as Adam makes a step of the
    rounding error of a gradient that is nearly 0.
    """
    draw = np.random.default_rng(number)
    x, y = draw.random((60, 28, 28)), draw.integers(0, 10, 60)

    def make():
        keras.utils.set_random_seed(3)
        return hypermodel.build(mirror.prepare_hyperparameters(hypermodel, values))

    options = IN_ORDER | {"epochs": 1, "validation_data": (x[:30], y[:30])}
    with in_float64():
        result = both(make, x, y, **options)
    assert_equal(*result, rtol=1e-6, atol=1e-8)


# The corners of both spaces: every optimizer meets every activation and penalty that it can.
CORNERS = [
    ("published", {"hidden_layers": 1, "neurons": 16, "activation": "relu", "optimizer": "sgd", "l2": 0.0}),
    ("published", {"hidden_layers": 10, "neurons": 16, "activation": "tanh", "optimizer": "adam", "l2": 1e-4}),
    ("published", {"hidden_layers": 2, "neurons": 512, "activation": "relu", "optimizer": "nadam", "l2": 1e-5}),
    ("wide", {"hidden_layers": 6, "neurons": 64, "activation": "tanh", "optimizer": "sgd",
              "sgd_learning_rate": 0.3, "penalize_weights": True, "l2": 1e-3}),
    ("wide", {"hidden_layers": 1, "neurons": 1024, "activation": "relu", "optimizer": "adam",
              "learning_rate": 1e-4, "penalize_weights": False}),
    ("wide", {"hidden_layers": 2, "neurons": 64, "activation": "tanh", "optimizer": "nadam",
              "learning_rate": 1e-2, "penalize_weights": True, "l2": 1e-6}),
]  # fmt: skip


# Each optimizer, activation and penalty once; all corners in the long tier.
SHORT_CORNERS = ("published-nadam", "wide-sgd", "wide-adam")


@pytest.mark.parametrize(
    ("space", "values"),
    [
        pytest.param(
            space, values, id=name, marks=() if name in SHORT_CORNERS else pytest.mark.long
        )
        for space, values in CORNERS
        for name in [f"{space}-{values['optimizer']}"]
    ],
)
def test_the_corners_of_both_shipped_spaces_train_as_keras_trains_them(space, values):
    hypermodel = mirror.load_hypermodel(SPACES[space], space)
    assert_trains_as_keras_trains(hypermodel, values | {"dropout": 0.0})


@pytest.mark.long  # the short tier takes some corners
@settings(max_examples=20, deadline=None)
@given(which=st.integers(0, 1), number=st.integers(0, 10_000))
def test_models_drawn_from_both_shipped_spaces_train_as_keras_trains_them(
    shipped_spaces, which, number
):
    hypermodel, space = shipped_spaces[which]
    values = RandomSearcher(space, seed=number).propose(number) | {"dropout": 0.0}
    assert_trains_as_keras_trains(hypermodel, values, number)


# --- Learning curves ------------------------------------------------------------------------------


def curves(*, rate, fast_epoch, seeds=10):
    """Return the losses of some trainings, of shape (seeds, epochs), on both splits.

    One model is traced; each training begins with weights, order and masks of its own.
    """

    def make(seed):
        layers = [keras.layers.Dropout(rate)] if rate else []
        # The same steps with less overhead for Keras: an epoch in one call.
        model = small(
            keras.optimizers.Nadam(0.01), layers=layers, seed=seed, steps_per_execution=19
        )
        model.optimizer.build(model.trainable_variables)
        return model

    x, y = points(600)
    held_out = points(400, 1)
    model = make(0)
    fast.install(model, seed=7, fast=fast_epoch)
    losses = []
    for seed in range(seeds):
        fresh = make(100 + seed)
        model.set_weights(fresh.get_weights())
        for variable, value in zip(
            model.optimizer.variables, fresh.optimizer.variables, strict=True
        ):
            variable.assign(value)
        history = model.fit(
            x, y, epochs=5, batch_size=32, validation_data=held_out, verbose=0
        ).history
        losses.append(history["loss"] + history["val_loss"])
    return np.array(losses)


def agree(one, other):
    """Tell whether the means lie within five standard errors of their difference, everywhere."""
    error = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / len(one))
    return bool((abs(one.mean(0) - other.mean(0)) < 5 * error).all())


@pytest.fixture(scope="module")
def curves_of_keras():
    return curves(rate=0.3, fast_epoch=False)


@pytest.mark.long  # with dropout they are compared in the short tier
def test_learning_curves_without_dropout_agree():
    assert agree(curves(rate=0.0, fast_epoch=True), curves(rate=0.0, fast_epoch=False))


@pytest.mark.long
def test_learning_curves_with_dropout_agree(curves_of_keras):
    assert agree(curves(rate=0.3, fast_epoch=True), curves_of_keras)


def test_learning_curves_with_another_rate_of_dropout_are_told_apart(curves_of_keras):
    assert not agree(curves(rate=0.5, fast_epoch=True), curves_of_keras)


def test_the_trainings_of_a_curve_differ(curves_of_keras):
    assert len({tuple(row) for row in curves_of_keras}) == 10
