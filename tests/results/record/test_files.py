"""Files of a run are written whole or not at all; an error says what to do."""

import json

import pytest

from results.record.errors import RunFolderError
from results.record.files import read_json, replacing, replacing_output, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "best.json"
    write_json(path, {"value": 1})
    with pytest.raises(RuntimeError), replacing(path) as new_file:
        new_file.write_text("{half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"value": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_has_the_new_content(tmp_path):
    path = tmp_path / "best.json"
    for value in (1, 2):
        write_json(path, {"value": value})
    assert path.read_text() == '{\n  "value": 2\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_is_not_json_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "best.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def blocked(tmp_path):
    """A path below a file, where no file can be written."""
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file" / "best.json"


def test_a_file_of_a_run_that_cannot_be_written_says_what_to_do(blocked):
    with pytest.raises(RunFolderError) as refused, replacing(blocked) as new_file:
        new_file.write_text("{}")
    assert str(refused.value) == (
        f"{blocked} cannot be written (Not a directory): nothing was changed. Free disk space, or "
        "check the permissions."
    )


def test_an_output_that_cannot_be_written_says_what_to_do(blocked):
    with pytest.raises(RunFolderError) as refused, replacing_output(blocked) as new_file:
        new_file.write_text("{}")
    assert str(refused.value).endswith("): choose another place with --out.")
    assert blocked.parent.read_text() == "mine"


def test_an_output_in_the_place_of_a_folder_says_what_to_do(tmp_path):
    with pytest.raises(RunFolderError) as refused, replacing_output(tmp_path) as new_file:
        new_file.write_text("{}")
    assert str(refused.value) == (
        f"{tmp_path} cannot be written (Is a directory): choose another place with --out."
    )


def test_the_folder_of_an_output_is_created(tmp_path):
    path = tmp_path / "new" / "folder" / "report.html"
    with replacing_output(path) as new_file:
        new_file.write_text("<html>")
    assert list(path.parent.iterdir()) == [path]


def test_a_json_file_is_read_as_a_value(tmp_path):
    (tmp_path / "run.json").write_text('{"plan": [1, "é"]}', encoding="utf-8")
    assert read_json(tmp_path / "run.json") == {"plan": [1, "é"]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"{", "Expecting property name"), (b"\xff", "can't decode byte")],
)
def test_a_json_file_that_cannot_be_read_is_named(tmp_path, content, problem):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"run\.json cannot be read \(.*{problem}.*\): "):
        read_json(path)
