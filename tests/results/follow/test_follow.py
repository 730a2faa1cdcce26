import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from results import RunError
from results.follow.follow import POLL_SECONDS, QUIET_POLLS, JsonPrinter, follow_run
from results.follow.text_printer import TextPrinter
from results.reading import CUT_OFF, DEAD_AFTER_SECONDS, read_run
from results.record import columns
from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.journal import Journal, encode
from results.record.words import quantity
from results.run import ending_of
from search.storage.lock import RunLock
from search.storage.recorder import Recorder

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
VALUES = {"rate": 0.00151234, "units": 8}


class Search:
    """A search that a test lets happen, one thing at a time, while it is followed."""

    def __init__(self, run: Path, mode: str = "max") -> None:
        self.run = run
        self.now = 1000.0
        self.objective = Objective("val_accuracy", mode)
        self.told: list[str] = []
        self.complaints = ""

    @property
    def journal(self) -> Path:
        return self.run / columns.JOURNAL_FILE

    def record(self) -> Recorder:
        """Begin to write, as a new driver does."""
        self.beat()
        history = History(self.objective)
        return Recorder(
            Journal(self.journal), history, clock=lambda: self.now - 1000.0, scheduler="asha"
        )

    def started(self) -> Recorder:
        recorder = self.record()
        recorder.search_started(run=self.asked())
        return recorder

    def asked(self) -> dict:
        objective = {"name": self.objective.name, "mode": self.objective.mode}
        problem = {"space": "small", "objective": objective}
        return {"plan": {"problem": problem, "algorithm": "tpe", "trials": 4}}

    def beat(self) -> None:
        """Show that the driver lives."""
        lock = self.run / columns.LOCK_FILE
        lock.touch()
        os.utime(lock, (self.now, self.now))

    def release(self) -> None:
        (self.run / columns.LOCK_FILE).unlink()

    def follow(self, happenings, *, printer=None, capture, limit=200):
        """Follow while a thing happens between any two looks; note what each made it say."""
        left = iter(happenings)
        polls = 0

        def hear() -> None:
            heard = capture.readouterr()
            self.told.append(heard.out)
            self.complaints += heard.err

        def sleep(seconds: float) -> None:
            nonlocal polls
            polls += 1
            assert polls < limit, "it does not end"
            hear()
            self.now += seconds
            next(left, lambda: None)()

        printer = printer or TextPrinter(self.run, lambda: None)
        reason = follow_run(self.run, printer, clock=lambda: self.now, sleep=sleep)
        hear()
        return reason


