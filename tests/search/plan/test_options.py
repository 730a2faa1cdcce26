"""Each option is written once, in the table; commands, ``RayTuner`` and the page follow from it."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import commands_page
import pytest
import typer.main

from search.cli import app
from search.plan.options import (
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


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_command_takes_its_options_from_the_table_and_no_others(command):
    expected = OPTIONS.values() if command == "run" else [OPTIONS[name] for name in CHANGEABLE]
    assert {name: each.opts[0] for name, each in parameters(command).items()} == {
        row.name: row.flag for row in expected
    }


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


# --- Rows and fields ------------------------------------------------------------------------------


def test_a_row_is_a_field_with_its_default():
    assert Table() == Table(count=3, share=None, is_quick=True, numbers=())


def test_a_row_without_a_default_is_a_field_that_must_be_given():
    @dataclass(frozen=True, kw_only=True)
    class Strict:
        name: str = option(str, group=Group.FILES, help="Name.")

    assert Strict(name="a").name == "a"
    with pytest.raises(TypeError, match="name"):
        Strict()


def test_a_row_has_the_name_of_its_field_and_a_flag_of_that_name():
    assert [(row.name, row.flag) for row in rows(Table)] == [
        ("count", "--count"), ("share", "--share"), ("is_quick", "--quick"), ("numbers", "--numbers"),
    ]  # fmt: skip
    assert OPTIONS["retrain_epochs"].flag == "--retrain-epochs"


def test_a_field_without_a_row_is_no_option():
    assert "elastic" not in OPTIONS
    assert "kept_weights" not in OPTIONS


def test_a_row_has_the_default_of_ray_tuner_if_it_has_no_other():
    assert COUNT.argument_default == 3
    assert OPTIONS["epochs"].argument_default is None


# --- Checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "speaker", "lines"),
    [
        (Table(), Speaker.COMMAND, []),
        (Table(count=None), Speaker.COMMAND, []),
        (Table(count=1, share=0.01, numbers=(1, 2)), Speaker.COMMAND, []),
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


@pytest.mark.parametrize(
    ("rule", "allowed", "refused", "expected"),
    [
        (at_least(2), [2, 2.5], [1.9, math.inf, math.nan], "2 or more"),
        (at_least(0, "seconds"), [0], [-1], "0 seconds or more"),
        (more_than(2), [2.1], [2, 1, math.inf, math.nan], "more than 2"),
        (more_than(0, ", such as 1"), [0.5], [0], "more than 0, such as 1"),
    ],
)
def test_a_rule_includes_or_excludes_its_bound(rule, allowed, refused, expected):
    assert rule.expected == expected
    assert all(map(rule.holds, allowed))
    assert not any(map(rule.holds, refused))


def test_a_value_of_a_wider_type_is_taken():
    assert SHARE.problem(1, Speaker.SCRIPT) is None  # a whole number is a number
    assert QUICK.problem(1, Speaker.SCRIPT) is None
    assert COUNT.problem(1.0, Speaker.SCRIPT) == "number=1.0: expected a whole number, 1 or more."
    assert QUICK.problem("yes", Speaker.SCRIPT) == "--quick: expected True or False."


# --- Names ----------------------------------------------------------------------------------------


def test_an_option_is_written_with_its_value_as_its_reader_writes_it():
    assert QUICK.called(False) == "--no-quick"
    assert QUICK.called(True) == "--quick"
    assert COUNT.called(4) == "--count 4"
    assert COUNT.called(4, Speaker.SCRIPT) == "number=4"
    assert SHARE.called(0.5, Speaker.SCRIPT) == "--share 0.5"  # a script has no name for it
    assert SHARE.called(2.0) == "--share 2"
    assert NUMBERS.called((2, 3)) == "--numbers 2,3"
    assert OPTIONS["warm_start"].called("a b") == "--warm-start 'a b'"


def test_an_unknown_name_is_refused_with_the_nearest():
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


def test_the_help_of_an_option_names_its_default():
    assert COUNT.help_and_default == "Number of things. Default: 3."
    assert SHARE.help_and_default == "Share."
    assert QUICK.help_and_default == "Be quick. Default: on."
    assert OPTIONS["checkpoint_seconds"].shown_default == "10"
    assert OPTIONS["or_resume"].shown_default is None
    assert OPTIONS["out"].shown_default == "runs/SPACE-ALGORITHM-TIME"


def test_the_help_of_resume_names_no_default():
    assert COUNT.for_resume().help_and_default == "Number of things."
    trials = OPTIONS["trials"].for_resume()
    assert trials.help_and_default == "Maximum number of trials, including the trials so far."
    assert trials.default is None


def test_the_help_of_an_argument_is_its_own_or_that_of_the_option():
    assert COUNT.argument_text == "Number of things. Default: 3."
    assert OPTIONS["warm_start"].argument_text == OPTIONS["warm_start"].help
    assert OPTIONS["epochs"].argument_text.endswith("Default: `epochs` of `search`.")


def test_a_placeholder_is_that_of_the_option_or_its_names_or_its_type():
    assert COUNT.placeholder == "N"
    assert SHARE.placeholder == "NUMBER"
    assert QUICK.placeholder == ""
    assert OPTIONS["scheduler"].placeholder == "asha|none"
    assert OPTIONS["time_budget_seconds"].placeholder == "SECONDS"


def test_no_other_module_repeats_the_help_of_an_option():
    root = Path(__file__).parents[3]
    for path in [*(root / "search").rglob("*.py"), root / "README.md"]:
        if path.name != "plan.py":
            text = " ".join(path.read_text().replace('"', "").split())
            assert [row.flag for row in OPTIONS.values() if row.help in text] == [], path
