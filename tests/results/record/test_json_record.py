"""A file of a run as a dataclass: what is read, what is refused and with which message."""

from dataclasses import dataclass

import pytest

from results.record.confirmation import Mode, Verdict
from results.record.errors import RunFolderError
from results.record.json_record import JsonRecord


@dataclass(frozen=True)
class Part:
    share: float
    verdict: Verdict


@dataclass(frozen=True)
class Whole(JsonRecord):
    name: str
    count: int
    is_done: bool
    mode: Mode
    parts: tuple[Part, ...]
    rest: float | None


WHOLE = (
    '{"name": "a", "count": 3, "is_done": true, "mode": "max", "rest": null,'
    ' "parts": [{"share": 1, "verdict": "tie", "newer": 1}], "newer": {}}'
)


def test_a_file_is_read_with_its_types_and_written_again(tmp_path):
    whole = Whole.from_json(WHOLE)
    assert whole == Whole("a", 3, True, "max", (Part(1.0, Verdict.TIE),), None)
    assert type(whole.parts[0].share) is float
    assert type(whole.parts[0].verdict) is Verdict
    whole.write(tmp_path / "whole.json")
    assert Whole.read(tmp_path / "whole.json") == whole


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"a"', "7", "name is 7"),
        ("3", "true", "count is True"),
        ("3", "3.0", "count is 3.0"),
        ("true", "1", "is_done is 1"),
        ('"max"', '"most"', "mode is 'most'"),
        ("null", "NaN", "rest is nan"),
        ("null", "1e999", "rest is inf"),
        ("null", '"1"', "rest is '1'"),
        ('"share": 1,', "", r"parts\[0\]\.share is missing"),
        ('"share": 1', '"share": true', r"parts\[0\]\.share is True"),
        ('"tie"', '"unsure"', r"parts\[0\]\.verdict is 'unsure'"),
        ('[{"share": 1, "verdict": "tie", "newer": 1}]', "[17]", r"parts\[0\] is not an object"),
        ('[{"share": 1, "verdict": "tie", "newer": 1}]', "{}", r"parts is \{\}"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_place(old, new, problem):
    assert WHOLE.count(old) == 1
    with pytest.raises(ValueError, match=f"^{problem}$"):
        Whole.from_json(WHOLE.replace(old, new))


def test_many_problems_are_named_up_to_five_and_then_counted():
    with pytest.raises(ValueError, match=r"^name is missing; .*parts is missing; and 1 more$"):
        Whole.from_json("{}")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"nothing\.json is damaged or incomplete \(.*No such"):
        Whole.read(tmp_path / "nothing.json")
    (tmp_path / "bytes.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(RunFolderError, match=r"bytes\.json is damaged or incomplete \(invalid"):
        Whole.read(tmp_path / "bytes.json")