@pytest.fixture
def search(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    return Search(run)


def report(epoch, value, **more):
    metrics = {"val_accuracy": value, "loss": 1.0}
    return {"epoch": epoch, "epoch_seconds": 0.5, "metrics": metrics, **more}


def reported(recorder, trial, epoch, value, **more):
    told = report(epoch, value, **more)
    return lambda: recorder.epoch(trial, told, decision=Decision.CONTINUE, worker="vm:1")


def test_each_new_thing_is_a_line_as_it_happens(search, capsys):
    recorder = search.started()
    reason = search.follow(
        [
            lambda: recorder.trial_started(0, VALUES),
            lambda: recorder.trial_started(1, VALUES),
            reported(recorder, 0, 1, 0.5),
            reported(recorder, 0, 2, 0.4),
            reported(recorder, 1, 1, 0.75),
            lambda: recorder.worker_lost(1, "it was killed\nby a person", by_trial=True),
            lambda: recorder.trial_restarted(1),
            lambda: recorder.trial_retried(0, "ValueError: no\nin line 3"),
            lambda: recorder.trial_ended(0, State.FAILED, error="ValueError: no\nin line 3"),
            lambda: recorder.trial_ended(1, State.STOPPED),
            lambda: recorder.search_ended("trials done"),
        ],
        capture=capsys,
    )
    assert reason == "trials done"
    assert search.told == [
        "so far: 0 trials, 0 epochs\n",
        "    0.5 s  trial 0 started: rate=0.00151 units=8\n",
        "    1.0 s  trial 1 started: rate=0.00151 units=8\n",
        "    1.5 s  trial 0, epoch 1: best val_accuracy so far 0.5000\n",
        "",
        "    2.5 s  trial 1, epoch 1: best val_accuracy so far 0.7500\n",
        "    3.0 s  trial 1 continues after the loss of its process: it was killed\n",
        "    3.5 s  trial 1 continues in another process\n",
        "    4.0 s  trial 0 failed and restarts: ValueError: no\n",
        "    4.5 s  trial 0 failed after 0 epochs: ValueError: no\n",
        "    5.0 s  trial 1 stopped by ASHA after 1 epoch, best val_accuracy 0.7500\n",
        "search ended (trials done): 2 trials, 3 epochs, best val_accuracy 0.7500 in trial 1, "
        "epoch 1, after 2 s\n",
    ]


def test_the_best_is_that_of_the_history(search, capsys):
    """Also where it falls: a score below the best epoch, a failed trial begun again."""
    search.objective = Objective("val_accuracy", "min")
    recorder = search.started()
    for trial in range(3):
        recorder.trial_started(trial, VALUES)
    reported(recorder, 0, 1, 0.3)()
    printer = TextPrinter(search.run, lambda: None)
    search.follow(
        [
            reported(recorder, 1, 1, 0.2),
            lambda: recorder.trial_retried(1, "once more"),
            reported(recorder, 2, 1, 0.25),
            lambda: recorder.trial_ended(
                2, State.COMPLETED, score=0.4, best_step=3, metrics={"val_accuracy": 0.4}
            ),
            reported(recorder, 1, 1, 0.28),
            reported(recorder, 1, 1, 0.1, execution=1),
            reported(recorder, 1, 2, None),
            lambda: recorder.worker_lost(1, "gone", by_trial=False),
            lambda: recorder.trial_restarted(1),
            reported(recorder, 1, 1, 0.29),
            lambda: recorder.search_ended("trials done"),
        ],
        printer=printer,
        capture=capsys,
    )
    said = [line for line in "".join(search.told).splitlines() if "so far" in line]
    assert [line.split()[-1] for line in said[1:]] == ["0.2000", "0.2500", "0.2800"]
    best = recorder.history.best
    assert f"best val_accuracy {best.objective:.4f} in trial {best.trial}" in search.told[-1]
    assert "trial 1 interrupted after 1 epoch, best val_accuracy 0.2900" in search.told[-1]


def test_half_a_line_waits_for_the_rest(search, capsys):
    search.started()
    line = encode({"event": "trial_started", "at_seconds": 1.0, "trial": 0, "values": VALUES})

    def append(content):
        with search.journal.open("ab") as file:
            file.write(content)

    search.follow(
        [
            lambda: append(line[:20]),
            lambda: append(line[20:-1]),
            lambda: append(b"\n"),
            search.release,
        ],
        capture=capsys,
    )
    assert search.told[1:3] == ["", ""]
    assert "trial 0 started" in search.told[3]


def test_what_a_writer_takes_back_is_not_read(search, capsys):
    recorder = search.started()
    whole = search.journal.stat().st_size

    def tear():
        with search.journal.open("ab") as file:
            file.write(b'{"half a line of some len')

    search.follow(
        [
            tear,
            lambda: os.truncate(search.journal, whole),
            lambda: recorder.trial_started(0, VALUES),
            search.release,
        ],
        capture=capsys,
    )
    assert "trial 0 started" in search.told[3]
    assert search.complaints == ""


def test_a_damaged_line_is_skipped_and_named_once(search, capsys):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    first, second = search.journal.read_bytes().splitlines(keepends=True)
    altered = second.replace(b'"units":8', b'"units":9')
    search.journal.write_bytes(first + altered + second)

    def tear():
        with search.journal.open("ab") as file:
            file.write(b"\xff\x00\n[]\n{}\n" + b'{"torn')

    # Whoever goes on with a torn journal ends its last line.
    happenings = [tear, search.record, search.release]
    assert search.follow(happenings, capture=capsys) == CUT_OFF
    assert search.complaints.splitlines() == [
        f"journal: skipped damaged line {number}" for number in (2, 4, 5, 6, 7)
    ]
    assert search.told[0] == "so far: 1 trial, 0 epochs\n"
    assert search.told[1:-1] == [""] * (len(search.told) - 2)


def test_a_search_whose_driver_is_gone_was_cut_off(search, capsys):
    recorder = search.started()
    reason = search.follow(
        [lambda: recorder.trial_started(0, VALUES), search.release], capture=capsys
    )
    assert reason == CUT_OFF
    assert search.told[-1] == (
        f"the search was cut off; to continue it, run fmnist-search resume {search.run}\n"
    )


def test_a_killed_drivers_lock_is_believed_for_a_while(search, capsys):
    search.started()
    assert search.follow([], capture=capsys) == CUT_OFF
    silent = search.now - 1000.0
    allowed = DEAD_AFTER_SECONDS + QUIET_POLLS * POLL_SECONDS
    assert allowed - 2 * POLL_SECONDS <= silent <= allowed + 2 * POLL_SECONDS


def test_a_machine_that_has_slept_is_not_taken_for_dead(search, capsys):
    recorder = search.started()

    def sleep():
        search.now += 8 * 3600

    happenings = [sleep, lambda: None, lambda: None, search.beat]
    happenings += [lambda: recorder.search_ended("trials done")]
    assert search.follow(happenings, capture=capsys) == "trials done"


def test_a_driver_with_another_clock_is_believed_by_its_beat(search, capsys):
    recorder = search.started()

    def beat(minute):
        os.utime(search.run / columns.LOCK_FILE, (minute, minute))

    happenings = [lambda n=n: beat(n) if n % 4 == 0 else None for n in range(100)]
    happenings += [lambda: recorder.search_ended("target reached")]
    assert search.follow(happenings, capture=capsys) == "target reached"


def test_a_run_that_is_resumed_meanwhile_is_followed_on(search, capsys):
    recorder = search.started()
    recorder.trial_started(0, VALUES)

    def cut_off():
        search.now += DEAD_AFTER_SECONDS + 1

    def resume():
        nonlocal recorder
        recorder = search.record()
        recorder.search_resumed(run=search.asked())

    reason = search.follow(
        [
            cut_off,
            search.release,  # a dead driver's lock is moved away before the new one is there
            resume,
            lambda: recorder.search_ended("trials done"),
        ],
        capture=capsys,
    )
    assert reason == "trials done"
    assert "search resumed: space small, tpe, 4 trials" in search.told[3]


def test_an_ended_run_that_is_being_extended_is_waited_for(search, capsys):
    recorder = search.started()
    recorder.search_ended("trials done")
    search.follow(
        [
            lambda: None,
            lambda: recorder.search_resumed(run=search.asked()),
            lambda: recorder.trial_started(0, VALUES),
            lambda: recorder.search_ended("time budget spent"),
        ],
        capture=capsys,
    )
    assert "search resumed" in search.told[2]
    assert "trial 0 started" in search.told[3]
    assert "search ended (time budget spent): 1 trial, 0 epochs" in search.told[-1]


def test_an_ended_run_is_told_at_once_without_a_driver(search, capsys):
    recorder = search.started()
    recorder.search_ended("interrupted")
    search.release()
    assert search.follow([], capture=capsys, limit=1) == "interrupted"
    [told] = search.told
    assert "search ended (interrupted): 0 trials, 0 epochs" in told
    assert f"to continue it, run fmnist-search resume {search.run}" in told


def test_what_a_driver_does_after_its_search_is_waited_for(search, capsys):
    recorder = search.started()
    recorder.search_ended("trials done")
    waited = []

    def retrain():
        waited.append(1)
        search.beat()

    search.follow([retrain] * 5 + [search.release], capture=capsys)
    assert len(waited) == 5
    assert search.complaints == (
        "waiting: the search has ended (trials done), but its driver still works\n"
    )


def test_a_folder_in_which_nothing_is_recorded_is_waited_for(search, capsys):
    (search.run / columns.CHECKPOINTS_DIR).mkdir()

    def search_all():
        search.started().search_ended("trials done")

    search.follow(
        [lambda: None] * 99 + [search_all],
        printer=TextPrinter(search.run, lambda: pytest.fail("there is no table yet")),
        capture=capsys,
    )
    assert search.told[:100] == [""] * 100
    assert "search started: space small, tpe, 4 trials" in search.told[100]
    assert search.complaints == f"waiting: nothing is recorded in {search.run} yet\n"


def test_as_json_each_event_is_a_line_as_it_stands(search, capsys):
    recorder = search.started()
    recorder.trial_started(0, VALUES)
    search.follow(
        [reported(recorder, 0, 1, 0.5), lambda: recorder.search_ended("trials done")],
        printer=JsonPrinter(),
        capture=capsys,
    )
    assert "".join(search.told).encode() == search.journal.read_bytes()
    assert [text.count("\n") for text in search.told] == [2, 1, 2]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param(
            ["notes.txt"], "is not a run folder: it has no journal.jsonl", id="another-folder"
        ),
        pytest.param(["run.json", "trials.parquet"], "there is nothing to follow", id="no-journal"),
        pytest.param(None, "does not exist", id="no-folder"),
    ],
)
def test_what_is_no_run_is_refused(search, files, said):
    for name in files or ():
        (search.run / name).touch()
    run = search.run if files else search.run / "nowhere"
    with pytest.raises(RunError, match=said):
        follow_run(run, JsonPrinter(), sleep=lambda _: pytest.fail("it waits"))


