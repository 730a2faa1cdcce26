"""``fmnist-search doctor``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.cli.options import (
    SHIPPED_DATA,
    SHIPPED_SPACES,
    AddressOption,
    named_problem,
    workers_at_once,
)
from search.doctor import examine, is_ready
from search.errors import UsageError, raise_any
from search.plan.plan import Engine, Plan, Problem, infer_objective
from search.plan.registry import Algorithm
from search.view.live import make_view


def doctor_command(
    space: Annotated[str, typer.Option(help=f"Space: {', '.join(SHIPPED_SPACES)}.")] = "published",
    hypermodel: Annotated[
        str | None, typer.Option(help="Another problem: module:attribute, as for run.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Its data: module:attribute.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder of the data.")] = None,
    objective: Annotated[str, typer.Option(help="Metric to search by.")] = "val_accuracy",
    direction: Annotated[str | None, typer.Option(help="max or min.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that the run would be in.")] = Path("runs"),
    address: AddressOption = None,
) -> None:
    """Find what would go wrong in a search: versions, disk, data, the corners of the space."""
    problems: list[str] = []
    reference, space_name = named_problem(space, hypermodel, data, problems)
    try:
        searched_for = infer_objective(objective, direction)
    except UsageError as error:
        problems.append(str(error))
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        problems.append(f"--data-dir {data_dir!r}: there is no such folder.")
    raise_any(problems)
    plan = Plan(
        problem=Problem(
            hypermodel=reference,
            data=data or SHIPPED_DATA,
            data_dir=data_dir,
            space=space_name,
            objective=searched_for,
            epochs=1,
            patience=0,
            seed=0,
        ),
        engine=Engine.RAY,
        algorithm=Algorithm.TPE,
        trials=1,
        workers=workers_at_once(workers, Engine.RAY, 1.0),
        grace_period=1,
        reduction_factor=3,
        retrain_epochs=(1,),
        out=out,
    )
    view = make_view(Console())
    findings = []
    for finding in examine(plan, address):
        findings.append(finding)
        view.note(str(finding))
    if not is_ready(findings):
        raise typer.Exit(1)
    view.note("ready to search")
