"""Runs and the files of other tools: import, export; and the tables of a run."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from results.record.outcome import rebuild
from search.cli.options import RunArgument, chosen, listed
from search.errors import UsageError, raise_any
from search.exchange.export import Part, export_run
from search.exchange.importing import import_run
from search.plan.plan import infer_objective
from search.storage.folder import RunFolder
from search.view.live import make_view


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="keras-tuner project folder, Optuna study (SQLite or journal file, storage URL; "
            "::NAME behind it where there are several), or run folder.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make. Default: runs/NAME.")
    ] = None,
    objective: Annotated[str, typer.Option(help="Metric of its trials that counts.")] = (
        "val_accuracy"
    ),
    direction: Annotated[
        str | None, typer.Option(help="max or min, where the objective's name does not tell.")
    ] = None,
) -> None:
    """Make a run folder of an earlier search, to compare it and to learn from it."""
    if direction not in (None, "max", "min"):
        raise UsageError(f"--direction {direction!r}: expected max or min.")
    view = make_view(Console())
    target = out or Path("runs") / Path(source.partition("::")[0]).stem
    folder = import_run(source, infer_objective(objective, direction), target, view)
    shown = os.path.relpath(folder.path)
    view.note(f"kept in {shown}")
    view.note(
        f"to learn from it: fmnist-search run --warm-start {shown}, or in a script "
        f"RayTuner(..., warm_start={shown!r})"
    )


def export_command(
    run_folder: RunArgument,
    out: Annotated[Path, typer.Option(help="Folder to make; one that holds files is refused.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this; may be given several times: {listed(Part)}."),
    ] = None,
) -> None:
    """Write what other tools take of a run: best, keras-tuner config, Optuna study, final model."""
    problems: list[str] = []
    parts = [chosen(Part, "--only", name, problems) for name in only or ()]
    raise_any(problems)
    export_run(run_folder, out, make_view(Console()), only=parts)


def tables_command(run_folder: RunArgument) -> None:
    """Write the tables of a run anew from its journal."""
    view = make_view(Console())
    folder = RunFolder.open(run_folder)
    damage = rebuild(folder.path)
    for number in damage.damaged_lines:
        view.note(f"journal: line {number} is damaged and left out")
    if damage.run_file is not None:
        view.note(damage.run_file)
    view.note(f"written: {os.path.relpath(folder.trials_file)}, {folder.epochs_file.name}")
