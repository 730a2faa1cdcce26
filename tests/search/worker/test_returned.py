"""What callbacks and a hypermodel return with their trial."""

import threading
from typing import ClassVar

import numpy as np
import pytest

from search.worker import returned as returned_module
from search.worker.returned import MAX_BYTES, ReturnedAttributes, returned_names, to_json


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """A process that has said nothing yet."""
    monkeypatch.setattr(returned_module, "_printed", set())


class Losses:
    returned_attributes = ("losses", "best")

    def __init__(self):
        self.losses = []
        self.best = None


class OneName:
    returned_attributes = "seen"


class Silent:
    def __init__(self):
        self.losses = [1]


class Model:
    returned_attributes = ("seen", "late")

    def __init__(self):
        self.seen = {"from the script": []}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (float("nan"), None),
        (float("-inf"), None),
        ("text", "text"),
        ((1, [2.0, "x"]), [1, [2.0, "x"]]),
        ({"a": (1,), 2: 3, 0.5: 4, np.int64(5): 6}, {"a": [1], "2": 3, "0.5": 4, "5": 6}),
        (np.float32(0.25), 0.25),
        (np.float64(0.25), 0.25),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([0.5, np.nan], "float32"), [0.5, None]),
        ([np.float32(0.5), {"deep": np.arange(2)}], [0.5, {"deep": [0, 1]}]),
    ],
)
def test_numbers_texts_lists_and_arrays_become_json_values(value, expected):
    received = to_json(value)
    assert received == expected
    assert repr(received) == repr(expected)  # True == 1


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, np.array([1j]), [b"bytes"], {(1, 2): 3}])
def test_anything_else_is_no_json_value(value):
    with pytest.raises(TypeError, match=r"^got a .*, expected "):
        to_json(value)


def test_a_class_names_what_it_returns():
    assert returned_names(Losses()) == ("losses", "best")
    assert returned_names(OneName()) == ("seen",)
    assert returned_names(Silent()) == returned_names(None) == ()


def test_the_attributes_are_returned_by_the_names_of_the_classes():
    returned = ReturnedAttributes(Model())
    first, second = Losses(), Losses()
    first.losses.append(0.5)
    second.best = np.float32(0.25)
    returned.watch([first, Silent(), second])
    assert returned.take() == {
        "Model": {"seen": {"from the script": []}},
        "Losses": {"losses": [0.5], "best": None},
        "Losses 2": {"losses": [], "best": 0.25},
    }


def test_without_names_nothing_is_returned():
    returned = ReturnedAttributes(Silent())
    returned.watch([Silent()])
    assert returned.is_empty
    assert returned.take() is None
    assert ReturnedAttributes(None).take() is None


def test_of_several_executions_the_last_is_returned():
    returned = ReturnedAttributes(None)
    first, last = Losses(), Losses()
    first.losses.append(1.0)
    last.losses.append(2.0)
    returned.watch([first])
    returned.watch([last])
    assert returned.take() == {"Losses": {"losses": [2.0], "best": None}}


def test_each_trial_and_attempt_begins_with_the_values_of_the_script():
    hypermodel = Model()
    for _ in range(2):  # trials of a process
        returned = ReturnedAttributes(hypermodel)
        returned.begin_attempt()
        hypermodel.seen["a failed attempt"] = [0]
        returned.begin_attempt()
        hypermodel.seen["from the script"].append(1)
        assert returned.take()["Model"]["seen"] == {"from the script": [1]}
    assert hypermodel.seen == {"from the script": []}


def test_an_attribute_that_a_trial_adds_is_gone_in_the_next():
    hypermodel = Model()
    returned = ReturnedAttributes(hypermodel)
    hypermodel.late = 1
    assert returned.take()["Model"]["late"] == 1
    assert not hasattr(hypermodel, "late")


class OfItsClass:
    returned_attributes = ("seen",)
    seen: ClassVar = []


def test_a_list_of_the_class_is_each_trials_own():
    for _ in range(2):  # trials of a process
        hypermodel, callback = OfItsClass(), OfItsClass()
        returned = ReturnedAttributes(hypermodel)
        returned.begin_attempt()
        returned.watch([callback])
        hypermodel.seen.append(1)
        callback.seen.append(2)
        assert returned.take() == {"OfItsClass": {"seen": [1]}, "OfItsClass 2": {"seen": [2]}}


def test_a_failed_attempt_returns_nothing_of_its_callbacks():
    returned = ReturnedAttributes(None)
    returned.watch([Losses()])
    returned.begin_attempt()
    assert returned.take() is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1}, "got a set, expected numbers"),
        (threading.Lock(), "got a lock, expected numbers"),
        ("x" * MAX_BYTES, r"it has 1,000,002 bytes, expected at most 1,000,000"),
    ],
    ids=["set", "lock", "large"],
)
def test_what_cannot_be_returned_is_named_and_left_out(capsys, value, reason):
    losses = Losses()
    losses.best = value
    returned = ReturnedAttributes(None)
    for _ in range(2):
        returned.watch([losses])
        assert returned.take() == {"Losses": {"losses": []}}
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"Losses.best is not returned: {reason}")


def test_a_list_that_holds_itself_and_an_absent_attribute_are_left_out(capsys):
    losses = Losses()
    losses.losses.append(losses.losses)
    del losses.best
    returned = ReturnedAttributes(None)
    returned.watch([losses])
    assert returned.take() == {"Losses": {}}
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Losses.losses is not returned: ")
    assert second == "Losses.best is not returned: 'Losses' object has no attribute 'best'"


def test_a_lock_of_the_hypermodel_stays_where_it_is():
    hypermodel = Model()
    hypermodel.late = lock = threading.Lock()
    returned = ReturnedAttributes(hypermodel)
    returned.begin_attempt()
    assert hypermodel.late is lock
