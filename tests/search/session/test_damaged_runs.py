"""Damaged, foreign and odd run folders: what is read of them, and what is said. No Keras.

``resume`` reads a run by ``read_previous_run``, ``fmnist-results`` by ``results.reading``.
"""

import json
import shutil
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import RunWriter, make_plan
from made_up_searches import TRIALS

import results.cli
from results import RunError
from results.reading import read_run
from results.record import journal
from results.record.columns import State
from results.record.journal import Journal, read
from results.record.tables import refresh
from search.doctor import check
from search.errors import SearchError, UsageError
from search.run import resume_run
from search.session.changes import Changes
from search.session.origin import read_previous_run
from search.storage.folder import RunFolder, new_run
from search.storage.lock import Owner
from search.storage.recorder import Recorder
from search.view.view import SilentView


def open_run(path):
    """Read a run as both programs do; return what each read, or the message of its error."""
    try:
        previous = read_previous_run(path)
    except SearchError as error:
        previous = str(error)
    try:
        row = read_run(path)
    except RunError as error:
        row = str(error)
    return previous, row


# --- Damage ---------------------------------------------------------------------------------------


def test_a_run_cut_at_any_byte_of_its_last_record_is_read_without_it(copy):
    content = copy.journal_file.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    whole_events = len(read(copy.journal_file).events)
    for cut in range(start, len(content)):
        copy.journal_file.write_bytes(content[:cut])
        previous, row = open_run(copy.path)
        is_whole = cut == len(content) - 1  # all but the end of the line
        assert len(previous.events) == whole_events - (not is_whole)
        assert len(previous.notes) == (start < cut and not is_whole)
        assert row.trials.num_rows == TRIALS


