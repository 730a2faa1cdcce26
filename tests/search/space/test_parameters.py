"""The space as a plain value: its values, conditions and texts. No Keras, no Ray."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_spaces import configurations, fractions, numbers, spaces

from search.space.parameters import (
    ORACLE_PREFIX,
    PARENT_TRIAL,
    Condition,
    Kind,
    Parameter,
    Space,
    fingerprint,
)

# The greatest position on the axis of a continuous parameter.
LAST = math.nextafter(1.0, 0.0)


def integer(low, high, step=None, sampling="linear"):
    return Parameter("x", Kind.INT, low, low=low, high=high, step=step, sampling=sampling)


def number(low, high, step=None, sampling="linear"):
    return Parameter("x", Kind.FLOAT, low, low=low, high=high, step=step, sampling=sampling)


def choice(*values, name="x", conditions=(), kind=Kind.CHOICE):
    return Parameter(name, kind, values[0], conditions, values)


def typed(values):
    return [(type(value), value) for value in values]


# --- The values of a parameter --------------------------------------------------------------------

GRIDS = [
    (integer(1, 4, 1), [1, 2, 3, 4]),
    (integer(1, 8, 3), [1, 4, 7]),
    (integer(3, 3, 1), [3]),
    (integer(2, 40, 3, "log"), [2, 6, 18]),
    (integer(1, 1000, 10, "log"), [1, 10, 100, 1000]),
    (integer(2, 40, 3, "reverse_log"), [40, 36, 24]),
    (number(0.5, 2.0, 0.5), [0.5, 1.0, 1.5, 2.0]),
    (number(0.0, 0.5, 0.2), [0.0, 0.2, 0.4]),
    (number(1.0, 5.0, 2), [1.0, 3.0, 5.0]),
    (number(0.0, 0.5, 0.1), [0.0, 0.1, 0.2, 3 * 0.1, 0.4]),  # without 0.5, as in keras-tuner
    (number(1, 5, 2), [1, 3, 5]),  # whole numbers make whole numbers, as in keras-tuner
    (number(0.5, 10.0, 4, "log"), [0.5, 2.0, 8.0]),
    (number(0.5, 10.0, 4, "reverse_log"), [10.0, 8.5, 2.5]),
    (choice("a", 2, 0.5), ["a", 2, 0.5]),
    (choice(False, True, kind=Kind.BOOLEAN), [False, True]),
    (choice("same", kind=Kind.FIXED), ["same"]),
]


@pytest.mark.parametrize(("parameter", "values"), GRIDS)
def test_a_finite_parameter_has_its_values_in_order(parameter, values):
    assert parameter.size == len(values)
    assert typed(map(parameter.value_at, range(len(values)))) == typed(values)
    assert [parameter.position_of(value) for value in values] == list(range(len(values)))


def test_a_position_may_be_a_whole_number_as_float():
    assert choice("a", "b").value_at(1.0) == "b"


CONTINUOUS = [
    # of a position of 0.25 and of 0.5
    (number(2.0, 10.0), 4.0, 6.0),
    (number(1.0, 16.0, sampling="log"), 2.0, 4.0),
    (number(1.0, 16.0, sampling="reverse_log"), 9.0, 13.0),
    (integer(2, 9), 4, 6),
    (integer(1, 15, sampling="log"), 2, 4),
    (integer(1, 15, sampling="reverse_log"), 9, 13),
]


@pytest.mark.parametrize(("parameter", "quarter", "half"), CONTINUOUS)
def test_a_continuous_parameter_projects_a_position_on_its_scale(parameter, quarter, half):
    assert parameter.size is None
    assert typed(map(parameter.value_at, (0.25, 0.5))) == typed((quarter, half))


def test_each_value_of_an_int_has_an_equal_part_of_the_axis():
    positions = (0.0, 0.33, 0.34, 0.66, 0.67, LAST)
    assert [integer(1, 3).value_at(position) for position in positions] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("sampling", ["linear", "log", "reverse_log"])
@pytest.mark.parametrize("make", [number, integer])
def test_the_first_position_is_the_lowest_value(make, sampling):
    assert make(2, 60, sampling=sampling).value_at(0.0) == pytest.approx(2)


@pytest.mark.parametrize(
    # Of each, the last position times the range rounds up to a value above ``high``.
    ("low", "high", "sampling"),
    [(1, 8, "linear"), (2, 2, "log"), (1, 15, "reverse_log")],
)
def test_rounding_gives_an_int_no_value_above_its_highest(low, high, sampling):
    assert integer(low, high, sampling=sampling).value_at(LAST) == high


@pytest.mark.parametrize(
    ("parameter", "value", "position"),
    [
        (number(2.0, 10.0), 4.0, 0.25),
        (number(1.0, 16.0, sampling="log"), 4.0, 0.5),
        (number(1.0, 16.0, sampling="log"), 2.0, 0.25),
        (number(1.0, 16.0, sampling="reverse_log"), 13.0, 0.5),
        (number(1.0, 16.0, sampling="reverse_log"), 9.0, 0.25),
        # An Int fills the interval up to the next one; its position is the middle.
        (integer(2, 9), 4, 0.3125),
        (integer(4, 15, sampling="log"), 8, math.log(8.5 / 4, 4)),
        (integer(4, 15, sampling="reverse_log"), 11, 1 - math.log(8.5 / 4, 4)),
        # Of a single value every position is right.
        (number(3.0, 3.0), 3.0, 0.5),
        # A default may lie outside the range.
        (number(2.0, 10.0), 1.0, 0.0),
        (number(2.0, 10.0), 10.0, LAST),
        (number(2.0, 10.0), 11.0, LAST),
    ],
)
def test_a_value_of_a_continuous_parameter_has_a_position(parameter, value, position):
    assert parameter.position_of(value) == pytest.approx(position, rel=1e-12, abs=0)
    assert 0 <= parameter.position_of(value) < 1


@pytest.mark.parametrize(
    ("parameter", "value", "position"),
    [
        (integer(1, 8, 3), 3, 0),
        (integer(1, 8, 3), 6, 1),
        (integer(1, 8, 3), 8, 2),
        (integer(1, 8, 3), 100, 2),
        (integer(1, 8, 3), -5, 0),
        (number(0.5, 10.0, 4, "log"), 7.9, 1),
        (number(0.5, 10.0, 4, "log"), 0.1, 0),
        # Backwards: the grid 10, 8.5, 2.5.
        (number(0.5, 10.0, 4, "reverse_log"), 9.0, 0),
        (number(0.5, 10.0, 4, "reverse_log"), 3.0, 1),
        (number(0.5, 10.0, 4, "reverse_log"), 1.0, 2),
    ],
)
def test_a_value_off_the_grid_has_the_position_of_a_neighbour(parameter, value, position):
    assert parameter.position_of(value) == position


@pytest.mark.parametrize(
    ("parameter", "index", "value"),
    [
        # Each quotient or logarithm comes out a little below the index.
        (number(0.1, 6.1, 2), 2, 4.1),
        (number(0.1, 100.0, 10, "log"), 3, 100.0),
        (number(0.1, 1000.0, 10, "reverse_log"), 3, 900.1),
    ],
)
def test_rounding_moves_no_value_off_its_place_on_the_grid(parameter, index, value):
    assert parameter.value_at(index) == value
    assert parameter.position_of(value) == index


@pytest.mark.parametrize("count", [2**53 + 1, 2**64 + 1, 10**300])
def test_a_range_of_too_many_values_to_number_has_an_axis_from_0_to_1(count):
    parameter = integer(-5, count - 6, 1)
    assert (parameter.count, parameter.size) == (count, None)
    assert (parameter.value_at(0.0), parameter.value_at(LAST)) == (-5, count - 6)
    for value in (-5, count // 3, count - 6):
        assert parameter.value_at(parameter.position_of(value)) == pytest.approx(value, rel=1e-15)


def test_the_largest_range_that_is_numbered_has_whole_positions():
    parameter = integer(1, 2**53, 1)
    assert parameter.size == 2**53
    assert parameter.value_at(2**53 - 1) == 2**53
    assert parameter.position_of(2**53) == 2**53 - 1


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        # The difference of the ends, or their ratio, is beyond the largest number.
        (number(-1e308, 1e308), [-1e308, 0.0, 1e308]),
        (number(1e-320, 1e308, sampling="log"), [1e-320, 1e-6, 1e308]),
        (number(1e-320, 1e308, sampling="reverse_log"), [1e-320, 1e308, 1e308]),
        (number(1.5e308, 1.7e308, sampling="reverse_log"), [1.5e308, 1.6031219541881399e308, 1.7e308]),
    ],
)  # fmt: skip
def test_a_range_up_to_the_largest_numbers_is_drawn_from_all_along(parameter, values):
    drawn = [parameter.value_at(position) for position in (0.0, 0.5, LAST)]
    assert drawn == pytest.approx(values, rel=1e-4)
    assert all(parameter.low <= value <= parameter.high for value in drawn)
    assert parameter.position_of(drawn[0]) == pytest.approx(0.0, abs=1e-9)
    assert parameter.position_of(drawn[2]) == pytest.approx(1.0)


def test_a_power_beyond_the_largest_number_is_no_hindrance_to_a_grid():
    parameter = number(1e-300, 1e300, 10, "log")
    assert parameter.size == 601
    assert parameter.value_at(600) == pytest.approx(1e300)


@given(numbers(name="x"), st.data())
@settings(max_examples=200, deadline=None)
def test_the_position_of_a_value_leads_back_to_it(parameter, data):
    position = data.draw(
        fractions if parameter.size is None else st.integers(0, parameter.size - 1)
    )
    value = parameter.value_at(position)
    assert parameter.low - 1e-9 <= value <= parameter.high + 1e-9
    again = parameter.value_at(parameter.position_of(value))
    assert again == (value if parameter.kind is Kind.INT else pytest.approx(value))


# --- Conditions -----------------------------------------------------------------------------------


def test_a_condition_needs_its_parent_and_one_of_its_values():
    condition = Condition("kind", ("a", "b"))
    assert condition.holds({"kind": "b"})
    assert not condition.holds({"kind": "c"})
    assert not condition.holds({"other": "a"})


def test_a_missing_parent_does_not_stand_for_none():
    assert not Condition("kind", (None, "a")).holds({})


def test_a_parameter_is_active_if_all_its_conditions_hold():
    parameter = choice(1, 2, conditions=(Condition("kind", ("a",)), Condition("is_deep", (True,))))
    assert parameter.is_active({"kind": "a", "is_deep": True})
    assert not parameter.is_active({"kind": "a", "is_deep": False})
    assert not parameter.is_active({"kind": "b", "is_deep": True})
    assert choice(1, 2).is_active({})


def test_a_key_tells_two_scopes_of_one_name_apart():
    assert choice(1).key == "x"
    assert choice(1, conditions=(Condition("kind", ("a", "b")),)).key == "x [kind in ['a', 'b']]"
    two = (Condition("kind", ("a",)), Condition("n", (1,)))
    assert choice(1, conditions=two).key == "x [kind in ['a'], n in [1]]"


# --- keras-tuner's config -------------------------------------------------------------------------

CONFIGS = [
    (
        Parameter("x", Kind.FIXED, 7, choices=(7,)),
        {"class_name": "Fixed", "config": {"name": "x", "conditions": [], "value": 7}},
    ),
    (
        Parameter("x", Kind.BOOLEAN, True, choices=(False, True)),
        {"class_name": "Boolean", "config": {"name": "x", "conditions": [], "default": True}},
    ),
    (
        Parameter("x", Kind.CHOICE, 3, choices=(1, 3), ordered=False),
        {
            "class_name": "Choice",
            "config": {
                "name": "x", "conditions": [], "default": 3, "values": [1, 3], "ordered": False,
            },
        },
    ),
    (
        Parameter(
            "x", Kind.INT, 4, (Condition("kind", ("a", "b")),), low=2, high=8, step=2,
            sampling="log",
        ),
        {
            "class_name": "Int",
            "config": {
                "name": "x",
                "conditions": [
                    {"class_name": "Parent", "config": {"name": "kind", "values": ["a", "b"]}}
                ],
                "default": 4, "min_value": 2, "max_value": 8, "step": 2, "sampling": "log",
            },
        },
    ),
    (
        Parameter("x", Kind.FLOAT, 0.5, low=0.25, high=0.75),
        {
            "class_name": "Float",
            "config": {
                "name": "x", "conditions": [], "default": 0.5, "min_value": 0.25,
                "max_value": 0.75, "step": None, "sampling": "linear",
            },
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("parameter", "config"), CONFIGS, ids=lambda one: str(one)[:20])
def test_a_parameter_is_written_as_keras_tuner_writes_it(parameter, config):
    assert parameter.to_keras_tuner() == config
    assert type(parameter.to_keras_tuner()["class_name"]) is str


def test_a_space_is_written_for_keras_tuner_with_a_configuration():
    values = {"kind": "b"}
    space = Space((KIND,))
    written = space.to_keras_tuner(values)
    assert written == {"space": [KIND.to_keras_tuner()], "values": {"kind": "b"}}
    assert written["values"] is not values


# --- Spaces ---------------------------------------------------------------------------------------

KIND = choice("a", "b", name="kind")
UNITS = Parameter("units", Kind.INT, 8, low=2, high=64, step=1)
RATE = Parameter("rate", Kind.FLOAT, 0.1, (Condition("kind", ("b",)),), low=0.0, high=1.0)


def test_equal_spaces_are_one_key():
    assert len({Space((KIND, RATE)), Space((KIND, RATE)), Space((RATE, KIND))}) == 2


def test_a_space_lists_its_parameters_in_order():
    assert list(Space((UNITS, KIND))) == [UNITS, KIND]


@pytest.mark.parametrize(
    ("parameters", "is_tunable"),
    [
        ((), False),
        ((choice("same", kind=Kind.FIXED), integer(3, 3, 1)), False),
        ((choice("same", kind=Kind.FIXED), KIND), True),
        ((number(0.0, 1.0),), True),
    ],
)
def test_a_space_is_tunable_if_a_parameter_has_several_values(parameters, is_tunable):
    assert Space(parameters).is_tunable() is is_tunable


def test_the_defaults_are_those_of_the_active_parameters():
    assert Space((KIND, UNITS, RATE)).defaults() == {"kind": "a", "units": 8}
    is_b_first = Parameter("kind", Kind.CHOICE, "b", choices=("a", "b"))
    assert Space((is_b_first, RATE)).defaults() == {"kind": "b", "rate": 0.1}


def test_of_one_name_in_two_active_scopes_the_first_default_holds():
    again = Parameter("units", Kind.INT, 30, (Condition("kind", ("a",)),), low=30, high=40)
    assert Space((KIND, UNITS, again)).defaults() == {"kind": "a", "units": 8}


def test_an_extended_space_has_the_parameters_that_it_lacked():
    space = Space((KIND, UNITS))
    assert space.unknown_parameters(Space((UNITS, RATE))) == Space((RATE,))
    assert space.extended(Space((RATE, UNITS))) == Space((KIND, UNITS, RATE))


def test_a_space_that_lacks_nothing_is_returned_as_it_is():
    space = Space((KIND, UNITS))
    assert space.extended(Space((UNITS,))) is space


def test_a_name_under_another_condition_is_another_parameter():
    other = Parameter("rate", Kind.FLOAT, 0.1, (Condition("kind", ("a",)),), low=0.0, high=1.0)
    assert Space((KIND, RATE)).extended(Space((other,))) == Space((KIND, RATE, other))


def test_a_space_is_written_as_json_values():
    is_deep = Parameter(
        "is_deep", Kind.BOOLEAN, False, (Condition("kind", ("b",)),), choices=(False, True)
    )
    assert json.loads(json.dumps(Space((RATE, is_deep)).to_json())) == [
        {
            "name": "rate", "kind": "Float", "default": 0.1,
            "conditions": [{"parent": "kind", "values": ["b"]}], "choices": [], "ordered": True,
            "low": 0.0, "high": 1.0, "step": None, "sampling": "linear",
        },
        {
            "name": "is_deep", "kind": "Boolean", "default": False,
            "conditions": [{"parent": "kind", "values": ["b"]}], "choices": [False, True],
            "ordered": True, "low": 0, "high": 0, "step": None, "sampling": "linear",
        },
    ]  # fmt: skip


@given(spaces())
@settings(max_examples=100, deadline=None)
def test_a_space_is_read_from_json_text_as_it_was_written(space):
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert all(isinstance(parameter.kind, Kind) for parameter in again)


def test_a_row_of_an_earlier_version_takes_the_defaults_for_what_it_lacks():
    row = {"name": "x", "kind": "Choice", "default": "a", "conditions": [], "choices": ["a", "b"]}
    assert Space.from_json([row]) == Space((choice("a", "b"),))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_configuration_has_a_value_for_each_active_parameter(data):
    space = data.draw(spaces())
    values = data.draw(configurations(space))
    assert set(values) == {parameter.name for parameter in space if parameter.is_active(values)}
    defaults = space.defaults()
    assert set(defaults) == {p.name for p in space if p.is_active(defaults)}


# --- Configurations -------------------------------------------------------------------------------


def test_a_fingerprint_tells_values_apart_by_type():
    texts = [fingerprint({"x": value}) for value in (True, 1, 1.0, "1")]
    assert len(set(texts)) == 4


def test_a_fingerprint_does_not_depend_on_the_order_of_the_names():
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})
    assert fingerprint({"x": 1, "y": 2}) != fingerprint({"x": 2, "y": 1})


def test_the_values_of_oracles_have_keras_tuners_prefix():
    assert ORACLE_PREFIX == "tuner/"
    assert PARENT_TRIAL == "tuner/trial_id"
