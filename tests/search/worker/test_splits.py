"""Splits of each kind: their parts, their way to the workers, their checksum. No Keras."""

import numpy as np
import pandas as pd
import scipy.sparse

from search.carry.description import Way
from search.worker import reading, splits

X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 1, 0])
TEXTS = np.array(["a", "b c", "ü", ""], dtype=object)
SPARSE = scipy.sparse.csr_matrix(X)


def equal(value, expected):
    assert type(value) is type(expected)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


# --- Parts ----------------------------------------------------------------------------------------


def test_the_first_samples_are_those_of_each_array():
    inputs, targets = splits.first(({"a": X, "b": [TEXTS, SPARSE]}, Y), 3)
    equal(inputs["a"], X[:3])
    equal(inputs["b"][0], TEXTS[:3])
    np.testing.assert_array_equal(inputs["b"][1].toarray(), X[:3])
    equal(targets, Y[:3])


def test_how_each_array_travels_is_described():
    split = ({"a": X, "b": TEXTS}, [SPARSE, Y])
    rows = [(part.argument, part.kind, part.shape, part.way)
            for part in splits.described(split, splits.packed(split, "x"), "train")]  # fmt: skip
    assert rows == [
        ("train[0]['a']", "array", "4x2", Way.SHARED),
        ("train[0]['b']", "array", "4", Way.PICKLED),
        ("train[1][0]", "csr_matrix", "4x2", Way.SHARED),
        ("train[1][1]", "array", "4", Way.SHARED),
    ]


# --- The checksum ---------------------------------------------------------------------------------


def checksum(value):
    return splits.checksum(reading.as_split(value), 0)


def test_equal_contents_have_an_equal_checksum_whatever_holds_them():
    pairs = [
        ((pd.DataFrame(X), Y), (X, Y)),
        ((np.array(["".join(text) for text in TEXTS], object), Y), (TEXTS, Y)),
        ((scipy.sparse.coo_matrix(X), Y), (scipy.sparse.csc_matrix(X), Y)),
        (({"a": X, "b": Y}, Y), ({"b": Y, "a": X}, Y)),
        (([X, X], Y), ((X, X), Y)),
    ]
    for value, again in pairs:
        assert checksum(value) == checksum(again)


def test_other_contents_have_another_checksum():
    other = TEXTS.copy()
    other[:2] = "a b", "c"
    values = [
        (X, Y), (TEXTS, Y), (other, Y), (SPARSE, Y), (SPARSE * 2, Y), (SPARSE[::-1], Y),
        (scipy.sparse.csr_matrix((4, 2)), Y), (scipy.sparse.csr_matrix((4, 3)), Y),
        ({"a": X, "b": X}, Y), ({"a": X, "c": X}, Y), ([X, X], Y), ([X], [X, Y]), (pd.Series(Y), Y),
    ]  # fmt: skip
    assert len({checksum(value) for value in values}) == len(values)


def test_the_checksum_leaves_the_matrix_as_it_is():
    matrix = scipy.sparse.csr_matrix((np.ones(2), [1, 1], [0, 2, 2]), shape=(2, 2))
    checksum((matrix, Y[:2]))
    assert matrix.nnz == 2
