"""What a data function returned: what it becomes, and what is refused. No Keras."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from search.worker import reading, splits

X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 1, 0])
TEXTS = np.array(["a", "b c", "ü", ""], dtype=object)
SPARSE = scipy.sparse.csr_matrix(X)


def problems(value, name="train"):
    return list(reading.problems(reading.as_split(value), name))


def equal(value, expected):
    assert type(value) is type(expected)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


# --- What becomes of them -------------------------------------------------------------------------


def test_arrays_stay_the_objects_that_they_are():
    inputs, targets = reading.as_split([X, Y])
    assert inputs is X
    assert targets is Y


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        ({"a": np.float64, "b": np.float64}, "float64"),
        ({"a": np.int64, "b": np.int64}, "int64"),
        ({"a": np.int64, "b": np.float64}, "float64"),
        ({"a": np.float32, "b": np.float32}, "float32"),
        ({"a": bool, "b": bool}, "bool"),
        ({"a": bool, "b": np.float32}, "float32"),
    ],
)
def test_a_data_frame_of_numbers_becomes_an_array_of_their_common_type(columns, dtype):
    frame = pd.DataFrame(X, columns=list(columns)).astype(columns)
    array, _ = reading.as_split((frame, Y))
    equal(array, np.stack([frame[name] for name in columns], axis=1).astype(dtype))
    assert array.flags.c_contiguous


def test_a_series_becomes_a_column_as_in_keras():
    _, targets = reading.as_split((X, pd.Series(Y, index=[7, 3, 5, 1])))
    equal(targets, Y[:, np.newaxis])


def test_a_structure_keeps_its_form():
    inputs, targets = reading.as_split(
        ({"frame": pd.DataFrame(X), "texts": TEXTS}, [pd.Series(Y), (Y, Y)])
    )
    assert set(inputs) == {"frame", "texts"}
    equal(inputs["frame"], X)
    assert inputs["texts"] is TEXTS
    assert type(targets) is list
    assert type(targets[1]) is tuple


@pytest.mark.parametrize("kind", ["csr", "coo", "lil", "dok"])
def test_a_sparse_matrix_is_compressed_by_rows(kind):
    inputs, _ = reading.as_split((getattr(scipy.sparse, f"{kind}_matrix")(X), Y))
    assert inputs.format == "csr"
    np.testing.assert_array_equal(inputs.toarray(), X)


def test_what_becomes_an_array_is_one():
    inputs, targets = reading.as_split((pd.Index([1, 2]), memoryview(b"ab")))
    equal(inputs, np.array([1, 2]))
    assert type(targets) is memoryview  # refused below


@pytest.mark.parametrize(
    "value",
    [
        pytest.param((X, Y), id="arrays"),
        pytest.param((TEXTS, Y), id="texts"),
        pytest.param((SPARSE, Y), id="sparse"),
        pytest.param((pd.DataFrame(X), pd.Series(Y)), id="frames"),
        pytest.param(({"a": X, "b": TEXTS}, {"c": Y, "d": Y}), id="dicts"),
        pytest.param(([X, X], (Y, Y)), id="lists"),
        pytest.param((OrderedDict(a=X), Y), id="kind-of-dict"),
    ],
)
def test_what_keras_takes_is_no_problem(value):
    assert splits.is_split(value)
    assert problems(value) == []
    assert splits.length(reading.as_split(value)) == 4


# --- What is refused ------------------------------------------------------------------------------

OTHER_COLUMNS = (
    "expected columns of numbers. Encode these columns, or return a dict with an array per column, "
    "texts as an object array of shape (n,) or as tf.constant(texts)."
)
TEXTS_EXPECTED = "texts as an object array of shape (n,) or as tf.constant(texts)"


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        pytest.param(
            pd.DataFrame({"city": pd.Categorical(["x"] * 4), "size": Y, "name": ["y"] * 4}),
            "got DataFrame of shape (4, 3) with the columns 'city' (category), 'name' (str), "
            + OTHER_COLUMNS,
            id="columns",
        ),
        pytest.param(
            pd.DataFrame({"size": pd.array([1, 2, None, 4])}),
            "got DataFrame of shape (4, 1) with the columns 'size' (Int64), " + OTHER_COLUMNS,
            id="missing",
        ),
        pytest.param(
            pd.DataFrame(index=range(4)),
            "got DataFrame of shape (4, 0) with the columns none, " + OTHER_COLUMNS,
            id="no-column",
        ),
        pytest.param(
            pd.Series(["a", "b", "c", "d"]),
            f"got Series of str of shape (4,), expected numbers, or {TEXTS_EXPECTED}. "
            "Encode the Series, as labels must be, or add .to_numpy(object) to texts that the model "
            "reads.",
            id="series",
        ),
        pytest.param(
            np.array(["a", "b"]),
            f"got ndarray of str32 of shape (2,), expected {TEXTS_EXPECTED}. "
            "Convert it, as by .astype(object).",
            id="texts-of-a-length",
        ),
        pytest.param(
            TEXTS[:, np.newaxis],
            f"got ndarray of object of shape (4, 1), expected {TEXTS_EXPECTED}. "
            "Convert it, as by .astype(object).",
            id="column-of-texts",
        ),
        pytest.param(
            np.array([b"a"], dtype=object),
            f"got ndarray of object of shape (1,), expected {TEXTS_EXPECTED}. "
            "Convert it, as by .astype(object).",
            id="bytes",
        ),
        pytest.param(
            np.array([1.0, "a", None], dtype=object),
            "got ndarray of object of shape (3,) that holds NoneType, float, expected numbers, or "
            f"{TEXTS_EXPECTED}. Convert it, as by .astype('float32').",
            id="objects",
        ),
        pytest.param(
            np.array(["2026-12-01"], dtype="datetime64[D]"),
            "got ndarray of datetime64[D] of shape (1,), expected numbers. "
            "Convert the times, as by .astype('int64').",
            id="times",
        ),
        pytest.param(
            np.array(1.0),
            "got ndarray of float64 of shape (), which has no samples, expected the shape "
            "(samples, ...).",
            id="single-number",
        ),
        pytest.param(
            [1, 2],
            "got list of int, int, expected arrays, DataFrames, Series, sparse matrices or "
            "tensors, or a list or dict of them. Convert it, as by np.asarray.",
            id="list",
        ),
    ],
)  # fmt: skip
def test_what_keras_does_not_take_is_named_with_the_way_out(inputs, problem):
    assert problems((inputs, Y)) == [f"the inputs of the train split: {problem}"]


def test_a_part_of_a_structure_is_named():
    [problem] = problems((X, {"a": Y, "b": [Y, Y.astype("datetime64[s]")]}), "test")
    assert problem.startswith("the targets['b'][1] of the test split: got ndarray of datetime64[s]")


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ((X, Y[:3]), "4 inputs and 3 targets"),
        ((X[:0], Y[:0]), "0 inputs and 0 targets"),
        (({"a": X, "b": X[:2]}, Y), "2 or 4 inputs and 4 targets"),
        ((SPARSE[:1], pd.Series(Y)), "1 inputs and 4 targets"),
    ],
)
def test_all_arrays_of_a_split_are_equally_long(value, counts):
    assert problems(value, "validation") == [
        f"the validation split has {counts}, expected as many inputs as targets, and at least one."
    ]


def test_a_generator_is_named_as_what_the_first_trial_uses_up():
    value = (batch for batch in [(X, Y)])
    assert splits.is_split(value)
    assert problems(value) == [
        "the train split is a generator, which the first trial would use up. Return arrays, a "
        "tf.data.Dataset or a keras.utils.PyDataset."
    ]


def test_arrays_are_read_without_keras_tensorflow_and_pandas():
    script = (
        "import sys, numpy as np\n"
        "from search.worker import reading, splits\n"
        "split = reading.as_split((np.zeros((2, 3)), np.zeros(2, int)))\n"
        "assert not list(reading.problems(split, 'train')) and splits.checksum(split, 0)\n"
        "assert splits.opened(splits.packed(split, 'train')) == split\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'pandas', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
