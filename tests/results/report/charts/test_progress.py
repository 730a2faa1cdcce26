"""What the charts show is what the tables say."""

import itertools
import re
from dataclasses import replace

import made_up
import pyarrow as pa
import pytest

from results.reading import read_run
from results.record import columns
from results.record.words import format_number
from results.report import charts
from results.report.charts.axes import axes_of
from results.report.charts.importance import importances
from results.report.charts.progress import rungs
from results.report.charts.timeline import stays
from results.run import best_trial


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
    known = [row for row in run.epochs.to_pylist() if row[columns.OBJECTIVE] is not None]
    assert len(trials) == len({row[columns.TRIAL] for row in known})


def test_the_rungs_are_those_at_which_asha_decided(run):
    assert rungs(run) == [1, 3]
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
    assert list(found) == [
        f"slice-{place:02}-{row['name']}" for place, row in enumerate(made_up.SPACE, start=1)
    ]
    momentum = found["slice-04-momentum"]
    drawn = {number for trace in momentum.figure.data for number in trace.customdata}
    expected = {
        row[columns.TRIAL]
        for row in run.trials.to_pylist()
        if row[columns.HP_PREFIX + "momentum"] is not None
    }
    assert drawn == expected
    assert momentum.text == f"Active in {len(expected)} of 60 trials."


def test_a_slice_is_drawn_over_the_range_that_was_declared(run):
    found = {chart.title: chart.figure.layout.xaxis for chart in charts.slices(run)}
    assert found["momentum"].range[0] < 0.0
    assert 0.9 < found["momentum"].range[1] < 1.0
    assert -4.2 < found["rate"].range[0] < -4.0
    assert "0.001" in found["rate"].ticktext


def test_curves_that_are_not_shown_are_counted(run):
    chart = charts.learning_curves(run)
    low, high = chart.figure.layout.yaxis.range
    shown = {
        row[columns.TRIAL]
        for row in run.epochs.to_pylist()
        if row[columns.OBJECTIVE] is not None and low <= row[columns.OBJECTIVE] <= high
    }
    known = {
        row[columns.TRIAL] for row in run.epochs.to_pylist() if row[columns.OBJECTIVE] is not None
    }
    said = re.search(r"(\d+) trials? (?:is|are) outside", chart.text)
    assert (int(said[1]) if said else 0) == len(known - shown)


def test_what_the_objective_follows_from_counts_most(tmp_path):
    many = read_run(made_up.made_up_run(tmp_path / "many", trials=500))
    found = importances(many)
    assert {one.name for one in found} == {row["name"] for row in made_up.SPACE}
    assert sum(one.share for one in found) == pytest.approx(1.0)
    # Of 12 seeds each had these first, at 500 trials; what has no effect has hardly a share.
    assert {one.name for one in found[:2]} == {"rate", "layers"}
    assert all(one.low <= one.share <= one.high for one in found)
    assert sum(one.share for one in found[2:]) < 0.2


def test_of_few_trials_the_importances_say_how_little_they_are_sure(tmp_path):
    few = read_run(made_up.made_up_run(tmp_path / "few", trials=30))
    most = importances(few)[0]
    assert most.high - most.low > 0.1
    assert f"{most.low:.0%} and {most.high:.0%}" in charts.importance_chart(few).text


def test_nothing_is_said_of_importance_where_nothing_can_be_told(run, tmp_path):
    few = read_run(made_up.made_up_run(tmp_path / "few", trials=8))
    assert importances(few) == []
    assert charts.importance_chart(few) is None
    objective = run.trials.schema.get_field_index(columns.BEST_OBJECTIVE)
    alike = run.trials.set_column(
        objective, columns.BEST_OBJECTIVE, pa.array([0.5] * run.trials.num_rows)
    )
    assert importances(replace(run, trials=alike)) == []


def test_a_hyperparameter_that_was_never_varied_has_no_share(run):
    fixed = run.trials.append_column(
        columns.HP_PREFIX + "fixed", pa.array([7] * run.trials.num_rows)
    )
    assert "fixed" not in {one.name for one in importances(replace(run, trials=fixed))}


