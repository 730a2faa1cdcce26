"""A growing journal is read as it grows, until its search ends or its driver is gone."""

import os
import shutil

import pytest

from results import RunError
from results.follow.follow import (
    POLL_SECONDS,
    QUIET_POLLS,
    JournalTail,
    JsonPrinter,
    follow_run,
)
from results.reading import CUT_OFF, DEAD_AFTER_SECONDS
from results.record import columns
from results.record.journal import encode

VALUES = {"units": 8}
START_OF_TRIAL = encode({"event": "trial_started", "at_seconds": 1.0, "trial": 0, "values": VALUES})


class Recording:
    """A printer that keeps what it is given.

    Attributes:
        earlier: The kinds of the events before the command started; None for a damaged line.
        lines: The kinds of the new events, in order.
        reason: Why the search ended.
    """

    def __init__(self):
        self.earlier, self.lines, self.reason = None, [], None

    def begin(self, lines):
        self.earlier = [line.event and line.event["event"] for line in lines]

    def print_line(self, line):
        self.lines.append(line.event and line.event["event"])

    def end(self, reason):
        self.reason = reason


@pytest.fixture
def printer():
    return Recording()


# --- The lines of a growing journal -----------------------------------------------------------


@pytest.fixture
def tail(search):
    return JournalTail(search.journal)


def test_each_line_is_read_once(search, tail):
    search.append(START_OF_TRIAL + encode({"event": "epoch"}))
    assert [(line.number, line.event["event"]) for line in tail.read()] == [
        (1, "trial_started"), (2, "epoch"),
    ]  # fmt: skip
    assert tail.read() == []
    search.append(encode({"event": "epoch"}))
    [line] = tail.read()
    assert (line.number, line.text) == (3, encode({"event": "epoch"}).decode().rstrip("\n"))


def test_half_a_line_waits_for_its_rest(search, tail):
    read = []
    for part in (START_OF_TRIAL[:20], START_OF_TRIAL[20:-1], b"\n"):
        search.append(part)
        read.append([line.event["event"] for line in tail.read()])
    assert read == [[], [], ["trial_started"]]


def test_half_a_line_that_its_writer_removed_is_not_read(search, tail):
    search.append(START_OF_TRIAL)
    tail.read()
    size = search.journal.stat().st_size
    search.append(b'{"half a line of some length')
    assert tail.read() == []
    os.truncate(search.journal, size)
    search.append(encode({"event": "epoch"}))
    assert [line.event["event"] for line in tail.read()] == ["epoch"]


@pytest.mark.parametrize("content", [b"\xff\x00\n", b"[]\n", b"{}\n", b'{"torn\n', b"\n"])
def test_a_damaged_line_has_a_number_and_no_event(search, tail, content):
    search.append(START_OF_TRIAL + content)
    [_, line] = tail.read()
    assert (line.number, line.event) == (2, None)


def test_a_journal_that_is_not_there_yet_has_no_lines(tail):
    assert tail.read() == []


def test_a_journal_that_goes_away_is_an_error(search, tail):
    search.append(START_OF_TRIAL)
    tail.read()
    search.journal.unlink()
    with pytest.raises(RunError, match=r"run was removed or moved: there is nothing left"):
        tail.read()


def test_a_folder_that_goes_away_before_its_journal_is_there_is_an_error(search, tail):
    search.run.rmdir()
    with pytest.raises(RunError, match="was removed or moved"):
        tail.read()


def test_a_journal_that_becomes_shorter_is_another_one(search, tail):
    search.append(START_OF_TRIAL)
    tail.read()
    search.journal.write_bytes(b"")
    with pytest.raises(RunError, match=r"became shorter: another run has replaced it"):
        tail.read()


def test_a_journal_that_cannot_be_read_is_an_error(search, tail):
    search.journal.mkdir()
    with pytest.raises(RunError, match=r"journal\.jsonl cannot be read: Is a directory"):
        tail.read()


def test_a_journal_of_a_newer_version_is_refused(search, printer):
    search.append(encode({"event": "search_started", "version": 3}))
    with pytest.raises(RunError, match="line 1: the format is version 3"):
        follow_run(search.run, printer)


# --- A search that goes on --------------------------------------------------------------------


def test_what_happened_before_comes_first_then_each_new_event(search, printer):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    reason = search.follow(
        printer,
        [
            lambda: recorder.worker_lost(0, "killed", by_trial=True),
            lambda: recorder.search_ended("trials done"),
        ],
    )
    assert printer.earlier == ["search_started", "trial_started"]
    assert printer.lines == ["worker_lost", "trial_ended", "search_ended"]  # it was interrupted
    assert reason == printer.reason == "trials done"
    assert search.now == 1000.0 + 2 * POLL_SECONDS


def test_a_folder_in_which_nothing_is_recorded_is_waited_for(search, printer):
    (search.run / columns.CHECKPOINTS_DIR).mkdir()
    actions = [lambda: None] * 99 + [lambda: search.started().search_ended("trials done")]
    assert search.follow(printer, actions) == "trials done"
    assert printer.earlier is None
    assert printer.lines == ["search_started", "search_ended"]
    assert search.notes == f"waiting: nothing is recorded in {search.run} yet\n"


def test_an_ended_search_without_a_driver_ends_at_once(search, printer):
    search.started().search_ended("interrupted")
    search.remove_lock()
    assert search.follow(printer, limit=1) == "interrupted"
    assert printer.earlier == ["search_started", "search_ended"]
    assert search.notes == ""


