"""How a file of a run is written: whole or not at all, with an advice where it cannot be."""

import json

import pytest

from results.record.errors import RunFolderError
from results.record.files import replacing, replacing_output, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "best.json"
    write_json(path, {"value": 1})
    with pytest.raises(RuntimeError), replacing(path) as fresh:
        fresh.write_text("{half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"value": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.json"]


def test_a_file_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(RunFolderError, match=r"Not a directory\): nothing was changed"),
        replacing(tmp_path / "file" / "best.json") as fresh,
    ):
        fresh.write_text("{}")
    with (
        pytest.raises(RunFolderError, match=r"\): choose another place with --out\.$"),
        replacing_output(tmp_path / "file" / "report.html") as fresh,
    ):
        fresh.write_text("<html>")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_folder_of_a_file_that_a_user_asked_for_is_made(tmp_path):
    with replacing_output(tmp_path / "new" / "folder" / "report.html") as fresh:
        fresh.write_text("<html>")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["report.html"]