def test_a_run_that_goes_away_or_is_another_ends_it(search, capsys):
    search.started()
    with pytest.raises(RunError, match="was removed or moved"):
        search.follow([lambda: shutil.rmtree(search.run)], capture=capsys)
    search.run.mkdir()
    with pytest.raises(RunError, match="was removed or moved"):
        search.follow([lambda: shutil.rmtree(search.run)], capture=capsys)
    search.run.mkdir()
    search.started()
    with pytest.raises(RunError, match="became shorter"):
        search.follow([lambda: search.journal.write_bytes(b"")], capture=capsys)


def test_a_journal_of_a_newer_version_is_refused(search):
    search.journal.write_bytes(encode({"event": "search_started", "version": 3}))
    with pytest.raises(RunError, match="line 1: the format is version 3"):
        follow_run(search.run, JsonPrinter())


def test_what_stood_there_is_the_table_and_only_what_is_new_is_told(search, capsys, tmp_path):
    run = tmp_path / "cut off"
    shutil.copytree(ASSETS / "cut-off", run)
    search.run = run
    recorder = search.record()
    tables = []
    search.follow(
        [lambda: recorder.search_ended("time budget spent")],
        printer=TextPrinter(run, lambda: tables.append(read_run(ASSETS / "finished"))),
        capture=capsys,
    )
    assert len(tables) == 1
    told = "".join(search.told).splitlines()
    assert told[0].startswith("so far: 2 trials, 2 epochs, best val_accuracy 0.3000 in trial 0")
    assert told[1].startswith("search ended (time budget spent): 2 trials, 2 epochs")


