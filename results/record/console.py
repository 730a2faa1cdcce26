"""The main of a console command: an error is one line on the screen and a status that is not 0."""

import sys
import traceback
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from results.record.errors import SearchError

# What a shell reports of a program that Ctrl-C has ended.
INTERRUPTED_STATUS = 130


def main(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line.

    Args:
        app: Its commands.
        name: As it is typed.
    """
    # Asked for anywhere on the line, since a person adds it at the end.
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    try:
        sys.exit(app(arguments, prog_name=name, standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error, error.format_message(), error.exit_code, debug)
    except SearchError as error:
        _fail(error, str(error), error.exit_status, debug)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(error: BaseException, message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    for line in message.splitlines() or [type(error).__name__]:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)
