"""``fmnist-search doctor``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from search.cli.options import parse_problem, parse_values, takes, workers_at_once
from search.doctor import examine, is_ready
from search.errors import UsageError, raise_any
from search.plan.plan import (
    DEFAULT_OBJECTIVE,
    OPTIONS,
    Engine,
    Plan,
    Problem,
    infer_objective,
)
from search.view.live import make_view

PROBLEM_OPTIONS = ("space", "hypermodel", "data", "data_dir", "objective", "direction")


@takes(*(OPTIONS[name] for name in (*PROBLEM_OPTIONS, "workers", "address")))
def doctor_command(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder that will hold the run.")
    ] = Path("runs"),
    **typed: Any,
) -> None:
    """Check a search before it runs: versions, disk, memory, data, extreme configurations."""
    problems: list[str] = []
    values = parse_values(typed, problems)
    problem_fields = parse_problem(values, problems)
    for name in ("data_dir", "direction"):
        if name in typed and (problem := OPTIONS[name].problem(typed[name])):
            problems.append(problem)
    try:
        objective = infer_objective(
            typed.get("objective", DEFAULT_OBJECTIVE), typed.get("direction")
        )
    except UsageError as error:
        problems.append(str(error))
    raise_any(problems)
    plan = Plan(
        problem=Problem(**problem_fields, objective=objective, epochs=1),
        trials=1,
        workers=workers_at_once(values.get("workers"), Engine.RAY, 1.0),
        retrain_epochs=(1,),
        out=out,
    )
    view = make_view(Console())
    findings = []
    for finding in examine(plan, typed.get("address")):
        findings.append(finding)
        view.note(str(finding))
    if not is_ready(findings):
        raise typer.Exit(1)
    view.note("ready to search")
