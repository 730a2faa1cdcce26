"""Run folders that previous versions wrote, and this one must open: kept as they were left."""

import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results.reading import read_run
from results.record.columns import State
from results.record.tables import refresh
from results.run import row_of
from search.session.origin import read_previous_run

VERSIONS = sorted((Path(__file__).parents[1] / "assets").glob("version-*"))


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request, tmp_path):
    shutil.copytree(request.param, tmp_path / "runs")
    return tmp_path / "runs"


def test_a_finished_run_is_read(version):
    previous = read_previous_run(version / "finished")
    assert previous.history.unfinished() == []
    assert previous.history.end_reason == "trials done"
    row = row_of(read_run(version / "finished"))
    assert row.trials == len(previous.history.trials) == 4
    assert row.best == previous.history.best_value


def test_a_run_that_was_cut_off_is_read(version):
    from search.worker.checkpoint import read_newest

    previous = read_previous_run(version / "cut-off")
    unfinished = previous.history.unfinished()
    assert {trial.state for trial in unfinished} == {State.RUNNING}
    state = previous.folder.state_file(unfinished[0].trial)
    assert 1 <= read_newest(state).epochs <= len(unfinished[0].epochs)
    assert refresh(version / "cut-off") is None
    run = read_run(version / "cut-off")
    assert run.ended == "cut off"
    assert run.trials.num_rows == len(previous.history.trials)


@pytest.mark.long
def test_a_run_that_was_cut_off_continues(version, commands):
    before = read_previous_run(version / "cut-off")
    reported = {
        (t.trial, e.epoch): e.metrics for t in before.history.trials.values() for e in t.epochs
    }
    subprocess.run(
        [commands / "fmnist-search", "resume", version / "cut-off"],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    after = read_previous_run(version / "cut-off")
    trials = pq.read_table(version / "cut-off" / "trials.parquet").to_pylist()
    assert [row["state"] for row in trials] == ["completed"] * 4
    now = {(t.trial, e.epoch): e.metrics for t in after.history.trials.values() for e in t.epochs}
    assert reported.items() <= now.items()  # on the same kind of machine: to the bit
