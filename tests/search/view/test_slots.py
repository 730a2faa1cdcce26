"""Which process trains which trial, as the events of a search tell it."""

import pytest

from results.record.columns import State
from search.view.slots import Slot, Slots


class Observed:
    """Slots, and the events that they observe."""

    def __init__(self, **options):
        self.slots = Slots(**({"reuse_workers": True} | options))

    def __getattr__(self, kind):
        def observe(trial, **fields):
            self.slots.observe({"event": kind, "trial": trial, "at_seconds": 1.0, **fields})

        return observe

    def train(self, trial, worker):
        """Start a trial, and let it report its first epoch."""
        self.trial_started(trial)
        self.epoch(trial, worker=worker)

    def workers_and_trials(self):
        return [(slot.worker, slot.trial) for slot in self.slots]


@pytest.fixture
def search():
    return Observed()


def test_a_trial_that_starts_has_a_slot_without_a_process(search):
    search.trial_started(0)
    assert list(search.slots) == [Slot(trial=0)]


def test_a_first_report_names_the_process_and_when_it_was_heard(search):
    search.trial_started(0)
    search.epoch(0, worker="vm:11", at_seconds=4.0)
    assert list(search.slots) == [Slot("vm:11", trial=0, heard_seconds=4.0)]


def test_a_retry_counts_as_a_report_of_the_same_process(search):
    search.train(0, "vm:11")
    search.trial_retried(0, at_seconds=9.0)
    assert list(search.slots) == [Slot("vm:11", trial=0, heard_seconds=9.0)]


def test_a_process_is_idle_after_its_trial_and_has_done_one_more(search):
    search.train(0, "vm:11")
    search.trial_ended(0, state="completed")
    [slot] = search.slots
    assert (slot.worker, slot.trial, slot.done) == ("vm:11", None, 1)


def test_the_next_trial_gets_the_slot_that_was_free_longest(search):
    for trial in range(3):
        search.train(trial, f"vm:{trial}")
    for trial in (1, 0):
        search.trial_ended(trial, state="completed")
    search.trial_started(3)
    assert search.workers_and_trials() == [("vm:0", None), ("vm:1", 3), ("vm:2", 2)]
    search.trial_started(4)
    assert search.workers_and_trials() == [("vm:0", 4), ("vm:1", 3), ("vm:2", 2)]


def test_a_trial_that_starts_is_not_heard_of_yet(search):
    search.train(0, "vm:11")
    search.trial_ended(0, state="completed")
    search.trial_started(1)
    assert list(search.slots) == [Slot("vm:11", trial=1, heard_seconds=None, done=1)]


def test_a_report_from_another_process_swaps_the_processes_of_two_slots(search):
    for trial in (0, 1):
        search.train(trial, f"vm:{trial}")
    search.trial_ended(0, state="completed")
    search.train(2, "vm:0")
    search.trial_ended(2, state="completed")
    search.trial_ended(1, state="completed")
    for trial in (3, 4):
        search.trial_started(trial)
    assert [(slot.worker, slot.done, slot.trial) for slot in search.slots] == [
        ("vm:0", 2, 3),
        ("vm:1", 1, 4),
    ]
    search.epoch(3, worker="vm:1")
    assert [(slot.worker, slot.done, slot.trial) for slot in search.slots] == [
        ("vm:1", 1, 3),
        ("vm:0", 2, 4),
    ]


def test_a_report_from_a_new_process_replaces_that_of_the_slot(search):
    search.train(0, "vm:11")
    search.epoch(0, worker="vm:99")
    assert search.workers_and_trials() == [("vm:99", 0)]


def test_a_lost_process_stays_in_its_slot_until_its_trial_starts_again(search):
    search.train(0, "vm:11")
    search.trial_ended(0, state="completed")
    search.train(1, "vm:11")
    search.worker_lost(1)
    assert list(search.slots) == [
        Slot("vm:11", trial=1, heard_seconds=1.0, is_lost=True, done=1),
    ]
    search.trial_restarted(1)
    assert list(search.slots) == [Slot("", trial=1)]
    search.epoch(1, worker="vm:99", at_seconds=3.0)
    assert list(search.slots) == [Slot("vm:99", trial=1, heard_seconds=3.0)]


@pytest.mark.parametrize(
    ("state", "keeps_process"),
    [
        (State.COMPLETED, True),
        (State.STOPPED, True),
        (State.FAILED, True),
        (State.DIVERGED, True),
        (State.LOST, False),
        (State.OUT_OF_MEMORY, False),
        (State.HUNG, False),
    ],
)
def test_a_process_that_its_trial_takes_with_it_is_not_idle(search, state, keeps_process):
    search.train(0, "vm:11")
    search.trial_ended(0, state=state)
    assert search.workers_and_trials() == ([("vm:11", None)] if keeps_process else [])


def test_a_trial_that_ends_after_the_loss_of_its_process_leaves_an_empty_slot(search):
    search.train(0, "vm:11")
    search.worker_lost(0)
    search.trial_ended(0, state="interrupted")
    assert list(search.slots) == []
    search.trial_started(1)
    assert list(search.slots) == [Slot("", trial=1)]


def test_a_process_for_each_trial_is_never_idle():
    search = Observed(reuse_workers=False)
    search.train(0, "vm:11")
    search.trial_ended(0, state="completed")
    assert list(search.slots) == []
    search.train(1, "vm:12")
    assert list(search.slots) == [Slot("vm:12", trial=1, heard_seconds=1.0)]


@pytest.mark.parametrize("kind", ["epoch", "trial_retried", "worker_lost", "trial_ended"])
def test_an_event_of_a_trial_without_a_slot_is_ignored(search, kind):
    search.train(0, "vm:11")
    getattr(search, kind)(7, state="completed", worker="vm:77")
    assert list(search.slots) == [Slot("vm:11", trial=0, heard_seconds=1.0)]


def test_an_event_of_the_search_is_ignored(search):
    search.slots.observe({"event": "search_started", "at_seconds": 0.0})
    assert list(search.slots) == []
