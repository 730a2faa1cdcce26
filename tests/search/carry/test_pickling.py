"""Objects of a script that hold data, layers or symbolic tensors arrive as new ones that mean the same."""

import pickle
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from search.carry import pickling
from search.errors import ProblemError


def copy_of(value):
    return pickle.loads(pickling.dumps(value))


def trained(build):
    """Return what a model predicts after some training from seeded weights."""
    keras.utils.set_random_seed(3)
    model = build()
    model.compile("sgd", "mse")
    x = np.arange(32, dtype="float32").reshape(4, 8) / 32
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    return model.predict(x, verbose=0)


# --- Symbolic tensors -----------------------------------------------------------------------------


@pytest.fixture
def tensors():
    """Tensors of a functional model: its input, and what follows by layers and by operations."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,), name="all")
    shared = layers.Dense(4, name="shared")
    hidden = shared(inputs) * 2.0 + shared(inputs)
    return inputs, *keras.ops.split(hidden, 2, axis=-1)


def test_tensors_made_outside_build_arrive_with_their_graph_and_the_weights(tensors):
    inputs, left, right = tensors

    def build():
        return keras.Model(inputs, layers.Dense(1)(left + right))

    first, second = copy_of(build), copy_of(build)
    assert [layer.name for layer in first().layers].count("shared") == 1
    predicted = trained(first)
    assert np.array_equal(trained(second), predicted), "the first training changed no other copy"
    assert np.array_equal(trained(build), predicted)
    assert not np.array_equal(trained(copy_of(build)), predicted), "build has trained its layers"


def test_a_copy_of_tensors_begins_with_the_weights_of_the_script(tensors):
    inputs, left, _ = tensors
    model = keras.Model(inputs, left)
    x = np.ones((2, 8), dtype="float32")
    copied_inputs, copied = copy_of((inputs, left))
    assert np.array_equal(keras.Model(copied_inputs, copied)(x), model(x))


def test_a_pickle_tells_whether_it_holds_tensors(tensors):
    assert pickling.holds_symbolic_tensors(pickling.dumps(lambda: tensors))
    assert not pickling.holds_symbolic_tensors(pickling.dumps(lambda: 3))


# --- Layers and datasets --------------------------------------------------------------------------


def test_adapted_layers_named_in_a_build_keep_what_they_learnt():
    normalization = layers.Normalization()
    normalization.adapt(np.arange(40.0).reshape(5, 8))
    vectorization = layers.TextVectorization()
    vectorization.adapt(["a boot", "a shirt"])

    def build():
        return normalization, vectorization

    numbers, words = copy_of(build)()
    x = np.ones((1, 8))
    assert np.array_equal(numbers(x), normalization(x))
    assert words(["boot"]).numpy().tolist() == vectorization(["boot"]).numpy().tolist()


class Holding:
    """Holds what cannot be pickled as it is."""

    def __init__(self):
        self.dataset = tf.data.Dataset.range(3).map(lambda number: number * 2)
        self.lock = threading.Lock()
        self.owned = threading.RLock()
        self.numbers = (number for number in range(3))


def test_datasets_generators_and_locks_that_an_object_holds_are_made_anew():
    holding = Holding()
    copy = copy_of(holding)
    assert [int(number) for number in copy.dataset] == [0, 2, 4]
    assert list(copy.numbers) == list(holding.numbers) == [0, 1, 2]
    assert copy.lock.acquire(blocking=False)
    assert not holding.lock.locked()
    with copy.owned, copy.owned:
        pass


def test_a_lock_that_is_held_is_not_made_anew():
    holding = Holding()
    with holding.lock, pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        pickling.dumps(holding)


def test_a_dataset_named_in_a_function_arrives_with_it():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([1, 2]), output_signature=tf.TensorSpec((), tf.int32)
    )
    assert copy_of(lambda: [int(number) for number in dataset])() == [1, 2]


# --- Generators -----------------------------------------------------------------------------------


def arguments(first, /, second=2, *more, named, **others):
    yield first, second, more, named, others


@pytest.mark.parametrize(
    "make",
    [
        lambda: arguments(1, named=3),
        lambda: arguments(1, 5, 6, 7, named=3, other=4),
        lambda: (number for number in [1, 2]),
        lambda: zip(arguments(1, named=2), iter([3]), strict=False),
    ],
)
def test_a_generator_is_called_anew_with_its_arguments(make):
    assert list(copy_of(make())) == list(make())


def test_the_arguments_of_a_generator_are_copied_too():
    def squares(numbers):
        return (number * factor for number in numbers)

    factor = 3
    assert list(copy_of(squares(n for n in range(3)))) == [0, 3, 6]


def test_a_generator_that_has_begun_is_refused_by_name():
    begun = arguments(1, named=2)
    next(begun)
    with pytest.raises(ProblemError, match="the generator arguments has begun"):
        pickling.dumps({"data": begun})
