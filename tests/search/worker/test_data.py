"""The data of a problem: how its function is called, and what it may return. No Keras."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

import problems
from results.record.history import Objective
from search.errors import ProblemError
from search.plan.plan import Problem
from search.worker.data import Data, load_data

PROBLEM = Problem(
    hypermodel=None, data="problems:blobs", data_dir=None, space="s",
    objective=Objective("val_accuracy", "max"), epochs=1, patience=0, seed=3,
)  # fmt: skip
X, Y = np.zeros((4, 2)), np.zeros(4, int)


@pytest.fixture
def load(monkeypatch):
    """Load what a function returns."""

    def load(function, *, needs_test=False, **problem):
        monkeypatch.setattr(problems, "loads", function, raising=False)
        return load_data(replace(PROBLEM, data="problems:loads", **problem), needs_test=needs_test)

    return load


def message(load, function, **options):
    with pytest.raises(ProblemError) as refused:
        load(function, **options)
    return str(refused.value)


# --- How the function is called -------------------------------------------------------------------


def returns_what_it_gets(received, function):
    def loads(*args, **kwargs):
        received.append((args, kwargs))
        return (X, Y), (X, Y)

    # A function with the parameters of another one.
    loads.__signature__ = inspect.signature(function)
    return loads


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda: None, {}),
        (lambda seed: None, {"seed": 3}),
        (lambda data_dir=".": None, {"data_dir": "/data"}),
        (lambda *, data_dir, seed: None, {"seed": 3, "data_dir": "/data"}),
        (lambda size=3: None, {}),
        (lambda **options: None, {"seed": 3, "data_dir": "/data"}),
    ],
    ids=["nothing", "seed", "folder", "both", "neither", "anything"],
)
def test_the_function_gets_seed_and_folder_if_it_takes_them(load, function, arguments):
    received = []
    load(returns_what_it_gets(received, function), data_dir="/data")
    assert received == [((), arguments)]


def test_an_error_of_the_function_is_named():
    with pytest.raises(ProblemError) as refused:
        load_data(replace(PROBLEM, data="problems:broken_data"), needs_test=False)
    assert str(refused.value) == (
        "--data 'problems:broken_data': FileNotFoundError: the disk with the data is not mounted"
    )


def test_data_must_be_a_function():
    with pytest.raises(ProblemError) as refused:
        load_data(replace(PROBLEM, data="problems:CLASSES"), needs_test=False)
    assert str(refused.value) == (
        "--data 'problems:CLASSES' is not a function: expected one that returns the data."
    )


# --- What it may return ---------------------------------------------------------------------------


def test_three_pairs_are_the_splits_and_class_names_an_attribute(load):
    data = load(lambda: problems.named_blobs(1))
    train, validation, test = problems.blobs(1)
    for split, expected in ((data.train, train), (data.validation, validation), (data.test, test)):
        np.testing.assert_array_equal(split[0], expected[0])
        np.testing.assert_array_equal(split[1], expected[1])
    assert data.class_names == ("red", "green", "blue")


def test_two_pairs_have_no_test_split_and_no_names(load):
    data = load(lambda: [[X, Y], [X[:2], Y[:2]]])
    assert (data.test, data.class_names) == (None, None)
    assert len(data.validation[0]) == 2


def test_names_of_classes_become_texts(load):
    class Named(list):
        class_names = [1, "two"]

    assert load(lambda: Named([(X, Y), (X, Y)])).class_names == ("1", "two")


def test_more_than_the_splits_may_be_returned_after_them(load):
    assert load(lambda: ((X, Y), (X, Y), {"about": "them"})).test is None


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        pytest.param({"x": 1}, "dict", id="dict"),
        pytest.param(None, "NoneType", id="none"),
        pytest.param((X, Y), "tuple of ndarray, ndarray", id="one-pair"),
        pytest.param([], "list of nothing", id="nothing"),
        pytest.param([(X, Y)], "list of tuple of 2", id="one-split"),
        pytest.param(
            [(X, Y)] * 4, "list of tuple of 2, tuple of 2, tuple of 2, tuple of 2", id="4"
        ),
        pytest.param([(X, Y), 1, (X, Y)], "list of tuple of 2, int, tuple of 2", id="gap"),
        pytest.param([(X, Y), (X, Y, Y)], "list of tuple of 2, tuple of 3", id="triple"),
        pytest.param([(X, Y), ("a", "b")], "list of tuple of 2, tuple of 2", id="names"),
    ],
)
def test_anything_else_is_refused(load, returned, got):
    assert message(load, lambda: returned) == (
        f"--data 'problems:loads': got {got}, expected a training, a validation and optionally a "
        "test split, each a pair (inputs, targets) or a dataset. "
        "Return (x_train, y_train), (x_validation, y_validation), (x_test, y_test)."
    )


def test_everything_that_is_wrong_is_said_at_once(load):
    [short, missing] = message(load, lambda: [(X, Y), (X[:1], Y)], needs_test=True).splitlines()
    assert short.startswith("--data 'problems:loads': the validation split has 1 inputs")
    assert missing.startswith("--data 'problems:loads' returns no test split")
    lines = message(load, lambda: [(X, Y.tolist()), (X[:1], Y), (X[:0], Y[:0])]).splitlines()
    assert lines == [
        "--data 'problems:loads': the targets of the train split: got list of int, int, int, int, "
        "expected arrays, DataFrames, Series, sparse matrices or tensors, or a list or dict of "
        "them. Convert it, as by np.asarray.",
        "--data 'problems:loads': the validation split has 1 inputs and 4 targets, expected as "
        "many inputs as targets, and at least one.",
        "--data 'problems:loads': the test split has 0 inputs and 0 targets, expected as many "
        "inputs as targets, and at least one.",
    ]


def test_a_test_split_is_needed_for_an_evaluation(load):
    data = ((X, Y), (X, Y), (X, Y))
    assert load(lambda: data, needs_test=True).test is not None
    assert message(load, lambda: data[:2], needs_test=True) == (
        "--data 'problems:loads' returns no test split, so the retrained model cannot be "
        "evaluated: return (x_test, y_test) as a third pair, or add --retrain-epochs none."
    )


# --- The digest -----------------------------------------------------------------------------------

DATA = Data(train=(X, Y), validation=(X[:2], Y[:2]), test=(X[:1], Y[:1]))


def test_equal_data_have_an_equal_digest():
    again = Data(
        train=(X.copy(), Y.copy()), validation=(X[:2], Y[:2]), test=(X[:1], Y[:1]),
        class_names=("a", "b"),
    )  # fmt: skip
    assert again.digest() == DATA.digest()
    assert len(DATA.digest()) == 8


def test_the_digest_of_numbers_is_that_of_version_0_1_0():
    x = np.arange(8.0).reshape(4, 2)
    y = np.array([0, 1, 1, 0])
    test = (x[::-1].astype("float32"), y[::-1])
    data = Data(train=(x, y), validation=(x[:2], y[:2].astype("uint8")), test=test)
    assert data.digest() == "9ca349a9"


def changed(array):
    copy = array.copy()
    copy.flat[-1] = 1
    return copy


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"train": (changed(X), Y)}, id="inputs"),
        pytest.param({"train": (X, changed(Y))}, id="targets"),
        pytest.param({"validation": (X[:2], changed(Y[:2]))}, id="validation"),
        pytest.param({"test": (changed(X[:1]), Y[:1])}, id="test"),
        pytest.param({"test": None}, id="no-test"),
        pytest.param({"train": (X.reshape(2, 4), Y)}, id="shape"),
        pytest.param({"train": (X, Y.astype("uint64"))}, id="type"),
    ],
)
def test_other_data_have_another_digest(change):
    assert replace(DATA, **change).digest() != DATA.digest()


def test_the_digest_does_not_depend_on_the_order_in_memory():
    x = np.arange(8.0).reshape(4, 2)
    digests = {Data(train=(one, Y), validation=(X, Y)).digest()
               for one in (x, np.asfortranarray(x), x[::-1][::-1])}  # fmt: skip
    assert len(digests) == 1
