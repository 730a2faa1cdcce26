"""The random numbers of the fast path: what they follow from, and what they look like."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.worker import fast
from search.worker.fast.randomness import EpochRandomness, Masks, drop_threshold, seed_states


def draw(seed, fit, epoch, *, shuffles=True, layers=2):
    return EpochRandomness.of(seed, fit, epoch, samples=1000, shuffles=shuffles, layers=layers)


# --- The numbers of an epoch ----------------------------------------------------------------------


def test_the_same_seed_call_and_epoch_give_the_same_numbers():
    first, again = draw(1, 0, 3), draw(1, 0, 3)
    assert (first.order == again.order).all()
    assert first.key == again.key
    assert (first.layer_seeds == again.layer_seeds).all()


@pytest.mark.parametrize("numbers", [(2, 0, 3), (1, 1, 3), (1, 0, 4), (1, 3, 0)])
def test_another_seed_call_or_epoch_gives_other_numbers(numbers):
    first, other = draw(1, 0, 3), draw(*numbers)
    assert (first.order != other.order).any()
    assert first.key != other.key
    assert (first.layer_seeds != other.layer_seeds).all()


def test_an_epoch_takes_each_sample_once():
    assert sorted(draw(1, 0, 3).order) == list(range(1000))


def test_an_epoch_without_shuffling_takes_the_samples_in_order():
    assert draw(1, 0, 3, shuffles=False).order.tolist() == list(range(1000))


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_each_random_layer_gets_a_seed_of_31_bits(layers):
    seeds = draw(1, 0, 3, layers=layers).layer_seeds
    assert len(seeds) == len(set(seeds.tolist())) == layers
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_seed_states_of_a_model_are_those_of_its_random_layers():
    layers = [keras.layers.Dropout(0.5), keras.layers.Dense(2), keras.layers.GaussianNoise(0.1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    states = seed_states(model)
    assert [variable.path.partition("/")[0] for variable in states] == [
        layers[0].seed_generator.state.path.partition("/")[0],
        layers[2].seed_generator.state.path.partition("/")[0],
    ]
    assert len(states) == 2


# --- Masks ----------------------------------------------------------------------------------------

RATE, SIZE = 0.2, 200_000


@pytest.fixture(scope="module")
def masks():
    """Two masks in each of two steps."""
    drawn, masks = [], Masks()
    for step in range(2):
        masks.begin(tf.constant(7, tf.uint64), tf.constant(step))
        drawn += [masks.drop(tf.ones((1000, 200)), RATE).numpy() for _ in range(2)]
    return drawn


def test_masks_drop_elements_and_scale_up_the_others(masks):
    for mask in masks:
        assert set(np.unique(mask)) == {0.0, np.float32(1 / (1 - 13107 / 65536))}


def test_masks_drop_at_their_rate(masks):
    for mask in masks:
        # Five standard deviations: a false failure in 1.7 million, if the numbers were not fixed.
        assert abs((mask == 0).mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / SIZE)


def test_masks_of_steps_and_calls_are_independent(masks):
    for one in range(4):
        for other in range(one):
            together = ((masks[one] == 0) & (masks[other] == 0)).mean()
            bound = 5 * np.sqrt(RATE**2 * (1 - RATE**2) / SIZE)
            assert abs(together - RATE**2) < bound, (one, other)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_a_mask_has_the_shape_of_its_inputs(size):
    masks = Masks()
    masks.begin(tf.constant(7, tf.uint64), tf.constant(0))
    assert masks.drop(tf.ones((size, 1)), 0.5).shape == (size, 1)


def test_a_mask_keeps_the_type_of_its_inputs():
    masks = Masks()
    masks.begin(tf.constant(7, tf.uint64), tf.constant(0))
    assert masks.drop(tf.ones(8, "float64"), 0.5).dtype == "float64"


@pytest.mark.parametrize(
    ("rate", "threshold"), [(0.5, 32768), (0.2, 13107), (1e-6, 0), (1.0, 65536)]
)
def test_a_rate_is_exact_to_a_share_of_the_random_numbers(rate, threshold):
    assert drop_threshold(rate) == threshold


# --- Layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Dropout", "GaussianDropout"])
def test_two_calls_of_a_random_layer_in_a_step_differ(kind):
    def share_of_equal(y_true, y_pred):
        first, second = keras.ops.split(y_pred, 2, axis=-1)
        return keras.ops.mean(keras.ops.cast(first == second, "float32"), axis=-1)

    drop = getattr(keras.layers, kind)(0.5)
    inputs = keras.Input((200,))
    hidden = keras.layers.Dense(200)(inputs)
    model = keras.Model(inputs, keras.layers.concatenate([drop(hidden), drop(hidden)]))
    model.compile("sgd", "mse", metrics=[share_of_equal])
    fit = fast.install(model, seed=5)
    x = np.random.default_rng(0).normal(size=(64, 200)).astype("float32")
    history = model.fit(x, np.zeros((64, 400), "float32"), epochs=2, verbose=0).history
    assert fit.path.name == "fast"
    # Equal where both are dropped or, by Dropout, both are kept: half of the places or none.
    expected = 0.5 if kind == "Dropout" else 0.0
    assert history["share_of_equal"] == pytest.approx([expected] * 2, abs=0.03)


def test_dropout_in_a_loop_within_the_step_draws_anew_in_each_turn():
    class Sums(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = keras.layers.Dense(50, kernel_initializer="identity")
            self.drop = keras.layers.Dropout(0.5)

        def call(self, x, training=False):
            x = self.scale(x)

            def turn(number, total):
                return number + 1, total + self.drop(x, training=training)

            loop = (tf.constant(0), tf.zeros_like(x))
            return tf.while_loop(lambda number, _: number < 8, turn, loop)[1]

    fit = fast.install(model := Sums(), seed=5)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((256, 50), "float32")
    loss = model.fit(x, 8 * x, verbose=0).history["loss"][0]
    assert fit.path.name == "fast"
    # A sum of eight independent masks of 0 or 2 has the variance 8; of one mask, eight times, 64.
    assert loss == pytest.approx(8.0, rel=0.1)
