"""What follows from a journal is written anew from it, in this process."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.record.errors import RunFolderError
from results.record.journal import Journal
from results.record.tables import is_current, rebuild, refresh, with_scheduler

DERIVED = ("trials.parquet", "epochs.parquet", "best.json")
DESCRIPTION = {"plan": {"problem": {"objective": {"name": "val_loss", "mode": "min"}}}}


def event(kind, **fields):
    return {"event": kind, "at_seconds": 1.0, **fields}


@pytest.fixture
def run(tmp_path):
    kept = Journal(tmp_path / "journal.jsonl")
    kept.append(event("search_started", run=DESCRIPTION))
    for trial, value in enumerate([0.4, 0.2, 0.3]):
        kept.append(event("trial_started", trial=trial, values={"units": trial}))
        kept.append(
            event(
                "epoch", trial=trial, epoch=1, epoch_seconds=0.5, decision="continue", worker="w",
                metrics={"val_loss": value},
            )
        )  # fmt: skip
    kept.close()
    (tmp_path / "run.json").write_text(json.dumps(DESCRIPTION))
    return tmp_path


def test_tables_and_the_best_are_made_of_the_journal(run):
    rebuilt = rebuild(run)
    assert (rebuilt.damaged_lines, rebuilt.run_file_note) == ((), None)
    assert pq.read_table(run / "trials.parquet")["best_objective"].to_pylist() == [0.4, 0.2, 0.3]
    assert pq.read_table(run / "epochs.parquet").num_rows == 3
    best = json.loads((run / "best.json").read_text())
    assert (best["trial"], best["value"], best["values"]) == (1, 0.2, {"units": 1})
    assert is_current(run)


@pytest.mark.parametrize("content", [None, "", '{"plan": {', "[]", '"a plan"', "{}"])
def test_run_json_is_mended_from_what_the_journal_repeats(run, content):
    (run / "run.json").unlink()
    if content is not None:
        (run / "run.json").write_text(content)
    assert refresh(run) == "run.json was missing or damaged: rewritten from the journal"
    assert json.loads((run / "run.json").read_text()) == DESCRIPTION
    assert refresh(run) is None


def test_a_damaged_line_is_named_each_time(run):
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"units":1', b'"units":9')
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    assert rebuild(run).damaged_lines == (4,)
    for _ in range(2):
        assert refresh(run) == "journal: skipped damaged line 4"


def test_what_cannot_be_rebuilt_is_said_and_left_as_it_was(run):
    rebuild(run)
    before = {name: (run / name).read_bytes() for name in DERIVED}
    journal = (run / "journal.jsonl").read_bytes()
    (run / "journal.jsonl").write_bytes(journal.replace(b'"mode":"min"', b'"mode":"max"', 1))
    (run / "run.json").unlink()
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read"):
        rebuild(run)
    assert refresh(run).startswith("its tables cannot be rewritten")
    assert {name: (run / name).read_bytes() for name in DERIVED} == before


def test_a_run_of_another_program_is_refused(run):
    (run / "run.json").write_text('{"plan": {"problem": {}}}')
    with pytest.raises(
        RunFolderError,
        match=r"run\.json does not describe a search \(KeyError: 'objective'\): expected a file",
    ):
        rebuild(run)


def test_events_that_no_program_of_this_version_wrote_are_refused(run):
    kept = Journal(run / "journal.jsonl")
    kept.append(event("trial_ended", trial=0, state="gone"))
    kept.close()
    with pytest.raises(
        RunFolderError,
        match=r"journal\.jsonl holds events that this program does not write \(ValueError: 'gone'",
    ):
        rebuild(run)


def test_a_table_in_whose_place_a_folder_stands_is_said(run):
    (run / "trials.parquet").mkdir()
    assert "cannot be written (Is a directory): nothing was changed" in refresh(run)


def test_tables_of_0_1_0_get_their_column_of_schedulers():
    old = pa.table({"trial": [0, 1], "state": ["completed", "stopped by ASHA"], "epochs": [3, 1]})
    new = with_scheduler(old)
    assert new.column_names == ["trial", "state", "scheduler", "epochs"]
    assert new["state"].to_pylist() == ["completed", "stopped"]
    assert new["scheduler"].to_pylist() == [None, "asha"]
    assert with_scheduler(new) == new


def test_a_state_that_no_trial_can_have_is_refused():
    with pytest.raises(ValueError, match="'gone' is not a valid State"):
        with_scheduler(pa.table({"state": ["gone"]}))
