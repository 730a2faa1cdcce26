"""When a search ends before its trials are done, and why. The clock is an argument."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import ACCURACY, make_plan

from results.record.columns import State
from results.record.history import History, Objective
from search.errors import AllTrialsFailedError, FailureLimitError, SearchError
from search.session.stopping import Stopping, has_failed

PLAN = make_plan(Path("nowhere"))


class Conditions(Stopping):
    """The conditions of a search whose trials a test starts and ends."""

    def __init__(self, plan=PLAN, **fields):
        self.seconds = 0.0
        history = History(plan.problem.objective)
        super().__init__(plan, history, lambda: self.seconds, **fields)
        self._events = 0

    def start(self, trial):
        self._apply("trial_started", trial, values={"units": 2 + trial})

    def epoch(self, trial, value):
        metrics = {self.history.objective.name: value}
        self._apply(
            "epoch", trial, epoch=1, epoch_seconds=1.0, decision="continue", worker="w",
            metrics=metrics,
        )  # fmt: skip

    def end(self, trial, state, error=None, value=None):
        """Start a trial if it is new, report a value if there is one, and end it."""
        if trial not in self.history.trials:
            self.start(trial)
        if value is not None:
            self.epoch(trial, value)
        fields = {} if error is None else {"error": error}
        self._apply("trial_ended", trial, state=state, **fields)
        self.check_failures()

    def _apply(self, kind, trial, **fields):
        self._events += 1
        event = {"event": kind, "trial": trial, "at_seconds": float(self._events)}
        self.history.apply(event | fields)


# --- Reasons to end -------------------------------------------------------------------------------


def test_a_search_without_a_reason_continues():
    conditions = Conditions(replace(PLAN, target=0.9, time_budget_seconds=60.0))
    conditions.end(0, State.COMPLETED, value=0.8)
    conditions.seconds = 59.9
    assert conditions.reason is None


@pytest.mark.parametrize(("value", "reason"), [(0.89, None), (0.9, "target reached")])
def test_a_search_ends_at_its_target(value, reason):
    conditions = Conditions(replace(PLAN, target=0.9))
    conditions.start(0)
    conditions.epoch(0, value)
    assert conditions.reason == reason


def test_a_target_to_minimize_is_reached_from_above():
    plan = make_plan(Path("nowhere"), objective=Objective("val_loss", "min"), target=0.5)
    conditions = Conditions(plan)
    conditions.start(0)
    conditions.epoch(0, 0.6)
    assert conditions.reason is None
    conditions.epoch(0, 0.5)
    assert conditions.reason == "target reached"


@pytest.mark.parametrize(("seconds", "reason"), [(59.9, None), (60.0, "time budget spent")])
def test_a_search_ends_when_its_time_is_spent(seconds, reason):
    conditions = Conditions(replace(PLAN, time_budget_seconds=60.0))
    conditions.seconds = seconds
    assert conditions.reason == reason


def test_a_search_without_a_time_budget_does_not_look_at_the_clock():
    def clock():
        raise AssertionError("the clock was read")

    assert Stopping(PLAN, History(ACCURACY), clock).reason is None


def test_an_interrupted_search_ends():
    conditions = Conditions()
    conditions.interrupt()
    assert conditions.is_interrupted
    assert conditions.reason == "interrupted"


def test_of_several_reasons_an_error_comes_first_and_the_time_last():
    conditions = Conditions(replace(PLAN, target=0.9, time_budget_seconds=60.0))
    conditions.seconds = 99.0
    assert conditions.reason == "time budget spent"
    conditions.start(0)
    conditions.epoch(0, 0.95)
    assert conditions.reason == "target reached"
    conditions.interrupt()
    assert conditions.reason == "interrupted"
    conditions.fail(SearchError("no"))
    assert conditions.reason == "failed"


def test_the_first_error_is_kept():
    conditions = Conditions()
    first = SearchError("first")
    conditions.fail(first)
    conditions.fail(SearchError("second"))
    assert conditions.error is first


# --- All trials -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (["ValueError: a"], "The only trial failed: ValueError: a"),
        (["ValueError: a", "ValueError: a"], "All 2 trials failed: ValueError: a"),
        (["ValueError: a", None], "All 2 trials failed: ValueError: a; failed"),
    ],
)
def test_a_search_that_is_over_failed_if_every_trial_did_however_few(errors, message):
    conditions = Conditions(max_consecutive_failed_trials=5)
    for trial, error in enumerate(errors):
        conditions.end(trial, State.FAILED, error)
    assert conditions.error is None
    conditions.check_results()
    assert isinstance(conditions.error, RuntimeError)  # what keras-tuner raises for several
    assert str(conditions.error) == message


def test_a_search_did_not_fail_if_a_trial_has_a_value_or_none_was_tried_or_the_user_ended_it():
    conditions = Conditions(max_consecutive_failed_trials=5)
    conditions.check_results()
    conditions.end(0, State.FAILED, "ValueError: a")
    conditions.interrupt()
    conditions.check_results()
    conditions.is_interrupted = False
    conditions.end(1, State.COMPLETED, value=0.5)
    conditions.check_results()
    assert conditions.error is None


# --- The first trials -----------------------------------------------------------------------------

BROKEN = "ValueError: units may not be 1"


def test_a_search_whose_first_three_trials_fail_alike_ends():
    conditions = Conditions()
    for trial in range(3):
        assert conditions.reason is None
        conditions.end(trial, State.FAILED, BROKEN)
    assert conditions.reason == "failed"
    assert isinstance(conditions.error, AllTrialsFailedError)
    assert str(conditions.error) == f"The first 3 trials all failed: {BROKEN}"


def test_errors_of_a_graph_are_alike_whatever_data_they_met_first():
    conditions = Conditions()
    for trial in range(3):
        error = f"InvalidArgumentError: indices[{trial},0] = {12 + trial} is not in [0, 10)"
        conditions.end(trial, State.FAILED, f"{error} (in the graph at model/Gather)")
    assert str(conditions.error).startswith(
        "The first 3 trials all failed: InvalidArgumentError: indices[0,0] = 12 is not in [0, 10)"
    )


def test_errors_outside_a_graph_that_name_different_values_are_not_alike():
    conditions = Conditions()
    for trial in range(3):
        conditions.end(trial, State.FAILED, f"ValueError: units may not be {trial}")
    assert conditions.error is None


def test_a_search_of_two_trials_ends_when_both_failed_alike():
    conditions = Conditions(replace(PLAN, trials=2))
    conditions.end(0, State.FAILED, BROKEN)
    assert conditions.error is None
    conditions.end(1, State.FAILED, BROKEN)
    assert str(conditions.error) == f"The first 2 trials all failed: {BROKEN}"


def test_a_search_of_one_trial_ends_when_it_failed():
    conditions = Conditions(replace(PLAN, trials=1))
    conditions.end(0, State.FAILED, BROKEN)
    assert str(conditions.error) == f"The first 1 trials all failed: {BROKEN}"


def test_trials_that_fail_alike_after_an_epoch_do_not_end_a_search():
    conditions = Conditions()
    for trial in range(4):
        conditions.end(trial, State.FAILED, BROKEN, value=0.5)
    assert conditions.error is None


def test_a_search_without_a_number_of_trials_looks_at_the_first_three():
    conditions = Conditions(replace(PLAN, trials=None))
    for trial in range(3):
        conditions.end(trial, State.FAILED, BROKEN)
    assert conditions.error is not None


@pytest.mark.parametrize(
    ("state", "error", "value"),
    [
        (State.FAILED, "ValueError: another", None),
        (State.DIVERGED, BROKEN, None),
        (State.COMPLETED, None, 0.5),
        (State.LOST, None, None),
    ],
)
@pytest.mark.parametrize("trial", [0, 1, 2])
def test_a_search_continues_if_one_of_its_first_trials_ended_otherwise(state, error, value, trial):
    conditions = Conditions()
    for number in range(4):
        if number == trial:
            conditions.end(number, state, error, value)
        else:
            conditions.end(number, State.FAILED, BROKEN)
    assert conditions.error is None


def test_a_search_waits_for_the_first_trials_that_still_run():
    conditions = Conditions()
    conditions.start(0)
    for trial in (1, 2, 3):
        conditions.end(trial, State.FAILED, BROKEN)
    assert conditions.error is None
    conditions.end(0, State.FAILED, BROKEN)
    assert str(conditions.error) == f"The first 4 trials all failed: {BROKEN}"


def test_a_later_trial_that_still_runs_is_not_waited_for():
    conditions = Conditions()
    conditions.start(3)
    for trial in range(3):
        conditions.end(trial, State.FAILED, BROKEN)
    assert conditions.error is not None


# --- Consecutive failures -------------------------------------------------------------------------


def test_a_search_ends_at_its_limit_of_consecutive_failures():
    conditions = Conditions(max_consecutive_failed_trials=2)
    conditions.end(0, State.FAILED, "ValueError: a")
    conditions.end(1, State.COMPLETED, value=0.5)
    conditions.end(2, State.FAILED, "ValueError: b")
    assert conditions.error is None
    conditions.end(3, State.FAILED, "ValueError: c")
    assert isinstance(conditions.error, FailureLimitError)
    assert str(conditions.error) == (
        "2 consecutive trials failed (max_consecutive_failed_trials=2); the last: ValueError: c"
    )


def test_failures_are_counted_in_the_order_of_their_ends():
    """Not in that of their numbers."""
    conditions = Conditions(max_consecutive_failed_trials=2)
    for trial in range(3):
        conditions.start(trial)
    conditions.end(1, State.COMPLETED, value=0.5)
    conditions.end(2, State.FAILED, "ValueError: a")
    conditions.end(0, State.FAILED, "ValueError: b")
    assert conditions.error is not None


def test_a_trial_that_completes_between_two_failures_separates_them():
    conditions = Conditions(max_consecutive_failed_trials=2)
    for trial in range(3):
        conditions.start(trial)
    conditions.end(2, State.FAILED, "ValueError: a")
    conditions.end(1, State.COMPLETED, value=0.5)
    conditions.end(0, State.FAILED, "ValueError: b")
    assert conditions.error is None


def test_running_trials_do_not_interrupt_consecutive_failures():
    conditions = Conditions(max_consecutive_failed_trials=2)
    conditions.start(1)
    conditions.end(0, State.FAILED, "ValueError: a")
    conditions.end(2, State.FAILED, "ValueError: b")
    assert conditions.error is not None


def test_a_failure_without_an_error_is_named_by_its_ending():
    conditions = Conditions(max_consecutive_failed_trials=1)
    conditions.end(0, State.HUNG)
    assert str(conditions.error).endswith("the last: hung")


def test_with_a_limit_the_first_trials_may_all_fail_alike():
    conditions = Conditions(max_consecutive_failed_trials=9)
    for trial in range(4):
        conditions.end(trial, State.FAILED, BROKEN)
    assert conditions.error is None


@pytest.mark.parametrize(
    ("state", "value", "expected"),
    [
        (State.FAILED, 0.5, True),
        (State.OUT_OF_MEMORY, None, True),
        (State.LOST, 0.5, True),
        (State.HUNG, None, True),
        (State.DIVERGED, None, True),
        (State.DIVERGED, 0.5, False),  # its best epoch counts, as in keras-tuner
        (State.COMPLETED, 0.5, False),
        (State.COMPLETED, None, False),
        (State.EARLY_STOPPED, 0.5, False),
        (State.STOPPED, 0.5, False),
        (State.INTERRUPTED, None, False),
    ],
)
def test_a_trial_has_failed_by_an_error_or_without_a_score(state, value, expected):
    conditions = Conditions()
    conditions.end(0, state, value=value)
    assert has_failed(conditions.history.trials[0]) is expected
