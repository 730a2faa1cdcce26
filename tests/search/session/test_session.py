"""A session: what it writes when it opens, while it runs and when it closes. No Ray, no Keras."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_up_runs import ACCURACY, make_plan
from rich.console import Console

from results.record.columns import Decision, State
from results.record.history import History
from results.record.journal import read
from search.errors import RunFolderError, SearchError
from search.session.origin import NewRun, ResumedRun, read_previous_run
from search.session.session import DeferredSession, run_trials
from search.session.stopping import Stopping
from search.session.warm_start import EarlierSearch, EarlierTrial
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import RunFolder, locked_run, new_run
from search.view.view import View

SPACE = Space(
    (
        Parameter("units", Kind.INT, 8, low=2, high=64),
        Parameter("rate", Kind.FLOAT, 0.01, low=0.001, high=0.1, sampling="log"),
    )
)


class Sessions:
    """Opens sessions on one run folder, one after the other."""

    def __init__(self, out):
        self.folder = RunFolder(out)
        self.screen = io.StringIO()
        self.now = 10.0
        self._stack = contextlib.ExitStack()
        self.plan = make_plan(out, algorithm="random", epochs=3, trials=5)

    @property
    def notes(self):
        return self.screen.getvalue().splitlines()

    @property
    def events(self):
        return read(self.folder.journal_file).events

    @property
    def run_json(self):
        return json.loads(self.folder.run_file.read_text())

    def deferred(self, run, origin, **changes):
        view = View(Console(file=self.screen, width=200))
        clock = origin.clock(lambda: self.now)
        deferred = DeferredSession(plan=self.plan, run=run, origin=origin, view=view, clock=clock)
        return replace(deferred, **{"data_digest": lambda: "d1", **changes})

    def new(self, earlier=None, **changes):
        run = self._stack.enter_context(new_run(self.folder.path, print))
        return self.deferred(run, NewRun(History(ACCURACY), earlier), **changes)

    def start(self, **changes):
        return self.new(**changes).open(SPACE)

    def resume(self, space=SPACE, **changes):
        run = self._stack.enter_context(locked_run(self.folder, print))
        origin = ResumedRun(read_previous_run(self.folder.path))
        return self.deferred(run, origin, **changes).open(space)

    def kill(self, session):
        """Leave the run as a killed process does: nothing but its files is closed."""
        session.journal.close()
        self.release()

    def release(self):
        self._stack.close()


@pytest.fixture
def sessions(tmp_path):
    made = Sessions(tmp_path / "run")
    yield made
    made.release()


def train(session, *values, decision=Decision.CONTINUE, state=None):
    """Begin the next trial, report its epochs and, where a state is given, end it."""
    number = session.recorder.history.next_trial
    session.recorder.trial_started(number, {"units": 4 + number, "rate": 0.01}, epochs=3)
    for epoch, value in enumerate(values, 1):
        report = {"epoch": epoch, "epoch_seconds": 1.0, "metrics": {"val_accuracy": value}}
        is_last = epoch == len(values)
        session.recorder.epoch(
            number, report, decision=decision if is_last else Decision.CONTINUE, worker="w"
        )
    if state is not None:
        session.recorder.trial_ended(number, state)
    return number


def states(session):
    return [trial.state for trial in session.recorder.history.trials.values()]


# --- Opening ----------------------------------------------------------------------------------


def test_run_json_is_written_before_the_first_event_which_repeats_it(sessions):
    written = []
    sessions.start(listeners=(lambda event: written.append((event, sessions.run_json)),))
    [(event, run_json)] = written
    assert event["event"] == "search_started"
    [recorded] = sessions.events
    assert (recorded["event"], recorded["at_seconds"]) == ("search_started", 10.0)
    assert recorded["run"] == run_json
    assert run_json["data_digest"] == "d1"
    assert run_json["plan"]["problem"]["seed"] == 3
    assert Space.from_json(run_json["space"]) == SPACE
    assert sessions.notes == ["space small: units, rate"]


def test_nothing_is_written_before_the_space_is_known(sessions):
    deferred = sessions.new()
    assert deferred.session is None
    assert deferred.history.trials == {}
    assert not sessions.folder.run_file.exists()
    assert not sessions.folder.journal_file.exists()
    session = deferred.open(SPACE)
    assert deferred.open(SPACE) is deferred.session is session
    assert [event["event"] for event in sessions.events] == ["search_started"]


def test_a_listener_gets_an_event_before_the_view_shows_it(sessions):
    shown = []
    session = sessions.start(
        listeners=(lambda event: shown.append((event["event"], len(sessions.notes))),)
    )
    train(session, 0.5, state=State.COMPLETED)
    assert shown == [("search_started", 1), ("trial_started", 1), ("epoch", 1), ("trial_ended", 2)]
    assert len(sessions.notes) == 3
    assert "trial 0 completed after 1 epoch" in sessions.notes[2]


def test_an_earlier_search_is_recorded_as_far_as_it_fits(sessions):
    trials = (
        EarlierTrial("7", {"units": 9, "rate": 0.05}, 0.8),
        EarlierTrial("8", {"units": 99, "rate": 0.05}, 0.9),
    )
    sessions.start(earlier=EarlierSearch("old", "optuna", trials, ("trial 9 (failed)",)))
    [event] = [event for event in sessions.events if event["event"] == "earlier_trial"]
    assert (event["values"], event["score"]) == ({"units": 9, "rate": 0.05}, 0.8)
    assert event["source"] == "old, trial 7"
    assert sessions.notes[1:] == [
        "old: left out: trial 9 (failed)",
        "old, trial 8 is left out: units=99, expected 2 to 64",
        "old (optuna): learnt from 1 finished trials",
    ]


def test_a_resumed_run_does_not_record_its_earlier_search_again(sessions):
    trials = (EarlierTrial("7", {"units": 9, "rate": 0.05}, 0.8),)
    session = sessions.start(earlier=EarlierSearch("old", "optuna", trials, ()))
    session.close("interrupted")
    sessions.release()
    sessions.resume()
    assert [event["event"] for event in sessions.events].count("earlier_trial") == 1


# --- Closing ---------------------------------------------------------------------------------


def test_closing_writes_the_tables_and_the_best(sessions):
    session = sessions.start()
    train(session, 0.5, 0.8, 0.7, state=State.COMPLETED)
    train(session, 0.6, state=State.FAILED)
    session.close("trials done")
    last = sessions.events[-1]
    assert (last["event"], last["reason"]) == ("search_ended", "trials done")
    assert pq.read_table(sessions.folder.trials_file).column("trial").to_pylist() == [0, 1]
    assert pq.read_table(sessions.folder.epochs_file).num_rows == 4
    best = json.loads((sessions.folder.path / "best.json").read_text())
    assert (best["trial"], best["epoch"], best["value"]) == (0, 2, 0.8)
    assert best["values"] == {"units": 4, "rate": 0.01}


def test_closing_closes_the_journal(sessions):
    def is_open():
        files = [file.resolve() for file in Path("/proc/self/fd").iterdir()]
        return sessions.folder.journal_file in files

    session = sessions.start()
    assert is_open()
    session.close("trials done")
    assert not is_open()


def test_a_search_without_a_value_closes_without_a_best(sessions):
    session = sessions.start()
    train(session, state=State.FAILED)
    session.close("failed")
    assert not (sessions.folder.path / "best.json").exists()
    assert sessions.folder.trials_file.exists()


def test_a_trial_that_runs_at_the_end_is_interrupted_and_keeps_its_state(sessions):
    session = sessions.start()
    ended, running = train(session, 0.5, state=State.COMPLETED), train(session, 0.6)
    for trial in (ended, running):  # a process that was cut off has written once more
        session.folder.state_file(trial).write_bytes(b"state")
    session.close("interrupted")
    assert states(session) == [State.COMPLETED, State.INTERRUPTED]
    assert not session.folder.state_file(ended).exists()
    assert session.folder.state_file(running).exists()
    assert [trial.trial for trial in session.recorder.history.unfinished()] == [running]


# --- Resuming -------------------------------------------------------------------------------


def test_a_resumed_run_keeps_its_origin_and_takes_the_new_plan(sessions):
    sessions.start().close("interrupted")
    sessions.release()
    before = sessions.run_json
    sessions.plan = replace(sessions.plan, trials=9)
    sessions.now = 2.0
    session = sessions.resume()
    after = sessions.run_json
    assert after["plan"] == before["plan"] | {"trials": 9}
    kept = ("version", "started_at", "command", "versions", "machine", "data_digest")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    [resumed] = after["resumed"]
    assert set(resumed) == {"started_at", "command", "versions", "machine"}
    last = sessions.events[-1]
    assert (last["event"], last["run"]) == ("search_resumed", after)
    assert last["at_seconds"] == 12.0  # the clock runs on from where the run was left
    session.close("interrupted")
    sessions.release()
    sessions.resume()
    assert len(sessions.run_json["resumed"]) == 2


def test_other_data_are_refused_and_nothing_is_changed(sessions):
    sessions.start().close("interrupted")
    sessions.release()
    before = (sessions.folder.run_file.read_bytes(), sessions.folder.journal_file.read_bytes())
    with pytest.raises(
        RunFolderError,
        match=r"the data have changed .* \(digest d2\): expected digest d1.*--warm-start",
    ):
        sessions.resume(data_digest=lambda: "d2")
    assert before == (
        sessions.folder.run_file.read_bytes(),
        sessions.folder.journal_file.read_bytes(),
    )


@pytest.fixture
def killed(sessions):
    """A run that was killed with a completed trial, a running one, and one that must stop."""
    session = sessions.start()
    train(session, 0.5, state=State.COMPLETED)
    train(session, 0.6, 0.7)
    train(session, 0.1, decision=Decision.STOP)
    sessions.kill(session)
    return sessions


def test_a_killed_run_has_no_tables_until_it_is_closed(killed):
    assert not killed.folder.trials_file.exists()
    assert not (killed.folder.path / "best.json").exists()
    killed.resume().close("interrupted")
    assert killed.folder.trials_file.exists()
    assert json.loads((killed.folder.path / "best.json").read_text())["trial"] == 1


def test_a_recorded_decision_stands_when_a_run_is_resumed(killed):
    """It was killed between the decision and the end that follows from it."""
    session = killed.resume()
    assert states(session) == [State.COMPLETED, State.RUNNING, State.STOPPED]
    assert session.recorder.history.next_trial == 3


def test_only_the_trial_that_ran_continues(killed):
    session = killed.resume()
    assert [trial.trial for trial in session.recorder.history.unfinished()] == [1]
    note = "resumed; ended trials: 2; continuing: trial 1 (after epoch 2)"
    assert note in killed.notes


def test_half_written_files_are_removed_when_a_run_is_resumed(killed):
    torn = killed.folder.checkpoints / f".123-{killed.folder.prefix(1)}state.npz"
    torn.write_bytes(b"half of it")
    killed.resume()
    assert not torn.exists()


def test_a_new_trial_gets_nothing_of_one_whose_record_was_lost(killed):
    session = killed.resume()
    state = session.folder.state_file(3)
    state.write_bytes(b"of another trial")
    session.folder.best_weights_file(3).write_bytes(b"likewise")
    session.recorder.trial_started(3, {"units": 3})
    assert not state.exists()
    assert not session.folder.best_weights_file(3).exists()


def test_a_trial_that_no_longer_fits_the_space_is_interrupted_for_good(sessions):
    session = sessions.start()
    train(session, 0.5)
    sessions.kill(session)
    units, rate = SPACE.parameters
    again = sessions.resume(Space((replace(units, low=8), rate)))
    [trial] = again.recorder.history.trials.values()
    assert trial.state is State.INTERRUPTED
    assert trial.error == "its configuration no longer fits the search space"
    assert again.recorder.history.unfinished() == []
    assert (
        "trial 0 (running) is left out: its configuration does not fit the space" in sessions.notes
    )


def test_a_resumed_searcher_proposes_nothing_twice(sessions):
    session = sessions.start()
    first = session.searcher.propose(0)
    session.recorder.trial_started(0, first, epochs=3)
    second = session.searcher.propose(1)
    sessions.kill(session)
    again = sessions.resume()
    assert first == SPACE.defaults()
    assert again.searcher.propose(1) == second


# --- Running trials -------------------------------------------------------------------------------


class EngineOf:
    """An engine that opens the session and then does what a test wants."""

    def __init__(self, search):
        self._search = search

    def search(self, deferred, stopping):
        self._search(deferred, stopping)


def run_with(sessions, search):
    """Run an engine's search, and return the reason of its end."""
    deferred = sessions.new()
    stopping = Stopping(sessions.plan, deferred.history, lambda: 0.0)
    return run_trials(EngineOf(search), deferred, stopping)


