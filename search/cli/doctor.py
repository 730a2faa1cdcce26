"""``fmnist-search doctor``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.options import (
    parse_objective,
    parse_problem,
    parse_values,
    takes,
    workers_at_once,
)
from search.doctor import Finding, Grade, examine, is_ready
from search.errors import raise_any
from search.plan.directions import doubt
from search.plan.plan import OPTIONS, Engine, Plan, Problem
from search.view.live import make_view

PROBLEM_OPTIONS = ("space", "hypermodel", "data", "data_dir", "objective", "direction")


@takes(*(OPTIONS[name] for name in (*PROBLEM_OPTIONS, "retrain_epochs", "workers", "address")))
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
    objective = parse_objective(typed, problems)
    plan = Plan(
        problem=Problem(**problem_fields, objective=objective, epochs=1),
        trials=1,
        workers=workers_at_once(values.get("workers"), Engine.RAY, 1.0),
        retrain_epochs=values.get("retrain_epochs", (1,)),
        out=out,
    )
    raise_any([*problems, *plan.reference_problems(), *plan.problems()])
    view = make_view()
    line = None if "direction" in typed else doubt(objective)
    findings = [Finding(Grade.WARNING, line)] if line else []
    for finding in findings:
        view.note(str(finding))
    for finding in examine(plan, typed.get("address")):
        findings.append(finding)
        view.note(str(finding))
    if not is_ready(findings):
        raise typer.Exit(1)
    view.note("ready to search")
