"""How every command ends: an error in lines on the screen, and the status that a shell expects."""

import importlib.metadata
import os
import subprocess
import sys
from typing import Annotated

import pytest
import typer

from results.record import console
from results.record.errors import SearchError


class LateError(SearchError):
    exit_status = 1


ERRORS = {
    "refused": SearchError("first\nsecond"),
    "late": LateError("at the end"),
    "mute": SearchError(),
    "unexpected": ZeroDivisionError("by zero"),
    "interrupted": KeyboardInterrupt(),
    "ended": typer.Exit(3),
}
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def work(name: str) -> None:
    raise ERRORS[name]


def status_of(monkeypatch, *words):
    """Run a command line and return its status."""
    monkeypatch.setattr(sys, "argv", ["work", *words])
    with pytest.raises(SystemExit) as end:
        console.main(app, "work")
    return end.value.code


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        (["refused"], 2, ["first", "second"]),
        (["late"], 1, ["at the end"]),
        (["mute"], 2, ["SearchError"]),
        (["unexpected"], 1, ["ZeroDivisionError: by zero (--debug shows where)"]),
        (["refused", "--trials"], 2, ["No such option: --trials"]),
    ],
)
def test_an_error_is_printed_line_by_line_and_has_a_status(
    monkeypatch, capsys, words, status, lines
):
    assert status_of(monkeypatch, *words) == status
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in lines]


@pytest.mark.parametrize(("name", "status"), [("interrupted", 130), ("ended", 3)])
def test_a_command_that_was_interrupted_or_ended_itself_prints_nothing(
    monkeypatch, capsys, name, status
):
    assert status_of(monkeypatch, name) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [["--debug", "late"], ["late", "--debug"]])
def test_debug_anywhere_on_the_line_shows_the_traceback(monkeypatch, capsys, words):
    assert status_of(monkeypatch, *words) == 1
    shown = capsys.readouterr().err
    assert "raise ERRORS[name]" in shown
    assert shown.endswith("error: at the end\n")


def test_debug_after_two_dashes_belongs_to_another_command():
    words = ["submit", "--debug", "--", "run", "--debug"]
    assert console.without_debug(words) == (["submit", "--", "run", "--debug"], True)
    assert console.without_debug(words[2:]) == (words[2:], False)


@pytest.fixture
def program(monkeypatch):
    """Return a function that runs a program with the options that all programs have."""
    made = console.make_app("Do work.")

    @console.command(made, "work")
    def work(
        pace: Annotated[str, typer.Option(rich_help_panel="Speed", help="How fast.")] = "slow",
        place: Annotated[str, typer.Option(rich_help_panel="Room", help="Where.")] = "here",
    ) -> None:
        """Work as long as it takes, with a summary that is far longer than eighty columns are.

        More about it.
        """

    @console.command(made, "rest")
    def rest() -> None:
        """Rest."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["program", *words])
        with pytest.raises(SystemExit) as end:
            console.main(made, "program")
        return end.value.code

    return run


def test_every_program_prints_its_version(program, capsys):
    assert program("--version") == 0
    name, version = capsys.readouterr().out.split()
    assert (name, version) == ("fmnist-search", importlib.metadata.version("fmnist-search"))


def test_the_help_of_a_program_gives_the_whole_summary_of_a_command(program, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert program("-h") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "work Work as long as it takes, with a summary that is far longer than eighty columns are."
        in shown
    )
    assert "More about it" not in shown


@pytest.mark.parametrize(("many", "sections"), [(0, ["Speed:", "Room:"]), (9, ["Options:"])])
def test_many_options_are_listed_by_group(program, capsys, monkeypatch, many, sections):
    monkeypatch.setattr(console, "MANY_OPTIONS", many)
    assert program("work", "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(":")] == sections
    assert lines[-1].split()[0] == "-h,"  # the help stands last, in whatever section that is


def test_an_option_is_listed_with_its_type_its_default_and_its_variable(monkeypatch, capsys):
    described = console.make_app("Do work.")

    @console.command(described, "work")
    def work(
        runs: Annotated[list[str], typer.Argument(help="Runs.")],
        count: Annotated[int, typer.Option(help="How many.")] = 3,
        share: Annotated[float, typer.Option(help="How much.")] = 0.5,
        token: Annotated[str | None, typer.Option(envvar="TOKEN", help="A secret.")] = None,
        place: Annotated[str, typer.Option(help="Where. Default: here.")] = "",
        name: Annotated[str, typer.Option(metavar="NAME", help="What.")] = ...,
    ) -> None:
        """Work."""

    monkeypatch.setattr(sys, "argv", ["program", "work", "--help"])
    with pytest.raises(SystemExit):
        console.main(described, "program")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Usage: program work [OPTIONS] RUNS..."
    assert [line for line in lines if line.startswith(("RUNS", "--"))] == [
        "RUNS... Runs.",
        "--count N How many. Default: 3.",
        "--share NUMBER How much. Default: 0.5.",
        "--token TEXT A secret. Environment variable: TOKEN.",
        "--place TEXT Where. Default: here.",
        "--name NAME What. Required.",
    ]


@pytest.mark.parametrize(
    ("typed", "completions"), [("program w", ["work"]), ("program work --p", ["--pace", "--place"])]
)
def test_the_shell_completes_commands_and_options(program, capsys, monkeypatch, typed, completions):
    monkeypatch.setenv("_PROGRAM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert program() == 0
    assert capsys.readouterr().out.split() == completions


def test_a_program_without_arguments_shows_its_help(monkeypatch, capsys):
    assert status_of(monkeypatch) == 0
    assert capsys.readouterr().out.startswith("Usage: work")


def test_a_command_whose_reader_has_gone_ends_quietly():
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = (
        "import typer; from results.record import console; app = typer.Typer()\n"
        "@app.command()\n"
        "def work(): print('line\\n' * 100_000)\n"
        "console.main(app, 'work')"
    )
    with os.fdopen(write_end, "w") as output:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
