import os

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.record import journal
from results.record.columns import Decision, State
from results.record.history import History, Objective
from results.record.tables import write_tables
from search.errors import RunFolderError
from search.storage.folder import RunFolder
from search.storage.recorder import Recorder


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def recorder(tmp_path):
    clock = Clock()
    kept = journal.Journal(tmp_path / "journal.jsonl", clock=clock)
    recording = Recorder(
        kept, History(Objective("val_accuracy", "max")), clock=clock, scheduler="asha"
    )
    recording.clock, recording.path = clock, tmp_path / "journal.jsonl"
    yield recording
    kept.close()


def report(epoch, value):
    return {"epoch": epoch, "epoch_seconds": 0.5, "metrics": {"val_accuracy": value, "loss": 1.0}}


def search_a_little(recorder):
    recorder.search_started(space=[])
    for trial, values in enumerate([{"units": 8}, {"units": 3, "kind": "deep"}, {"units": 5}]):
        recorder.trial_started(trial, values)
    for trial, epoch, value, decision in [
        (0, 1, 0.5, "continue"), (1, 1, 0.4, "stop"), (0, 2, 0.8, "continue"), (0, 3, 0.7, "continue"),
    ]:  # fmt: skip
        recorder.clock.now += 1.0
        recorder.epoch(trial, report(epoch, value), decision=Decision(decision), worker="host:1")
    recorder.trial_ended(1, State.STOPPED)
    recorder.trial_ended(0, State.COMPLETED)
    recorder.search_ended("time budget spent")


def test_the_journal_replayed_is_the_history_that_was_recorded(recorder):
    search_a_little(recorder)
    content = journal.read(recorder.path)
    assert content.damaged_lines == ()
    replayed = History.replay(recorder.history.objective, content.events)
    assert replayed.trials == recorder.history.trials
    assert (replayed.best.trial, replayed.best.epoch, replayed.best.objective) == (0, 2, 0.8)
    assert replayed.best.at_seconds == 3.0
    states = [trial.state for trial in replayed.trials.values()]
    assert states == [State.COMPLETED, State.STOPPED, State.INTERRUPTED]
    assert [trial.scheduler for trial in replayed.trials.values()] == [None, "asha", None]
    assert replayed.end_reason == "time budget spent"


@given(st.data())
def test_a_damaged_line_costs_that_line_alone(data):
    events = [{"event": "epoch", "trial": number, "text": "é\n"} for number in range(5)]
    lines = [journal.encode(event) for event in events]
    which = data.draw(st.integers(0, 4))
    line = lines[which]
    where = data.draw(st.integers(0, len(line) - 2))
    damaged = data.draw(
        st.sampled_from([line[:where] + b"\n", line[:where] + b"\x00" + line[where + 1 :]])
    )
    lines[which] = damaged
    read = []
    for text in b"".join(lines).splitlines():
        try:
            read.append(journal.decode(text)["trial"])
        except ValueError:
            continue
    assert read == [number for number in range(5) if number != which]


def test_reading_names_the_damaged_lines(recorder):
    search_a_little(recorder)
    lines = recorder.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"deep"', b'"flat"')
    lines[-1] = lines[-1][:20]
    recorder.path.write_bytes(b"".join(lines))
    content = journal.read(recorder.path)
    assert content.damaged_lines == (3, len(lines))
    assert len(content.events) == len(lines) - 2
    # Trial 1's start was lost, so it is left out; the others are whole.
    assert list(History.replay(recorder.history.objective, content.events).trials) == [0, 2]


def test_every_event_is_handed_to_the_system_at_once(recorder):
    recorder.trial_started(0, {"units": 1})
    assert len(journal.read(recorder.path).events) == 1


def test_events_are_synced_every_second_and_at_a_trials_end(recorder, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(recorder.clock.now))
    recorder.trial_started(0, {})
    recorder.clock.now = 0.9
    recorder.epoch(0, report(1, 0.1), decision=Decision.CONTINUE, worker="w")
    assert synced == []
    recorder.clock.now = 1.1
    recorder.epoch(0, report(2, 0.1), decision=Decision.CONTINUE, worker="w")
    assert synced == [1.1]
    recorder.trial_ended(0, State.COMPLETED)
    assert synced == [1.1, 1.1]


def test_a_full_disk_is_said_and_keeps_what_was_written(tmp_path):
    kept = journal.Journal(tmp_path / "journal.jsonl")
    kept.append({"event": "trial_started", "trial": 0})
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, kept._handle)
    os.close(full)
    with pytest.raises(RunFolderError, match=r"No space left on device.*Free disk space"):
        kept.append({"event": "trial_started", "trial": 1})
    assert len(journal.read(tmp_path / "journal.jsonl").events) == 1
    os.close(kept._handle)


def test_tables_hold_a_row_per_trial_and_per_epoch(recorder, tmp_path):
    search_a_little(recorder)
    folder = RunFolder(tmp_path)
    write_tables(folder.path, recorder.history)
    trials = pq.read_table(folder.trials_file).to_pylist()
    assert [row["trial"] for row in trials] == [0, 1, 2]
    assert [row["hp:units"] for row in trials] == [8, 3, 5]
    assert [row["hp:kind"] for row in trials] == [None, "deep", None]
    assert [row["best_objective"] for row in trials] == [0.8, 0.4, None]
    epochs = pq.read_table(folder.epochs_file).to_pylist()
    assert [(row["trial"], row["epoch"]) for row in epochs] == [(0, 1), (0, 2), (0, 3), (1, 1)]
    assert epochs[3]["decision"] == "stop"
    assert {row["metric:loss"] for row in epochs} == {1.0}
