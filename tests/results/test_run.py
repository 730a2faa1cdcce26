"""A run that was read, its best trial and its row of the comparison."""

from dataclasses import replace

import pytest
from in_memory import epoch_of, run_of, trial_of

from results.record.audit import Audit, AuditedTrial
from results.record.columns import Ending, State
from results.record.confirmation import (
    AccuracyOnTest,
    Confirmation,
    ConfirmedCandidate,
    Verdict,
)
from results.run import FIELDS, Row, best_trial, ending_of, row_of

MIN = {"objective": {"name": "val_loss", "mode": "min"}}
WINNER = ConfirmedCandidate(
    "trial 1", 1, 20, {}, 0.8, scores=(0.6, 0.7, 0.8), mean=0.7, low=0.6, high=0.8,
    difference=None, verdict=Verdict.WINNER, is_for_comparison=False,
    test=AccuracyOnTest((0.5, 0.6, 0.7), 0.6, 0.5, 0.7),
)  # fmt: skip
CONFIRMATION = Confirmation("val_accuracy", "max", (1, 2, 3), (WINNER,), 0)
STOPPED = AuditedTrial(0, 1, 0.5, 9, 0.75, "completed", False, -0.05, 1.0, 8.0, True)
AUDIT = Audit(
    "val_accuracy", "max", 0.8, 6, 2, 1, 0.5, 0.1, 0.9,
    (STOPPED, replace(STOPPED, trial=1, is_wrong=True)), 30.0, 10.0,
)  # fmt: skip


def test_a_run_has_the_name_of_its_folder(tmp_path, monkeypatch):
    assert run_of(path=tmp_path / "first").name == "first"
    monkeypatch.chdir(tmp_path)
    assert run_of(path=".").name == tmp_path.name


def test_a_run_has_the_objective_of_its_plan():
    assert (run_of().objective, run_of().mode) == ("val_accuracy", "max")
    assert (run_of(problem=MIN).objective, run_of(problem=MIN).mode) == ("val_loss", "min")


# --- The best trial ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "problem", "best"),
    [
        ([0.5, 0.9, None, 0.7], {}, 1),
        ([0.5, 0.9, None, 0.7], MIN, 0),
        ([None, 0.7, 0.7], {}, 1),  # of equal values the earliest
        ([None, 0.7, 0.7], MIN, 1),
    ],
)
def test_the_best_trial_has_the_best_value(values, problem, best):
    run = run_of([trial_of(trial, value) for trial, value in enumerate(values)], problem=problem)
    assert best_trial(run)["trial"] == best


def test_of_equal_values_the_earliest_is_the_best_whatever_its_number():
    trials = [trial_of(0, 0.5, best_seconds=9.0), trial_of(1, 0.5, best_seconds=3.0)]
    assert best_trial(run_of(trials))["trial"] == 1


def test_without_a_value_there_is_no_best_trial():
    assert best_trial(run_of([trial_of(0)])) is None


def test_a_row_of_trials_has_an_ending():
    row = trial_of(0, state="stopped", scheduler="asha")
    assert ending_of(row) == Ending(State.STOPPED, "asha")


# --- The row of the comparison ----------------------------------------------------------------


def test_a_row_has_the_figures_of_the_run():
    evaluation = {
        "test_accuracy": 0.9, "precision_macro": 0.89, "recall_macro": 0.88, "test_loss": 0.3,
        "epochs": 20, "confusion_matrix": [],
    }  # fmt: skip
    run = run_of(
        [trial_of(0, 0.5), trial_of(1, 0.8, best_seconds=1.5), trial_of(2, ended_seconds=None)],
        [epoch_of(0, 1, 0.5, at=1.0), epoch_of(1, 1, 0.8, at=1.5)],
        path="runs/first", evaluation=evaluation,
    )  # fmt: skip
    assert row_of(run) == Row(
        name="first", engine="ray", data="problems:blobs", ended="trials done",
        objective="val_accuracy", mode="max", best=0.8, reached_seconds=1.5, test_accuracy=0.9,
        precision_macro=0.89, recall_macro=0.88, test_loss=0.3, final_epochs=20, trials=3,
        epochs=2, wall_seconds=2.0, space="Steady", algorithm="tpe", workers=2,
    )  # fmt: skip


def test_a_row_of_a_search_without_a_value_has_no_figures():
    row = row_of(run_of([trial_of(0, ended_seconds=None)]))
    unknown = {name for name in FIELDS if getattr(row, name) is None}
    assert {"best", "reached_seconds", "test_accuracy", "wall_seconds"} < unknown
    assert (row.trials, row.epochs) == (1, 0)


def test_a_row_has_the_figures_of_the_confirmation():
    row = row_of(run_of([trial_of(0, 0.5)], confirmation=CONFIRMATION))
    assert (row.confirmed_mean, row.confirmed_low, row.confirmed_high) == (0.7, 0.6, 0.8)
    assert (row.confirmed_test_mean, row.confirmed_test_low, row.confirmed_test_high) == (
        0.6, 0.5, 0.7,
    )  # fmt: skip
    assert row.confirmed_seeds == 3


def test_a_winner_that_was_not_tested_has_no_test_accuracy():
    untested = replace(CONFIRMATION, candidates=(replace(WINNER, test=None),))
    row = row_of(run_of([trial_of(0, 0.5)], confirmation=untested))
    assert (row.confirmed_mean, row.confirmed_test_mean, row.confirmed_test_low) == (0.7, None, None)  # fmt: skip


def test_a_row_has_the_figures_of_the_audit():
    row = row_of(run_of([trial_of(0, 0.5)], audit=AUDIT))
    assert (row.audit_wrong, row.audit_audited, row.audit_seconds_saved) == (1, 2, 30.0)


def test_a_row_of_a_run_without_confirmation_and_audit_has_none_of_their_figures():
    row = row_of(run_of([trial_of(0, 0.5)]))
    names = [name for name in FIELDS if name.startswith(("confirmed_", "audit_"))]
    assert [getattr(row, name) for name in names] == [None] * 10
