"""A run folder is read whole, or refused with what is wrong with it and what to do."""

import json
import os
import shutil
import time
import zlib

import afterwards
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import RunError
from results.reading import DEAD_AFTER_SECONDS, read_run, read_table
from results.record import columns
from results.record.columns import STOPPED_BY_ASHA, State
from results.record.confirmation import Candidate
from results.record.history import History, Objective
from results.record.journal import encode, read
from results.record.tables import is_current, refresh
from search.final.audit import summarize
from search.final.confirm import compare_candidates


@pytest.fixture
def run(plain, tmp_path):
    """A copy of a run, for a test to change."""
    return shutil.copytree(plain, tmp_path / "run")


def write(run, name, content):
    """Write a file of a run; None removes it."""
    path = run / name
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def change_plan(run, **plan):
    description = json.loads((run / "run.json").read_text())
    description["plan"] |= plan
    (run / "run.json").write_text(json.dumps(description))


# --- A whole run ------------------------------------------------------------------------------


def test_a_run_is_what_its_files_say(run):
    write(run, "final/evaluation.json", b'{"test_accuracy": 0.5, "test_loss": 1}')
    whole = read_run(run)
    assert (whole.path, whole.name) == (run, "run")
    assert whole.description == json.loads((run / "run.json").read_text())
    assert whole.trials == pq.read_table(run / "trials.parquet")
    assert whole.epochs == pq.read_table(run / "epochs.parquet")
    assert whole.evaluation == {"test_accuracy": 0.5, "test_loss": 1}
    assert whole.ended == "trials done"


def test_a_run_may_have_no_final_model_no_confirmation_and_no_audit(plain):
    plain_run = read_run(plain)
    assert (plain_run.evaluation, plain_run.confirmation, plain_run.audit) == (None, None, None)


def test_the_confirmation_and_the_audit_are_read(run):
    confirmation, audit = afterwards.confirm(run), afterwards.audit(run)
    assert (read_run(run).confirmation, read_run(run).audit) == (confirmation, audit)


def test_a_confirmation_that_the_search_computed_has_its_figures(run):
    scores = [(0.3, 0.2, 0.4), (0.5, None, 0.6), (0.1, 0.2, 0.1)]
    candidates = [
        Candidate("trial 3", 3, 20, {"layers": 1}, 0.15),
        Candidate("trial 5", 5, 20, {"layers": 2}, 0.16),
        Candidate("published", None, 20, {"layers": 3}, None),
    ]
    computed = compare_candidates(candidates, (7, 8, 9), scores, Objective("val_loss", "min"))
    (run / "confirm").mkdir()
    computed.write(run / "confirm" / "confirmation.json")
    confirmation = read_run(run).confirmation
    assert [one.verdict for one in confirmation.candidates] == ["winner", "worse", "tie"]
    assert [one.scores for one in confirmation.candidates] == scores
    assert [one.name for one in confirmation.best_first] == ["published", "trial 3", "trial 5"]
    _, diverged, published = confirmation.candidates
    assert confirmation.winning_candidate.mean == pytest.approx(0.3)
    assert (diverged.mean, diverged.difference) == (None, None)
    assert published.difference.mean == pytest.approx(-0.5 / 3)
    assert confirmation.optimism == pytest.approx(0.15)


def test_an_audit_that_the_search_computed_has_its_figures(run):
    history = History.replay(
        Objective("val_accuracy", "max"), read(run / columns.JOURNAL_FILE).events
    )
    trials = afterwards.audit_of().trials
    (run / "audit").mkdir()
    summarize(trials, history).write(run / "audit" / "audit.json")
    audit = read_run(run).audit
    assert audit.trials == trials
    assert (audit.search_best, audit.stopped) == (history.best_value, 14)
    assert (audit.wrong_share, audit.seconds_saved) == (0.25, 33.0 * 14)
    # Wilson's formula, of 1 in 4 with z = 1.95996, begins at 0.04559: but one of the 14 is known.
    assert (audit.wrong_low, audit.wrong_high) == pytest.approx((1 / 14, 0.69936), abs=1e-4)


