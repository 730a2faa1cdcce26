"""The best value so far, and the learning curves with ASHA's rungs."""

import itertools

import pytest
from in_memory import epoch_of, run_of, trial_of

from results.report.charts.progress import (
    Step,
    best_over_epochs,
    best_over_time,
    learning_curves,
    reported,
    rungs,
    steps,
)
from results.run import Row, best_trial

MIN = {"objective": {"name": "val_loss", "mode": "min"}}
TRIALS = [
    trial_of(0, 0.7, epochs=3),
    trial_of(1, 0.5, state="stopped", scheduler="asha"),
    trial_of(2, state="diverged"),
]
EPOCHS = [
    epoch_of(0, 1, 0.4, at=1.0),
    epoch_of(1, 1, 0.5, at=2.0),
    epoch_of(0, 2, 0.7, at=3.0),
    epoch_of(2, 1, None, at=4.0),
    epoch_of(0, 3, 0.6, at=5.0),
]


@pytest.fixture
def run():
    return run_of(TRIALS, EPOCHS, problem={"epochs": 9})


# --- The best so far --------------------------------------------------------------------------


def test_the_best_over_time_rises_when_a_better_value_is_reported(run):
    chart = best_over_time([run])
    [line] = chart.figure.data
    assert (list(line.x), list(line.y)) == ([1.0, 2.0, 3.0, 5.0], [0.4, 0.5, 0.7, 0.7])
    assert chart.text == "Best val_accuracy: 0.7000 after 3 s (run)."
    assert (chart.name, line.showlegend) == ("best-over-time", False)


def test_the_best_over_epochs_counts_every_trained_epoch(run):
    chart = best_over_epochs([run])
    [line] = chart.figure.data
    # The fourth epoch gave no value.
    assert (list(line.x), list(line.y)) == ([1, 2, 3, 5], [0.4, 0.5, 0.7, 0.7])
    assert chart.text == "Best val_accuracy: 0.7000 after 3 epochs (run)."
    assert chart.name == "best-over-epochs"


def test_the_best_of_an_objective_to_minimize_falls():
    epochs = [epoch_of(0, n, value, at=n) for n, value in enumerate([0.5, 0.7, 0.3], start=1)]
    chart = best_over_time([run_of([trial_of(0, 0.3)], epochs, problem=MIN)])
    assert list(chart.figure.data[0].y) == [0.5, 0.5, 0.3]
    assert chart.text == "Best val_loss: 0.3000 after 3 s (run)."


def test_the_best_of_a_whole_search_never_falls_and_ends_at_the_best_trial(made_up_run):
    best = best_trial(made_up_run)
    [line] = best_over_time([made_up_run]).figure.data
    assert all(before <= after for before, after in itertools.pairwise(line.y))
    assert line.y[-1] == best["best_objective"]
    assert line.x[list(line.y).index(line.y[-1])] == best["best_seconds"]


def test_each_run_is_a_line_of_its_own_colour_with_its_name(run):
    lines = best_over_time([run] * 9, names=["a <b>run", *"bcdefghi"]).figure.data
    assert [line.name for line in lines[:2]] == ["a &lt;b&gt;run", "b"]
    assert all(line.showlegend for line in lines)
    looks = [(line.line.color, line.line.dash) for line in lines]
    assert len(set(looks)) == 9
    assert looks[0][0] == looks[8][0]  # with a ninth run, colours repeat and dashes differ


def test_published_results_are_lines_across(run):
    row = Row("published: best", "published", best=0.9007)
    figure = best_over_time([run], [row]).figure
    [annotation] = figure.layout.annotations
    assert (annotation.text, figure.layout.shapes[0].y0) == ("published: best 0.9007", 0.9007)
    low, high = figure.layout.yaxis.range
    assert low < 0.4
    assert high > 0.9007


def test_the_first_tenth_of_the_steps_does_not_squeeze_the_rest():
    values = [0.1, *(0.8 + n / 1000 for n in range(2, 20))]
    epochs = [epoch_of(0, n, value, at=n) for n, value in enumerate(values, start=1)]
    chart = best_over_time([run_of([trial_of(0, values[-1])], epochs)])
    low, high = chart.figure.layout.yaxis.range
    assert 0.79 < low < 0.802
    assert 0.819 < high < 0.83


def test_runs_without_a_value_have_no_chart(run):
    empty = run_of([trial_of(0)], [epoch_of(0, 1, None, at=1.0)])
    assert best_over_time([empty]) is None
    assert best_over_epochs([]) is None
    assert len(best_over_time([empty, run]).figure.data) == 1


# --- The steps of a search --------------------------------------------------------------------


def test_steps_are_the_values_in_the_order_of_their_time(run):
    assert steps(run) == [
        Step(1.0, 1, 0.4), Step(2.0, 2, 0.5), Step(3.0, 3, 0.7), Step(5.0, 5, 0.6),
    ]  # fmt: skip


def test_a_trial_with_a_score_of_its_own_counts_with_it_at_its_end():
    trials = [trial_of(0, 0.55, ended_seconds=4.5), trial_of(1, 0.6)]
    epochs = [
        epoch_of(0, 1, 0.9, at=1.0),
        epoch_of(1, 1, 0.6, at=2.0),
        epoch_of(0, 1, 0.2, at=4.0, execution=1),
    ]
    assert steps(run_of(trials, epochs)) == [Step(2.0, 2, 0.6), Step(4.5, 3, 0.55)]


