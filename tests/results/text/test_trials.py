"""The trials of a run as a table and as JSON."""

import io
from dataclasses import replace

import pytest
from in_memory import epoch_of, run_of, trial_of
from rich.console import Console

from results.record.audit import Audit, AuditedTrial
from results.record.confirmation import Confirmation, ConfirmedCandidate, Verdict
from results.text.trials import describe_data, trial_rows, trials_table

CANDIDATE = ConfirmedCandidate(
    "trial 1", 1, 20, {"units": 3}, 0.75, scores=(0.5, None), mean=None, low=None, high=None,
    difference=None, verdict=Verdict.WORSE, is_for_comparison=False, test=None,
)  # fmt: skip
WINNER = ConfirmedCandidate(
    "trial 1", 1, 50, {"units": 3}, 0.75, scores=(0.5, 0.75), mean=0.625, low=0.5, high=0.75,
    difference=None, verdict=Verdict.WINNER, is_for_comparison=False, test=None,
)  # fmt: skip
AUDITED = AuditedTrial(0, 1, 0.5, 9, 0.9, "completed", True, 0.15, 1.0, 8.0, True)


def lines_of(run):
    """Return the table as lines without their spaces at the end."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(trials_table(run))
    return [line.rstrip() for line in console.export_text().splitlines()]


# --- As JSON ----------------------------------------------------------------------------------


def test_a_number_beyond_64_bits_is_a_number():
    space = [{"name": "seed", "choices": []}]
    run = run_of([trial_of(0, 0.5, **{"hp:seed": str(2**64)})], description={"space": space})
    assert trial_rows(run)[0]["hyperparameters"] == {"seed": 2**64}
    assert f"seed={2**64}" in lines_of(run)[1]


def test_a_trial_has_its_columns_and_its_active_hyperparameters():
    run = run_of([trial_of(0, 0.5, **{"hp:units": 3, "hp:rate": None})])
    [row] = trial_rows(run)
    assert row["hyperparameters"] == {"units": 3}
    assert (row["trial"], row["state"], row["best_objective"]) == (0, "completed", 0.5)
    assert not [name for name in row if name.startswith("hp:")]


def test_a_trial_has_its_results_on_the_new_seeds_for_each_number_of_epochs():
    confirmation = Confirmation("val_accuracy", "max", (1, 2), (CANDIDATE, WINNER), 1)
    other, confirmed = trial_rows(run_of([trial_of(0), trial_of(1)], confirmation=confirmation))
    assert other["confirmed"] == []
    assert [(row["epochs"], row["verdict"]) for row in confirmed["confirmed"]] == [
        (20, "worse"), (50, "winner"),
    ]  # fmt: skip
    assert confirmed["confirmed"][0]["scores"] == (0.5, None)
    assert not {"trial", "values"} & set(confirmed["confirmed"][0])


def test_a_trial_has_its_result_of_the_audit():
    audit = Audit("val_accuracy", "max", 0.75, 2, 1, 1, 1.0, 0.2, 1.0, (AUDITED,), 30.0, 10.0)
    audited, other = trial_rows(run_of([trial_of(0), trial_of(1)], audit=audit))
    assert (audited["audited"]["is_wrong"], audited["audited"]["value"]) == (True, 0.9)
    assert "trial" not in audited["audited"]
    assert other["audited"] is None


def test_without_a_follow_up_a_trial_has_no_results_of_one():
    [row] = trial_rows(run_of([trial_of(0)]))
    assert not {"confirmed", "audited"} & set(row)


# Trial 0 has two executions of two epochs, trial 1 one of two and one of one; trial 2 has none.
EXECUTED = run_of(
    [trial_of(0, 0.5, epochs=4), trial_of(1, 0.25, epochs=3), trial_of(2, state="failed", epochs=0)],
    [
        epoch_of(trial, epoch, 0.5, 1.0, execution=execution)
        for trial, execution, epoch in [
            (0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 1, 2), (1, 0, 1), (1, 0, 2), (1, 1, 1),
        ]
    ],
)  # fmt: skip


def test_a_trial_of_several_executions_has_the_epochs_of_each():
    assert [row["execution_epochs"] for row in trial_rows(EXECUTED)] == [[2, 2], [2, 1], []]


def test_without_several_executions_no_trial_has_their_epochs():
    [row] = trial_rows(run_of([trial_of(0, 0.5)], [epoch_of(0, 1, 0.5, 1.0)]))
    assert "execution_epochs" not in row


# --- As a table -------------------------------------------------------------------------------


def test_a_trial_is_a_line_with_its_best_and_its_configuration():
    run = run_of(
        [
            trial_of(0, 0.90733, **{"hp:units": 3, "hp:rate": 0.00151234}),
            trial_of(1, 0.5, state="stopped", scheduler="asha", **{"hp:units": 8}),
        ]
    )
    assert [line.split() for line in lines_of(run)] == [
        ["trial", "ended", "epochs", "best", "val_accuracy", "at", "epoch", "train", "s",
         "configuration"],
        ["0", "completed", "1", "0.9073", "1", "0.5", "units=3", "rate=0.00151"],
        ["1", "stopped", "by", "ASHA", "1", "0.5000", "1", "0.5", "units=8"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"error": "ValueError: no\nin line 3"}, " ValueError: no units=3"),
        ({"path": "fit", "path_reason": "a callback"}, " [fit: a callback] units=3"),
        ({"path": "fast", "path_reason": None}, " 0.5  units=3"),
        ({"error": "[bold]no[/bold]"}, " [bold]no[/bold] units=3"),
    ],
)
def test_the_reason_of_an_ending_or_a_slow_path_precedes_the_configuration(fields, end):
    [_, line] = lines_of(run_of([trial_of(0, **{"hp:units": 3}, **fields)]))
    assert line.endswith(end)


def test_a_trial_without_a_value_has_empty_cells():
    [_, line] = lines_of(run_of([trial_of(0, state="failed", epochs=0, train_seconds=0.0)]))
    assert line.split() == ["0", "failed", "0", "0.0"]


def test_a_run_of_another_program_may_have_no_paths():
    run = run_of([trial_of(0, 0.5)])
    trials = run.trials.drop_columns(["path", "path_reason"])
    [_, line] = lines_of(type(run)(run.path, run.description, trials, run.epochs, None, "x"))
    assert line.split() == ["0", "completed", "1", "0.5000", "1", "0.5"]


def test_executions_and_their_epochs_have_columns_of_their_own():
    headings, *rows = lines_of(EXECUTED)
    assert headings.split()[:5] == ["trial", "ended", "trainings", "epochs", "each"]
    assert [row.split()[:5] for row in rows] == [
        ["0", "completed", "2", "2", "0.5000"],
        ["1", "completed", "2", "1", "to"],
        ["2", "failed", "0", "0", "0.5"],
    ]


# --- The data -------------------------------------------------------------------------------------


def test_the_data_are_named_with_the_way_that_they_travelled():
    run = run_of([trial_of(0)])
    assert describe_data(run) is None, "as in runs of version 0.1.0"
    rows = [
        {"argument": "x", "kind": "array", "shape": "9x4", "way": "shared arrays", "may_differ": False},
        {"argument": "validation_data", "kind": "dataset", "shape": "",
         "way": "made anew in the worker", "may_differ": True},
    ]  # fmt: skip
    run = replace(run, description=run.description | {"data": rows})
    assert describe_data(run) == (
        "data: x (array 9x4, shared arrays); validation_data (dataset, made anew in the worker, "
        "may differ each time)"
    )