# --- How the search ended ---------------------------------------------------------------------


def test_a_search_ended_for_the_reason_of_its_last_event(run):
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(encode({"event": "search_ended", "reason": "time budget spent"}))
    assert read_run(run).ended == "time budget spent"


@pytest.mark.parametrize(
    "last_line",
    [encode({"event": "epoch"}), b'{"torn', b"\xff\n", b"[" * 100_000, encode({"event": "search_ended"})],
    ids=["another-event", "torn", "no-text", "too-deep", "no-reason"],
)  # fmt: skip
def test_a_search_whose_journal_does_not_end_with_its_end_was_cut_off(run, last_line):
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(last_line)
    assert read_run(run).ended == "cut off"


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_a_search_without_a_journal_was_cut_off(run, content):
    write(run, "journal.jsonl", content)
    assert read_run(run).ended == "cut off"


@pytest.mark.parametrize(
    ("age", "ended"),
    [
        (0.0, "running"),
        (DEAD_AFTER_SECONDS / 2, "running"),
        (DEAD_AFTER_SECONDS * 2, "trials done"),
        (-DEAD_AFTER_SECONDS * 2, "trials done"),  # another clock
    ],
)
def test_a_search_runs_while_its_driver_touches_the_lock(run, age, ended):
    lock = run / "driver.lock"
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    assert read_run(run).ended == ended


# --- Runs of version 0.1.0 --------------------------------------------------------------------


def as_before(event):
    """Return an event as version 0.1.0 recorded it, whose only scheduler was ASHA."""
    before = {name: value for name, value in event.items() if name != "scheduler"}
    is_stopped = event.get("state") == State.STOPPED
    return before | {"version": 1} | ({"state": STOPPED_BY_ASHA} if is_stopped else {})


@pytest.fixture
def old_run(run):
    """The same run as version 0.1.0 wrote it."""
    journal = run / columns.JOURNAL_FILE
    journal.write_bytes(b"".join(encode(as_before(event)) for event in read(journal).events))
    for name in (columns.TRIALS_FILE, columns.EPOCHS_FILE):
        table = pq.read_table(run / name)
        crc = {columns.JOURNAL_CRC: str(zlib.crc32(journal.read_bytes()))}
        if columns.STATE in table.column_names:
            states = table[columns.STATE].to_pylist()
            words = [STOPPED_BY_ASHA if state == State.STOPPED else state for state in states]
            table = table.set_column(1, columns.STATE, pa.array(words))
            table = table.drop_columns(columns.SCHEDULER)
        pq.write_table(table.replace_schema_metadata(crc), run / name)
    return run


def test_tables_of_version_0_1_0_are_read_as_those_of_today(plain, old_run):
    assert is_current(old_run)  # they are not made anew
    assert read_run(old_run).trials == read_run(plain).trials
    assert "asha" in read_run(old_run).trials["scheduler"].to_pylist()


def test_a_journal_of_version_0_1_0_gives_the_tables_of_today(plain, old_run):
    (old_run / columns.TRIALS_FILE).unlink()
    assert refresh(old_run) is None
    for name in (columns.TRIALS_FILE, columns.EPOCHS_FILE):
        assert pq.read_table(old_run / name) == pq.read_table(plain / name)


