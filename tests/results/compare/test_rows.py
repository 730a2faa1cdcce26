"""Rows of a comparison are ranked, sorted and selected; published results are rows too."""

import math

import pytest

from results.compare.rows import Condition, Order, published_rows, ranked, type_of_field
from results.compare.seeds import SeedsRow
from results.run import FIELDS, Row

ROWS = [
    Row("a", "ray", objective="accuracy", best=0.5, wall_seconds=30.0, trials=4),
    Row("b", "ray", objective="accuracy", best=0.9, wall_seconds=20.0, algorithm="tpe"),
    Row("c", "keras-tuner", objective="accuracy", wall_seconds=20.0, trials=10),
    Row("d", "ray", objective="accuracy", best=0.7, test_loss=math.nan, algorithm="random"),
]


def names(rows):
    return "".join(row.name for row in rows)


# --- Ranking ----------------------------------------------------------------------------------


def test_rows_are_ranked_by_data_then_objective_then_in_its_direction():
    rows = [
        Row("a", "ray", objective="quality", mode="min", best=0.5),
        Row("b", "ray", objective="quality", mode="min", best=0.2),
        Row("c", "ray", objective="accuracy", best=0.5),
        Row("d", "ray", objective="accuracy", best=0.9),
        Row("e", "ray", objective="accuracy"),
        Row("f", "ray", objective="quality", best=0.9, data="a:load"),
        Row("g", "ray"),
    ]
    assert names(ranked(rows)) == "gdcebaf"


def test_rows_of_equal_rank_stand_by_name():
    assert names(ranked([Row("b", "ray", best=0.5), Row("a", "ray", best=0.5)])) == "ab"


# --- Sorting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sign", ["", "-"])
def test_rows_are_sorted_by_any_field_and_those_without_a_value_come_last(field, sign):
    rows = [*ROWS, *published_rows()]
    in_order = Order.parse(f"{sign}{field}").sort(rows)
    assert sorted(map(repr, in_order)) == sorted(map(repr, rows))  # none is lost
    values = [getattr(row, field) for row in in_order]
    known = [value for value in values if value is not None and value == value]
    assert known == values[: len(known)]
    assert known == sorted(known, reverse=sign == "-")


@pytest.mark.parametrize(("order", "sorted_names"), [("-wall_seconds", "abcd"), ("wall_seconds", "bcad")])  # fmt: skip
def test_rows_that_are_equal_by_the_sorted_field_stay_ranked(order, sorted_names):
    assert names(Order.parse(order).sort(ROWS)) == sorted_names


# --- Selecting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "selected"),
    [
        ("engine=ray", "abd"),
        ("engine!=ray", "c"),
        ("trials=10", "c"),
        ("trials = 4.0", "a"),  # a number, however it is written
        ("best=5e-1", "a"),
        ("best!=0.5", "bcd"),
        ("algorithm=", "ac"),  # unknown
        ("algorithm!=", "bd"),
        ("name=4", ""),
    ],
)
def test_a_condition_compares_as_text_or_as_a_number(condition, selected):
    assert names(row for row in ROWS if Condition.parse(condition).holds(row)) == selected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("trials", r"^expected FIELD=VALUE or FIELD!=VALUE\.$"),
        ("trails=3", r"^unknown field 'trails'\. Did you mean 'trials'\? Expected one of name, "),
        ("trials=many", r"^expected a number for trials, got 'many'\.$"),
    ],
)
def test_a_condition_that_is_none_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        Condition.parse(text)


@pytest.mark.parametrize("text", ["bets", "-bets"])
def test_an_order_by_an_unknown_field_is_refused(text):
    with pytest.raises(ValueError, match=r"^unknown field 'bets'\. Did you mean 'best'\?"):
        Order.parse(text)


@pytest.mark.parametrize(
    ("row_class", "field", "type_"),
    [
        (Row, "name", str),
        (Row, "best", float),
        (Row, "trials", int),
        (Row, "algorithm", str),
        (SeedsRow, "tie", bool),
    ],
)
def test_the_type_of_a_field_is_that_without_none(row_class, field, type_):
    assert type_of_field(row_class, field) is type_


# --- Published results ------------------------------------------------------------------------


def test_the_published_figures_are_those_of_their_source():
    rows = {row.name.removeprefix("published: "): row for row in published_rows()}
    final = rows["retrained 20 epochs, final model"]
    assert (final.best, final.test_accuracy, final.test_loss) == (0.9055, 0.8950, 0.3074)
    assert (final.final_epochs, final.engine, final.objective) == (20, "published", "val_accuracy")
    assert rows["best of the search"].best == 0.9007
    assert rows["best of the search"].wall_seconds == 9 * 60 + 4


def test_every_published_row_is_of_the_same_data():
    assert {row.data for row in published_rows()} == {"fmnist_model.data:load_data"}
