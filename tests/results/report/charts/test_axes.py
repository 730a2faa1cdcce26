"""The hyperparameters of a run as axes: their values, their choices, their range."""

import pytest
from in_memory import run_of, trial_of

from results.report.charts.axes import Axis, axes_of


def declared(name, **fields):
    """Return a row of the space of run.json: a range of numbers, unless fields say otherwise."""
    return {
        "name": name, "choices": [], "ordered": True, "low": 0, "high": 0, "sampling": "linear",
    } | fields  # fmt: skip


def axes(values, space=()):
    """Return the axes by name of trials with values by hyperparameter."""
    count = len(next(iter(values.values())))
    trials = [
        trial_of(n, 0.5, **{f"hp:{name}": column[n] for name, column in values.items()})
        for n in range(count)
    ]
    return {axis.name: axis for axis in axes_of(run_of(trials, description={"space": space}))}


# --- Which hyperparameters, in which order ----------------------------------------------------


def test_axes_stand_in_the_order_of_the_space_then_by_name():
    space = [declared("c"), declared("a")]
    assert list(axes({name: [1] for name in "abcd"}, space)) == ["c", "a", "b", "d"]


def test_a_hyperparameter_that_no_trial_used_has_no_axis():
    assert list(axes({"a": [1, None], "b": [None, None]})) == ["a"]


def test_inactive_values_are_none_and_not_among_the_active_ones():
    axis = axes({"a": [3, None, 5]})["a"]
    assert (axis.values, axis.active) == ((3, None, 5), [3, 5])


# --- Numbers ----------------------------------------------------------------------------------


def test_a_range_is_the_declared_one_extended_to_all_values():
    space = [declared("a", low=2, high=8)]
    assert axes({"a": [3, 5]}, space)["a"].bounds == (2, 8)
    assert axes({"a": [1, 9]}, space)["a"].bounds == (1, 9)


def test_the_ranges_of_several_scopes_are_one_range():
    space = [declared("a", low=2, high=4), declared("a", low=6, high=8)]
    assert axes({"a": [3, 7]}, space)["a"].bounds == (2, 8)


@pytest.mark.parametrize("values", [[-1e308, 1e308], [0.0, 5e-324], [1e-310, 1.0]])
def test_the_least_and_the_largest_numbers_are_choices_since_no_scale_holds_them(values):
    low, high = values
    axis = axes({"a": values}, [declared("a", low=low, high=high)])["a"]
    assert set(axis.choices) == set(values)
    assert axis.ends == (0.0, 1.0)


def test_numbers_beyond_64_bits_which_are_stored_as_texts_are_numbers():
    axis = axes({"a": ["1", None, str(2**70)]}, [declared("a", high=2**80)])["a"]
    assert (axis.values, axis.choices, axis.ends) == ((1, None, 2**70), None, (0.0, 2.0**80))


@pytest.mark.parametrize("space", [(), [declared("a")]])
def test_without_a_declared_range_the_axis_ends_at_the_values(space):
    axis = axes({"a": [3, 7, None]}, space)["a"]
    assert (axis.bounds, axis.ends) == (None, (3.0, 7.0))


@pytest.mark.parametrize(
    ("values", "space", "is_log"),
    [
        ([0.001, 0.5], [declared("a", sampling="log")], True),
        ([0.001, 0.5], [declared("a")], False),
        ([0.001, 0.5], (), True),  # more than a factor of 100
        ([0.01, 1.0], (), False),
        ([0, 1000], (), False),  # zero has no logarithm
        ([0.0, 0.5], [declared("a", sampling="log")], False),
    ],
)
def test_an_axis_is_logarithmic_if_declared_or_if_its_values_span_magnitudes(values, space, is_log):
    assert axes({"a": values}, space)["a"].is_log is is_log


def test_positions_on_an_axis_are_numbers_or_their_logarithms():
    linear = Axis("a", (3,), None)
    assert linear.position(3) == 3.0
    logarithmic = Axis("a", (0.01,), None, is_log=True, bounds=(0.001, 10.0))
    assert logarithmic.position(0.01) == pytest.approx(-2.0)
    assert logarithmic.ends == pytest.approx((-3.0, 1.0))


def test_an_axis_of_integers_has_no_other_number():
    by_name = axes({"a": [1, 2, None], "b": [1.0, 2.5, 3.0]})
    assert (by_name["a"].is_integer, by_name["b"].is_integer) == (True, False)


# --- Choices ----------------------------------------------------------------------------------


def test_choices_stand_as_declared_with_others_behind():
    space = [declared("a", choices=["relu", "tanh"], ordered=False)]
    axis = axes({"a": ["tanh", "gelu", None]}, space)["a"]
    assert (axis.choices, axis.is_ordered) == (("relu", "tanh", "gelu"), False)
    assert (axis.position("tanh"), axis.ends) == (1.0, (0.0, 2.0))


def test_texts_without_a_declared_space_are_choices_without_an_order():
    axis = axes({"a": ["b", "a", "b"]})["a"]
    assert (axis.choices, axis.is_ordered) == (("a", "b"), False)


def test_booleans_are_choices():
    assert axes({"a": [True, False]})["a"].choices == (False, True)


def test_a_value_that_equals_a_declared_choice_is_that_choice():
    axis = axes({"a": [1.0, 2.0]}, [declared("a", choices=[1, 2])])["a"]
    assert [type(value) for value in axis.values] == [int, int]


def test_choices_of_several_types_are_decoded_and_sorted_numbers_first():
    space = [declared("a", choices=["relu", 3], ordered=False)]
    axis = axes({"a": ['"relu"', "3", None, "10", "2", "odd"]}, space)["a"]
    assert axis.choices == ("relu", 3, 2, 10, "odd")
    assert axis.values == ("relu", 3, None, 10, 2, "odd")


def test_texts_that_are_declared_stay_texts():
    axis = axes({"a": ["3", "true"]}, [declared("a", choices=["3", "true"])])["a"]
    assert axis.values == ("3", "true")


def test_a_hyperparameter_with_choices_and_a_range_in_different_scopes_has_choices():
    space = [declared("a", choices=["auto"]), declared("a", low=1, high=4)]
    axis = axes({"a": ['"auto"', "2"]}, space)["a"]
    assert (axis.values, axis.choices) == (("auto", 2), ("auto", 2))
