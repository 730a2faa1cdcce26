"""The clocks of a search, on a clock of the machine that a test sets."""

import time

import psutil
import pytest

from search.storage import clock
from search.storage.clock import (
    offset_clock,
    process_start,
    seconds_since_process_start,
    start_clock,
    uncounted,
)


@pytest.fixture
def at(monkeypatch):
    """Set the clock of the machine, which the module takes from the standard library."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: seconds)


def process_start_by_psutil():
    return time.monotonic() - (time.time() - psutil.Process().create_time())


def test_the_start_of_this_process_is_that_of_the_system():
    # psutil rounds the boot time of the machine to a second.
    assert process_start() == pytest.approx(process_start_by_psutil(), abs=1.1)


def test_a_system_without_proc_takes_the_start_from_psutil(monkeypatch):
    monkeypatch.delattr(time, "clock_gettime")
    assert process_start() == pytest.approx(process_start_by_psutil(), abs=0.5)


def test_the_seconds_of_a_process_count_from_its_start(at):
    start = process_start()
    at(start + 1000.0)
    # The start is exact to 0.01 s.
    assert seconds_since_process_start() == pytest.approx(1000.0, abs=0.1)


def test_a_clock_starts_at_zero_and_follows_the_machine(at):
    at(50.0)
    clock = start_clock()
    assert clock() == 0.0
    at(57.5)
    assert clock() == 7.5


def test_the_clock_of_a_resumed_search_is_ahead_by_its_earlier_seconds():
    assert offset_clock(lambda: 5.0, 100.0)() == 105.0


def test_setting_back_the_time_of_the_machine_sets_no_clock_back(monkeypatch):
    clock = offset_clock(seconds_since_process_start, 100.0)
    first = clock()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 100.0 < first <= clock()


def test_a_wait_for_others_does_not_count_as_time_of_the_process(at, monkeypatch):
    monkeypatch.setattr(clock, "_STARTED", 100.0)
    at(110.0)
    with uncounted():
        at(150.0)
    at(152.0)
    assert seconds_since_process_start() == 12.0
