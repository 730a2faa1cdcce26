"""The contract of every logger in the registry; then the clock and the choice of a logger."""

import shlex
from datetime import datetime
from types import SimpleNamespace

import pytest

from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import Journal, read
from search.loggers.base import Logger, WallClock, make_logger
from search.plan.registry import Log
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder

ACCURACY = Objective("val_accuracy", "max")
FIRST_DAY, SECOND_DAY = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


class Search:
    """A run whose events a test records: a real journal, history and logger.

    Its clock goes on by a second with each event.
    """

    def __init__(self, log, folder, *, before=()):
        self.folder = folder
        self.history = History.replay(ACCURACY, before)
        self.lines = []
        self.log = log.load()(folder, self.history, self.lines.append, previous_events=before)
        self._seconds = max((event["at_seconds"] for event in before), default=0.0)
        journal = Journal(folder.journal_file)
        self.recorder = Recorder(journal, self.history, [self.log], clock=self._tick)

    def _tick(self):
        self._seconds += 1.0
        return self._seconds

    def epochs(self, trial, *values, first=1):
        for epoch, value in enumerate(values, first):
            report = {"epoch": epoch, "epoch_seconds": 1.0, "metrics": {"val_accuracy": value}}
            self.recorder.epoch(trial, report, decision=Decision.CONTINUE, worker="w")

    def trial(self, trial, *values, state=State.COMPLETED):
        self.recorder.trial_started(trial, {"units": 8 + trial, "activation": "relu"})
        self.epochs(trial, *values)
        self.recorder.trial_ended(trial, state)

    def written(self):
        """Return what the files of the log hold, whatever their names."""
        files = [self.log.path, *self.log.path.rglob("*")]
        return sorted(file.read_bytes() for file in files if file.is_file())


@pytest.fixture(params=list(Log))
def log(request):
    return request.param


@pytest.fixture
def search(log, tmp_path):
    begun = Search(log, RunFolder.create(tmp_path / "a run"))
    begun.recorder.search_started(run={"started_at": FIRST_DAY})
    return begun


def written_from_the_journal(log, search, path):
    """Return what the log of the whole run holds, made at once in another folder."""
    events = read(search.folder.journal_file).events
    anew = Search(log, RunFolder.create(path), before=events)
    anew.log.write_all()
    assert anew.lines == []
    return anew.written()


class TestEveryLogger:
    """A logger of the registry, whatever program it writes for."""

    def test_it_is_found_by_its_name(self, log):
        assert issubclass(log.load(), Logger)

    def test_it_writes_a_search_as_it_happens(self, search):
        search.recorder.trial_started(0, {"units": 8})
        contents = []
        for epoch in (1, 2):
            search.epochs(0, epoch / 10, first=epoch)
            contents.append(search.written())
        search.recorder.trial_ended(0, State.COMPLETED)
        contents.append(search.written())
        assert contents[0] != contents[1] != contents[2]
        assert search.lines == []

    def test_what_it_writes_follows_from_the_journal(self, log, search, tmp_path):
        search.trial(0, 0.1, 0.2)
        search.trial(1, 0.3, state=State.STOPPED)
        search.trial(2, state=State.FAILED)
        search.recorder.trial_started(3, {"units": 9})
        search.epochs(3, 0.1, 0.2, 0.3)
        search.recorder.worker_lost(3, "killed", by_trial=True)
        search.recorder.trial_restarted(3)
        search.epochs(3, 0.35, first=3)  # from a checkpoint, so once more
        search.recorder.search_ended("trials done")
        assert search.written() == written_from_the_journal(log, search, tmp_path / "anew")

    def test_it_writes_nothing_twice_of_a_resumed_run(self, log, search, tmp_path):
        search.trial(0, 0.1, 0.2)
        search.recorder.trial_started(1, {"units": 9})
        search.epochs(1, 0.1, 0.2)
        before = read(search.folder.journal_file).events
        resumed = Search(log, search.folder, before=before)
        run = {"started_at": FIRST_DAY, "resumed": [{"started_at": SECOND_DAY}]}
        resumed.recorder.search_resumed(run=run)
        resumed.recorder.trial_restarted(1)
        resumed.epochs(1, 0.25, 0.3, first=2)
        resumed.recorder.trial_ended(1, State.COMPLETED)
        resumed.trial(2, 0.5)
        resumed.recorder.search_ended("trials done")
        assert resumed.lines == []
        assert resumed.written() == written_from_the_journal(log, search, tmp_path / "anew")

    def test_it_writes_the_whole_run_when_a_run_without_a_log_is_resumed(
        self, log, search, tmp_path
    ):
        search.trial(0, 0.1, 0.2)
        events = read(search.folder.journal_file).events
        other = Search(log, RunFolder.create(tmp_path / "without a log"), before=events)
        assert other.written() == []
        other.recorder.search_resumed(run={"started_at": FIRST_DAY})
        assert other.written() == search.written()

    def test_it_reports_once_that_it_cannot_write_and_ends_nothing(self, search):
        search.log.path.symlink_to(search.folder.path / "nowhere" / "at all")
        search.trial(0, 0.1, 0.2)
        search.trial(1, 0.3)
        search.log.write_all()
        [line] = search.lines
        assert "cannot be written" in line
        assert "\n" not in line
        assert len(read(search.folder.journal_file).events) == 8
        search.log.path.unlink()
        search.trial(2, 0.5)
        assert search.written()

    def test_an_error_of_any_kind_ends_nothing(self, log, search):
        class Failing(log.load()):
            def _write(self, event):
                raise ValueError(f"no {event['event']}")

        failing = Failing(search.folder, search.history, search.lines.append)
        for _ in range(2):
            failing({"event": "epoch", "trial": 0})
        [line] = search.lines
        assert "(ValueError: no epoch)" in line

    def test_it_ignores_events_of_unknown_kinds(self, search):
        search.trial(0, 0.1)
        before = search.written()
        search.log({"event": "of_a_newer_version", "trial": 0, "at_seconds": 9.0})
        search.log({"event": "of_a_newer_version", "at_seconds": 9.0})
        assert search.lines == []
        assert search.written() == before

    def test_it_writes_only_where_its_command_leads(self, search, monkeypatch):
        before = set(search.folder.path.iterdir())
        search.trial(0, 0.1)
        assert set(search.folder.path.iterdir()) - before == {search.log.path}
        monkeypatch.chdir(search.folder.path.parent)
        assert f"{search.folder.path.name}/{search.log.path.name}" in shlex.split(
            search.log.command
        )


