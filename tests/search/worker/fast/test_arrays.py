"""The arrays of a training as tensors: what they share, and which are not fast."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.worker.fast.arrays import (
    Arrays,
    NotFastError,
    as_tensor,
    class_sample_weights,
    split,
)

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)


def aligned(dtype="float32", *, offset=0):
    """Return an array in memory that is aligned, or off by some bytes, and that memory."""
    memory = np.zeros(4096 + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    return memory[start : start + 4096].view(dtype), memory


# --- Tensors --------------------------------------------------------------------------------------


def test_an_array_in_aligned_memory_is_shared_even_if_it_is_read_only():
    array, memory = aligned()
    array.flags.writeable = False
    tensor = as_tensor(array)
    memory[:] = 1
    assert tensor.numpy()[0] != 0
    assert tensor.shape == array.shape


def test_an_array_in_other_memory_is_copied():
    array, memory = aligned(offset=4)
    tensor = as_tensor(array)
    memory[:] = 1
    assert tensor.numpy()[0] == 0


def test_an_array_that_is_not_contiguous_is_copied():
    array, memory = aligned()
    turned = array.reshape(32, 32).T
    tensor = as_tensor(turned)
    assert tensor.shape == (32, 32)
    memory[:] = 1
    assert tensor.numpy()[0, 0] == 0


@pytest.mark.parametrize(
    ("dtype", "converted"),
    [("float64", "float32"), ("float16", "float32"), ("uint8", "uint8"), ("int64", "int64")],
)
def test_floats_get_the_type_of_keras_and_integers_keep_theirs(dtype, converted):
    assert as_tensor(np.zeros(3, dtype)).dtype == converted
    assert as_tensor(tf.zeros(3, dtype)).dtype == converted


def test_floats_are_of_64_bits_if_keras_says_so(float64):
    assert as_tensor(np.zeros(3, "float32")).dtype == "float64"


def test_an_empty_array_becomes_a_tensor():
    assert as_tensor(np.zeros((0, 3), "float32")).shape == (0, 3)


# --- The samples of an epoch ----------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(X,), (X, Y), (X, Y, Y)])
def test_the_parts_of_the_data_are_those_that_fit_got(parts):
    arrays = Arrays.of(*parts)
    assert arrays.samples == 6
    assert len(arrays.parts) == len(parts)
    for tensor, part in zip(arrays.parts, parts, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), part)


def test_structures_keep_their_shape():
    arrays = Arrays.of({"a": X, "b": [X, Y]}, [Y, X])
    keras.tree.assert_same_structure(arrays.parts, ({"a": 0, "b": (0, 0)}, (0, 0)))


def test_samples_are_taken_by_their_rows():
    x, y = Arrays.of(X, Y).take(tf.constant([4, 1]))
    np.testing.assert_array_equal(x.numpy(), X[[4, 1]])
    assert y.numpy().tolist() == [4, 1]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((X, Y[:5]), "the arrays have different or no samples: [5, 6]"),
        ((X[:0], Y[:0]), "the arrays have different or no samples: [0]"),
        ((X.tolist(), Y), "the data are builtins float, not arrays of numbers"),
        ((np.array("a"),), "the data are numpy ndarray, not arrays of numbers"),
        ((np.array(1.0),), "the data are numpy ndarray, not arrays of numbers"),
        ((X, Y > 3), "the data are numpy ndarray, not arrays of numbers"),
        ((X, tf.constant(["a"] * 6)), "the data are tensorflow EagerTensor, not arrays of numbers"),
        ((tf.constant(1.0),), "the data are tensorflow EagerTensor, not arrays of numbers"),
    ],
)
def test_data_that_are_no_arrays_of_numbers_are_not_fast(parts, message):
    with pytest.raises(NotFastError) as refused:
        Arrays.of(*parts)
    assert str(refused.value) == message


# --- Validation and weights -----------------------------------------------------------------------


def test_the_last_samples_are_split_off():
    (x, y, weights), (held_x, held_y, _) = split(X, Y, None, 0.34)
    assert (y.tolist(), held_y.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert (len(x), len(held_x), weights) == (3, 3, None)


@pytest.mark.parametrize(("fraction", "kept"), [(0.1, 5), (0.25, 4), (0.5, 3), (0.8, 1)])
def test_a_split_leaves_whole_samples_to_the_training(fraction, kept):
    """Like Keras's, which the tests of whole epochs compare."""
    (x, y, _), (held_x, held_y, _) = split(X, Y, None, fraction)
    np.testing.assert_array_equal(np.concatenate([x, held_x]), X)
    assert (len(x), len(y), len(held_y)) == (kept, kept, 6 - kept)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_split_without_samples_is_not_fast(fraction):
    with pytest.raises(NotFastError) as refused:
        split(X, Y, None, fraction)
    assert str(refused.value) == f"validation_split={fraction} leaves one of the splits empty"


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 2, 1]),
        np.array([[0], [2], [1]]),
        np.eye(3)[[0, 2, 1]],
        np.array([0.0, 2.2, 0.9]),
    ],
    ids=["labels", "column", "one-hot", "floats"],
)
def test_each_sample_has_the_weight_of_its_class(y):
    weights = class_sample_weights(y, {0: 0.5, 2: 3.0})
    assert weights.tolist() == [0.5, 3.0, 1.0]
    assert weights.dtype == "float32"
