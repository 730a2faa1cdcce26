"""The lines of a search in a log or a pipe, and the words that all views share."""

import pytest

from results.record.columns import State
from results.record.history import History, Objective
from search.plan.registry import Scheduler
from search.view.view import (
    SilentView,
    View,
    all_done,
    describe_aim,
    describe_end,
    describe_retraining,
    seconds_left,
    summary,
)

ACCURACY = Objective("val_accuracy", "max")
VALUES = {"units": 8}


@pytest.fixture
def search(show):
    return show(lambda console, _clock: View(console))


def lines(search):
    return search.printed.splitlines()


# --- Lines ----------------------------------------------------------------------------------------


def test_a_better_value_is_a_line_and_another_value_none(search):
    search.start(0)
    search.start(1)
    for now, trial, value in ((1.0, 0, 0.5), (2.0, 1, 0.4), (3.0, 0, 0.5), (4.0, 1, 0.6)):
        search.now = now
        search.epoch(trial, int(now), value)
    assert lines(search) == [
        "    1.0 s  trial 0, epoch 1: best val_accuracy so far 0.5000",
        "    4.0 s  trial 1, epoch 4: best val_accuracy so far 0.6000",
    ]


def test_the_best_value_before_a_resume_is_not_a_new_one(show):
    before = show(lambda console, _clock: View(console))
    before.start(0)
    before.epoch(0, 1, 0.5)
    search = show(lambda console, _clock: View(console), history=before.history)
    search.start(1)
    search.epoch(1, 1, 0.4)
    assert lines(search) == []


def test_the_end_of_a_trial_is_a_line_with_its_values(search):
    search.start(0)
    search.epoch(0, 1, 0.5)
    search.now = 12.34
    search.end(0, State.COMPLETED)
    assert lines(search)[-1] == (
        "   12.3 s  trial 0 completed after 1 epoch, best val_accuracy 0.5000  activation=relu "
        "units=192 rate=0.00151 optimizer=nadam layers=3"
    )


def test_the_end_of_a_trial_without_an_epoch_has_its_error_and_no_values(search):
    search.start(0)
    search.end(0, State.FAILED, error="ValueError: too few units\nin line 3")
    assert lines(search) == ["    0.0 s  trial 0 failed after 0 epochs: ValueError: too few units"]


def test_a_trial_that_loses_its_process_by_its_own_doing_is_a_line(search):
    search.start(0)
    search.recorder.worker_lost(0, "it was killed", by_trial=True)
    assert lines(search) == [
        "    0.0 s  trial 0 continues after the loss of its process: it was killed"
    ]


def test_a_trial_that_loses_its_node_is_no_line(search):
    search.start(0)
    search.recorder.worker_lost(0, "its node died", by_trial=False)
    assert lines(search) == []


def test_a_note_is_printed_as_it_is(search):
    note = "a [red]long[/red] line with 12 numbers " * 5
    search.view.note(note)
    assert lines(search) == [note]


def test_time_alone_prints_nothing(search):
    search.now = 100.0
    search.view.tick()
    assert lines(search) == []


@pytest.mark.parametrize(
    ("epochs_done", "is_line"),
    [
        ({20: 5, 50: 5}, True),
        ({20: 5, 50: 6}, False),
        ({20: 20, 50: 41}, False),
        ({20: 20, 51: 51}, True),
        ({20: 20, 50: 50}, True),
    ],
)
def test_a_retraining_is_a_line_every_ten_epochs_and_at_its_end(search, epochs_done, is_line):
    search.view.progress(epochs_done)
    assert lines(search) == ([describe_retraining(epochs_done)] if is_line else [])


def test_a_silent_view_prints_nothing(show):
    search = show(lambda console, _clock: SilentView(console))
    search.start(0)
    search.epoch(0, 1, 0.5)
    search.recorder.worker_lost(0, "killed", by_trial=True)
    search.end(0, State.COMPLETED)
    search.view.note("a note")
    search.view.progress({20: 20})
    search.view.tick()
    assert search.printed == ""


# --- The summary ----------------------------------------------------------------------------------


def history(*trials):
    """Return the history of trials that started 2 s after each other, one epoch in each second.

    Args:
        trials: For each trial its values by epoch, and its state.
    """
    made = History(ACCURACY)
    for trial, (values, state) in enumerate(trials):
        start = 10.0 + 2 * trial
        made.apply(
            {"event": "trial_started", "trial": trial, "values": VALUES, "at_seconds": start}
        )
        for epoch, value in enumerate(values, start=1):
            made.apply(
                {
                    "event": "epoch", "trial": trial, "epoch": epoch, "at_seconds": start + epoch,
                    "epoch_seconds": 1.0, "metrics": {"val_accuracy": value},
                    "decision": "continue", "worker": "vm:1",
                }
            )  # fmt: skip
        if state is not State.RUNNING:
            made.apply(
                {"event": "trial_ended", "trial": trial, "state": state, "at_seconds": start + 9}
            )
    return made


SEARCHED = (
    ([0.5, 0.7], State.COMPLETED),
    ([0.6], State.STOPPED),
    ([0.4], State.STOPPED),
    ([], State.FAILED),
    ([0.3], State.RUNNING),
    ([0.3], State.INTERRUPTED),
)


