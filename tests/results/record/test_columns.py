"""How a trial ended, as runs of every version recorded it."""

import pytest

from results.record.columns import Ending, State


@pytest.mark.parametrize(
    ("recorded", "ending"),
    [
        (("completed",), Ending(State.COMPLETED)),
        (("stopped", "median"), Ending(State.STOPPED, "median")),
        (("stopped by ASHA",), Ending(State.STOPPED, "asha")),  # version 0.1.0
    ],
)
def test_an_ending_is_read_from_runs_of_every_version(recorded, ending):
    assert Ending.read(*recorded) == ending


def test_a_state_that_no_trial_can_have_is_refused():
    with pytest.raises(ValueError, match="'gone' is not a valid State"):
        Ending.read("gone")


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (Ending(State.OUT_OF_MEMORY), "out of memory"),
        (Ending(State.STOPPED, "asha"), "stopped by ASHA"),
        (Ending(State.STOPPED, "median"), "stopped by median"),
    ],
)
def test_an_ending_in_words_names_the_scheduler(ending, text):
    assert str(ending) == text
