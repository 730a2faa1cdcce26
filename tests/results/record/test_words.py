"""Values and events of a search in words."""

import pytest

from results.record.columns import ScoreKind, State
from results.record.history import History, Objective
from results.record.words import (
    describe_best,
    describe_epochs,
    describe_new_best,
    describe_scores,
    describe_totals,
    describe_trial_end,
    first_line,
    format_difference,
    format_interval,
    format_number,
    format_values,
    quantity,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.90733, "0.9073"),
        (-0.90733, "-0.9073"),
        (1e-3, "0.0010"),
        (9.99e-4, "0.000999"),  # four decimals would lose digits of it
        (1.5e-6, "1.5e-06"),
        (0.0, "0.0000"),
        (9999.5, "9999.5000"),
        (1e4, "1e+04"),
        (1e12, "1e+12"),
        (None, ""),
    ],
)
def test_a_number_has_four_decimals_or_four_digits(value, text):
    assert format_number(value) == text


def test_a_missing_number_may_have_a_text_of_its_own():
    assert (format_number(None, "none"), format_number(0.5, "none")) == ("none", "0.5000")


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (0.00031, 0.9, "+0.0003"),
        (-0.00031, 0.9, "-0.0003"),
        (2e-6, 3e-6, "+2e-06"),
        (0.0, 0.9, "+0.0000"),
        (0.5, None, "+0.5000"),
    ],
)
def test_a_difference_has_the_digits_of_the_values_that_it_is_between(value, like, text):
    assert format_difference(value, like) == text


def test_a_difference_can_be_shown_without_a_plus():
    assert format_difference(0.5, 0.9, sign="-") == "0.5000"
    assert format_difference(-0.5, 0.9, sign="-") == "-0.5000"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.25, 0.5, "0.2500 to 0.5000"), (None, 0.5, ""), (0.25, None, "")],
)
def test_an_interval_has_two_ends_or_no_text(low, high, text):
    assert format_interval(low, high) == text


def test_a_configuration_is_a_word_for_each_value():
    values = {"rate": 0.00151234, "units": 8, "act": "relu", "norm": True}
    assert format_values(values) == "rate=0.00151 units=8 act=relu norm=True"


def test_a_quantity_has_its_noun_in_the_plural_but_for_one():
    assert [quantity(count, "trial") for count in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]


@pytest.mark.parametrize(
    ("text", "line"), [("one\ntwo", "one"), ("one", "one"), ("", ""), (None, "")]
)
def test_of_a_text_the_first_line_counts(text, line):
    assert first_line(text) == line


# --- Events -----------------------------------------------------------------------------------


@pytest.fixture
def history():
    """A search with two epochs of trial 7, which ran out of memory, and trial 8 without any."""
    new_history = History(Objective("val_acc", "max"))
    for trial in (7, 8):
        started = {"event": "trial_started", "trial": trial, "at_seconds": 1.0, "values": {}}
        new_history.apply(started)
    for epoch, value in [(1, 0.5), (2, 0.75)]:
        new_history.apply(
            {
                "event": "epoch", "trial": 7, "epoch": epoch, "at_seconds": 10.5 * epoch,
                "epoch_seconds": 0.5, "decision": "continue", "worker": "w",
                "metrics": {"val_acc": value},
            }
        )  # fmt: skip
    return new_history


def ended(history, trial, **fields):
    history.apply({"event": "trial_ended", "trial": trial, "at_seconds": 30.0, **fields})
    return describe_trial_end(history.trials[trial], "val_acc")


def test_the_end_of_a_trial_has_its_epochs_its_best_and_its_error(history):
    assert ended(history, 7, state=State.OUT_OF_MEMORY, error="no memory\nin line 3") == (
        "trial 7 out of memory after 2 epochs, best val_acc 0.7500: no memory"
    )


def test_the_end_of_a_trial_may_have_no_best_and_no_error(history):
    assert ended(history, 8, state=State.STOPPED, scheduler="asha") == (
        "trial 8 stopped by ASHA after 0 epochs"
    )


@pytest.mark.parametrize(
    ("executions", "text"),
    [
        ({}, "0 epochs"),
        ({0: 1}, "1 epoch"),
        ({0: 5, 1: 5, 2: 5}, "3 trainings of 5 epochs"),
        ({0: 1, 1: 1}, "2 trainings of 1 epoch"),
        ({0: 5, 1: 2}, "2 trainings of 2 to 5 epochs"),
    ],
)
def test_epochs_are_counted_for_each_execution(executions, text):
    assert describe_epochs(executions) == text


def test_the_end_of_a_trial_of_several_executions_says_how_many(history):
    for epoch in (1, 2):
        history.apply(
            {
                "event": "epoch", "trial": 7, "epoch": epoch, "execution": 1, "at_seconds": 25.0,
                "epoch_seconds": 0.5, "decision": "continue", "worker": "w",
                "metrics": {"val_acc": 0.5},
            }
        )  # fmt: skip
    assert ended(history, 7, state=State.COMPLETED) == (
        "trial 7 completed after 2 trainings of 2 epochs, best val_acc 0.7500"
    )


def test_the_best_value_has_its_trial_its_epoch_and_its_time(history):
    assert describe_best(history.best, "val_acc") == (
        "best val_acc 0.7500 in trial 7, epoch 2, after 21 s"
    )
    assert describe_new_best(history.best, "val_acc") == (
        "trial 7, epoch 2: best val_acc so far 0.7500"
    )


def test_the_totals_count_trials_and_epochs(history):
    assert describe_totals(history) == "2 trials, 2 epochs"


@pytest.mark.parametrize(
    ("kind", "has_stopped", "text"),
    [
        (ScoreKind.EPOCHS, True, None),
        (ScoreKind.UNKNOWN, False, None),
        (ScoreKind.EXECUTIONS, True, "Scores are means over the executions of a trial."),
        (ScoreKind.RETURNED, False, "Scores are what the trials returned, not the best of their epochs."),
        (ScoreKind.RETURNED, True, "Scores are what the trials returned, not the best of their epochs. "
         "Stopped trials have none, and rank last."),
    ],
)  # fmt: skip
def test_what_the_scores_are_is_said_if_it_is_not_the_best_of_the_epochs(kind, has_stopped, text):
    assert describe_scores(kind, has_stopped=has_stopped) == text
