"""The journal's versions: what is written, what is read, what is refused."""

import json
import zlib

import pytest

from results.record import journal
from results.record.columns import State
from results.record.errors import RunFolderError
from results.record.history import History, Objective

STARTED = {"event": "trial_started", "trial": 0, "values": {}, "at_seconds": 0.0}
STOPPED = {"event": "trial_ended", "trial": 0, "at_seconds": 2.0}


def line_of(version, **event):
    """Return a line as the program of that version wrote it."""
    body = {"version": version, **event}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    whole = body | {"crc": f"{zlib.crc32(text.encode()):08x}"}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def history_of(path):
    return History.replay(Objective("x", "max"), journal.read(path).events)


def test_a_line_has_the_version_that_0_1_0_refuses_by_name():
    # It reads ``version != 1`` as "its format is version 2, this program reads version 1".
    assert json.loads(journal.encode(STARTED))["version"] == 2
    assert journal.encode(STARTED) == line_of(2, **STARTED)


def test_a_stopped_trial_of_version_1_reads_as_one_of_today(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(1, **STARTED) + line_of(1, **STOPPED, state="stopped by ASHA"))
    old = history_of(path).trials[0]
    assert (old.state, old.scheduler, str(old.ending)) == (
        State.STOPPED, "asha", "stopped by ASHA",
    )  # fmt: skip
    path.write_bytes(
        line_of(2, **STARTED) + line_of(2, **STOPPED, state="stopped", scheduler="asha")
    )
    assert history_of(path).trials[0] == old


def test_a_journal_of_version_1_goes_on_in_version_2(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(1, **STARTED) + line_of(1, **STOPPED, state="stopped by ASHA"))
    kept = journal.Journal(path)
    kept.append(STARTED | {"trial": 1})
    kept.append(STOPPED | {"trial": 1, "state": State.STOPPED, "scheduler": "median"})
    kept.close()
    assert [event["version"] for event in journal.read(path).events] == [1, 1, 2, 2]
    assert [str(trial.ending) for trial in history_of(path).trials.values()] == [
        "stopped by ASHA", "stopped by median",
    ]  # fmt: skip


def test_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(2, **STARTED) + line_of(3, **STARTED))
    with pytest.raises(
        RunFolderError,
        match=r"line 2: the format is version 3, but this program reads versions 1 and 2\.",
    ):
        journal.read(path)
