"""Parallel coordinates, and a slice for each hyperparameter."""

import re

import pytest
from in_memory import run_of, trial_of

from results.report.charts.space import parallel_coordinates, slices

MIN = {"objective": {"name": "val_loss", "mode": "min"}}


def ranged(name, low, high, sampling="linear"):
    return {
        "name": name, "choices": [], "ordered": True, "low": low, "high": high,
        "sampling": sampling,
    }  # fmt: skip


def chosen(name, *choices):
    return ranged(name, 0, 0) | {"choices": list(choices), "ordered": False}


SPACE = [
    ranged("rate", 1e-4, 1e-1, "log"), ranged("layers", 1, 6), chosen("kind", "sgd", "adam"),
    ranged("momentum", 0.0, 0.9),
]  # fmt: skip


def hyperparameters(rate, layers, kind, momentum=None):
    return {"hp:rate": rate, "hp:layers": layers, "hp:kind": kind, "hp:momentum": momentum}


@pytest.fixture
def run():
    """A run of four trials, of which one has no value and two have no momentum."""
    return run_of(
        [
            trial_of(0, 0.5, **hyperparameters(0.01, 2, "sgd", 0.5)),
            trial_of(1, 0.9, state="stopped", scheduler="asha", **hyperparameters(0.001, 3, "adam")),
            trial_of(2, state="failed", **hyperparameters(0.05, 4, "sgd", 0.25)),
            trial_of(3, 0.7, **hyperparameters(0.001, 6, "adam")),
        ],
        description={"space": SPACE},
    )  # fmt: skip


def dimensions(run):
    [lines] = parallel_coordinates(run).figure.data
    return {dimension.label: dimension for dimension in lines.dimensions}


# --- Parallel coordinates ---------------------------------------------------------------------


def test_each_trial_with_a_value_is_a_line_the_best_on_top(run):
    by_label = dimensions(run)
    assert list(by_label) == ["rate", "layers", "kind", "momentum", "val_accuracy"]
    assert list(by_label["layers"].values) == [2, 6, 3]
    assert list(by_label["kind"].values) == [0.0, 1.0, 1.0]
    assert list(by_label["rate"].values) == pytest.approx([-2.0, -3.0, -3.0])
    [lines] = parallel_coordinates(run).figure.data
    assert list(lines.line.color) == [0.5, 0.7, 0.9]


def test_an_axis_has_its_declared_range_and_round_ticks(run):
    layers = dimensions(run)["layers"]
    assert tuple(layers.range) == (1.0, 6.0)
    assert tuple(layers.ticktext) == ("1", "2", "3", "4", "5", "6")


def test_a_logarithmic_axis_is_labelled_with_plain_values(run):
    rate = dimensions(run)["rate"]
    ticks = dict(zip(rate.ticktext, rate.tickvals, strict=True))
    assert ticks["0.001"] == pytest.approx(-3.0)
    assert tuple(rate.range) == pytest.approx((-4.0, -1.0))
    assert list(ticks)[:4] == ["0.0001", "0.0002", "0.0005", "0.001"]


def test_a_choice_is_labelled_with_its_text(run):
    kind = dimensions(run)["kind"]
    assert (tuple(kind.tickvals), tuple(kind.ticktext)) == ((0.0, 1.0), ("sgd", "adam"))


def test_an_inactive_hyperparameter_is_at_a_tick_below_its_range(run):
    momentum = dimensions(run)["momentum"]
    inactive = momentum.tickvals[0]
    assert momentum.ticktext[0] == "inactive"
    assert inactive < 0.0
    assert momentum.range[0] == inactive
    assert list(momentum.values) == [0.5, inactive, inactive]


def test_a_hyperparameter_with_a_single_value_has_a_range():
    run = run_of([trial_of(0, 0.5, **{"hp:units": 7})])
    low, high = dimensions(run)["units"].range
    assert low == 7.0 < high


def test_the_worst_quarter_is_shown_at_the_end_of_the_axis_of_the_objective():
    values = [0.1, 0.6, 0.7, 0.8, 0.9]
    run = run_of([trial_of(n, value, **{"hp:units": n}) for n, value in enumerate(values)])
    objective = dimensions(run)["val_accuracy"]
    assert list(objective.values) == [0.6, 0.6, 0.7, 0.8, 0.9]
    assert tuple(objective.range) == (0.6, 0.9)
    assert (objective.tickvals[0], objective.ticktext[0]) == (0.6, "≤ 0.6")


def test_an_objective_to_minimize_is_drawn_the_other_way_round():
    values = [0.1, 0.2, 0.3, 0.4, 0.9]
    run = run_of(
        [trial_of(n, value, **{"hp:units": n}) for n, value in enumerate(values)], problem=MIN
    )
    objective = dimensions(run)["val_loss"]
    assert list(objective.values) == [0.4, 0.4, 0.3, 0.2, 0.1]
    assert (objective.tickvals[-1], objective.ticktext[-1]) == (0.4, "≥ 0.4")
    [lines] = parallel_coordinates(run).figure.data
    assert lines.line.reversescale is True
    assert (lines.line.cmin, lines.line.cmax) == (0.1, 0.4)


