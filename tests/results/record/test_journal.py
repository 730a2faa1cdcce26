"""The journal: whole lines, synced in time, read without what is damaged, in all its versions."""

import json
import os
import resource
import zlib
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.record import journal
from results.record.columns import Decision, State
from results.record.errors import RunFolderError
from results.record.history import History, Objective
from results.record.journal import Journal
from search.storage.recorder import Recorder

EPOCH = {"event": "epoch", "trial": 0}
STARTED = {"event": "trial_started", "trial": 0, "values": {}, "at_seconds": 0.0}
STOPPED = {"event": "trial_ended", "trial": 0, "at_seconds": 2.0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def written(path, *events):
    """Write events to a journal; return its path."""
    new_journal = Journal(path)
    for event in events:
        new_journal.append(event)
    new_journal.close()
    return path


def line_of(**body):
    """Return a line with a right checksum, made without the journal's own code."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    whole = body | {"crc": f"{zlib.crc32(text.encode()):08x}"}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode() + b"\n"


# --- Writing ----------------------------------------------------------------------------------


def test_a_line_is_compact_sorted_json_with_the_version_and_a_checksum():
    # Version 0.1.0 refuses any version but 1 by its number.
    assert journal.encode({"event": "epoch", "text": "é\n", "at": 1.5}) == line_of(
        version=2, event="epoch", text="é\n", at=1.5
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_json_is_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.encode(EPOCH | {"value": number})


def test_an_event_can_be_read_as_soon_as_it_is_appended(path):
    new_journal = Journal(path)
    new_journal.append(STARTED)
    assert journal.read(path).events == ({"version": 2, **STARTED},)
    new_journal.close()


def test_an_existing_journal_is_continued(path):
    written(path, STARTED)
    earlier = path.read_bytes()
    written(path, STOPPED)
    assert path.read_bytes() == earlier + journal.encode(STOPPED)


def test_a_torn_last_line_is_ended_before_the_next_event(path):
    path.write_bytes(journal.encode(STARTED) + b'{"torn')
    content = journal.read(written(path, STOPPED))
    assert [event["event"] for event in content.events] == ["trial_started", "trial_ended"]
    assert content.damaged_lines == (2,)


def test_the_guard_is_asked_before_each_event_and_can_refuse_it(path):
    answers = [None, RunFolderError("another driver has taken over")]

    def guard():
        if answer := answers.pop(0):
            raise answer

    guarded = Journal(path, guard=guard)
    guarded.append(STARTED)
    with pytest.raises(RunFolderError, match="another driver"):
        guarded.append(STOPPED)
    guarded.close()
    assert [event["event"] for event in journal.read(path).events] == ["trial_started"]


def test_a_new_journal_may_be_read_by_others(path):
    umask = os.umask(0)
    try:
        written(path, STARTED)
    finally:
        os.umask(umask)
    assert f"{path.stat().st_mode & 0o777:o}" == "644"


def test_a_journal_that_cannot_be_opened_is_named(tmp_path):
    missing = tmp_path / "missing" / "journal.jsonl"
    with pytest.raises(RunFolderError) as refused:
        Journal(missing)
    assert str(refused.value) == f"{missing} cannot be written (No such file or directory)."


@contextmanager
def room_for(path, count):
    """Let files of this process grow no further than a file and ``count`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_half_written_event_is_removed_again(path):
    new_journal = Journal(path)
    new_journal.append(STARTED)
    size = len(journal.encode(STOPPED))
    with room_for(path, 10), pytest.raises(RunFolderError) as refused:
        new_journal.append(STOPPED)
    assert str(refused.value) == (
        f"{path} cannot be written (only 10 of {size} bytes were written): its earlier events are "
        "kept. Free disk space."
    )
    assert path.read_bytes() == journal.encode(STARTED)
    new_journal.append(STOPPED)  # there is space again
    new_journal.close()
    assert [event["event"] for event in journal.read(path).events] == [
        "trial_started", "trial_ended",
    ]  # fmt: skip


def test_an_event_that_cannot_be_written_at_all_says_why(path):
    new_journal = Journal(path)
    new_journal.append(STARTED)
    with (
        room_for(path, 0),
        pytest.raises(RunFolderError, match=r"cannot be written \(File too large\): its earlier"),
    ):
        new_journal.append(STOPPED)
    new_journal.close()
    assert path.read_bytes() == journal.encode(STARTED)


def test_a_closed_journal_takes_no_more_events(path):
    closed = Journal(path)
    closed.close()
    with pytest.raises(RunFolderError, match="Bad file descriptor"):
        closed.append(STARTED)


# --- When the file is synced ------------------------------------------------------------------


class SyncedJournal:
    """A journal with a clock that a test sets, and the times at which its file was synced."""

    def __init__(self, path, monkeypatch):
        self.now = 100.0
        self.synced_at = []
        # A file does not show whether it was synced, so the call is recorded instead.
        monkeypatch.setattr(os, "fsync", lambda handle: self.synced_at.append(self.now))
        self.journal = Journal(path, clock=lambda: self.now)

    def append(self, at, event):
        self.now = at
        self.journal.append({"event": event})


@pytest.fixture
def synced(path, monkeypatch):
    return SyncedJournal(path, monkeypatch)


def test_the_file_is_synced_a_second_after_it_was_synced_last(synced):
    for at in (100.5, 101.0, 101.5, 101.75, 102.25, 103.0):
        synced.append(at, "epoch")
    assert synced.synced_at == [101.0, 102.25]


@pytest.mark.parametrize(
    "event", ["search_started", "search_resumed", "trial_ended", "search_ended"]
)
def test_events_that_must_survive_a_power_failure_are_synced_at_once(synced, event):
    synced.append(100.5, event)
    assert synced.synced_at == [100.5]
    synced.append(101.25, "epoch")  # less than a second later
    assert synced.synced_at == [100.5]


@pytest.mark.parametrize("event", ["trial_started", "epoch", "worker_lost"])
def test_other_events_wait_for_the_next_sync(synced, event):
    synced.append(100.5, event)
    assert synced.synced_at == []


def test_closing_syncs_the_file(synced):
    synced.append(100.5, "epoch")
    synced.journal.close()
    assert synced.synced_at == [100.5]


# --- Reading ----------------------------------------------------------------------------------


def test_a_replayed_journal_gives_the_history_that_was_recorded(path):
    new_journal = Journal(path)
    recorded = History(Objective("val_accuracy", "max"))
    recorder = Recorder(new_journal, recorded, clock=lambda: 3.0, scheduler="asha")
    recorder.search_started(space=[])
    for trial, values in enumerate([{"units": 8}, {"units": 3, "kind": "deep"}, {"units": 5}]):
        recorder.trial_started(trial, values)
    for trial, epoch, value in [(0, 1, 0.5), (1, 1, 0.4), (0, 2, 0.8), (0, 3, 0.7)]:
        metrics = {"val_accuracy": value, "loss": 1.0}
        recorder.epoch(
            trial, {"epoch": epoch, "epoch_seconds": 0.5, "metrics": metrics},
            decision=Decision.STOP if trial else Decision.CONTINUE, worker="host:1",
        )  # fmt: skip
    recorder.trial_ended(1, State.STOPPED)
    recorder.trial_ended(0, State.COMPLETED)
    recorder.search_ended("time budget spent")
    new_journal.close()
    content = journal.read(path)
    assert content.damaged_lines == ()
    replayed = History.replay(recorded.objective, content.events)
    assert replayed.trials == recorded.trials
    assert (replayed.best.trial, replayed.best.epoch, replayed.best.objective) == (0, 2, 0.8)
    assert [(trial.state, trial.scheduler) for trial in replayed.trials.values()] == [
        (State.COMPLETED, None), (State.STOPPED, "asha"), (State.INTERRUPTED, None),
    ]  # fmt: skip
    assert (replayed.end_reason, replayed.ended_seconds) == ("time budget spent", 3.0)


@given(st.data())
def test_a_damaged_line_costs_that_line_alone(data):
    lines = [journal.encode(EPOCH | {"trial": number, "text": "é\n"}) for number in range(5)]
    damaged = data.draw(st.integers(0, 4))
    line = lines[damaged]
    position = data.draw(st.integers(0, len(line) - 2))
    torn, altered = line[:position] + b"\n", line[:position] + b"\x00" + line[position + 1 :]
    lines[damaged] = data.draw(st.sampled_from([torn, altered]))
    content = journal.parse(b"".join(lines), "journal.jsonl")
    assert [event["trial"] for event in content.events] == [n for n in range(5) if n != damaged]
    assert content.damaged_lines == (damaged + 1,)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line_of(version=2, event="epoch").replace(b"epoch", b"bogus"), id="altered"),
        pytest.param(b'{"event":"epoch","version":2}', id="no-checksum"),
        pytest.param(line_of(event="epoch"), id="no-version"),
        pytest.param(line_of(version=2), id="no-event"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b"\xff\x00", id="no-text"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 100_000, id="nested-too-deep"),
    ],
)
def test_a_line_that_no_program_wrote_is_damaged(line):
    assert journal.read_line(line, "journal.jsonl", 1) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[]", "checksum does not match"),
        (line_of(event="epoch"), "it has no version or no event"),
        (line_of(version=2), "it has no version or no event"),
    ],
)
def test_decoding_says_what_is_wrong_with_a_line(line, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        journal.decode(line)


def test_an_event_needs_no_fields_of_its_own():
    assert journal.decode(line_of(version=2, event="epoch")) == {"version": 2, "event": "epoch"}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([7], "journal: skipped damaged line 7"),
        ([3, 9], "journal: skipped damaged lines 3, 9"),
    ],
)
def test_damaged_lines_are_described_by_their_numbers(numbers, message):
    assert journal.describe_damage(numbers) == message


def test_a_missing_journal_says_what_the_run_can_still_do(path):
    with pytest.raises(RunFolderError) as refused:
        journal.read(path)
    assert str(refused.value) == (
        f"{path} is missing: it records the search. Restore it; without it fmnist-results shows "
        "the tables that are there, but the run cannot be continued."
    )


def test_a_journal_that_cannot_be_read_says_why(path):
    path.mkdir()
    with pytest.raises(RunFolderError) as refused:
        journal.read(path)
    assert str(refused.value) == f"{path} cannot be read: Is a directory."


# --- Versions ---------------------------------------------------------------------------------


def history_of(path):
    return History.replay(Objective("x", "max"), journal.read(path).events)


def test_a_stopped_trial_of_version_1_reads_as_one_of_today(path):
    path.write_bytes(
        line_of(version=1, **STARTED) + line_of(version=1, **STOPPED, state="stopped by ASHA")
    )
    of_version_1 = history_of(path).trials[0]
    assert (of_version_1.state, of_version_1.scheduler) == (State.STOPPED, "asha")
    path.write_bytes(
        line_of(version=2, **STARTED)
        + line_of(version=2, **STOPPED, state="stopped", scheduler="asha")
    )
    assert history_of(path).trials[0] == of_version_1


@pytest.mark.parametrize(("version", "state"), [(1, "completed"), (2, "stopped by ASHA")])
def test_only_what_version_1_stopped_is_converted(version, state):
    event = STOPPED | {"version": version, "state": state}
    assert journal.decode(line_of(**event)) == event


def test_a_journal_of_version_1_is_continued_in_version_2(path):
    path.write_bytes(
        line_of(version=1, **STARTED) + line_of(version=1, **STOPPED, state="stopped by ASHA")
    )
    written(
        path, STARTED | {"trial": 1}, STOPPED | {"trial": 1, "state": "stopped", "scheduler": "median"}
    )  # fmt: skip
    assert [event["version"] for event in journal.read(path).events] == [1, 1, 2, 2]
    assert [str(trial.ending) for trial in history_of(path).trials.values()] == [
        "stopped by ASHA", "stopped by median",
    ]  # fmt: skip


def test_a_newer_version_is_refused_with_its_line(path):
    path.write_bytes(line_of(version=2, **STARTED) + line_of(version=3, **STARTED))
    with pytest.raises(RunFolderError) as refused:
        journal.read(path)
    assert str(refused.value) == (
        f"{path}, line 2: the format is version 3, but this program reads versions 1 and 2. "
        "Use a newer version."
    )
