"""Writes docs/commands.md from the commands: ``make docs``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import cluster.cli
import results.cli
import search.cli
from results.record.console import help_of
from search.plan.options import Option, in_order
from search.plan.plan import OPTIONS

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
PROGRAMS = {
    "fmnist-search": search.cli.app,
    "fmnist-results": results.cli.app,
    "fmnist-cluster": cluster.cli.app,
}
HEAD = """# Commands

Made from the commands by `make docs`.

Each command says the same with `--help`. All three programs also take:

| option | meaning |
| --- | --- |
| `--debug` | Show the traceback of an error. |
| `--version` | Show the version. |
| `--install-completion` | Let the shell complete commands and options with the Tab key. |

A command ends with status 0 when it has done its work, 2 when it was asked for something that cannot be done
(nothing is started), 1 when the work failed, and 130 after Ctrl-C, SIGTERM or SIGHUP. An error is one line.
"""
RUN_NOTE = """
`RayTuner` takes the options that have a name in the last column as arguments; its own
documentation is [From keras-tuner](keras-tuner.md).
"""


def page() -> str:
    """Return the content of the page."""
    parts = [HEAD]
    for program, app in PROGRAMS.items():
        group: Any = typer.main.get_command(app)
        parts.append(f"\n## {program}\n\n{group.help}\n")
        for name, command in group.commands.items():
            parts += [f"\n### {program} {name}\n\n{_usage(program, name, command)}\n"]
            parts += _run_options() if name == "run" else _parameters(command)
    return "".join(parts)


def _usage(program: str, name: str, command: Any) -> str:
    text = " ".join((command.help or "").split())
    arguments = command.collect_usage_pieces(typer.Context(command))[1:]
    return f"`{' '.join([program, name, *arguments])}`: {text}"


def _parameters(command: Any) -> Iterator[str]:
    context = typer.Context(command)
    rows = [help_of(each, context) for each in command.params if each.name != "help"]
    if rows:
        yield "\n| option | meaning |\n| --- | --- |\n"
        yield from (f"| `{_cell(name)}` | {_cell(text)} |\n" for name, text in rows)


def _run_options() -> Iterator[str]:
    yield RUN_NOTE
    section = None
    for row in in_order(OPTIONS.values()):
        if row.section is not section:
            section = row.section
            yield f"\n**{section}**\n\n| option | meaning | `RayTuner` |\n| --- | --- | --- |\n"
        variable = row.environment_variable
        text = row.help_and_default + (f" Environment variable: {variable}." if variable else "")
        yield f"| `{_cell(_flag(row))}` | {_cell(text)} | {_argument(row)} |\n"


def _flag(row: Option) -> str:
    flag = f"{row.flag} {row.placeholder}".strip()
    return (
        f"{flag} / {flag.replace('--', '--no-', 1)}" if row.type is bool and row.default else flag
    )


def _argument(row: Option) -> str:
    return f"`{row.argument}`" if row.argument else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
