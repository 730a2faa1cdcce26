"""The fused optimizers against Keras's: the same gradients give the same variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from on_both_paths import OPTIMIZERS

from search.worker.fast.arrays import NotFastError
from search.worker.fast.optimizers import FUSED, fused, warm_up_steps

SHAPES = ((3, 4), (4,), (4, 2, 2), ())
TOLERANCES = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-7, "atol": 1e-9}}


def make_variables(dtypes):
    return [
        keras.Variable(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape), dtype=dtype, name=f"v{n}")
        for n, (shape, dtype) in enumerate(zip(SHAPES, dtypes, strict=True))
    ]  # fmt: skip


def gradients_of(steps, dtypes):
    """Return random gradients, and now and then none at all."""
    draw = np.random.default_rng(0)
    rows = [[draw.normal(size=shape) for shape in SHAPES] for _ in range(steps)]
    rows[1] = [np.zeros(shape) for shape in SHAPES]
    return [
        [tf.constant(array, dtype) for array, dtype in zip(row, dtypes, strict=True)]
        for row in rows
    ]


def train(optimizer, dtypes, steps, *, is_fused, after=None):
    """Take steps; return all variables at the end, and at the steps in ``after``."""
    variables = make_variables(dtypes)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(*gradients):
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

    def run():
        states = {}
        for number, gradients in enumerate(gradients_of(steps, dtypes), start=1):
            step(*gradients)
            if number in (after or ()) or number == steps:
                states[number] = {
                    variable.path: keras.ops.convert_to_numpy(variable).copy()
                    for variable in [*variables, *optimizer.variables]
                }
        return states

    if not is_fused:
        return run()
    with fused(optimizer) as replacement:
        assert type(replacement) is FUSED[type(optimizer)]
        return run()


def assert_same_steps(make, dtypes, steps, *, after=None, **tolerance):
    ours = train(make(), dtypes, steps, is_fused=True, after=after)
    keras_own = train(make(), dtypes, steps, is_fused=False, after=after)
    assert list(ours) == list(keras_own)
    for number, state in ours.items():
        expected = keras_own[number]
        for (path, array), other in zip(state.items(), expected.values(), strict=True):
            np.testing.assert_allclose(
                array, other, err_msg=f"{path} after step {number}", **tolerance
            )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_hundreds_of_steps_equal_those_of_keras(make, dtype):
    assert_same_steps(make, [dtype] * 4, 300, after=(1, 2, 10), **TOLERANCES[dtype])


@pytest.mark.parametrize("name", ["sgd-momentum", "adamw", "nadam", "rmsprop-centered"])
def test_variables_of_two_types_train_together(name):
    assert_same_steps(
        OPTIMIZERS[name], ["float32", "float64", "float32", "float64"], 50, **TOLERANCES["float32"]
    )


def test_nadam_goes_over_to_one_kernel_without_a_trace():
    steps = warm_up_steps("float64", 0.9)
    assert 800 < steps < 1000
    assert_same_steps(
        lambda: keras.optimizers.Nadam(0.002), ["float64"] * 4, steps + 100,
        after=(steps - 1, steps, steps + 1, steps + 2), **TOLERANCES["float64"],
    )  # fmt: skip


@pytest.mark.parametrize("beta_1", [0.5, 0.9, 0.96, 0.99, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nadam_is_settled_once_its_factors_no_longer_change(dtype, beta_1):
    step = warm_up_steps(dtype, beta_1)
    number = np.dtype(dtype).type
    assert number(1) - number(0.5) * number(0.96) ** number(step) == number(1)
    assert number(1) - number(beta_1) ** number(step) == number(1)
    before = 0.9 * step
    still_changes = max(0.25 * 0.96**before, beta_1**before) > np.finfo(dtype).eps / 4
    assert still_changes, "it could be settled a tenth earlier"


def test_nadam_with_a_momentum_that_does_not_decay_is_never_settled():
    assert warm_up_steps("float32", 1.0) == 2**31 - 1


@pytest.mark.parametrize("name", ["sgd-momentum", "adam", "nadam", "rmsprop"])
def test_a_schedule_sets_the_rate_of_each_step(name):
    def make():
        optimizer = OPTIMIZERS[name]()
        optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.7)
        return optimizer

    assert_same_steps(make, ["float32"] * 4, 20, **TOLERANCES["float32"])


def test_variables_that_are_left_out_do_not_decay():
    def make():
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["v1"])
        return optimizer

    assert_same_steps(make, ["float32"] * 4, 20, **TOLERANCES["float32"])


# --- The replacement ------------------------------------------------------------------------------


def test_an_optimizer_is_its_own_again_after_the_trace():
    optimizer = OPTIMIZERS["adam"]()
    own = optimizer.apply_gradients
    with pytest.raises(ValueError, match="in a trace"), fused(optimizer):
        assert optimizer.apply_gradients != own
        raise ValueError("in a trace")
    assert optimizer.apply_gradients == own


@pytest.mark.parametrize("optimizer", FUSED, ids=[one.__name__ for one in FUSED])
def test_each_optimizer_that_can_be_fused_is_compared(optimizer):
    assert optimizer in {type(make()) for make in OPTIMIZERS.values()}


@pytest.mark.parametrize(
    ("name", "count"),
    [("rmsprop", 4), ("rmsprop-centered", 4), ("rmsprop-momentum", 0), ("adam", 0)],
)
def test_only_rmsprop_without_momentum_has_variables_of_a_step_alone(name, count):
    optimizer = OPTIMIZERS[name]()
    optimizer.build(make_variables(["float32"] * 4))
    with fused(optimizer) as replacement:
        assert len(replacement.scratch) == count


def apply(gradients):
    """Apply gradients of the two first variables; return the variables."""
    optimizer, variables = OPTIMIZERS["sgd"](), make_variables(["float32"] * 4)[:2]
    optimizer.build(variables)
    with fused(optimizer) as replacement:
        replacement.apply_gradients(zip(gradients, variables, strict=True))
    return variables


def test_a_variable_without_a_gradient_is_not_fast():
    with pytest.raises(NotFastError, match=r"^no gradient reaches v1$"):
        apply([tf.zeros((3, 4)), None])


def test_a_sparse_gradient_is_not_fast():
    sparse = tf.IndexedSlices(tf.zeros((1, 4)), tf.constant([0]), tf.constant([3, 4]))
    with pytest.raises(NotFastError, match=r"^the gradient of v0 is sparse$"):
        apply([sparse, tf.zeros(4)])


def test_a_gradient_of_another_type_is_cast():
    others = apply([tf.ones((3, 4), "float64"), tf.ones(4, "float16")])
    floats = apply([tf.ones((3, 4)), tf.ones(4)])
    unchanged = apply([tf.zeros((3, 4)), tf.zeros(4)])
    for other, same, old in zip(others, floats, unchanged, strict=True):
        assert np.array_equal(other.numpy(), same.numpy())
        assert not np.array_equal(other.numpy(), old.numpy())
