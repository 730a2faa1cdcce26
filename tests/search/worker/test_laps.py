"""The seconds of each activity of a worker, on a clock of the test."""

import pytest

from search.worker.laps import BUILD, RESET, START, TRAIN, Laps


@pytest.fixture
def laps(clock):
    """The laps of a process that started ten seconds ago."""
    return Laps(clock, start=90.0)


def test_the_first_lap_counts_from_the_start_of_the_process(laps):
    laps.lap(START)
    assert laps.take() == {START: 10.0}


def test_a_lap_counts_from_the_one_before(laps, clock):
    laps.lap(START)
    clock.now += 2.0
    laps.lap(RESET)
    clock.now += 0.5
    laps.lap(BUILD)
    assert laps.take() == {START: 10.0, RESET: 2.0, BUILD: 0.5}


def test_laps_of_one_activity_are_added(laps, clock):
    laps.lap(TRAIN)
    clock.now += 2.0
    laps.lap(BUILD)
    clock.now += 3.0
    laps.lap(TRAIN)
    assert laps.take() == {TRAIN: 13.0, BUILD: 2.0}


def test_laps_are_taken_once_and_the_time_goes_on(laps, clock):
    laps.lap(START)
    clock.now += 2.0
    laps.take()
    assert laps.take() == {}
    clock.now += 1.0
    laps.lap(TRAIN)
    assert laps.take() == {TRAIN: 3.0}


def test_seconds_have_four_decimals(laps, clock):
    clock.now = 90.123456
    laps.lap(START)
    assert laps.take() == {START: 0.1235}


def test_the_laps_of_this_process_begin_with_it(monkeypatch):
    monkeypatch.setattr("search.worker.laps.process_start", lambda: 40.0)
    laps = Laps(lambda: 100.0)
    laps.lap(START)
    assert laps.take() == {START: 60.0}
