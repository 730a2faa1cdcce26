"""What the console commands share: their application, the layout of their help, their main.

An error is one line on the screen and a status that is not 0.
"""

import importlib.metadata
import re
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from results.record.errors import SearchError
from results.record.screen import replace_unprintable

PACKAGE = "fmnist-search"
# What a shell reports of a program that Ctrl-C has ended.
INTERRUPTED_STATUS = 130
# What stands behind an option in a help, by typer's name of its type.
METAVARS = {"str": "TEXT", "int": "N", "float": "NUMBER", "path": "PATH"}
# A wider line of help is harder to read, on any screen.
HELP_COLUMNS = 120
# With more options than this, the help lists them by group.
MANY_OPTIONS = 15
# Wider than this, an option stands on a line of its own, above its help.
OPTION_COLUMNS = 26


class Command(TyperCommand):
    """A command whose help lists its options by group, where they are many."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help, in the order of the options."""
        parameters = self.get_params(ctx)
        has_groups = len(parameters) > MANY_OPTIONS
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in parameters:
            group = getattr(parameter, "rich_help_panel", None)
            title = "Options"
            if parameter.param_type_name == "argument":
                title = "Arguments"
            elif has_groups:
                title = group or next(reversed(sections))  # --help has no group, and comes last
            name, text = help_of(parameter, ctx)
            sections.setdefault(title, []).append((name.ljust(OPTION_COLUMNS), text))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=OPTION_COLUMNS)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words behind the command in its usage line."""
        arguments = (each for each in self.params if each.param_type_name == "argument")
        return ["[OPTIONS]", *(help_of(argument, ctx)[0] for argument in arguments)]


def help_of(parameter: Any, ctx: Any) -> tuple[str, str]:
    """Return how an option or argument is typed, and its help, in one style for all commands."""
    name, _ = parameter.get_help_record(ctx)
    text = parameter.help or ""
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name.upper()).strip("[].")
        name = name if parameter.required else f"[{name}]"
        name += "..." if parameter.nargs == -1 else ""
    else:
        name = re.sub(r"<(\w+)[^>]*>", lambda kind: METAVARS.get(kind[1], kind[1].upper()), name)
        is_said = "Default:" in text or parameter.is_flag or parameter.default in (None, ())
        if not is_said and parameter.show_default:
            default = parameter.default
            shown = f"{default:g}" if isinstance(default, float) else default
            text = f"{text} Default: {shown}."
        if parameter.required:
            text = f"{text} Required."
        if parameter.envvar:
            text = f"{text} Environment variable: {parameter.envvar}."
    return name, text


class Commands(TyperGroup):
    """The commands of a program; its help gives the whole first paragraph of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of the commands."""
        summaries = {
            name: (command.help or "").partition("\n\n")[0]
            for name, command in self.commands.items()
        }
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join(text.split())) for name, text in summaries.items()])


def make_app(help: str) -> typer.Typer:
    """Return an application without commands, with the options that all have.

    Args:
        help: What its commands do, in a sentence.
    """
    app = typer.Typer(
        cls=Commands,
        help=help,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"max_content_width": HELP_COLUMNS, "help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common_options)
    return app


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Any], Any]:
    """Return a decorator that makes a function a command of an application."""
    return app.command(name, cls=Command, **settings)


def main(app: typer.Typer, name: str, expected: type[Exception] = SearchError) -> NoReturn:
    """Run a command line.

    Args:
        app: Its commands.
        name: As it is typed.
        expected: Class of the errors that say what a user can do; it has an ``exit_status``.
    """
    replace_unprintable()
    arguments, debug = without_debug(sys.argv[1:])
    try:
        sys.exit(app(arguments or ["--help"], prog_name=name, standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error, error.format_message(), error.exit_code, debug)
    except Exception as error:
        if isinstance(error, expected):
            _fail(error, str(error), error.exit_status, debug)  # type: ignore[attr-defined]
        _fail(error, f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


def without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Return the arguments without ``--debug``, and whether it is among them.

    It may stand anywhere on the line, since a person adds it at the end; what follows ``--``
    belongs to another command.
    """
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    rest = arguments[len(own) :]
    return [argument for argument in own if argument != "--debug"] + rest, "--debug" in own


def _common_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=lambda is_typed: _show_version() if is_typed else None,
        ),
    ] = False,
) -> None:
    """Take the options of all commands."""


def _show_version() -> NoReturn:
    print(f"{PACKAGE} {importlib.metadata.version(PACKAGE)}")
    raise typer.Exit


def _fail(error: BaseException, message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    for line in message.splitlines() or [type(error).__name__]:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)
