"""The commands of ``fmnist-results``."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from results.compare import formats, seeds
from results.compare.rows import DATA, Condition, Order, published_rows, ranked
from results.follow.follow import JsonPrinter, follow_run
from results.follow.text_printer import TextPrinter
from results.reading import CUT_OFF, read_run
from results.record import columns, console
from results.record.console import INTERRUPTED_STATUS
from results.record.errors import RunFolderError, SearchError, nearest
from results.record.files import replacing_output
from results.record.run_file import how_to_continue
from results.record.screen import make_console
from results.record.tables import refresh
from results.record.words import describe_scores
from results.run import Row, Run, has_stopped, row_of
from results.text import audited, confirmed, timing, trials

app = console.make_app("Compare runs and look into them.")
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
Folders = Annotated[
    # readable=False: the command reports and skips unreadable folders; typer would reject them all.
    list[Path], typer.Argument(metavar="RUN", help="Run folders.", readable=False)
]
TableOrJson = Annotated[str, typer.Option("--format", metavar="FORMAT", help="table or json.")]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"{', '.join(formats.Format)}. Default: by the extension of --out, else table.",
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write to a new file instead of the screen."),
]
OUT_SUFFIXES = (*formats.SUFFIXES, ".txt")
T = TypeVar("T")

# Exit status of ``show --follow`` if the search was cut off.
CUT_OFF_STATUS = 1


class _UsageError(SearchError):
    """An option has an invalid value."""


@console.command(app, "compare")
def compare_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Run folders.", readable=False),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="[-]FIELD",
            help="Sort by a field of --format json; -FIELD sorts in descending order. Default: "
            "best first.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Show only matching rows; FIELD!=VALUE excludes them. Repeatable.",
        ),
    ] = None,
    output: OutputFormat = None,
    out: OutputFile = None,
    published: Annotated[bool, typer.Option(help="Add published reference results.")] = True,
) -> None:
    """Compare runs in a table, best first."""
    orders, sort_problems = _parse_all("--sort", Order.parse, [] if sort is None else [sort])
    conditions, where_problems = _parse_all("--where", Condition.parse, where or [])
    table_format = _choose_format(output, out, [*sort_problems, *where_problems])
    rows = [row_of(run) for run in _read_runs(folders, _read_results)] if folders else []
    is_comparable = not rows or any(row.data == DATA for row in rows)
    rows += published_rows() if published and is_comparable else []
    matching = [row for row in rows if all(condition.holds(row) for condition in conditions)]
    if rows and not matching:
        print("no row matches --where", file=sys.stderr)
    ordered = orders[0].sort(matching) if orders else ranked(matching)
    _output(ordered, table_format, out, formats.shown_columns(ordered))


@console.command(app, "seeds")
def seeds_command(
    folders: Folders,
    against: Annotated[
        str,
        typer.Option(
            metavar="best|first",
            help="Reference group: the best, or the first on the command line.",
        ),
    ] = "best",
    output: OutputFormat = None,
    out: OutputFile = None,
) -> None:
    """Compare groups of runs that differ only in the seed.

    Print the mean of each group's best values, and its difference to the reference group over the
    seeds that both have, each with a 95 % bootstrap interval. Two groups tie when the interval of
    their difference includes zero.
    """
    choices = list(seeds.Against)
    problems = [] if against in choices else [_unknown_value("--against", against, choices)]
    table_format = _choose_format(output, out, problems)
    runs = _read_runs(folders, _read_complete)
    rows, notes = seeds.compare_groups(runs, seeds.Against(against))
    for note in notes:
        print(note, file=sys.stderr)
    _output(rows, table_format, out, seeds.shown_columns(rows), seeds.SeedsRow)


@console.command(app, "show")
def show_command(
    folder: Folder,
    output: TableOrJson = "table",
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Then print each new event until the search ends (exit status 0) or is cut off "
            "(1); stop with Ctrl-C (130). With --format json, print all events, one a line.",
        ),
    ] = False,
) -> None:
    """List the trials of a run, then its confirmation and its audit."""
    _check_table_or_json(output)
    if follow:
        raise typer.Exit(_follow(folder, output))
    run = _read(folder)
    if output == "json":
        print(json.dumps(trials.trial_rows(run), indent=2))
        return
    _console().print(trials.trials_table(run))
    scores = describe_scores(run.score_kind, has_stopped=has_stopped(run))
    for line in filter(None, [scores, trials.describe_data(run)]):
        print(line)
    _show_confirmation(run)
    _show_audit(run)
    if run.ended == CUT_OFF and not (folder / columns.JOURNAL_FILE).exists():
        print(f"{columns.JOURNAL_FILE} is missing: the run can be read, but not continued")
    elif run.ended == CUT_OFF:
        print(f"the search was cut off; to continue it, {how_to_continue(folder)}")


@console.command(app, "timing")
def timing_command(
    folder: Folder,
    output: TableOrJson = "table",
) -> None:
    """Show how the workers of a search spent their time."""
    _check_table_or_json(output)
    run = _read(folder)
    if output == "json":
        print(timing.timing_json(run))
        return
    _console().print(timing.timing_table(run))


@console.command(app, "report")
def report_command(
    folders: Folders,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write. Default: report.html in the run folder; for several runs, in the "
            "current folder.",
        ),
    ] = None,
) -> None:
    """Write an HTML report of one or more runs; it opens without a network."""
    from results.report.report import is_report, write_report  # Plotly takes long to import

    runs = _read_runs(folders)
    default = runs[0].path if len(runs) == 1 else Path()
    target = out or default / columns.REPORT_FILE
    if target.is_dir():
        raise _UsageError(f"--out {str(target)!r} is a folder: expected the name of a file.")
    if target.exists() and not (target.is_file() and is_report(target)):
        raise _UsageError(
            f"--out {str(target)!r} exists and is not a report: choose another file name."
        )
    print(os.path.relpath(write_report(runs, target)))


@console.command(app, "plot")
def plot_command(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the pictures. Default: pictures/ and final/ in the run folder.",
        ),
    ] = None,
) -> None:
    """Save the charts of the report as PNG files; most need Chrome or Chromium."""
    from results.report import pictures

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise _UsageError(
            f"--out {str(out)!r} exists already: expected a new or empty folder, so that no file "
            "is overwritten."
        )
    run = _read(folder)
    for path in pictures.draw_final(run, out):
        print(os.path.relpath(path))
    try:
        pictures.draw_charts(
            run, out, on_file=lambda path: print(os.path.relpath(path), flush=True)
        )
    except pictures.NoBrowserError:
        print(
            "the other charts need Chrome or Chromium: install one, or set BROWSER_PATH to its "
            "path. `fmnist-results report` needs no browser.",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None


def main() -> NoReturn:
    """Run the command line; print an error as one line and exit with its status."""
    console.main(app, "fmnist-results")


def _read(folder: Path) -> Run:
    try:
        note = refresh(folder)
        if note is not None:
            print(f"{folder}: {note}", file=sys.stderr)
        return read_run(folder)
    except OSError as error:
        raise RunFolderError(f"{str(folder)!r} cannot be read: {error.strerror}.") from error


def _read_results(folder: Path) -> Run:
    """Read a run with at least one value to compare."""
    run = _read(folder)
    if row_of(run).best is None:
        raise RunFolderError(
            f"{str(folder)!r} has no results: none of its {run.trials.num_rows} trials has a value "
            f"of {run.objective} (search: {run.ended})."
        )
    return run


def _read_complete(folder: Path) -> Run:
    """Read a run whose search is complete, for a comparison over seeds."""
    run = _read_results(folder)
    seeds.check_complete(run)
    return run


def _read_runs(folders: Sequence[Path], read: Callable[[Path], Run] = _read) -> list[Run]:
    """Read runs, each folder once; report and skip those that cannot be read."""
    runs = []
    for folder in {os.path.realpath(folder): folder for folder in folders}.values():
        try:
            runs.append(read(folder))
        except RunFolderError as error:
            if len(folders) == 1:
                raise
            print(f"skipped: {error}", file=sys.stderr)
    if not runs:
        raise RunFolderError("none of these folders is a run with usable results.")
    return runs


def _parse_all(
    option: str, parse: Callable[[str], T], texts: Sequence[str]
) -> tuple[list[T], list[str]]:
    """Parse the values of an option; return the results, and messages about invalid values."""
    values, problems = [], []
    for text in texts:
        try:
            values.append(parse(text))
        except ValueError as error:
            problems.append(f"{option} {text!r}: {error}")
    return values, problems


def _choose_format(output: str | None, out: Path | None, problems: Sequence[str]) -> formats.Format:
    """Return the format of a table.

    Args:
        output: Value of --format; None: by the extension of the file.
        out: The file, or None for the screen.
        problems: Messages about other options.

    Raises:
        _UsageError: An option is invalid; the message lists all problems.
    """
    by_suffix = formats.SUFFIXES.get(out.suffix.lower()) if out else None
    name = output or by_suffix or formats.Format.TABLE
    problems = [*problems, *_format_problems(name, out, output)]
    if problems:
        raise _UsageError("\n".join(problems))
    return formats.Format(name)


def _format_problems(name: str, out: Path | None, output: str | None) -> Iterator[str]:
    choices = list(formats.Format)
    if name not in choices:
        yield _unknown_value("--format", name, choices)
    if name == formats.Format.PARQUET and out is None:
        yield "--format parquet needs a file: add --out FILE."
    if out is not None and out.exists():
        yield f"--out {str(out)!r} exists already: choose another file, or remove it first."
    elif out is not None and not out.parent.is_dir():
        yield f"--out {str(out)!r}: the folder {str(out.parent)!r} does not exist; create it first."
    elif out is not None and output is None and out.suffix.lower() not in OUT_SUFFIXES:
        yield (
            f"--out {str(out)!r} has an unknown extension: expected one of "
            f"{', '.join(OUT_SUFFIXES)}, or add --format."
        )


def _unknown_value(option: str, value: str, choices: Sequence[str]) -> str:
    return f"{option} {value!r}: expected one of {', '.join(choices)}.{nearest(value, choices)}"


def _output(
    rows: Sequence[Any],
    table_format: formats.Format,
    out: Path | None,
    columns: Sequence[formats.Column],
    row_class: type = Row,
) -> None:
    """Print a table, or write it to a file and print the path of the file."""
    if out is not None:
        with replacing_output(out) as new_file:
            new_file.write_bytes(formats.file_content(rows, table_format, columns, row_class))
        print(os.path.relpath(out))
    elif table_format is formats.Format.TABLE:
        _print_table(rows, columns)
    else:
        print(formats.file_content(rows, table_format, columns, row_class).decode(), end="")


def _show_confirmation(run: Run) -> None:
    confirmation = run.confirmation
    if confirmation is None:
        return
    print(f"\nconfirmed on {len(confirmation.seeds)} new seeds")
    columns = confirmed.shown_columns(confirmation)
    _print_table(confirmation.best_first, columns, "`fmnist-results report`")
    print(confirmed.optimism(confirmation))
    for note in (*confirmed.outdated(run), *confirmed.few_seeds_warning(confirmation)):
        print(note, file=sys.stderr)


def _show_audit(run: Run) -> None:
    if run.audit is not None:
        print("\nwhat early stopping cost", *audited.sentences(run.audit), sep="\n")
        for note in audited.outdated(run):
            print(note, file=sys.stderr)


def _print_table(
    rows: Sequence[Any], columns: Sequence[formats.Column], alternative: str = "--format csv"
) -> None:
    """Print the columns that fit on the screen; name the others, and how to see them."""
    console = _console()
    fitting = formats.fitting_columns(columns, rows, console.width)
    console.print(formats.as_table(rows, fitting))
    hidden = [heading for heading, _ in columns[len(fitting) :]]
    if hidden:
        print(
            f"hidden columns: {', '.join(hidden)} (use a wider screen or {alternative})",
            file=sys.stderr,
        )


def _follow(folder: Path, output: str) -> int:
    """Follow a run to its end; return the exit status."""
    printer = (
        JsonPrinter() if output == "json" else TextPrinter(folder, lambda: _show_table(folder))
    )
    try:
        return CUT_OFF_STATUS if follow_run(folder, printer) == CUT_OFF else 0
    except KeyboardInterrupt:  # the usual way to stop: print no message
        return INTERRUPTED_STATUS


def _show_table(folder: Path) -> Run | None:
    try:
        run = _read(folder)
    except RunFolderError as error:
        print(f"no table yet: {error}", file=sys.stderr)
        return None
    _console().print(trials.trials_table(run))
    sys.stdout.flush()  # a pipe gets the table before the wait for new events
    return run


def _check_table_or_json(output: str) -> None:
    if output not in ("table", "json"):
        raise _UsageError(f"--format {output!r}: expected table or json.")


def _console() -> Console:
    return make_console() if sys.stdout.isatty() else make_console(width=formats.PLAIN_WIDTH)
