"""``fmnist-results``: thin over the readers and the tables."""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from results import compare, pictures, show, timing
from results.published import DATA, published_rows
from results.reading import CUT_OFF, Run, RunError, read_run, row_of
from results.refresh import refresh
from results.rows import Row, ranked

# A pipe or a file has no width: wide enough for one line a row.
PLAIN_WIDTH = 240

app = typer.Typer(
    help="Compare runs and look into them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


class _UsageError(Exception):
    """What was asked cannot be done as it was asked."""


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options of all commands."""


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Folders of runs.")
    ] = None,
    output: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(compare.Format)}.")
    ] = "table",
    published: Annotated[bool, typer.Option(help="Show the published reference rows too.")] = True,
) -> None:
    """Print a table of runs, the best first, with the published reference rows."""
    if output not in list(compare.Format):
        known = ", ".join(compare.Format)
        raise _UsageError(f"--format {output!r}: expected one of {known}.{_nearest(output)}")
    rows, left_out = _rows(runs or [])
    for message in left_out:
        print(f"left out: {message}", file=sys.stderr)
    if runs and not rows:
        raise RunError("None of the folders is a run with results.")
    has_peers = not rows or any(row.data == DATA for row in rows)
    shown = ranked([*rows, *(published_rows() if published and has_peers else [])])
    match compare.Format(output):
        case compare.Format.JSON:
            print(compare.as_json(shown))
        case compare.Format.CSV:
            print(compare.as_csv(shown))
        case compare.Format.MARKDOWN:
            print(compare.as_markdown(shown))
        case compare.Format.TABLE:
            _console().print(compare.as_table(shown))


@app.command("show")
def show_command(
    run: Folder,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """List the trials of a run and how each ended."""
    _check_table_or_json(output)
    found = _read(run)
    if output == "json":
        print(json.dumps(show.trial_rows(found), indent=2))
        return
    _console().print(show.trials_table(found))
    if found.ended == CUT_OFF:
        print(
            f"its search was cut off: fmnist-search resume {shlex.quote(str(run))} goes on with it"
        )


@app.command("timing")
def timing_command(
    run: Folder,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Show where the seconds of a search went."""
    _check_table_or_json(output)
    found = _read(run)
    if output == "json":
        print(timing.as_json(found))
        return
    _console().print(timing.table(found))


@app.command("plot")
def plot_command(
    run: Folder,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures. Default: final/ of the run.")
    ] = None,
) -> None:
    """Draw the final model's confusion matrix as a PNG file."""
    target = out / "confusion_matrix.png" if out else None
    print(os.path.relpath(pictures.draw_confusion_matrix(_read(run), target)))


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    try:
        sys.exit(app(arguments, prog_name="fmnist-results", standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error, error.format_message(), error.exit_code, debug)
    except (RunError, _UsageError) as error:
        _fail(error, str(error), 2, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _fail(error, f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _rows(paths: Sequence[Path]) -> tuple[list[Row], list[str]]:
    rows, left_out = [], []
    for path in paths:
        try:
            rows.append(row_of(_read(path)))
        except RunError as error:
            left_out.append(str(error))
    return rows, left_out


def _read(path: Path) -> Run:
    note = refresh(path)
    if note is not None:
        print(f"{path}: {note}", file=sys.stderr)
    return read_run(path)


def _check_table_or_json(output: str) -> None:
    if output not in ("table", "json"):
        raise _UsageError(f"--format {output!r}: expected table or json.")


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def _nearest(value: str) -> str:
    import difflib

    matches = difflib.get_close_matches(value, [str(one) for one in compare.Format], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def _fail(error: BaseException, message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    for line in message.splitlines() or [type(error).__name__]:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