FILES = ("run.json", "journal.jsonl", "trials.parquet", "epochs.parquet", "best.json")


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(FILES),
    damage=st.sampled_from(["cut", "empty", "flip", "remove", "noise", "folder"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_a_damaged_file_is_named_or_does_no_harm(
    tmp_path_factory, whole_run, name, damage, where, bit
):
    path = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(whole_run("random")[0].path, path)
    file = path / name
    content = bytearray(file.read_bytes())
    place = int(where * len(content))
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "remove":
        if damage == "flip":
            content[place] ^= 1 << bit
        damaged = {
            "cut": content[:place],
            "empty": b"",
            "flip": content,
            "noise": bytes(range(256)) * 9,
        }
        file.write_bytes(damaged[damage])
    previous, _row = open_run(path)
    if name == "journal.jsonl" and damage in ("remove", "folder"):
        problem = "is missing" if damage == "remove" else "cannot be read"
        assert f"journal.jsonl {problem}" in previous
    elif isinstance(previous, str):
        # One bit can turn a number of run.json into another; then it is what it says.
        assert name in ("run.json", "journal.jsonl"), previous
    elif name != "journal.jsonl":
        assert len(previous.history.trials) == TRIALS


def test_a_damaged_line_is_named_at_every_look(copy):
    content = bytearray(copy.journal_file.read_bytes())
    content[content.index(b"\n") + 20] ^= 1  # as long as before
    copy.journal_file.write_bytes(content)
    for _ in range(2):
        assert refresh(copy.path) == "journal: skipped damaged line 2"


@pytest.mark.parametrize("content", [None, '{"plan": {'])
def test_a_missing_or_damaged_run_file_is_rewritten_from_the_journal(copy, content):
    copy.run_file.unlink()
    if content is not None:
        copy.run_file.write_text(content)
    assert read_previous_run(copy.path).plan.problem == make_plan("x").problem
    note = "run.json was missing or damaged: rewritten from the journal"
    assert refresh(copy.path) == note
    assert json.loads(copy.run_file.read_text())["plan"]["trials"] == TRIALS


# --- Other programs, other versions, odd names ----------------------------------------------------


def test_a_run_of_a_newer_version_is_refused(copy, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(journal, "VERSION", 3)
        line = journal.encode({"event": "trial_started", "trial": 99, "at_seconds": 1.0})
    with copy.journal_file.open("ab") as file:
        file.write(line)
    with pytest.raises(
        SearchError, match=r"format is version 3, but this program reads versions 1 and 2\. Use"
    ):
        read_previous_run(copy.path)


def test_a_run_of_another_engine_is_refused_with_the_way_to_learn_from_it(copy):
    description = json.loads(copy.run_file.read_text())
    description["plan"]["engine"] = "keras-tuner"
    copy.run_file.write_text(json.dumps(description))
    with pytest.raises(
        SearchError, match=r"made by keras-tuner, which cannot resume a .*--warm-start"
    ):
        read_previous_run(copy.path)


@pytest.mark.parametrize("content", ['{"plan": {"engine": "ray"}}', '{"plan": 3}'])
def test_a_run_of_another_program_is_refused(copy, content):
    copy.run_file.write_text(content)
    with pytest.raises(SearchError, match="does not describe a search"):
        read_previous_run(copy.path)


@pytest.mark.parametrize("path", [".", "/proc/1"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, path):
    with pytest.raises(SearchError, match=r"is not a run: expected a folder with run\.json"):
        read_previous_run(tmp_path / path)


NAMES = [
    "two words",
    "quo'te\"s",
    "new\nline",
    "Größe-数据",
    "n" * 200,
    "-dash",
    "semi;colon $HOME `x`",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_folder_name_does_no_harm(tmp_path, whole_run, name):
    shutil.copytree(whole_run("random")[0].path, tmp_path / name)
    previous, run = open_run(tmp_path / name)
    assert len(previous.history.trials) == run.trials.num_rows == TRIALS


# --- Tables ---------------------------------------------------------------------------------------


def start_another_trial(folder):
    """Let the journal be newer than the tables."""
    history = read_previous_run(folder.path).history
    kept = Journal(folder.journal_file)
    Recorder(kept, history, clock=lambda: 9.0).trial_started(TRIALS, {"units": 5}, epochs=2)
    kept.close()


def test_current_tables_are_read_as_they_are(copy):
    before = (copy.path / "trials.parquet").stat().st_mtime_ns
    assert refresh(copy.path) is None
    assert (copy.path / "trials.parquet").stat().st_mtime_ns == before


def test_tables_older_than_the_journal_are_rewritten(copy):
    start_another_trial(copy)
    assert pq.read_table(copy.trials_file).num_rows == TRIALS
    assert refresh(copy.path) is None
    assert pq.read_table(copy.trials_file).num_rows == TRIALS + 1


def test_a_missing_table_is_rewritten(copy):
    copy.epochs_file.unlink()
    assert refresh(copy.path) is None
    assert copy.epochs_file.exists()


def test_a_run_whose_tables_cannot_be_written_is_shown_from_its_journal(copy):
    """A folder is in their way, as permissions do not hold for root."""
    copy.trials_file.unlink()
    copy.trials_file.mkdir()
    note = refresh(copy.path)
    assert note.startswith("its tables cannot be written, so it is shown from its journal (")
    assert "trials.parquet cannot be written (Is a directory)" in note
    assert read_run(copy.path).trials.num_rows == TRIALS


# --- Runs that are under way, or ended before their first record ----------------------------------


@pytest.fixture
def cut_off(copy):
    """A run whose journal lacks the end of the search."""
    lines = copy.journal_file.read_bytes().splitlines(keepends=True)
    copy.journal_file.write_bytes(b"".join(lines[:-1]))
    return copy


@pytest.fixture
def last_shown_line(cut_off, monkeypatch, capsys):
    """Show the run, and return the last line."""
    monkeypatch.chdir(cut_off.path.parent)
    monkeypatch.setattr(sys, "argv", ["fmnist-results", "show", "run"])

    def show():
        with pytest.raises(SystemExit):
            results.cli.main()
        return capsys.readouterr().out.splitlines()[-1]

    return show


def test_a_search_that_was_cut_off_is_shown_with_the_way_to_continue(cut_off, last_shown_line):
    assert last_shown_line() == (
        "the search was cut off; to continue it, run fmnist-search resume run"
    )


def test_a_search_that_runs_is_not_shown_as_cut_off(cut_off, last_shown_line):
    cut_off.lock_file.touch()  # as a living driver does every two seconds
    assert read_run(cut_off.path).ended == "running"
    assert "cut off" not in last_shown_line()


def test_a_search_killed_before_its_end_was_recorded_is_ended_on_resuming(cut_off):
    with cut_off.journal_file.open("ab") as file:
        file.write(b'{"event":')  # the beginning of its last record
    assert resume_run(cut_off.path, Changes(), SilentView(None)).reason == "trials done"
    assert read_run(cut_off.path).ended == "trials done"
    assert read_previous_run(cut_off.path).history.end_reason == "trials done"
    assert not cut_off.lock_file.exists()


@pytest.fixture
def blank(tmp_path):
    """The folder of a search that was killed before its first record."""
    folder = RunFolder.create(tmp_path / "run")
    killed = {**vars(Owner.this_process()), "started": 1.0, "beats": 3}
    folder.lock_file.write_text(json.dumps(killed))
    return folder


def test_a_folder_without_a_record_cannot_be_resumed(blank):
    with pytest.raises(SearchError, match=r"ended before the first one.*Run the same command"):
        read_previous_run(blank.path)


def test_a_folder_without_a_record_is_used_for_a_new_run(blank):
    check(make_plan(blank.path))
    with new_run(blank.path, print) as run:
        assert run.folder == blank
        run.folder.state_file(0).write_bytes(b"something")
        run.folder.journal_file.write_bytes(b"")
    with pytest.raises(SearchError, match="exists already"):
        check(make_plan(blank.path))


# --- Runs of a script -----------------------------------------------------------------------------


def test_a_command_refuses_to_search_further_in_a_run_of_a_script(tmp_path):
    folder = tmp_path / "run"
    writer = RunWriter(folder, plan=make_plan(folder, hypermodel=None, trials=2))
    writer.trial(0, {"units": 4}, [0.5], State.COMPLETED)
    with pytest.raises(
        UsageError, match=r"run' was made by a script .* Run the script again: with"
    ):
        resume_run(writer.close(), Changes(), SilentView(None))
