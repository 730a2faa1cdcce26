"""What run.json says of a run, and what is read of a run folder."""

import importlib.metadata
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from made_up_runs import ACCURACY, UNITS, RunWriter, make_plan

from results.record.columns import State
from results.record.history import Objective
from search.errors import RunFolderError
from search.session.run_file import describe, read_run
from search.space.parameters import Kind, Parameter, Space
from search.storage.folder import RunFolder

DEPTH = Parameter("depth", Kind.INT, 2, low=1, high=4, step=1)


@pytest.fixture
def writer(tmp_path):
    return RunWriter(tmp_path / "run")


def change_run_file(path, change):
    """Let a function change the content of run.json."""
    description = json.loads((path / "run.json").read_text())
    change(description)
    (path / "run.json").write_text(json.dumps(description))


# --- Writing --------------------------------------------------------------------------------------


def test_a_run_is_described_with_its_plan_and_its_space(tmp_path):
    plan = make_plan(tmp_path / "run")
    description = json.loads(json.dumps(describe(plan, UNITS)))
    assert description["plan"] == json.loads(json.dumps(plan.to_json()))
    assert Space.from_json(description["space"]) == UNITS


def test_a_run_is_described_with_its_command_and_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/bin/fmnist-search", "run", "--trials", "3"])
    description = describe(make_plan(tmp_path), UNITS)
    assert description["command"] == ["fmnist-search", "run", "--trials", "3"]
    started = datetime.fromisoformat(description["started_at"])
    assert started.utcoffset() == timedelta(0)
    assert started <= datetime.now(UTC)


def test_a_run_is_described_with_its_programs_and_its_machine(tmp_path):
    description = describe(make_plan(tmp_path), UNITS)
    assert description["version"] == importlib.metadata.version("fmnist-search")
    assert description["versions"]["ray"] == importlib.metadata.version("ray")
    assert set(description["versions"]) == {
        "tensorflow", "keras", "keras-tuner", "ray", "optuna", "numpy", "python",
    }  # fmt: skip
    assert set(description["machine"]) == {"processor", "cores", "memory_bytes", "system"}
    assert description["machine"]["memory_bytes"] > 2**20


# --- Reading --------------------------------------------------------------------------------------


def test_a_run_is_read_with_its_plan_and_its_history(writer):
    writer.trial(0, {"units": 3}, [0.5, 0.7], State.COMPLETED)
    run = read_run(RunFolder(writer.close()))
    assert run.plan == make_plan(writer.folder.path)
    assert run.problem == run.plan.problem
    assert (run.history.best.trial, run.history.best_value) == (0, 0.7)
    assert run.history.objective == ACCURACY
    assert run.notes == ()


def test_a_moved_run_has_the_plan_of_its_new_place(writer, tmp_path):
    path = writer.close().rename(tmp_path / "moved")
    assert read_run(RunFolder(path)).plan.out == path


def test_a_sum_of_objectives_is_read_with_its_parts(tmp_path):
    objective = Objective("sum", "min", (Objective("a", "max"), Objective("b", "min")))
    writer = RunWriter(tmp_path / "run", UNITS, make_plan(tmp_path / "run", objective=objective))
    assert read_run(RunFolder(writer.close())).problem.objective == objective


def test_the_seconds_of_search_are_those_of_the_latest_event(writer):
    writer.trial(0, {"units": 3}, [0.5], State.COMPLETED)  # an event a second, from 10
    run = read_run(RunFolder(writer.close()))
    assert run.seconds == 13.0
    assert replace(run, events=()).seconds == 0.0


def test_the_space_has_the_parameters_that_trials_added(writer):
    writer.recorder.space_grown(Space((DEPTH,)).to_json())
    assert read_run(RunFolder(writer.close())).space == Space((*UNITS, DEPTH))


def test_a_run_without_a_recorded_space_has_an_empty_one(writer):
    path = writer.close()
    change_run_file(path, lambda description: description.pop("space"))
    assert read_run(RunFolder(path)).space == Space(())


def test_damage_is_noted(writer):
    writer.trial(0, {"units": 3})
    path = writer.close()
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (path / "journal.jsonl").write_bytes(b"".join([lines[0], b"damaged\n", *lines[1:]]))
    (path / "run.json").write_text("{")
    run = read_run(RunFolder(path))
    assert run.damaged_lines == (2,)
    assert run.notes == (
        "journal: skipped damaged line 2",
        "run.json is missing or damaged: its copy in the journal is used",
    )
    assert run.plan.trials == make_plan(path).trials


# --- Run files of other programs ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["problem"].update(colour="red"),
        lambda plan: plan["problem"].pop("data"),
        lambda plan: plan["problem"].pop("objective"),
    ],
)
def test_a_problem_of_another_program_is_refused(writer, change):
    path = writer.close()
    change_run_file(path, lambda description: change(description["plan"]))
    with pytest.raises(RunFolderError, match=r"run\.json does not describe a search"):
        _ = read_run(RunFolder(path)).problem


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(colour="red"),
        lambda plan: plan.update(scheduler="median"),
        lambda plan: plan.pop("tuner"),
    ],
)
def test_a_plan_of_another_program_is_refused(writer, change):
    path = writer.close()
    change_run_file(path, lambda description: change(description["plan"]))
    run = read_run(RunFolder(path))
    assert run.problem.objective == ACCURACY
    with pytest.raises(RunFolderError, match=r"run\.json does not describe a search"):
        _ = run.plan


def test_a_run_file_that_holds_no_object_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.run_file.write_text("[1, 2]")
    folder.journal_file.write_bytes(b"")
    with pytest.raises(RunFolderError, match="expected a JSON object"):
        read_run(folder)
