"""What a session starts from: what a searcher learns of a previous run, and what fits its space."""

from dataclasses import replace

import pytest
from made_up_runs import ACCURACY, RunWriter
from made_up_searches import CHANGED_SPACE, SPACE

from results.record.columns import State
from results.record.history import History
from search.algorithms.base import Searcher
from search.errors import RunFolderError
from search.session.origin import (
    NewRun,
    ResumedRun,
    check_data,
    read_previous_run,
    teach_searcher,
    trials_outside,
    values_within,
)
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import RunFolder
from search.worker.data import UNKNOWN_DIGEST

VALUES = {"units": 9, "rate": 1e-3, "activation": "tanh"}
LARGE = VALUES | {"units": 64}
DEPTH = Parameter("depth", Kind.INT, 2, low=1, high=4, step=1)


class RecordingSearcher(Searcher):
    """A searcher that keeps the calls that it gets."""

    def __init__(self, space):
        super().__init__(space)
        self.calls = []

    def propose(self, trial):
        return None

    def adopt(self, trial, values):
        self.calls.append(("adopt", trial, values))

    def observe(self, event):
        self.calls.append(("observe", event["event"], event.get("trial")))

    def learn(self, values, score):
        self.calls.append(("learn", values, score))


@pytest.fixture
def writer(tmp_path):
    """A run of which each test records the events."""
    return RunWriter(tmp_path / "run", SPACE)


def teach(writer, space=SPACE):
    """Return the calls that a searcher of a space gets, and the notes, without the first event."""
    searcher = RecordingSearcher(space)
    notes = list(teach_searcher(searcher, read_previous_run(writer.close())))
    assert searcher.calls[0] == ("observe", "search_started", None)
    return searcher.calls[1:], notes


# --- What a searcher is taught --------------------------------------------------------------------


def test_a_searcher_adopts_each_trial_and_observes_its_events(writer):
    writer.trial(0, VALUES, [0.5], State.COMPLETED)
    calls, notes = teach(writer)
    assert calls == [
        ("adopt", 0, VALUES),
        ("observe", "trial_started", 0),
        ("observe", "epoch", 0),
        ("observe", "trial_ended", 0),
    ]
    assert notes == []


def test_a_trial_that_was_started_twice_is_adopted_once(writer):
    writer.trial(0, VALUES)
    writer.trial(0, VALUES)
    calls, _ = teach(writer)
    assert [call[0] for call in calls] == ["adopt", "observe", "observe"]


def test_an_interruption_is_not_taught_because_the_trial_continues(writer):
    writer.trial(0, VALUES, [0.5], State.INTERRUPTED)
    calls, _ = teach(writer)
    assert calls[-1] == ("observe", "epoch", 0)


def test_an_adopted_configuration_has_the_defaults_of_new_parameters(writer):
    writer.trial(0, VALUES)
    calls, _ = teach(writer, Space((*SPACE, DEPTH)))
    assert calls[0] == ("adopt", 0, VALUES | {"depth": 2})


def test_a_space_that_grew_grows_again(writer):
    writer.recorder.space_grown(Space((DEPTH,)).to_json())
    writer.trial(0, VALUES | {"depth": 3})
    calls, notes = teach(writer)
    assert ("adopt", 0, VALUES | {"depth": 3}) in calls
    assert notes == []


def test_an_earlier_trial_is_learnt_with_the_values_that_fit(writer):
    writer.recorder.earlier_trial(VALUES, 0.5, "study, trial 9")
    calls, notes = teach(writer, CHANGED_SPACE)
    assert calls == [("learn", {"units": 9, "rate": 1e-3, "dropout": 0.0}, 0.5)]
    assert notes == []


def test_an_earlier_trial_outside_the_space_is_named(writer):
    writer.recorder.earlier_trial(LARGE, 0.5, "study, trial 64")
    calls, notes = teach(writer, CHANGED_SPACE)
    assert calls == []
    assert notes == ["study, trial 64 is left out: units=64, expected 2 to 32"]


@pytest.mark.parametrize("state", [State.COMPLETED, State.EARLY_STOPPED])
def test_a_finished_trial_that_does_not_fit_is_learnt_by_the_values_that_do(writer, state):
    writer.trial(0, VALUES, [0.5, 0.7], state)
    calls, notes = teach(writer, CHANGED_SPACE)
    assert calls == [("learn", {"units": 9, "rate": 1e-3, "dropout": 0.0}, 0.7)]
    assert notes == ["learnt from trial 0 without activation"]