def test_the_description_says_what_a_line_is(run):
    assert parallel_coordinates(run).text == (
        "3 trials. Each line is a configuration, coloured by its best val_accuracy. "
        "Hyperparameters that a configuration does not use are at “inactive”. Drag along an axis "
        "to select a range."
    )


def test_more_axes_than_a_chart_has_are_counted():
    run = run_of([trial_of(0, 0.5, **{f"hp:{n:02}": n for n in range(70)})])
    assert len(dimensions(run)) == 60
    assert "The chart shows the first 59 of 70 hyperparameters." in parallel_coordinates(run).text


@pytest.mark.parametrize("trials", [[trial_of(0, **{"hp:a": 1})], [trial_of(0, 0.5)]])
def test_without_a_value_or_a_hyperparameter_there_are_no_coordinates(trials):
    assert parallel_coordinates(run_of(trials)) is None


# --- Slices -----------------------------------------------------------------------------------


def slices_of(run):
    return {chart.title: chart for chart in slices(run)}


def test_there_is_a_slice_for_each_hyperparameter(run):
    assert [chart.name for chart in slices(run)] == [
        "slice-01-rate", "slice-02-layers", "slice-03-kind", "slice-04-momentum",
    ]  # fmt: skip


def test_a_slice_shows_a_trial_where_the_hyperparameter_is_active(run):
    chart = slices_of(run)["momentum"]
    points = {
        trace.name: (trace.customdata, trace.x, trace.y) for trace in chart.figure.data
    }  # a trial without a value has a place on the axis, but no height
    assert points == {
        "completed": ((0,), (0.5,), (0.5,)), "stopped by ASHA": ((), (), ()),
        "failed": ((2,), (0.25,), (None,)),
    }  # fmt: skip
    assert chart.text == "Active in 2 of 4 trials."
    assert slices_of(run)["layers"].text == "4 trials."


def test_a_slice_is_drawn_over_the_declared_range(run):
    axes = {title: chart.figure.layout.xaxis for title, chart in slices_of(run).items()}
    assert axes["momentum"].range == pytest.approx((-0.036, 0.936))
    assert axes["rate"].range == pytest.approx((-4.12, -0.88))
    assert axes["rate"].type == "log"
    # There is little space: powers of ten only.
    assert axes["rate"].ticktext == ("0.0001", "0.001", "0.01", "0.1")
    assert axes["rate"].tickvals == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1))


def test_a_slice_over_few_magnitudes_has_ticks_between_them():
    trials = [trial_of(0, 0.5, **{"hp:rate": 0.01}), trial_of(1, 0.6, **{"hp:rate": 0.02})]
    run = run_of(trials, description={"space": [ranged("rate", 0.01, 0.1, "log")]})
    assert slices_of(run)["rate"].figure.layout.xaxis.ticktext == ("0.01", "0.02", "0.05", "0.1")


def test_a_slice_of_a_few_integers_has_a_tick_for_each(run):
    assert slices_of(run)["layers"].figure.layout.xaxis.dtick == 1
    many = run_of([trial_of(n, 0.5, **{"hp:units": 13 * n}) for n in range(2)])
    assert slices_of(many)["units"].figure.layout.xaxis.dtick is None


def test_a_slice_of_choices_has_them_in_their_order(run):
    axis = slices_of(run)["kind"].figure.layout.xaxis
    assert (axis.type, axis.categoryarray) == ("category", ("sgd", "adam"))


def test_a_choice_that_a_user_named_is_text():
    run = run_of([trial_of(0, 0.5, **{"hp:kind": "<b>relu</b>"})])
    chart = slices_of(run)["kind"]
    assert chart.figure.data[0].x == ("&lt;b&gt;relu&lt;/b&gt;",)


def test_the_worst_tenth_does_not_squeeze_a_slice():
    values = [0.1, *(0.8 + n / 100 for n in range(11))]
    run = run_of([trial_of(n, value, **{"hp:units": n}) for n, value in enumerate(values)])
    low, high = slices_of(run)["units"].figure.layout.yaxis.range
    assert (low, high) == pytest.approx((0.79, 0.91))


def test_without_a_value_there_are_no_slices():
    assert slices(run_of([trial_of(0, **{"hp:units": 1})])) == []


def test_every_value_of_a_whole_search_is_on_its_slice(made_up_run):
    momentum = slices_of(made_up_run)["momentum"]
    drawn = {number for trace in momentum.figure.data for number in trace.customdata}
    column = made_up_run.trials["hp:momentum"].to_pylist()
    assert drawn == {trial for trial, value in enumerate(column) if value is not None}
    assert re.fullmatch(rf"Active in {len(drawn)} of 60 trials\.", momentum.text)
