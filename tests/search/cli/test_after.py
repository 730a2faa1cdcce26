"""The configurations that a person names with ``confirm --also``."""

import json
from pathlib import Path

import pytest

from search.cli.after import (
    hyperparameters_at_defaults,
    read_configurations,
    short_names,
    unknown_names,
)
from search.space.parameters import Kind, Parameter, Space

SPACE = Space((Parameter("units", Kind.INT, 8, low=2, high=64),))


def test_a_file_that_is_named_twice_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    Path("best.json").write_text(json.dumps({"values": {"units": 4}, "trial": 7}))
    Path("mine.json").write_text(json.dumps({"units": 5}))
    problems = []
    read = read_configurations(
        [Path("best.json"), Path("./x/../best.json"), Path("mine.json")], problems
    )
    assert list(read.values()) == [{"units": 4}, {"units": 5}]
    assert not problems


@pytest.mark.parametrize("content", ["[1, 2]", '{"units": [4]}', '{"values": 3}', "no json"])
def test_a_file_that_holds_no_configuration_is_a_problem(tmp_path, content):
    file = tmp_path / "other.json"
    file.write_text(content)
    problems = []
    assert read_configurations([file, tmp_path / "nowhere.json"], problems) == {}
    assert [line.split(":")[0] for line in problems] == [
        f"--also '{file}'", f"--also '{tmp_path}/nowhere.json'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/best.json"], ["best"]),
        (["a/best.json", "b/best.json"], ["a/best", "b/best"]),
        (["x/a/best.json", "y/a/best.json", "mine.json"], ["x/a/best", "y/a/best", "mine"]),
        (["best.json", "best.txt"], ["best.json", "best.txt"]),
    ],
)
def test_files_have_the_shortest_names_that_tell_them_apart(tmp_path, monkeypatch, files, names):
    monkeypatch.chdir(tmp_path)
    assert list(short_names(map(Path, files)).values()) == names


def test_an_unknown_name_suggests_the_nearest_one():
    [line] = unknown_names(Path("mine.json"), {"unit": 4, "units": 4, "tuner/epochs": 3}, SPACE)
    assert line == (
        "--also 'mine.json': 'unit' is not a hyperparameter of this run: expected one of units. "
        "Did you mean 'units'?"
    )


def test_every_name_is_valid_for_a_run_without_a_space():
    assert not list(unknown_names(Path("mine.json"), {"unit": 4}, Space(())))


def test_only_active_hyperparameters_are_said_to_be_at_their_defaults():
    rows = [
        ("deep", [], [False, True], False),
        ("depth", [{"parent": "deep", "values": [True]}], [2, 3], 2),
        ("width", [{"parent": "deep", "values": [False]}], [4, 5], 4),
        ("kind", [], ["mlp"], "mlp"),
    ]
    space = Space.from_json(
        [
            {"name": name, "kind": "Choice", "default": default, "conditions": conditions, "choices": choices}
            for name, conditions, choices, default in rows
        ]
    )  # fmt: skip
    assert hyperparameters_at_defaults({"deep": True}, space) == ["depth=2"]
    assert hyperparameters_at_defaults({"deep": True, "depth": 3}, space) == []