def test_the_summary_counts_trials_and_epochs(make_plan):
    plan = make_plan(ACCURACY, trials=12, scheduler=Scheduler.ASHA)
    assert summary(plan, history(*SEARCHED), 22.4) == (
        "22 s · trials of 12: 2 running, 2 finished, 2 stopped by ASHA · "
        "best val_accuracy 0.7000 · 0.48 epochs/s · about 25 s left"
    )


def test_the_summary_of_a_search_without_limit_and_scheduler_lacks_them(make_plan):
    plan = make_plan(ACCURACY, trials=None, scheduler=Scheduler.NONE)
    assert summary(plan, history(([0.5], State.RUNNING)), 20.0) == (
        "20 s · trials: 1 running, 0 finished, 0 stopped · best val_accuracy 0.5000 · 0.10 epochs/s"
    )


def test_the_summary_before_the_first_trial_has_no_best_value(make_plan):
    assert summary(make_plan(ACCURACY, trials=12), History(ACCURACY), 5.0) == (
        "5 s · trials of 12: 0 running, 0 finished, 0 stopped by ASHA · "
        "best val_accuracy - · 0.00 epochs/s"
    )


@pytest.mark.parametrize(
    ("limits", "trials", "seconds"),
    [
        pytest.param({"trials": 12}, (), None, id="nothing-started"),
        pytest.param({"trials": 12}, [([0.5], State.RUNNING)], None, id="nothing-ended"),
        pytest.param({"trials": None}, SEARCHED, None, id="no-limit"),
        # Two of the six have not ended: four in 20 s since the first began, eight are left.
        pytest.param({"trials": 12}, SEARCHED, 40.0, id="by-trials"),
        pytest.param({"trials": 4}, SEARCHED, 0.0, id="trials-done"),
        pytest.param({"trials": 3}, SEARCHED, 0.0, id="more-than-planned"),
        pytest.param({"trials": None, "time_budget_seconds": 100.0}, SEARCHED, 70.0, id="by-time"),
        pytest.param({"trials": None, "time_budget_seconds": 9.0}, SEARCHED, 0.0, id="time-over"),
        pytest.param({"trials": 12, "time_budget_seconds": 100.0}, SEARCHED, 40.0, id="both"),
        pytest.param({"trials": 12, "time_budget_seconds": 40.0}, SEARCHED, 10.0, id="time-first"),
        pytest.param({"trials": 12, "time_budget_seconds": 40.0}, (), 10.0, id="time-alone-known"),
    ],
)
def test_the_seconds_left_are_estimated_from_the_trials_that_ended(
    make_plan, limits, trials, seconds
):
    plan = make_plan(ACCURACY, **limits)
    assert seconds_left(plan, history(*trials), 30.0) == seconds


# --- Ends -----------------------------------------------------------------------------------------


def test_the_end_of_a_search_names_its_best_trial():
    assert describe_end("trials done", history(*SEARCHED)) == (
        "search ended (trials done): 6 trials, 6 epochs\n"
        "best val_accuracy 0.7000 in trial 0, epoch 2, after 12 s: units=8"
    )


def test_the_end_of_a_search_without_a_value_is_one_line():
    assert describe_end("interrupted", history(([], State.FAILED))) == (
        "search ended (interrupted): 1 trial, 0 epochs"
    )


def test_the_progress_of_retrainings_names_each():
    assert describe_retraining({20: 5, 50: 6}) == "retraining: epoch 5 of 20, 6 of 50"


@pytest.mark.parametrize(
    ("epochs_done", "is_done"), [({20: 20, 50: 50}, True), ({20: 20, 50: 49}, False), ({}, True)]
)
def test_retrainings_are_done_once_each_is(epochs_done, is_done):
    assert all_done(epochs_done) is is_done


# --- The aim --------------------------------------------------------------------------------------

LOSS = Objective("val_loss", "min")


@pytest.mark.parametrize(
    ("objective", "aim"),
    [
        (ACCURACY, "maximizing val_accuracy"),
        (LOSS, "minimizing val_loss"),
        (Objective("multi_objective", "min", (ACCURACY, LOSS)), "minimizing val_loss - val_accuracy"),
        (Objective("multi_objective", "min", (ACCURACY,)), "minimizing - val_accuracy"),
        (Objective("default_objective", "min"), "minimizing what fit returns"),
    ],
)  # fmt: skip
def test_the_aim_of_a_search_names_its_direction_and_its_objective(objective, aim):
    assert describe_aim(objective) == aim


def test_data_that_keep_trials_from_the_fast_epoch_are_named_once(search):
    path = {"name": "keras", "reason": "the data are X, not arrays of numbers", "continued_from": 0}
    for trial in range(2):
        search.start(trial)
        search.epoch(trial, 1, 0.5, path=path)
        search.end(trial, State.COMPLETED)
    said = [line for line in lines(search) if "slower" in line]
    assert said == [
        "trials train by Keras's own loop, which is slower, since the data are X, not arrays of numbers"
    ]