def test_a_driver_that_works_after_its_search_is_waited_for(search, printer):
    search.started().search_ended("trials done")
    actions = [search.touch_lock] * 5 + [search.remove_lock]
    assert search.follow(printer, actions) == "trials done"
    assert search.now >= 1000.0 + 6 * POLL_SECONDS
    assert search.notes == (
        "waiting: the search has ended (trials done), but its driver still works\n"
    )


def test_an_ended_search_that_is_being_extended_is_followed_on(search, printer):
    recorder = search.started()
    recorder.search_ended("trials done")
    reason = search.follow(
        printer,
        [
            lambda: None,
            lambda: recorder.search_resumed(run=search.description),
            lambda: recorder.trial_started(0, VALUES),
            lambda: recorder.search_ended("time budget spent"),
        ],
    )
    assert reason == "time budget spent"
    assert printer.lines == ["search_resumed", "trial_started", "trial_ended", "search_ended"]


# --- A driver that is gone, or seems to be ----------------------------------------------------


def test_a_search_whose_driver_is_gone_was_cut_off(search, printer):
    recorder = search.started()
    actions = [lambda: recorder.trial_started(0, VALUES), search.remove_lock]
    assert search.follow(printer, actions) == printer.reason == CUT_OFF
    assert printer.lines == ["trial_started"]


def test_the_lock_of_a_killed_driver_is_trusted_for_a_while(search, printer):
    search.started()
    assert search.follow(printer) == CUT_OFF
    silent_seconds = search.now - 1000.0
    trusted_seconds = DEAD_AFTER_SECONDS + QUIET_POLLS * POLL_SECONDS
    assert silent_seconds == pytest.approx(trusted_seconds, abs=2 * POLL_SECONDS)


def test_a_driver_is_not_dead_because_the_machine_has_slept(search, printer):
    recorder = search.started()

    def sleep():
        search.now += 8 * 3600

    actions = [sleep, lambda: None, lambda: None, search.touch_lock]
    actions += [lambda: recorder.search_ended("trials done")]
    assert search.follow(printer, actions) == "trials done"


def test_a_driver_with_another_clock_is_alive_while_it_touches_the_lock(search, printer):
    recorder = search.started()

    def touch_lock(minute):
        os.utime(search.run / columns.LOCK_FILE, (minute, minute))

    actions = [lambda n=n: touch_lock(n) if n % 4 == 0 else None for n in range(100)]
    actions += [lambda: recorder.search_ended("target reached")]
    assert search.follow(printer, actions) == "target reached"


def test_a_run_that_another_driver_resumes_is_followed_on(search, printer):
    search.started()
    resumed = []

    def pass_time():
        search.now += DEAD_AFTER_SECONDS + 1

    def resume():
        resumed.append(search.recorder())
        resumed[0].search_resumed(run=search.description)

    reason = search.follow(
        printer,
        [
            pass_time,
            search.remove_lock,  # the lock of a dead driver is removed before the new one is there
            resume,
            lambda: resumed[0].search_ended("trials done"),
        ],
    )
    assert reason == "trials done"
    assert printer.lines == ["search_resumed", "search_ended"]


def test_a_run_that_is_removed_while_it_is_followed_is_an_error(search, printer):
    search.started()
    with pytest.raises(RunError, match="was removed or moved"):
        search.follow(printer, [lambda: shutil.rmtree(search.run)])


# --- Folders that cannot be followed ----------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["notes.txt"], r"run' is not a run folder: it has no journal\.jsonl\."),
        (["run.json", "trials.parquet"], r"run' has no journal\.jsonl: there is nothing to"),
    ],
)
def test_a_folder_without_a_search_is_refused(search, printer, files, problem):
    for name in files:
        (search.run / name).touch()
    with pytest.raises(RunError, match=problem):
        follow_run(search.run, printer, sleep=lambda _: pytest.fail("it waits"))


@pytest.mark.parametrize(("name", "problem"), [("nothing", "does not exist"), ("file", "is not a folder")])  # fmt: skip
def test_a_path_that_is_no_folder_is_refused(tmp_path, printer, name, problem):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=rf"{name}' {problem}: expected a run folder"):
        follow_run(tmp_path / name, printer)


@pytest.mark.parametrize("name", ["run.json", "driver.lock", "checkpoints"])
def test_a_folder_in_which_a_search_is_about_to_start_is_followed(search, printer, name):
    (search.run / name).touch()
    assert search.follow(printer, [lambda: search.started().search_ended("trials done")]) == (
        "trials done"
    )


# --- As JSON ----------------------------------------------------------------------------------


def test_as_json_each_event_is_a_line_as_it_stands(search, report):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    search.follow(
        JsonPrinter(),
        [report(recorder, 0, 1, 0.5), lambda: recorder.search_ended("trials done")],
    )
    assert "".join(search.printed).encode() == search.journal.read_bytes()
    assert [text.count("\n") for text in search.printed] == [2, 1, 2]
    assert search.notes == ""


def test_as_json_damage_and_the_cut_are_notes(search):
    search.started()
    search.append(b"{}\n")
    assert search.follow(JsonPrinter(), [search.remove_lock]) == CUT_OFF
    assert "".join(search.printed).count("\n") == 1
    assert search.notes.splitlines() == [
        "journal: skipped damaged line 2", "the search was cut off",
    ]  # fmt: skip
