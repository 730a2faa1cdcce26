"""``fmnist-results``: thin over the readers and the tables."""

import json
import os
import shlex
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
from results.record.tables import refresh
from results.run import Row, Run, row_of
from results.text import audited, confirmed, timing, trials

app = typer.Typer(
    help="Compare runs and look into them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Folders = Annotated[
    # What cannot be read is named and left out, where typer would refuse all.
    list[Path], typer.Argument(metavar="RUN", help="Folders of runs.", readable=False)
]
TableOrJson = Annotated[str, typer.Option("--format", help="table or json.")]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"One of {', '.join(formats.Format)}. Default: by the ending of --out, or table.",
    ),
]
OutputFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the table as a new file.")
]
TEXT_ENDINGS = (*formats.ENDINGS, ".txt")
T = TypeVar("T")

# Of a search that was followed, and whose driver is gone.
CUT_OFF_STATUS = 1


class _UsageError(SearchError):
    """What was asked cannot be done as it was asked."""


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options of all commands."""


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Folders of runs.", readable=False),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="[-]FIELD", help="Sort by a field, -FIELD: the largest first. Default: ranked."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Keep the rows of that value; FIELD!=VALUE: the others. Repeatable: all hold.",
        ),
    ] = None,
    output: OutputFormat = None,
    out: OutputFile = None,
    published: Annotated[bool, typer.Option(help="Show the published reference rows too.")] = True,
) -> None:
    """Print a table of runs, the best first, with the published reference rows."""
    orders, problems = _parsed("--sort", Order.parse, [] if sort is None else [sort])
    conditions, others = _parsed("--where", Condition.parse, where or [])
    chosen = _format(output, out, [*problems, *others])
    found = _all_that_can_be_read(runs, _read_results) if runs else []
    rows = [row_of(run) for run in found]
    has_peers = not rows or any(row.data == DATA for row in rows)
    rows += published_rows() if published and has_peers else []
    kept = [row for row in rows if all(condition.holds(row) for condition in conditions)]
    if rows and not kept:
        print(f"--where leaves none of {len(rows)} rows", file=sys.stderr)
    shown = orders[0].sort(kept) if orders else ranked(kept)
    _put(shown, chosen, out, formats.shown_columns(shown))


@app.command("seeds")
def seeds_command(
    runs: Folders,
    against: Annotated[
        str, typer.Option(help="What the others are held against: the best group, or the first.")
    ] = "best",
    output: OutputFormat = None,
    out: OutputFile = None,
) -> None:
    """Compare groups of runs that differ in the seed alone, paired by seed.

    Of each group the mean of its best values, and how far it is from the best group's on the
    seeds that both have, each with a 95 % bootstrap interval; a tie where that contains zero.
    """
    known = list(seeds.Against)
    problems = [] if against in known else [_unknown("--against", against, known)]
    chosen = _format(output, out, problems)
    found = _all_that_can_be_read(runs, _read_usable)
    standings, notes = seeds.compare_groups(found, seeds.Against(against))
    for note in notes:
        print(note, file=sys.stderr)
    _put(standings, chosen, out, seeds.shown_columns(standings), seeds.SeedsRow)


@app.command("show")
def show_command(
    run: Folder,
    output: TableOrJson = "table",
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Then tell what happens until the search ends (status 0) or is cut off (1); as "
            "json: each event of the journal, one a line. Ctrl-C ends it (130).",
        ),
    ] = False,
) -> None:
    """List the trials of a run and how each ended; then what was confirmed, and the audit."""
    _check_table_or_json(output)
    if follow:
        raise typer.Exit(_followed(run, output))
    found = _read(run)
    if output == "json":
        print(json.dumps(trials.trial_rows(found), indent=2))
        return
    _console().print(trials.trials_table(found))
    _show_confirmation(found)
    _show_audit(found)
    if found.ended == CUT_OFF:
        print(
            f"its search was cut off: fmnist-search resume {shlex.quote(str(run))} goes on with it"
        )


@app.command("timing")
def timing_command(
    run: Folder,
    output: TableOrJson = "table",
) -> None:
    """Show where the seconds of a search went."""
    _check_table_or_json(output)
    found = _read(run)
    if output == "json":
        print(timing.timing_json(found))
        return
    _console().print(timing.timing_table(found))


@app.command("report")
def report_command(
    runs: Folders,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: report.html in the run; of several, in this folder."
        ),
    ] = None,
) -> None:
    """Write a report of runs as one HTML file that opens without a network."""
    from results.report.report import is_report, write_report  # Plotly takes long to import

    found = _all_that_can_be_read(runs)
    default = found[0].path if len(found) == 1 else Path()
    target = out or default / columns.REPORT_FILE
    if target.is_dir():
        raise _UsageError(f"--out {str(target)!r} is a folder: name the file to write.")
    if target.exists() and not (target.is_file() and is_report(target)):
        raise _UsageError(f"--out {str(target)!r} exists and is no report: name another file.")
    print(os.path.relpath(write_report(found, target)))


@app.command("plot")
def plot_command(
    run: Folder,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the pictures. Default: pictures/ and final/ of the run."),
    ] = None,
) -> None:
    """Draw the charts of the report as PNG files; most of them by Chrome or Chromium."""
    from results.report import pictures

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise _UsageError(
            f"--out {str(out)!r} exists already: expected a new or an empty folder, so that no "
            "picture is lost."
        )
    found = _read(run)
    for path in pictures.draw_final(found, out):
        print(os.path.relpath(path))
    try:
        pictures.draw_charts(found, out, tell=lambda path: print(os.path.relpath(path), flush=True))
    except pictures.NoBrowserError:
        print(
            "the other charts need Chrome or Chromium: install one, or name it in BROWSER_PATH. "
            "`fmnist-results report` needs none.",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None


def main() -> NoReturn:
    """Run the command line; an error is one line on the screen and a status that is not 0."""
    console.main(app, "fmnist-results")


def _read(path: Path) -> Run:
    try:
        note = refresh(path)
        if note is not None:
            print(f"{path}: {note}", file=sys.stderr)
        return read_run(path)
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error.strerror}.") from error


def _read_results(path: Path) -> Run:
    """Read a run that has something to compare."""
    run = _read(path)
    if row_of(run).best is None:
        raise RunFolderError(
            f"{str(path)!r} holds no results: none of its {run.trials.num_rows} trials has a "
            f"{run.objective} (its search: {run.ended})."
        )
    return run


def _read_usable(path: Path) -> Run:
    """Read a run that can stand for its seed."""
    run = _read_results(path)
    seeds.check_usable(run)
    return run


def _all_that_can_be_read(paths: Sequence[Path], read: Callable[[Path], Run] = _read) -> list[Run]:
    """Read the runs, each once; name and leave out what is none."""
    found = []
    for path in {os.path.realpath(path): path for path in paths}.values():
        try:
            found.append(read(path))
        except RunFolderError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise RunFolderError("None of the folders is a run with results that can be used.")
    return found


def _parsed(
    option: str, parse: Callable[[str], T], texts: Sequence[str]
) -> tuple[list[T], list[str]]:
    """Return what texts of an option mean, and what is wrong with those that mean nothing."""
    meant, problems = [], []
    for text in texts:
        try:
            meant.append(parse(text))
        except ValueError as error:
            problems.append(f"{option} {text!r}: {error}")
    return meant, problems


def _format(output: str | None, out: Path | None, problems: Sequence[str]) -> formats.Format:
    """Return the format of a table.

    Args:
        output: As it was asked for; None: what the ending of the file says.
        out: The file, or None for the screen.
        problems: With what else was asked.

    Raises:
        _UsageError: What was asked cannot be done; all problems are told.
    """
    by_ending = formats.ENDINGS.get(out.suffix.lower()) if out else None
    chosen = output or by_ending or formats.Format.TABLE
    found = [*problems, *_problems(chosen, out, output)]
    if found:
        raise _UsageError("\n".join(found))
    return formats.Format(chosen)


def _problems(output: str, out: Path | None, named: str | None) -> Iterator[str]:
    known = list(formats.Format)
    if output not in known:
        yield _unknown("--format", output, known)
    if output == formats.Format.PARQUET and out is None:
        yield "--format parquet is no text for a screen: name its file with --out FILE."
    if out is not None and out.exists():
        yield f"--out {str(out)!r} exists already: name another file, or remove it first."
    elif out is not None and not out.parent.is_dir():
        yield f"--out {str(out)!r}: there is no folder {str(out.parent)!r}; make it first."
    elif out is not None and named is None and out.suffix.lower() not in TEXT_ENDINGS:
        yield (
            f"--out {str(out)!r}: its ending says no format. Expected one of "
            f"{', '.join(TEXT_ENDINGS)}, or --format."
        )


def _unknown(option: str, value: str, known: Sequence[str]) -> str:
    return f"{option} {value!r}: expected one of {', '.join(known)}.{nearest(value, known)}"


def _put(
    rows: Sequence[Any],
    output: formats.Format,
    out: Path | None,
    columns: Sequence[formats.Column],
    kind: type = Row,
) -> None:
    """Print a table, or write its file and print where that is."""
    if out is not None:
        with replacing_output(out) as fresh:
            fresh.write_bytes(formats.file_content(rows, output, columns, kind))
        print(os.path.relpath(out))
    elif output is formats.Format.TABLE:
        _print_table(rows, columns)
    else:
        print(formats.file_content(rows, output, columns, kind).decode(), end="")


def _show_confirmation(run: Run) -> None:
    found = run.confirmation
    if found is None:
        return
    print(f"\nconfirmed on {len(found.seeds)} new seeds")
    _print_table(found.best_first, confirmed.shown_columns(found), "`fmnist-results report`")
    print(confirmed.optimism(found))
    for note in (*confirmed.outdated(run), *confirmed.caution(found)):
        print(note, file=sys.stderr)


def _show_audit(run: Run) -> None:
    if run.audit is not None:
        print("\nwhat early stopping cost", *audited.sentences(run.audit), sep="\n")
        for note in audited.outdated(run):
            print(note, file=sys.stderr)


def _print_table(
    rows: Sequence[Any], columns: Sequence[formats.Column], whole: str = "--format csv"
) -> None:
    """Print the columns that the screen has room for; say which are not, and what shows all."""
    console = _console()
    shown = formats.fitting_columns(columns, rows, console.width)
    console.print(formats.as_table(rows, shown))
    left_out = [heading for heading, _ in columns[len(shown) :]]
    if left_out:
        print(
            f"no room for: {', '.join(left_out)} (a wider screen, or {whole}, has all)",
            file=sys.stderr,
        )


def _followed(run: Path, output: str) -> int:
    """Follow a run to its end and return the status of that."""
    printer = JsonPrinter() if output == "json" else TextPrinter(run, lambda: _table_shown(run))
    try:
        return CUT_OFF_STATUS if follow_run(run, printer) == CUT_OFF else 0
    except KeyboardInterrupt:  # how a person ends it: not worth a word
        return INTERRUPTED_STATUS


def _table_shown(run: Path) -> Run | None:
    try:
        found = _read(run)
    except RunFolderError as error:
        print(f"no table yet: {error}", file=sys.stderr)
        return None
    _console().print(trials.trials_table(found))
    sys.stdout.flush()  # into a pipe too, before what follows is waited for
    return found


def _check_table_or_json(output: str) -> None:
    if output not in ("table", "json"):
        raise _UsageError(f"--format {output!r}: expected table or json.")


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=formats.PLAIN_WIDTH)
