"""Each option is written once, in the table; commands, ``RayTuner`` and the page follow from it."""

from collections import Counter
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import commands_page
import pytest
import typer.main

from search.cli import app
from search.plan.options import (
    REQUIRED,
    Group,
    Rule,
    Speaker,
    at_least,
    in_order,
    more_than,
    option,
    problems_of,
    rows,
)
from search.plan.plan import OPTIONS, Plan, Problem, Unrecorded
from search.session.changes import CHANGEABLE


def parameters(command):
    return {
        parameter.name: parameter
        for parameter in typer.main.get_command(app).commands[command].params
        if parameter.param_type_name == "option" and parameter.name != "help"
    }


def test_no_two_rows_share_a_name_a_flag_or_an_argument():
    table = list(rows(Problem, Plan, Unrecorded))
    for column in ("name", "flag", "argument"):
        names = Counter(getattr(row, column) for row in table if getattr(row, column))
        assert [name for name, count in names.items() if count > 1] == []
    assert [row.name for row in table] == list(OPTIONS)


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_command_takes_its_options_from_the_table_and_no_others(command):
    expected = OPTIONS.values() if command == "run" else [OPTIONS[name] for name in CHANGEABLE]
    assert {name: each.opts[0] for name, each in parameters(command).items()} == {
        row.name: row.flag for row in expected
    }


def test_the_defaults_of_a_plan_are_those_of_the_table():
    for table in (Problem, Plan):
        columns = {column.name: column.default for column in fields(table)}
        for row in rows(table):
            expected = MISSING if row.default is REQUIRED else row.default
            assert columns[row.name] == expected, row.name


def test_the_page_of_commands_is_made_from_them():
    assert commands_page.PAGE.read_text() == commands_page.page(), "run `make docs`"


@dataclass(frozen=True, kw_only=True)
class Table:
    count: int | None = option(
        int, 3, group=Group.SEARCH, help="Number of things.", rule=at_least(1), argument="number"
    )
    share: float | None = option(
        float, None, group=Group.RESOURCES, help="Share.", rule=more_than(0, ", such as 1")
    )
    is_quick: bool = option(bool, True, group=Group.FILES, help="Be quick.", flag="--quick")
    numbers: tuple[int, ...] = option(
        tuple, (), group=Group.COMMON, help="Numbers.", rule=Rule(all, "no 0"), is_common=True
    )


COUNT, SHARE, QUICK, NUMBERS = rows(Table)


@pytest.mark.parametrize(
    ("table", "speaker", "lines"),
    [
        (Table(), Speaker.COMMAND, []),
        (Table(count=None), Speaker.COMMAND, []),
        (
            Table(count=0, share=0.0),
            Speaker.COMMAND,
            ["--count 0: expected 1 or more.", "--share 0: expected more than 0, such as 1."],
        ),
        (Table(count=0), Speaker.SCRIPT, ["number=0: expected a whole number, 1 or more."]),
        (Table(count="3"), Speaker.SCRIPT, ["number='3': expected a whole number, 1 or more."]),
        (Table(share=float("nan")), Speaker.COMMAND, ["--share nan: expected more than 0, such as 1."]),
        (Table(share=float("inf")), Speaker.COMMAND, ["--share inf: expected more than 0, such as 1."]),
        (Table(numbers=(2, 0)), Speaker.COMMAND, ["--numbers 2,0: expected no 0."]),
    ],
)  # fmt: skip
def test_a_value_that_breaks_its_rule_is_named_as_its_reader_writes_it(table, speaker, lines):
    assert list(problems_of(table, speaker)) == lines


def test_an_option_is_named_with_its_value():
    assert QUICK.called(False) == "--no-quick"
    assert QUICK.called(True) == "--quick"
    assert COUNT.called(4, Speaker.SCRIPT) == "number=4"
    assert SHARE.called(0.5, Speaker.SCRIPT) == "--share 0.5"  # a script has no name for it
    assert OPTIONS["warm_start"].called("a b") == "--warm-start 'a b'"


def test_a_name_that_does_not_exist_is_refused_with_the_nearest():
    row = OPTIONS["scheduler"]
    assert row.problem("asha") is None
    assert (
        row.problem("ahsa")
        == "--scheduler 'ahsa': expected one of asha, none. Did you mean 'asha'?"
    )


def test_the_common_options_come_first_then_group_by_group():
    assert in_order([COUNT, SHARE, QUICK, NUMBERS]) == [NUMBERS, COUNT, SHARE, QUICK]
    order = in_order(OPTIONS.values())
    assert sum(row.is_common for row in order) == 10
    assert all(row.is_common for row in order[:10])
    sections = list(dict.fromkeys(row.section for row in order))
    assert sections == list(Group)


def test_a_default_is_said_in_the_help_where_there_is_one():
    assert COUNT.help_and_default == "Number of things. Default: 3."
    assert SHARE.help_and_default == "Share."
    assert QUICK.help_and_default == "Be quick. Default: on."
    assert COUNT.for_resume().help_and_default == "Number of things."


def test_no_other_module_repeats_the_help_of_an_option():
    root = Path(__file__).parents[3]
    for path in [*(root / "search").rglob("*.py"), root / "README.md"]:
        if path.name != "plan.py":
            text = " ".join(path.read_text().replace('"', "").split())
            assert [row.flag for row in OPTIONS.values() if row.help in text] == [], path