def test_of_several_trainings_of_a_trial_its_score_counts(run):
    """The second training of a trial is better than its score: the mean of both."""
    rows = run.epochs.to_pylist()
    best = best_trial(run)
    again = [
        row | {columns.EXECUTION: 1, columns.OBJECTIVE: 0.999}
        for row in rows
        if row[columns.TRIAL] == best[columns.TRIAL]
    ]
    trials = run.trials.to_pylist()
    trials[best[columns.TRIAL]][columns.BEST_OBJECTIVE] = 0.95
    changed = replace(
        run, epochs=pa.Table.from_pylist([*rows, *again]), trials=pa.Table.from_pylist(trials)
    )
    [line] = charts.best_over_time([changed]).figure.data
    assert line.y[-1] == 0.95
    assert line.x[list(line.y).index(0.95)] == trials[best[columns.TRIAL]][columns.ENDED_SECONDS]
    drawn = [value for curve in charts.learning_curves(changed).figure.data for value in curve.y]
    assert 0.999 not in drawn


def test_an_odd_reduction_factor_has_its_rungs_at_whole_epochs(run):
    asked = run.description | {"plan": run.description["plan"] | {"reduction_factor": 2.5}}
    assert rungs(replace(run, description=asked)) == [1, 3, 7]


def test_the_time_at_work_does_not_depend_on_how_often_processes_are_replaced(run):
    def share(of):
        return re.search(r"(\d+)% of the time", charts.timeline(of).text)[1]

    rows = run.epochs.to_pylist()
    half = len(rows) // 2
    replaced = [
        row | {columns.WORKER: row[columns.WORKER] + ("" if place < half else "-again")}
        for place, row in enumerate(rows)
    ]
    changed = replace(run, epochs=pa.Table.from_pylist(replaced))
    assert "4 processes" in charts.timeline(changed).text
    assert abs(int(share(run)) - int(share(changed))) <= 3


def test_a_name_may_be_anything(run):
    odd = "/../..\\<b>x" + "y" * 300
    with_odd = run.trials.append_column(
        columns.HP_PREFIX + odd, pa.array(range(run.trials.num_rows))
    )
    names = [chart.name for chart in charts.charts_of(replace(run, trials=with_odd))]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) for name in names)


def test_values_of_several_types_are_told_apart_and_numbers_are_sorted(run):
    space = [{"name": "mixed", "choices": ["relu", 3], "ordered": False, "sampling": "linear"}]
    texts = (['"relu"', "3", None, "10", "2"] * run.trials.num_rows)[: run.trials.num_rows]
    mixed = run.trials.append_column(columns.HP_PREFIX + "mixed", pa.array(texts))
    found = {
        one.name: one
        for one in axes_of(
            replace(run, trials=mixed, description=run.description | {"space": space})
        )
    }
    assert found["mixed"].choices == ("relu", 3, 2, 10)
    assert found["mixed"].values[:3] == ("relu", 3, None)


def test_a_run_that_declared_no_space_has_its_axes_from_its_values(run):
    asked = {name: value for name, value in run.description.items() if name != "space"}
    found = {one.name: one for one in axes_of(replace(run, description=asked))}
    assert found["rate"].is_log
    assert not found["layers"].is_log


def test_tiny_values_are_not_shown_as_nothing():
    assert [format_number(value) for value in (0.90733, 1.5e-6, 0.0, 1e12, None)] == [
        "0.9073", "1.5e-06", "0.0000", "1e+12", "",
    ]  # fmt: skip


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
    assert names == []


def test_an_objective_to_minimize_is_drawn_downwards(run, tmp_path):
    asked = run.description | {
        "plan": run.description["plan"] | {"problem": dict(run.description["plan"]["problem"])}
    }
    asked["plan"]["problem"]["objective"] = {"name": "val_accuracy", "mode": "min"}
    turned = replace(run, description=asked)
    [line] = charts.best_over_time([turned]).figure.data
    assert all(a >= b for a, b in itertools.pairwise(line.y))
    [lines] = charts.parallel_coordinates(turned).figure.data
    best = min(value for value in run.trials[columns.BEST_OBJECTIVE].to_pylist() if value)
    assert lines.dimensions[-1]["values"][-1] == best
    assert lines.dimensions[-1].ticktext[-1].startswith("≥")


def test_the_retrained_curves_and_the_matrix_are_those_of_the_files(real_run):
    run = read_run(real_run[0])
    accuracy, loss = charts.retrained(run)
    assert [line.name for line in accuracy.figure.data] == [
        "1 epoch, train", "1 epoch, validation", "2 epochs, train", "2 epochs, validation",
    ]  # fmt: skip
    assert len(accuracy.figure.data[3].y) == 2
    assert loss.rows[0][0] == "retrained for"
    matrix = charts.confusion_matrix(run)
    assert [list(row) for row in matrix.figure.data[0].text] == run.evaluation["confusion_matrix"]
    assert matrix.rows[1][0] == "T-shirt/top"
    assert len(charts.per_class(run).rows) == 11