def test_a_score_of_a_trial_that_has_not_ended_counts_at_its_best_epoch():
    run = run_of([trial_of(0, 0.55, ended_seconds=None, best_seconds=2.5)])
    assert steps(run) == [Step(2.5, 0, 0.55)]


def test_reported_epochs_are_numbered_among_all_trained_ones():
    epochs = [
        epoch_of(0, 2, 0.5, at=3.0),
        epoch_of(0, 1, 0.4, at=1.0),
        epoch_of(1, 1, None, at=2.0),
        epoch_of(0, 1, 0.9, at=4.0, execution=1),
    ]
    rows = reported(run_of([], epochs))
    assert [(row["epoch"], row["nth"]) for row in rows] == [(1, 1), (2, 3)]


# --- Learning curves --------------------------------------------------------------------------


def test_trials_of_an_ending_are_curves_of_one_line_with_gaps(run):
    stopped, completed, diverged = learning_curves(run).figure.data
    assert [line.name for line in (stopped, completed, diverged)] == [
        "stopped by ASHA", "completed", "diverged",
    ]  # fmt: skip
    assert (completed.x, completed.y) == ((1, 2, 3, None), (0.4, 0.7, 0.6, None))
    assert completed.text == ("trial 0", "trial 0", "trial 0", "")
    assert (stopped.x, stopped.y) == ((1, None), (0.5, None))
    assert (diverged.x, diverged.y) == ((), ())
    assert len({line.line.color for line in (stopped, completed, diverged)}) == 3


def test_every_reported_epoch_is_on_a_learning_curve(made_up_run):
    lines = learning_curves(made_up_run).figure.data
    drawn = [value for line in lines for value in line.y if value is not None]
    reported_values = [v for v in made_up_run.epochs["objective"].to_pylist() if v is not None]
    assert sorted(drawn) == sorted(reported_values)


def test_a_repeated_training_is_on_no_learning_curve():
    epochs = [epoch_of(0, 1, 0.5, at=1.0), epoch_of(0, 1, 0.999, at=2.0, execution=1)]
    [line] = learning_curves(run_of([trial_of(0, 0.75)], epochs)).figure.data
    assert line.y == (0.5, None)


def test_the_description_counts_endings_and_names_the_rungs(run):
    assert learning_curves(run).text == (
        "3 trials: 1 completed, 1 stopped by ASHA, 1 diverged. ASHA decides after epoch 1, 3."
    )


@pytest.mark.parametrize(
    ("outside", "sentence"),
    [
        (0, ""),
        (1, "1 trial is outside the visible range."),
        (2, "2 trials are outside the visible range."),
    ],
)
def test_curves_outside_the_visible_range_are_counted(outside, sentence):
    values = [0.1] * outside + [0.8] * 10 + [0.9] * 10
    trials = [trial_of(n, value) for n, value in enumerate(values)]
    epochs = [epoch_of(n, 1, value, at=n) for n, value in enumerate(values)]
    chart = learning_curves(run_of(trials, epochs, scheduler="none"))
    low, high = chart.figure.layout.yaxis.range
    assert 0.1 < low < 0.8
    assert 0.9 < high < 1.0
    assert chart.text.partition("completed.")[2].strip() == sentence


def test_each_rung_is_a_line_down(run):
    figure = learning_curves(run).figure
    assert [shape.x0 for shape in figure.layout.shapes] == [1, 3]
    assert [annotation.text for annotation in figure.layout.annotations] == ["rung 1", "rung 3"]


def test_many_curves_are_thin_and_half_transparent():
    def look(count):
        trials = [trial_of(n, 0.5) for n in range(count)]
        epochs = [epoch_of(n, 1, 0.5, at=n) for n in range(count)]
        [line] = learning_curves(run_of(trials, epochs)).figure.data
        return line.opacity, line.line.width

    assert look(100) == (1.0, 1.6)
    assert look(101) == (0.5, 1.0)


def test_a_run_without_an_epoch_has_no_learning_curves():
    assert learning_curves(run_of([trial_of(0)])) is None


# --- ASHA's rungs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "plan", "expected"),
    [
        (10, {}, [1, 3, 9]),
        (9, {}, [1, 3]),  # the last epoch is no rung
        (9, {"grace_period": 2}, [2, 6]),
        (9, {"reduction_factor": 2.5}, [1, 3, 7]),  # at whole epochs
        (3, {"reduction_factor": 1.2}, [1, 2]),
        (1, {}, []),
        (None, {}, []),
        (10, {"scheduler": "none"}, []),
        (10, {"engine": "keras-tuner"}, []),
        (10, {"reduction_factor": None}, []),
    ],
)
def test_the_rungs_are_the_epochs_after_which_asha_decides(epochs, plan, expected):
    assert rungs(run_of(problem={"epochs": epochs}, **plan)) == expected


def test_the_rungs_are_where_trials_were_stopped(made_up_run):
    rows = made_up_run.epochs.to_pylist()
    assert {row["epoch"] for row in rows if row["decision"] == "stop"} == set(rungs(made_up_run))
