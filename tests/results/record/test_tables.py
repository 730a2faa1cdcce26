"""Both tables and best.json are written anew from the journal, in this process."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.record.errors import RunFolderError
from results.record.history import History, Objective
from results.record.journal import Journal
from results.record.tables import (
    Damage,
    best_record,
    is_current,
    rebuild,
    refresh,
    with_scheduler,
    write_tables,
)

DERIVED = ("trials.parquet", "epochs.parquet", "best.json")
DESCRIPTION = {"plan": {"problem": {"objective": {"name": "val_loss", "mode": "min"}}}}


def event(kind, **fields):
    return {"event": kind, "at_seconds": 1.0, **fields}


def epoch(trial, number, value, **fields):
    return event(
        "epoch", trial=trial, epoch=number, epoch_seconds=0.5, decision="continue", worker="w",
        metrics={"val_loss": value}, **fields,
    )  # fmt: skip


def appended(run, *events):
    """Append events to the journal of a run."""
    journal = Journal(run / "journal.jsonl")
    for each in events:
        journal.append(each)
    journal.close()


@pytest.fixture
def run(tmp_path):
    """A run of three trials with an epoch each, without tables."""
    appended(tmp_path, event("search_started", run=DESCRIPTION))
    for trial, value in enumerate([0.4, 0.2, 0.3]):
        started = event("trial_started", trial=trial, values={"units": trial})
        appended(tmp_path, started, epoch(trial, 1, value))
    (tmp_path / "run.json").write_text(json.dumps(DESCRIPTION))
    return tmp_path


def trials_of(run):
    return pq.read_table(run / "trials.parquet").to_pylist()


def epochs_of(run):
    return pq.read_table(run / "epochs.parquet").to_pylist()


# --- What stands in the tables ----------------------------------------------------------------


def test_tables_and_the_best_follow_from_the_journal(run):
    assert rebuild(run) == Damage(damaged_lines=(), run_file_note=None)
    assert [row["best_objective"] for row in trials_of(run)] == [0.4, 0.2, 0.3]
    assert [row["trial"] for row in epochs_of(run)] == [0, 1, 2]
    assert json.loads((run / "best.json").read_text()) == {
        "trial": 1, "epoch": 1, "objective": "val_loss", "value": 0.2, "at_seconds": 1.0,
        "values": {"units": 1},
    }  # fmt: skip


def test_a_trial_is_a_row_with_all_that_is_known_of_it(run):
    path = {"name": "fit", "reason": "a callback", "continued_from": 3}
    appended(
        run,
        event("trial_started", trial=3, values={"units": 9}),
        event("trial_placed", trial=3, device="gpu", multiply_adds=700),
        epoch(3, 4, 0.6, path=path),
        epoch(3, 5, 0.5) | {"at_seconds": 7.0},
        event("trial_ended", trial=3, state="stopped", scheduler="asha", error="none") | {"at_seconds": 8.0},
    )  # fmt: skip
    rebuild(run)
    assert trials_of(run)[3] == {
        "trial": 3, "state": "stopped", "scheduler": "asha", "epochs": 2, "best_objective": 0.5,
        "best_epoch": 5, "best_seconds": 7.0, "started_seconds": 1.0, "ended_seconds": 8.0,
        "train_seconds": 1.0, "attempt": 1, "worker": "w", "error": "none", "path": "fit",
        "path_reason": "a callback", "continued_from": 3, "device": "gpu", "multiply_adds": 700,
        "hp:units": 9,
    }  # fmt: skip


def test_a_trial_without_an_epoch_has_empty_cells(run):
    appended(run, event("trial_started", trial=3, values={}))
    rebuild(run)
    row = trials_of(run)[3]
    assert (row["state"], row["epochs"], row["worker"]) == ("running", 0, "")
    empty = ("best_objective", "best_epoch", "best_seconds", "ended_seconds", "continued_from")
    assert [row[name] for name in (*empty, "hp:units")] == [None] * 6
    assert "device" not in row  # no trial of this search has one


def test_an_epoch_is_a_row_with_its_metrics_and_times(run):
    appended(run, epoch(0, 2, None, execution=1, laps={"train": 0.25}) | {"decision": "stop"})
    rebuild(run)
    assert epochs_of(run)[1] == {
        "trial": 0, "epoch": 2, "objective": None, "decision": "stop", "at_seconds": 1.0,
        "epoch_seconds": 0.5, "attempt": 1, "execution": 1, "worker": "w", "lap:train": 0.25,
        "metric:val_loss": None,
    }  # fmt: skip
    assert [row["lap:train"] for row in epochs_of(run)] == [None, 0.25, None, None]


def test_epochs_stand_by_trial_in_the_order_of_the_trials(run):
    appended(run, epoch(2, 2, 0.1), epoch(0, 2, 0.1))
    rebuild(run)
    rows = [(row["trial"], row["epoch"]) for row in epochs_of(run)]
    assert rows == [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 0.5, 3], [1.0, 0.5, 3.0]),
        ([True, 2, "relu"], ["true", "2", '"relu"']),  # as JSON, which keeps their types
        ([True, False, 1], ["true", "false", "1"]),
        ([1, 2**63, -(2**70)], ["1", str(2**63), str(-(2**70))]),  # beyond 64 bits
        ([2**60 + 1, 0.5, 1], [str(2**60 + 1), "0.5", "1"]),  # no float is 2**60 + 1
    ],
)
def test_a_hyperparameter_of_several_types_keeps_them(tmp_path, values, column):
    appended(
        tmp_path,
        event("search_started", run=DESCRIPTION),
        *(event("trial_started", trial=n, values={"a": value}) for n, value in enumerate(values)),
        event("trial_started", trial=3, values={}),
    )
    (tmp_path / "run.json").write_text(json.dumps(DESCRIPTION))
    rebuild(tmp_path)
    assert [row["hp:a"] for row in trials_of(tmp_path)] == [*column, None]


def test_a_search_without_a_value_has_no_best(tmp_path):
    appended(tmp_path, event("search_started", run=DESCRIPTION))
    history = History(Objective("val_loss", "min"))
    write_tables(tmp_path, history)
    assert (trials_of(tmp_path), epochs_of(tmp_path)) == ([], [])
    assert not (tmp_path / "best.json").exists()


def test_the_best_has_the_values_that_its_trial_used():
    history = History.replay(
        Objective("val_loss", "min"),
        [
            event("trial_started", trial=4, values={"units": 1}),
            epoch(4, 2, 0.5, values={"units": 1, "used": 2}),
        ],
    )
    assert best_record(history, replace(history.best, at_seconds=9.0)) == {
        "trial": 4, "epoch": 2, "objective": "val_loss", "value": 0.5, "at_seconds": 9.0,
        "values": {"units": 1, "used": 2},
    }  # fmt: skip


# --- When they are written --------------------------------------------------------------------


def test_tables_are_current_until_the_journal_grows(run):
    assert not is_current(run)
    assert refresh(run) is None
    assert is_current(run)
    appended(run, epoch(0, 2, 0.1))
    assert not is_current(run)
    refresh(run)
    assert [row["best_objective"] for row in trials_of(run)] == [0.1, 0.2, 0.3]


def test_tables_that_ranked_scores_of_two_kinds_are_written_anew(run):
    score = {"score": 4.8, "best_step": 0, "metrics": {"val_loss": 4.8}}
    appended(run, event("trial_ended", trial=0, state="completed", **score))
    refresh(run)
    table = pq.read_table(run / "trials.parquet")
    metadata = {key: text for key, text in table.schema.metadata.items() if key != b"score_kind"}
    pq.write_table(table.replace_schema_metadata(metadata), run / "trials.parquet")
    assert not is_current(run)
    refresh(run)
    assert is_current(run)
    assert [row["best_objective"] for row in trials_of(run)] == [4.8, None, None]


def test_current_tables_are_left_as_they_are(run):
    refresh(run)
    before = {name: (run / name).stat().st_mtime_ns for name in DERIVED}
    refresh(run)
    assert {name: (run / name).stat().st_mtime_ns for name in DERIVED} == before


@pytest.mark.parametrize("name", ["trials.parquet", "epochs.parquet", "run.json"])
def test_a_file_that_is_missing_or_damaged_is_not_current(run, name):
    refresh(run)
    (run / name).write_text("{")
    assert not is_current(run)
    (run / name).unlink()
    assert not is_current(run)


def test_without_a_journal_the_tables_count_as_current(run):
    (run / "journal.jsonl").unlink()
    (run / "run.json").unlink()
    assert is_current(run)
    assert refresh(run) is None


@pytest.mark.parametrize("content", [None, "", '{"plan": {', "[]", '"a plan"', "{}"])
def test_a_damaged_run_json_is_rewritten_from_its_copy_in_the_journal(run, content):
    (run / "run.json").unlink()
    if content is not None:
        (run / "run.json").write_text(content)
    assert refresh(run) == "run.json was missing or damaged: rewritten from the journal"
    assert json.loads((run / "run.json").read_text()) == DESCRIPTION
    assert refresh(run) is None


def damage_line_4(run):
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"units":1', b'"units":9')
    (run / "journal.jsonl").write_bytes(b"".join(lines))


def test_a_damaged_line_is_named_each_time(run):
    damage_line_4(run)
    assert rebuild(run).damaged_lines == (4,)
    assert is_current(run)
    assert [refresh(run) for _ in range(2)] == ["journal: skipped damaged line 4"] * 2


def test_a_damaged_run_json_and_a_damaged_line_are_both_named(run):
    damage_line_4(run)
    (run / "run.json").unlink()
    assert refresh(run).splitlines() == [
        "run.json was missing or damaged: rewritten from the journal",
        "journal: skipped damaged line 4",
    ]


def test_tables_that_cannot_be_rebuilt_stay_as_they_were(run):
    rebuild(run)
    before = {name: (run / name).read_bytes() for name in DERIVED}
    journal = (run / "journal.jsonl").read_bytes()
    (run / "journal.jsonl").write_bytes(journal.replace(b'"mode":"min"', b'"mode":"max"', 1))
    (run / "run.json").unlink()
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read"):
        rebuild(run)
    assert refresh(run).startswith("its tables cannot be rewritten and may be out of date (")
    assert {name: (run / name).read_bytes() for name in DERIVED} == before


def test_a_run_of_another_program_is_refused(run):
    (run / "run.json").write_text('{"plan": {"problem": {}}}')
    with pytest.raises(
        RunFolderError,
        match=r"run\.json does not describe a search \(KeyError: 'objective'\): expected a file",
    ):
        rebuild(run)


def test_events_that_this_program_does_not_write_are_refused(run):
    appended(run, event("trial_ended", trial=0, state="gone"))
    with pytest.raises(
        RunFolderError,
        match=r"journal\.jsonl holds events that this program does not write \(ValueError: 'gone'",
    ):
        rebuild(run)


def test_a_folder_in_the_place_of_a_table_is_reported(run):
    (run / "trials.parquet").mkdir()
    assert "cannot be written (Is a directory): nothing was changed" in refresh(run)


# --- Tables of version 0.1.0 ------------------------------------------------------------------


def test_tables_of_version_0_1_0_get_a_column_of_schedulers():
    old = pa.table({"trial": [0, 1], "state": ["completed", "stopped by ASHA"], "epochs": [3, 1]})
    new = with_scheduler(old)
    assert new.column_names == ["trial", "state", "scheduler", "epochs"]
    assert new["state"].to_pylist() == ["completed", "stopped"]
    assert new["scheduler"].to_pylist() == [None, "asha"]
    assert with_scheduler(new) == new


def test_a_table_without_states_gets_no_column():
    table = pa.table({"trial": [0]})
    assert with_scheduler(table) == table


def test_a_state_that_no_trial_can_have_is_refused():
    with pytest.raises(ValueError, match="'gone' is not a valid State"):
        with_scheduler(pa.table({"state": ["gone"]}))
