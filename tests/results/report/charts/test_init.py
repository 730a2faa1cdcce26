"""Which charts a run has."""

import re

import made_up
from afterwards import audit_of, confirmation_of
from in_memory import epoch_of, run_of, trial_of

from results.report.charts import charts_by_part, charts_of


def names_of(charts):
    return [chart.name for chart in charts]


def test_a_run_has_the_charts_for_which_it_has_data():
    run = run_of(
        [trial_of(0, 0.5, **{"hp:units": 3})], [epoch_of(0, 1, 0.5, at=1.0)],
        confirmation=confirmation_of(), audit=audit_of(),
    )  # fmt: skip
    assert {part: names_of(charts) for part, charts in charts_by_part(run).items()} == {
        "curves": ["learning-curves"],
        "space": ["parallel-coordinates"],
        "slices": ["slice-01-units"],
        "workers": ["timeline", "early-stop-audit"],
        "final": [],
        "confirmed": ["confirmed"],
    }
    assert names_of(charts_of(run)) == [
        "best-over-time", "best-over-epochs", "learning-curves", "parallel-coordinates",
        "slice-01-units", "timeline", "early-stop-audit", "confirmed",
    ]  # fmt: skip


def test_the_importance_stands_before_the_coordinates(made_up_run):
    assert names_of(charts_by_part(made_up_run)["space"]) == [
        "importances", "parallel-coordinates",
    ]  # fmt: skip
    assert len(charts_by_part(made_up_run)["slices"]) == len(made_up.SPACE)


def test_a_run_without_trials_has_no_chart():
    assert charts_of(run_of()) == []


def test_hyperparameters_may_have_any_name():
    odd = {f"hp:/../..\\<b>x{'y' * 300}{n}": n for n in range(2)}
    charts = charts_of(run_of([trial_of(0, 0.5, **odd)], [epoch_of(0, 1, 0.5, at=1.0)]))
    names = names_of(charts)
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) for name in names)
