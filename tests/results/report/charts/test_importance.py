"""The importance of the hyperparameters, with its uncertainty."""

from dataclasses import replace

import made_up
import numpy as np
import optuna
import pyarrow as pa
import pytest
from in_memory import run_of, trial_of

from results.reading import read_run
from results.record import columns
from results.report.charts.importance import MIN_TRIALS, importance_chart, importances

MIN = {"objective": {"name": "val_loss", "mode": "min"}}


def run_of_columns(values, problem=None, **hyperparameters):
    """Return a run of a trial for each value, and columns of hyperparameters beside them."""
    trials = [
        trial_of(n, value, **{f"hp:{name}": column[n] for name, column in hyperparameters.items()})
        for n, value in enumerate(values)
    ]
    return run_of(trials, problem=problem)


def deciding_and_idle(count, sign=1.0):
    """Return values that follow from ``a`` alone, and not from ``b``."""
    generator = np.random.default_rng(0)
    a, b = generator.uniform(size=count), generator.uniform(size=count)
    return (sign * a).tolist(), {"a": a.tolist(), "b": b.tolist()}


@pytest.mark.parametrize(("sign", "problem"), [(1.0, None), (-1.0, MIN)])
def test_the_hyperparameter_that_decides_matters_most(sign, problem):
    values, hyperparameters = deciding_and_idle(100, sign)
    first, second = importances(run_of_columns(values, problem, **hyperparameters))
    assert (first.name, second.name) == ("a", "b")
    assert first.share > 0.7
    assert first.share + second.share == pytest.approx(1.0)
    for importance in (first, second):
        assert 0.0 <= importance.low <= importance.share <= importance.high <= 1.0


def test_the_objective_of_many_trials_tells_what_it_follows_from(tmp_path):
    many = importances(read_run(made_up.made_up_run(tmp_path / "many", trials=500)))
    assert {one.name for one in many} == {row["name"] for row in made_up.SPACE}
    # Of 12 seeds each had these first, at 500 trials; what has no effect has hardly a share.
    assert {one.name for one in many[:2]} == {"rate", "layers"}
    assert sum(one.share for one in many[2:]) < 0.2


def test_few_trials_leave_the_share_uncertain(tmp_path):
    few = read_run(made_up.made_up_run(tmp_path / "few", trials=30))
    first, *_ = importances(few)
    assert first.high - first.low > 0.1
    text = importance_chart(few).text
    assert f"the share of {first.name} is between {first.low:.0%} and {first.high:.0%}" in text


@pytest.mark.parametrize("scored", [MIN_TRIALS - 1, MIN_TRIALS])
def test_with_too_few_values_there_is_no_importance(scored):
    values, hyperparameters = deciding_and_idle(MIN_TRIALS + 5)
    values[scored:] = [None] * (MIN_TRIALS + 5 - scored)
    run = run_of_columns(values, **hyperparameters)
    assert bool(importances(run)) is (scored == MIN_TRIALS)
    assert (importance_chart(run) is None) is (scored < MIN_TRIALS)


def test_equal_values_say_nothing_of_importance():
    _, hyperparameters = deciding_and_idle(30)
    assert importances(run_of_columns([0.5] * 30, **hyperparameters)) == []


def test_a_hyperparameter_that_never_varied_has_no_share():
    values, hyperparameters = deciding_and_idle(30)
    run = run_of_columns(values, **hyperparameters, fixed=[7] * 30)
    assert {one.name for one in importances(run)} == {"a", "b"}
    assert importances(run_of_columns(values, fixed=[7] * 30)) == []


def test_choices_and_inactive_values_have_a_share():
    values, hyperparameters = deciding_and_idle(60)
    kinds = ["high" if value > 0.5 else "low" for value in values]
    sometimes = [n % 7 if n % 2 else None for n in range(60)]
    run = run_of_columns(values, kind=kinds, sometimes=sometimes, b=hyperparameters["b"])
    shares = {one.name: one.share for one in importances(run)}
    assert set(shares) == {"kind", "sometimes", "b"}
    assert max(shares, key=shares.get) == "kind"


def test_optuna_stays_as_talkative_as_it_was():
    values, hyperparameters = deciding_and_idle(30)
    before = optuna.logging.get_verbosity()
    importances(run_of_columns(values, **hyperparameters))
    assert optuna.logging.get_verbosity() == before


# --- The chart --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    values, hyperparameters = deciding_and_idle(100)
    return run_of_columns(values, **hyperparameters)


def test_the_most_important_hyperparameter_is_the_top_bar(run):
    first, second = importances(run)
    [bars] = importance_chart(run).figure.data
    assert tuple(bars.y) == ("b", "a")  # Plotly draws the first bar at the bottom
    assert tuple(bars.x) == (second.share, first.share)
    assert tuple(bars.error_x.array) == (second.high - second.share, first.high - first.share)
    assert tuple(bars.error_x.arrayminus) == (second.share - second.low, first.share - first.low)


def test_the_chart_says_what_matters_most_and_how_sure_that_is(run):
    first, second = importances(run)
    chart = importance_chart(run)
    assert chart.text.startswith(
        "Importance for the best tenth of 100 trials, by PED-ANOVA: a matters most, with a share "
        f"of {first.share:.0%}. In 80 % of resamples of the trials, the share of a is between "
    )
    assert chart.rows == [
        ["hyperparameter", "share", "80 % of resamples"],
        ["a", f"{first.share:.3f}", f"{first.low:.3f} to {first.high:.3f}"],
        ["b", f"{second.share:.3f}", f"{second.low:.3f} to {second.high:.3f}"],
    ]


def test_without_a_clear_share_no_hyperparameter_stands_out():
    generator = np.random.default_rng(5)
    noise = {f"h{n}": generator.uniform(size=25).tolist() for n in range(12)}
    run = run_of_columns(generator.uniform(size=25).tolist(), **noise)
    assert importances(run)[0].low < 0.1
    assert "no hyperparameter stands out yet." in importance_chart(run).text


def test_a_trial_counts_with_its_best_value_however_it_ended(run):
    states = pa.array(["stopped"] * 50 + ["completed"] * 50)
    index = run.trials.schema.get_field_index(columns.STATE)
    changed = replace(run, trials=run.trials.set_column(index, columns.STATE, states))
    assert importances(changed) == importances(run)