# --- The time of day ------------------------------------------------------------------------------


def seconds_of(day):
    return datetime.fromisoformat(day).timestamp()


@pytest.fixture
def clock():
    """The clock of a run of two sessions: the second began at second 100 of the journal."""
    clock = WallClock()
    run = {"started_at": FIRST_DAY}
    clock.observe({"event": "search_started", "at_seconds": 10.0, "run": run})
    clock.observe({"event": "trial_started", "at_seconds": 11.0, "trial": 0})
    resumed = run | {"resumed": [{"started_at": SECOND_DAY}]}
    clock.observe({"event": "search_resumed", "at_seconds": 100.0, "run": resumed})
    return clock


@pytest.mark.parametrize(
    ("seconds", "day", "after"),
    [
        (9.0, FIRST_DAY, -1.0),
        (10.0, FIRST_DAY, 0.0),
        (99.5, FIRST_DAY, 89.5),
        (100.0, SECOND_DAY, 0.0),
        (130.0, SECOND_DAY, 30.0),
    ],
)
def test_a_second_of_the_journal_has_the_time_of_day_of_its_session(clock, seconds, day, after):
    assert clock.seconds_since_1970(seconds) == seconds_of(day) + after


def test_a_journal_that_lost_its_start_has_no_time_of_day():
    assert WallClock().seconds_since_1970(12.5) == 12.5


# --- The logger of a plan -------------------------------------------------------------------------


def test_a_plan_without_a_log_has_no_logger(tmp_path):
    lines = []
    plan = SimpleNamespace(log=None)
    folder = RunFolder.create(tmp_path / "run")
    history = History(ACCURACY)
    assert make_logger(plan, folder, history, lines.append, previous_events=()) is None
    assert lines == []


def test_the_logger_of_a_plan_says_its_command_and_knows_the_events_before(log, tmp_path):
    lines = []
    run = {"started_at": FIRST_DAY}
    before = [{"event": "search_started", "at_seconds": 10.0, "run": run}]
    plan = SimpleNamespace(log=log)
    folder = RunFolder.create(tmp_path / "run")
    history = History(ACCURACY)
    logger = make_logger(plan, folder, history, lines.append, previous_events=before)
    assert type(logger) is log.load()
    assert (logger.folder, logger.history) == (folder, history)
    assert lines == [f"log: {logger.command}"]
    assert logger.wall_clock.seconds_since_1970(10.0) == seconds_of(FIRST_DAY)
