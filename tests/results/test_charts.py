"""What the charts show is what the tables say."""

import itertools
import math

import made_up
import pytest

from results import charts, columns
from results.charts.axes import axes_of
from results.charts.importance import importances
from results.charts.progress import rungs
from results.charts.timeline import stays
from results.reading import best_trial, read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(made_up.made_up_run(tmp_path_factory.mktemp("made up") / "run", trials=60))


def without_gaps(values):
    return [value for value in values if value is not None]


def test_the_best_so_far_ends_at_the_best_and_never_falls(run):
    best = best_trial(run)
    for chart, end in (
        (charts.best_over_time([run]), best[columns.BEST_SECONDS]),
        (charts.best_over_epochs([run]), None),
    ):
        [line] = chart.figure.data
        assert all(a <= b for a, b in itertools.pairwise(line.y))
        assert line.y[-1] == best[columns.BEST_OBJECTIVE]
        if end is not None:
            assert line.x[list(line.y).index(line.y[-1])] == end
        assert f"{line.y[-1]:.4f}" in chart.text


def test_epochs_are_counted_in_the_order_of_their_reports(run):
    [line] = charts.best_over_epochs([run]).figure.data
    values = run.epochs[columns.OBJECTIVE].to_pylist()
    assert len(line.x) == len(without_gaps(values))
    assert line.x[-1] == run.epochs.num_rows


def test_every_reported_epoch_is_on_a_learning_curve(run):
    lines = charts.learning_curves(run).figure.data
    drawn = [value for line in lines for value in without_gaps(line.y)]
    assert sorted(drawn) == sorted(without_gaps(run.epochs[columns.OBJECTIVE].to_pylist()))
    trials = {text for line in lines for text in line.text if text}
    assert len(trials) == len(set(run.epochs[columns.TRIAL].to_pylist()))


def test_the_rungs_are_those_at_which_asha_decided(run):
    assert rungs(run) == [1.0, 3.0]
    stopped = {
        row[columns.EPOCH] for row in run.epochs.to_pylist() if row[columns.DECISION] == "stop"
    }
    assert stopped == {1, 3}
    assert "after epoch 1, 3." in charts.learning_curves(run).text


def test_an_inactive_hyperparameter_stands_below_its_axis(run):
    [lines] = charts.parallel_coordinates(run).figure.data
    [momentum] = [one for one in lines.dimensions if one.label == "momentum"]
    inactive = momentum.tickvals[0]
    assert momentum.ticktext[0] == "inactive"
    [axis] = [one for one in axes_of(run) if one.name == "momentum"]
    with_value = [
        value
        for value, best in zip(
            axis.values, run.trials[columns.BEST_OBJECTIVE].to_pylist(), strict=True
        )
        if best is not None
    ]
    assert sum(value == inactive for value in momentum.values) == with_value.count(None) > 0
    assert inactive < min(axis.active)
    assert sorted(value for value in momentum.values if value != inactive) == sorted(
        without_gaps(with_value)
    )


def test_a_logarithmic_axis_is_labelled_with_natural_values(run):
    [lines] = charts.parallel_coordinates(run).figure.data
    [rate] = [one for one in lines.dimensions if one.label == "rate"]
    assert "0.001" in rate.ticktext
    assert rate.tickvals[list(rate.ticktext).index("0.001")] == pytest.approx(-3.0)


def test_a_slice_shows_a_trial_where_the_hyperparameter_is_active(run):
    found = {chart.name: chart for chart in charts.slices(run)}
    assert set(found) == {f"slice-{row['name']}" for row in made_up.SPACE}
    momentum = found["slice-momentum"]
    drawn = {number for trace in momentum.figure.data for number in trace.customdata}
    expected = {
        row[columns.TRIAL]
        for row in run.trials.to_pylist()
        if row[columns.HP_PREFIX + "momentum"] is not None
    }
    assert drawn == expected
    assert momentum.text == f"Active in {len(expected)} of 60 trials."


def test_what_the_objective_follows_from_counts_most(run):
    found = importances(run)
    assert set(found) == {row["name"] for row in made_up.SPACE}
    assert sum(found.values()) == pytest.approx(1.0)
    assert next(iter(found)) == "rate"


def test_a_few_trials_say_nothing_of_importance(tmp_path):
    few = read_run(made_up.made_up_run(tmp_path / "few", trials=4))
    assert importances(few) == {}
    assert charts.importance_chart(few) is None


def test_each_stay_of_a_trial_in_a_process_is_a_bar(run):
    found = stays(run)
    assert {stay.trial for stay in found} == set(run.epochs[columns.TRIAL].to_pylist())
    assert sum(stay.epochs for stay in found) == run.epochs.num_rows
    bars = charts.timeline(run).figure.data
    assert sum(len(bar.y) for bar in bars) == len(found)
    for before, after in itertools.pairwise([one for one in found if one.worker == "host:100"]):
        assert before.ended_seconds <= after.began_seconds


def test_a_run_without_trials_has_the_charts_that_it_can_have(tmp_path):
    empty = read_run(made_up.made_up_run(tmp_path / "empty", trials=0))
    names = [chart.name for chart in charts.charts_of(empty)]
    assert names == ["best-over-time", "best-over-epochs", "learning-curves"]


def test_an_objective_to_minimize_is_drawn_downwards(run, tmp_path):
    asked = run.asked | {
        "plan": run.asked["plan"] | {"problem": dict(run.asked["plan"]["problem"])}
    }
    asked["plan"]["problem"]["objective"] = {"name": "val_accuracy", "mode": "min"}
    turned = type(run)(**{**vars(run), "asked": asked})
    [line] = charts.best_over_time([turned]).figure.data
    assert all(a >= b for a, b in itertools.pairwise(line.y))
    [lines] = charts.parallel_coordinates(turned).figure.data
    assert not math.isnan(sum(lines.dimensions[-1]["values"]))
    assert lines.dimensions[-1].ticktext[-1].startswith("≥")


def test_the_retrained_curves_and_the_matrix_are_those_of_the_files(real_run):
    run = read_run(real_run[0])
    accuracy, loss = charts.retrained(run)
    assert [line.name for line in accuracy.figure.data] == [
        "1 epochs, train", "1 epochs, validation", "2 epochs, train", "2 epochs, validation",
    ]  # fmt: skip
    assert len(accuracy.figure.data[3].y) == 2
    assert loss.rows[0][0] == "retrained for"
    matrix = charts.confusion_matrix(run)
    assert [list(row) for row in matrix.figure.data[0].text] == run.evaluation["confusion_matrix"]
    assert matrix.rows[1][0] == "T-shirt/top"
    assert len(charts.per_class(run).rows) == 11