def test_a_finished_trial_with_a_value_outside_the_space_is_named(writer):
    writer.trial(0, LARGE, [0.5], State.COMPLETED)
    calls, notes = teach(writer, CHANGED_SPACE)
    assert calls == []
    assert notes == ["trial 0 is left out: units=64, expected 2 to 32"]


@pytest.mark.parametrize(
    ("state", "reported", "ending"),
    [
        (State.STOPPED, [0.5], "stopped by ASHA"),
        (State.FAILED, [], "failed"),
        (State.COMPLETED, [], "completed"),
        (State.INTERRUPTED, [0.5], "interrupted"),
    ],
)
def test_an_unfinished_trial_that_does_not_fit_is_left_out(writer, state, reported, ending):
    writer.trial(0, LARGE, reported, state)
    calls, notes = teach(writer, CHANGED_SPACE)
    assert calls == []
    assert notes == [
        f"trial 0 ({ending}) is left out: its configuration does not fit the space"
    ]  # fmt: skip


# --- What fits a space ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (VALUES, VALUES | {"depth": 2}),
        (VALUES | {"depth": 4}, VALUES | {"depth": 4}),
        (VALUES | {"tuner/epochs": 3}, VALUES | {"tuner/epochs": 3, "depth": 2}),
        (VALUES | {"units": 65}, None),
        (VALUES | {"width": 1}, None),
    ],
)
def test_a_configuration_fits_a_space_that_knows_all_its_values(values, expected):
    assert values_within(values, Space((*SPACE, DEPTH))) == expected


def test_entries_that_are_not_tuned_do_not_count_against_a_trial():
    """A builder may register parameters that the search does not draw."""
    history = History(ACCURACY)
    started = {"event": "trial_started", "trial": 0, "at_seconds": 0.0, "values": {"units": 9}}
    history.apply(started)
    history.apply(
        {"event": "epoch", "trial": 0, "at_seconds": 0.0, "epoch": 1, "epoch_seconds": 1.0,
         "decision": "continue", "worker": "w", "metrics": {"val_accuracy": 0.5},
         "values": {"units": 9, "rate_of_the_builder": 0.1}}
    )  # fmt: skip
    [trial] = history.unfinished()
    only_units = Space(SPACE.parameters[:1])
    assert values_within(trial.values, only_units) is None
    assert values_within(trial.proposed, only_units) == {"units": 9}


def test_only_unfinished_trials_can_be_outside_a_space(writer):
    writer.trial(0, LARGE, [0.5], State.COMPLETED)
    writer.trial(1, LARGE, [0.5], State.INTERRUPTED)
    writer.trial(2, LARGE)
    writer.trial(3, VALUES)
    previous = read_previous_run(writer.close())
    narrow = Space((replace(SPACE.parameters[0], high=32), *SPACE.parameters[1:]))
    assert trials_outside(previous, narrow) == [1, 2]


# --- The data and the clock -----------------------------------------------------------------------


def test_the_data_must_be_those_of_the_run(tmp_path):
    folder, said = RunFolder(tmp_path / "run"), []
    check_data(folder, {"data_digest": "d1"}, "d1", said.append)
    with pytest.raises(RunFolderError, match=r"\(digest d2\): expected digest d1"):
        check_data(folder, {"data_digest": "d1"}, "d2", said.append)
    assert said == []


@pytest.mark.parametrize("description", [{}, {"data_digest": ""}])
def test_a_run_without_a_digest_takes_any_data(tmp_path, description):
    said = []
    check_data(RunFolder(tmp_path), description, "d2", said.append)
    assert said == []


@pytest.mark.parametrize(
    ("recorded", "digest"),
    [("d1", UNKNOWN_DIGEST), (UNKNOWN_DIGEST, "d1"), (UNKNOWN_DIGEST, UNKNOWN_DIGEST)],
)
def test_a_run_goes_on_with_data_that_do_not_tell_their_contents(tmp_path, recorded, digest):
    said = []
    check_data(RunFolder(tmp_path / "run"), {"data_digest": recorded}, digest, said.append)
    [line] = said
    assert line.startswith("whether the data have changed is not known")
    assert str(tmp_path / "run") in line


def test_the_clock_of_a_resumed_run_is_ahead_by_the_seconds_of_search_so_far(writer):
    writer.trial(0, VALUES, [0.5], State.COMPLETED)  # an event a second, from 10
    resumed = ResumedRun(read_previous_run(writer.close()))
    assert resumed.clock(lambda: 2.0)() == 15.0
    assert NewRun(History(ACCURACY)).clock(lambda: 2.0)() == 2.0