def test_a_search_whose_trials_are_done_is_closed(sessions):
    assert run_with(sessions, lambda deferred, stopping: deferred.open(SPACE)) == "trials done"
    assert sessions.events[-1]["reason"] == "trials done"
    assert sessions.folder.trials_file.exists()


def test_a_search_that_a_condition_ends_is_closed_with_its_reason(sessions):
    def search(deferred, stopping):
        deferred.open(SPACE)
        stopping.fail(SearchError("no trial can succeed"))

    assert run_with(sessions, search) == "failed"
    assert sessions.events[-1]["reason"] == "failed"


def test_ctrl_c_closes_the_session_as_interrupted(sessions):
    def search(deferred, stopping):
        deferred.open(SPACE)
        raise KeyboardInterrupt

    assert run_with(sessions, search) == "interrupted"
    assert sessions.events[-1]["reason"] == "interrupted"


def test_ctrl_c_before_the_space_is_known_ends_the_command(sessions):
    def search(deferred, stopping):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_with(sessions, search)
    assert not sessions.folder.journal_file.exists()


def test_an_error_of_the_engine_closes_the_session_as_failed(sessions):
    def search(deferred, stopping):
        train(deferred.open(SPACE), 0.5)
        raise RuntimeError("the engine broke")

    with pytest.raises(RuntimeError, match="the engine broke"):
        run_with(sessions, search)
    assert sessions.events[-1]["reason"] == "failed"
    assert pq.read_table(sessions.folder.trials_file).column("state").to_pylist() == ["interrupted"]
