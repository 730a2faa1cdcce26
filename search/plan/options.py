"""The vocabulary of the table of options: a row is written beside the field of the plan it sets.

``search.plan.plan`` has the rows. ``run``, ``resume`` and ``RayTuner``, what they refuse, and
docs/commands.md are made from them.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from results.record.errors import nearest

ROW = "option"
# The default of an option that a plan cannot be made without.
REQUIRED: Any = object()
# What stands behind an option on a command line, by its type.
METAVARS: dict[type, str] = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
# What is taken as a value of a type beside its instances.
WIDER_TYPES: dict[type, Any] = {float: int | float, bool: int}
TYPE_WORDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    tuple: "whole numbers",
}


class Group(StrEnum):
    """The section of the help in which an option stands, in this order."""

    COMMON = "Common options"
    PROBLEM = "Problem"
    SEARCH = "Search"
    EARLY_STOPPING = "Early stopping"
    RESOURCES = "Resources"
    AFTER = "After the search"
    FILES = "Files and screen"


class Speaker(StrEnum):
    """Who names an option: a command (``--trials 3``) or a script (``max_trials=3``)."""

    COMMAND = "command"
    SCRIPT = "script"


@dataclass(frozen=True)
class Rule:
    """What the value of an option must be.

    Attributes:
        holds: Tells whether a value of the option's type is allowed.
        expected: Completes the sentence "expected ...".
    """

    holds: Callable[[Any], bool]
    expected: str


def at_least(lowest: float, unit: str = "") -> Rule:
    """Return the rule of a finite number whose lower bound is included."""
    unit = f" {unit}" if unit else ""
    return Rule(lambda value: lowest <= value < math.inf, f"{lowest:g}{unit} or more")


def more_than(bound: float, remark: str = "") -> Rule:
    """Return the rule of a finite number whose lower bound is excluded."""
    return Rule(lambda value: bound < value < math.inf, f"more than {bound:g}{remark}")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A row of the table: all that is written about one option.

    Attributes:
        name: The field that it sets.
        type: Type of its value: int, float, str, bool, Path, or an enumeration of names.
        default: Value where nothing is given; REQUIRED where the plan needs one.
        flag: How it is typed; None where no command takes it.
        argument: Its name in ``RayTuner``; None where ``RayTuner`` does not take it.
        argument_type: What ``RayTuner`` takes, in words, where that is more than ``type``.
        argument_default: Default in ``RayTuner``, where that differs.
        help: What it does, in a sentence or two.
        argument_help: The same for ``RayTuner``, where that differs.
        in_resume: Whether ``resume`` can change it.
        resume_help: Its help in ``resume``, where that differs.
        default_text: The default in words, where it depends on something.
        group: Section of the help.
        is_common: Whether it stands among the common options, which come first.
        rule: What a value must be.
        metavar: What stands behind the flag in the help.
        environment_variable: Gives the value where the option is not typed.
        instead: What to do with ``--engine keras-tuner``, which refuses the option; None where it
            takes it.
    """

    name: str = ""
    type: type
    default: Any = REQUIRED
    flag: str | None = ""
    argument: str | None = None
    argument_type: str | None = None
    argument_default: Any = None
    help: str
    argument_help: str | None = None
    in_resume: bool = False
    resume_help: str | None = None
    default_text: str | None = None
    group: Group
    is_common: bool = False
    rule: Rule | None = None
    metavar: str | None = None
    environment_variable: str | None = None
    instead: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names to choose from; none where the option is no choice."""
        return tuple(self.type) if issubclass(self.type, StrEnum) else ()

    @property
    def placeholder(self) -> str:
        """What stands behind the flag in the help."""
        return self.metavar or "|".join(self.names) or METAVARS.get(self.type, "")

    @property
    def section(self) -> Group:
        """The section of the help in which it stands."""
        return Group.COMMON if self.is_common else self.group

    @property
    def help_and_default(self) -> str:
        """The help, with the default where there is one."""
        default = self.shown_default
        return self.help if default is None else f"{self.help} Default: {default}."

    @property
    def shown_default(self) -> str | None:
        """The default in words; None where nothing needs to be said."""
        if self.default_text is not None or self.default in (None, REQUIRED):
            return self.default_text
        if self.type is bool:
            return "on" if self.default else None
        return f"{self.default:g}" if self.type is float else str(self.default)

    @property
    def argument_text(self) -> str:
        """The help of the argument of ``RayTuner``, with its default where there is one."""
        if self.argument_help is not None:
            return self.argument_help
        default = self.argument_default
        return self.help if default in (None, REQUIRED) else f"{self.help} Default: {default}."

    def for_resume(self) -> "Option":
        """Return the option as ``resume`` takes it: not typed, it changes nothing."""
        return replace(self, default=None, default_text=None, help=self.resume_help or self.help)

    def called(self, value: Any, speaker: Speaker = Speaker.COMMAND) -> str:
        """Return the option with a value, as a command or a script writes it."""
        if speaker is Speaker.SCRIPT and self.argument is not None:
            return f"{self.argument}={value!r}"
        flag = self.flag or self.name
        if self.type is bool:
            return flag if value else flag.replace("--", "--no-", 1)
        if isinstance(value, tuple):
            return f"{flag} {','.join(map(str, value))}"
        if isinstance(value, float):
            return f"{flag} {value:g}"
        return f"{flag} {value if isinstance(value, int) else str(value)!r}"

    def problem(self, value: Any, speaker: Speaker = Speaker.COMMAND) -> str | None:
        """Return what is wrong with a value, in one line; None where it is allowed."""
        named = self.called(value, speaker)
        if self.names:
            if value in self.names:
                return None
            hint = nearest(str(value), self.names)
            return f"{named}: expected one of {', '.join(self.names)}.{hint}"
        is_of_type = isinstance(value, WIDER_TYPES.get(self.type, self.type))
        if is_of_type and (self.rule is None or self.rule.holds(value)):
            return None
        words = TYPE_WORDS[self.type] if speaker is Speaker.SCRIPT else ""
        expected = self.rule.expected if self.rule else ""
        return f"{named}: expected {', '.join(part for part in (words, expected) if part)}."


def option(of: type, default: Any = REQUIRED, **columns: Any) -> Any:
    """Return a dataclass field that is a row of the table.

    Args:
        of: The type of the option.
        default: Value where nothing is given; without one, the field must be given.
        columns: The other columns, as ``Option`` explains them. Left out, ``flag`` is the field's
            name with dashes, and ``argument_default`` is ``default``.
    """
    row = Option(type=of, default=default, **{"argument_default": default} | columns)
    settings = {} if default is REQUIRED else {"default": default}
    return field(**settings, metadata={ROW: row})


def rows(*tables: type) -> Iterator[Option]:
    """Yield the rows of dataclasses, in their order."""
    for table in tables:
        for column in fields(table):
            row = column.metadata.get(ROW)
            if row is not None:
                flag = f"--{column.name.replace('_', '-')}" if row.flag == "" else row.flag
                yield replace(row, name=column.name, flag=flag)


def in_order(options: Iterable[Option]) -> list[Option]:
    """Return options as a help lists them: the common ones first, then group by group."""
    sections = list(Group)
    return sorted(options, key=lambda row: sections.index(row.section))


def problems_of(table: Any, speaker: Speaker = Speaker.COMMAND) -> Iterator[str]:
    """Yield what breaks the rules of the rows, a line each.

    Args:
        table: An instance of a dataclass of rows.
        speaker: Who reads the line.
    """
    for row in rows(type(table)):
        value = getattr(table, row.name)
        if value is not None and row.rule is not None:
            problem = row.problem(value, speaker)
            if problem is not None:
                yield problem