# --- Runs that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("run.json", b"{", r"run\.json is damaged \(Expecting.*\): expected JSON\.$"),
        ("run.json", b"\xff", r"run\.json is damaged \(.*decode.*\): expected JSON\.$"),
        ("run.json", b"[]", r"run\.json is damaged: expected a JSON object, got list\.$"),
        ("run.json", b"{}", r"run' is not a run of this program: its run\.json does not name the"),
        ("run.json", b'{"plan": ["another", "program"]}', "does not name the objective"),
        ("run.json", None, r"run' is not a run folder: it has no run\.json\.$"),
        ("trials.parquet", b"PAR1 cut", r"trials\.parquet is damaged \(.*Rebuild it from the"),
        ("epochs.parquet", None, r"epochs\.parquet is missing and cannot be rebuilt: run `fmnist-"),
        ("final/evaluation.json", b"[]", r"evaluation\.json is damaged: expected a JSON object"),
        ("final/evaluation.json", b'{"test_accuracy": "high"}',
         r"evaluation\.json or a table gives test_accuracy 'high'\.$"),
        ("final/evaluation.json", b'{"test_accuracy": true, "epochs": 0.5}',
         r"a table gives test_accuracy True, final_epochs 0\.5\.$"),
    ],
)  # fmt: skip
def test_a_run_with_a_damaged_file_is_refused_by_name(run, name, content, problem):
    (run / "journal.jsonl").unlink()  # from which all but the evaluation could be read
    write(run, name, content)
    with pytest.raises(RunError, match=problem) as refused:
        read_run(run)
    assert str(run) in str(refused.value)


def test_a_plan_with_a_value_of_a_wrong_type_is_refused(run):
    change_plan(run, workers="two")
    with pytest.raises(RunError, match=r"is damaged, or not a run of this program.*workers 'two'"):
        read_run(run)


def test_a_plan_that_lacks_a_setting_is_refused(run):
    description = json.loads((run / "run.json").read_text())
    del description["plan"]["workers"]
    (run / "run.json").write_text(json.dumps(description))
    with pytest.raises(RunError, match=r"run\.json or a table lacks 'workers'\.$"):
        read_run(run)


def test_a_table_without_a_column_of_this_program_is_refused(run):
    table = pq.read_table(run / "trials.parquet")
    pq.write_table(table.drop_columns("ended_seconds"), run / "trials.parquet")
    with pytest.raises(RunError, match=r"not a run of this program: .* lacks .*ended_seconds"):
        read_run(run)


@pytest.mark.parametrize("name", ["trials.parquet", "epochs.parquet"])
@pytest.mark.parametrize("content", [None, b"PAR1 cut"])
def test_a_run_without_usable_tables_is_read_from_its_journal(run, plain, name, content):
    write(run, name, content)
    before = sorted(run.iterdir())
    assert read_run(run).trials.to_pylist() == read_run(plain).trials.to_pylist()
    assert read_run(run).epochs.to_pylist() == read_run(plain).epochs.to_pylist()
    assert sorted(run.iterdir()) == before


def test_a_state_that_no_trial_can_have_is_refused(run):
    (run / "journal.jsonl").unlink()
    pq.write_table(pa.table({"state": ["gone"]}), run / "trials.parquet")
    with pytest.raises(RunError, match=r"trials\.parquet was not written by this program \('gone'"):
        read_run(run)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(lambda path: None, "does not exist"), (lambda path: path.touch(), "is not a folder")],
)
def test_a_path_that_is_no_folder_is_refused(tmp_path, make, problem):
    make(tmp_path / "other")
    with pytest.raises(RunError, match=rf"other' {problem}: expected a run folder that `fmnist-"):
        read_run(tmp_path / "other")


@pytest.mark.parametrize(
    ("write_file", "name", "command"),
    [
        (afterwards.confirm, "confirm/confirmation.json", "confirm"),
        (afterwards.audit, "audit/audit.json", "audit"),
    ],
)
def test_a_damaged_file_of_a_follow_up_says_how_to_write_it_again(run, write_file, name, command):
    write_file(run)
    write(run, name, b"17")
    with pytest.raises(RunError) as refused:
        read_run(run)
    assert str(refused.value) == (
        f"{run / name} is damaged or incomplete (it is not an object). Write it again with "
        f"`fmnist-search {command} {run}`, or remove it to show the run without it."
    )


def test_a_table_is_read_as_one_file_whatever_lies_beside_it(tmp_path):
    (tmp_path / "part=1").mkdir()
    path = tmp_path / "part=1" / "table.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert read_table(path).column_names == ["a"]