# --- By the command line ----------------------------------------------------------------------


def follower(commands, run, *options):
    return subprocess.Popen(
        [commands / "fmnist-results", "show", run, "--follow", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def driven(tmp_path):
    """A run that a driver holds, and that nothing happens to."""
    run = tmp_path / "a run"
    shutil.copytree(ASSETS / "cut-off", run)
    lock = RunLock(run / columns.LOCK_FILE, say=print, beat_seconds=0.2)
    yield run
    lock.release()


def test_the_table_comes_first_and_ctrl_c_ends_it_quietly(commands, driven):
    # A shell has what runs in the background ignore it, and what that starts too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = follower(commands, driven)
    heading, *trials = [process.stdout.readline() for _ in range(3)]
    assert heading.startswith("trial  ended")
    assert [trial.split()[:2] for trial in trials] == [["0", "running"], ["1", "running"]]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_it_quietly(commands, driven):
    with follower(commands, driven) as process:
        process.stdout.readline()
        process.stdout.close()
        recorder = Recorder(Journal(driven / columns.JOURNAL_FILE), History(Objective("x", "max")))
        recorder.search_ended("interrupted")
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""


def test_a_torn_line_that_the_table_has_named_is_not_named_again(commands, driven):
    journal = driven / columns.JOURNAL_FILE
    with journal.open("ab") as file:
        file.write(b'{"torn')
    with follower(commands, driven) as process:
        process.stdout.readline()
        recorder = Recorder(Journal(journal), History(Objective("x", "max")))  # ends that line
        recorder.search_ended("interrupted")
        told, complaints = process.communicate(timeout=60)
    assert "search ended (interrupted): 2 trials, 2 epochs" in told
    assert complaints == f"{driven}: journal: skipped damaged line 6\n"


def test_a_run_that_was_cut_off_is_said_to_be_and_is_status_1(commands, tmp_path):
    run = tmp_path / "a run"
    shutil.copytree(ASSETS / "cut-off", run)
    (run / columns.LOCK_FILE).unlink(missing_ok=True)
    as_table = follower(commands, run)
    told, complaints = as_table.communicate(timeout=60)
    assert as_table.returncode == 1
    assert told.splitlines()[-1].startswith("the search was cut off; to continue it, run fmnist")
    assert complaints == ""
    as_json = follower(commands, run, "--format", "json")
    assert as_json.communicate(timeout=60) == (
        (ASSETS / "cut-off" / columns.JOURNAL_FILE).read_text(), "the search was cut off\n",
    )  # fmt: skip
    assert as_json.returncode == 1


def test_a_real_search_is_followed_to_its_end(commands, tmp_path):
    run = tmp_path / "followed"
    searching = subprocess.Popen(
        [
            commands / "fmnist-search", "run", "--hypermodel", "problems:small", "--data",
            "problems:blobs", "--trials", "4", "--epochs", "3", "--grace-period", "1",
            "--workers", "2", "--retrain-epochs", "none", "--out", run,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not run.is_dir():
        assert searching.poll() is None
        time.sleep(0.1)
    followers = [follower(commands, run), follower(commands, run, "--format", "json")]
    (told, said), (events, _) = (one.communicate(timeout=300) for one in followers)
    assert searching.wait(timeout=60) == 0
    assert [one.returncode for one in followers] == [0, 0]
    assert said == f"waiting: nothing is recorded in {run} yet\n"
    assert events == (run / columns.JOURNAL_FILE).read_text()
    kinds = [json.loads(line)["event"] for line in events.splitlines()]
    assert kinds[0] == "search_started"
    assert kinds[-1] == "search_ended"
    rows = {row[columns.TRIAL]: row for row in read_run(run).trials.to_pylist()}
    lines = told.splitlines()
    assert len(rows) == 4
    for trial, row in rows.items():
        assert any(f"  trial {trial} started: " in line for line in lines)
        end = f"trial {trial} {ending_of(row)} after {quantity(row['epochs'], 'epoch')}, best val_accuracy "
        assert any(f"{end}{row['best_objective']:.4f}" in line for line in lines)
    best = max(row["best_objective"] for row in rows.values())
    assert lines[-1].startswith(
        f"search ended (trials done): 4 trials, {kinds.count('epoch')} epochs, best val_accuracy "
        f"{best:.4f} in trial "
    )
