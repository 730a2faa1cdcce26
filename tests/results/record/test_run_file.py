"""run.json, and its copies in the journal."""

import pytest
from made_up_runs import RunWriter, make_plan

from results.record.errors import RunFolderError
from results.record.history import Objective
from results.record.run_file import (
    foreign_run_error,
    has_valid_run_file,
    how_to_continue,
    objective_of,
    read_description,
)

COPIES = [{"event": "search_started", "run": {"plan": 1}}, {"event": "epoch"},
          {"event": "search_resumed", "run": {"plan": 2}}]  # fmt: skip


def test_the_description_of_a_run_is_that_of_run_json(tmp_path):
    (tmp_path / "run.json").write_text('{"plan": {}, "space": []}')
    assert read_description(tmp_path) == {"plan": {}, "space": []}
    assert read_description(tmp_path, COPIES) == {"plan": {}, "space": []}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"space": []}'])
def test_instead_of_a_damaged_run_json_the_newest_copy_counts(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert read_description(tmp_path, COPIES) == {"plan": 2}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"run\.json cannot be read \(.*No such file.*\): expected a JSON file"),
        ("{", r"run\.json cannot be read \(Expecting property name.*\): expected a JSON file"),
        ("[]", r"run\.json does not describe a search: expected a JSON object\."),
    ],
)
def test_without_a_copy_a_damaged_run_json_is_refused(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match=problem):
        read_description(tmp_path, [{"event": "epoch"}])


@pytest.mark.parametrize(
    ("content", "is_valid"),
    [('{"plan": {}}', True), ("{}", False), ('["plan"]', False), ("{", False), (None, False)],
)
def test_a_valid_run_json_holds_a_plan(tmp_path, content, is_valid):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert has_valid_run_file(tmp_path) is is_valid


def test_the_objective_stands_in_the_plan(tmp_path):
    description = {"plan": {"problem": {"objective": {"name": "val_loss", "mode": "min"}}}}
    assert objective_of(tmp_path, description) == Objective("val_loss", "min")


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        ({}, "KeyError: 'plan'"),
        ({"plan": []}, "TypeError: list indices must be integers"),
        ({"plan": {"problem": {"objective": {"name": "x", "mode": "max", "parts": [1]}}}}, "AttributeError"),
    ],
)  # fmt: skip
def test_a_description_of_another_program_is_refused(tmp_path, description, problem):
    with pytest.raises(RunFolderError, match=rf"run\.json does not describe a search \({problem}"):
        objective_of(tmp_path, description)


def test_a_foreign_run_json_is_named_with_what_is_wrong(tmp_path):
    assert str(foreign_run_error(tmp_path, KeyError("mode"))) == (
        f"{tmp_path / 'run.json'} does not describe a search (KeyError: 'mode'): expected a file "
        "that `fmnist-search run` wrote."
    )


@pytest.mark.parametrize(
    ("hypermodel", "expected"),
    [("problems:small", "run fmnist-search resume '{}'"), (None, "run the script again")],
)
def test_a_run_of_a_script_is_continued_by_the_script(tmp_path, hypermodel, expected):
    folder = tmp_path / "a run"
    RunWriter(folder, plan=make_plan(folder, hypermodel=hypermodel)).close()
    assert how_to_continue(folder) == expected.format(folder)
