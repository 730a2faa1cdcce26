"""The fold of a journal's events: what is best, what counts, what may go on."""

import pytest

from results.record.columns import Device, State
from results.record.history import History, Objective

MAX, MIN = Objective("x", "max"), Objective("x", "min")


class Events:
    """Events folded one after the other, a second apart."""

    def __init__(self, objective=MAX):
        self.history = History(objective)
        self.seconds = 0.0

    def tell(self, kind, trial, **fields):
        self.seconds += 1.0
        self.history.apply({"event": kind, "trial": trial, "at_seconds": self.seconds, **fields})

    def start(self, *trials):
        for trial in trials:
            self.tell("trial_started", trial, values={"units": trial}, epochs=5)

    def epoch(self, trial, epoch, value, decision="continue", **fields):
        self.tell(
            "epoch", trial, epoch=epoch, epoch_seconds=0.5, decision=decision, worker="host:1",
            metrics={"x": value, "loss": 1.0}, **fields,
        )  # fmt: skip

    @property
    def best(self):
        """Trial, epoch and value of the best; None while there is none."""
        best = self.history.best
        return best and (best.trial, best.epoch, best.objective)

    def reported(self, trial):
        epochs = self.history.trials[trial].epochs
        return [(one.epoch, one.objective, one.attempt) for one in epochs]


@pytest.mark.parametrize(("objective", "best"), [(MAX, (1, 1, 0.9)), (MIN, (0, 2, 0.1))])
def test_the_best_is_over_all_epochs_of_all_trials_in_the_objectives_direction(objective, best):
    events = Events(objective)
    events.start(0, 1)
    for trial, epoch, value in [(0, 1, 0.5), (1, 1, 0.9), (0, 2, 0.1), (1, 2, 0.4)]:
        events.epoch(trial, epoch, value)
    assert events.best == best
    assert events.history.ranked()[0].trial == best[0]


@pytest.mark.parametrize("objective", [MAX, MIN])
def test_of_equals_the_first_to_reach_it_is_the_best(objective):
    events = Events(objective)
    events.start(0, 1, 2)
    for trial in (2, 0, 1):
        events.epoch(trial, 1, 0.5)
        events.epoch(trial, 2, 0.5)
    assert events.best == (2, 1, 0.5)
    assert [trial.trial for trial in events.history.ranked()] == [2, 0, 1]
    assert [trial.trial for trial in events.history.ranked(numbers=[1, 0])] == [0, 1]
    assert [trial.trial for trial in events.history.ranked(limit=2)] == [2, 0]


def test_a_value_that_is_no_finite_number_is_never_the_best():
    events = Events(MIN)
    events.start(0, 1)
    for epoch, value in enumerate([None, 0.5, None], start=1):
        events.epoch(0, epoch, value)
    events.epoch(1, 1, None)
    assert events.best == (0, 2, 0.5)
    assert [trial.trial for trial in events.history.ranked()] == [0]
    assert not MIN.is_better(float("nan"), None)


def test_what_a_lost_process_had_reported_is_replaced_by_what_is_trained_again():
    events = Events()
    events.start(0, 1)
    events.epoch(1, 1, 0.7)
    for epoch, value in [(1, 0.5), (2, 0.6), (3, 0.9)]:
        events.epoch(0, epoch, value)
    events.tell("worker_lost", 0, error="killed", by_trial=True)
    events.tell("trial_restarted", 0)
    assert events.best == (0, 3, 0.9)  # it was really reported
    events.epoch(0, 3, 0.4)
    assert events.reported(0) == [(1, 0.5, 1), (2, 0.6, 1), (3, 0.4, 2)]
    assert events.best == (1, 1, 0.7)
    assert events.history.trials[0].best_value == 0.6


def test_a_process_that_ends_counts_until_its_trial_comes_further_than_ever():
    events = Events()
    events.start(0)
    events.epoch(0, 1, 0.5)
    deaths = []
    for epoch, by_trial in [(None, True), (1, False), (1, True), (2, False)]:
        if epoch:
            events.epoch(0, epoch, 0.5)
        events.tell("worker_lost", 0, error="killed", by_trial=by_trial)
        events.tell("trial_restarted", 0)
        deaths.append(events.history.trials[0].deaths)
    assert deaths == [1, 1, 2, 0]


def test_a_trial_that_failed_begins_again_with_what_was_proposed_and_counts_anew():
    events = Events()
    events.start(0)
    events.tell("trial_placed", 0, device="gpu", multiply_adds=7)
    events.epoch(0, 1, 0.9, values={"units": 0, "used": 1})
    events.tell("trial_retried", 0, error="ValueError: no")
    trial = events.history.trials[0]
    assert (trial.values, trial.proposed, trial.planned_epochs) == ({"units": 0}, {"units": 0}, 5)
    assert (trial.retries, trial.attempt, trial.epochs, trial.state) == (1, 2, [], State.RUNNING)
    assert (trial.device, trial.multiply_adds) == (Device.GPU, 7)
    assert events.best is None
    events.epoch(0, 1, 0.6)
    assert events.best == (0, 1, 0.6)
    assert events.history.epochs_trained == 2


def test_a_score_that_the_trial_computed_itself_counts_in_the_place_of_its_epochs():
    events = Events()
    events.start(0, 1)
    events.epoch(0, 1, 0.9)
    events.epoch(0, 1, 0.1, execution=1)  # counts in the score alone
    events.epoch(1, 1, 0.6)
    events.tell("trial_ended", 0, state="completed", score=0.5, best_step=0, metrics={"x": 0.5})
    assert events.best == (1, 1, 0.6)
    events.tell("trial_ended", 1, state="failed", score=None, error="no finite number")
    assert events.history.trials[1].best is None
    assert events.best == (0, 1, 0.5)


def test_a_repeated_training_changes_neither_the_best_nor_what_the_scheduler_judged():
    events = Events()
    events.start(0)
    events.epoch(0, 1, 0.5)
    events.epoch(0, 1, 0.9, execution=1)
    events.epoch(0, 2, None)
    assert events.best == (0, 1, 0.5)
    assert [(one.execution, one.epoch) for one in events.history.judged_epochs] == [(0, 1)]


def test_how_trials_ended_and_which_of_them_may_go_on():
    events = Events()
    events.start(0, 1, 2, 3)
    events.epoch(0, 1, 0.5, decision="stop")
    events.tell("trial_ended", 0, state="stopped", scheduler="asha")
    events.tell("trial_ended", 1, state="interrupted")
    events.tell("trial_ended", 2, state="interrupted", error="not of the space any more")
    trials = events.history.trials
    assert trials[0].was_told_to_stop
    assert [str(trial.ending) for trial in trials.values()] == [
        "stopped by ASHA", "interrupted", "interrupted", "running",
    ]  # fmt: skip
    assert [trial.trial for trial in events.history.unfinished()] == [1, 3]
    assert [trial.trial for trial in events.history.running()] == [3]
    assert events.history.count(State.INTERRUPTED) == 2
    events.tell("trial_restarted", 0)
    assert str(trials[0].ending) == "running"


def test_events_of_a_trial_whose_start_was_lost_are_passed_over():
    events = Events()
    events.start(0, 2)
    events.epoch(1, 1, 0.9)
    events.tell("trial_ended", 1, state="completed")
    assert list(events.history.trials) == [0, 2]
    assert events.history.epochs_trained == 0
    assert events.history.next_trial == 1  # it is trained again
