"""``fmnist-search run`` and ``resume``."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results.record.history import Objective
from search.cli.ending import carry_out
from search.cli.options import (
    RunArgument,
    check_run,
    parse_objective,
    parse_problem,
    parse_values,
    takes,
    workers_at_once,
)
from search.doctor import Finding, Grade, check
from search.errors import SearchError, UsageError, raise_any
from search.plan.directions import doubt
from search.plan.options import rows
from search.plan.plan import (
    DEFAULT_RETRAIN_EPOCHS,
    DEFAULT_TRIALS,
    GPU_SHARE,
    OPTIONS,
    PUBLISHED_PATIENCE_EPOCHS,
    SHIPPED_SPACES,
    Engine,
    Plan,
    Problem,
    Tuner,
    gpu_resources,
)
from search.plan.registry import Scheduler
from search.run import resume_run, run, run_or_resume
from search.session.changes import CHANGEABLE, Changes
from search.session.origin import read_previous_run
from search.session.warm_start import read_warm_start
from search.view.live import make_view


@takes(*OPTIONS.values())
def run_command(**typed: Any) -> None:
    """Search, retrain the best configuration, and evaluate it once on the test set."""
    problems: list[str] = []
    values = parse_values(typed, problems)
    if "engine" in values or "engine" not in typed:
        problems += _misplaced_options(values)
    problem_fields = parse_problem(values, problems)
    objective_problems: list[str] = []
    plan = _make_plan(values, problem_fields, parse_objective(values, objective_problems))
    problems += objective_problems
    try:
        check(plan, is_new=not values.get("or_resume"))
    except UsageError as error:
        problems.append(str(error))
    if values.get("or_resume"):
        problems += plan.reference_problems()
    if not objective_problems:
        try:
            read_warm_start(plan.warm_start, plan.problem.objective)
        except SearchError as error:
            problems.append(f"--warm-start: {error}")
    raise_any(problems)
    view = make_view()
    doubts = [] if "direction" in values else [doubt(plan.problem.objective)]
    for line in (*filter(None, doubts), *_without_effect(values, plan)):
        view.note(str(Finding(Grade.WARNING, line)))
    search = run_or_resume if values.get("or_resume") else run
    carry_out(lambda: search(plan, view), plan.out, view)


@takes(*(OPTIONS[name].for_resume() for name in CHANGEABLE))
def resume_command(run_folder: RunArgument, **typed: Any) -> None:
    """Continue an interrupted run, or extend a finished one."""
    problems: list[str] = []
    values = parse_values(typed, problems)
    check_run(run_folder, problems)
    raise_any(problems)
    is_seeds_alone = "seeds" in values and "confirm" not in values
    if is_seeds_alone and read_previous_run(run_folder).plan.confirm is None:
        problems.append(_seeds_alone(values["seeds"]))
    raise_any(problems)
    view = make_view()
    carry_out(lambda: resume_run(run_folder, Changes(values), view), run_folder, view)


def _make_plan(
    values: dict[str, Any], problem_fields: dict[str, Any], objective: Objective
) -> Plan:
    """Return the plan for the options that were typed.

    Args:
        values: Their values, by name.
        problem_fields: Hypermodel, data, folder of the data and name of the space, by field.
        objective: The objective.
    """
    engine = values.get("engine", Engine.RAY)
    is_ray = engine is Engine.RAY
    tuner = None if is_ray else values.get("tuner", Tuner.HYPERBAND)
    algorithm = values.get("algorithm", OPTIONS["algorithm"].default)
    cpus = values.get("cpus_per_trial", OPTIONS["cpus_per_trial"].default)
    address = values.get("address") if is_ray else None  # even if RAY_ADDRESS is set
    share = values.get("gpus_per_trial", GPU_SHARE if "device_rule" in values else 0)
    is_published = problem_fields["hypermodel"] == SHIPPED_SPACES["published"]
    derived = {
        "tuner": tuner,
        "trials": _trials(values, tuner),
        "workers": workers_at_once(values.get("workers"), engine, cpus),
        "workers_asked": "workers" in values,
        "address": address,
        "retrain_epochs": values.get("retrain_epochs", DEFAULT_RETRAIN_EPOCHS),
        "out": values.get("out", _default_out(problem_fields["space"], tuner or algorithm)),
    }
    problem = Problem(
        **{"patience": PUBLISHED_PATIENCE_EPOCHS if is_published else 0}
        | _fields_of(Problem, values)
        | problem_fields
        | {"objective": objective}
    )
    return Plan(
        **_fields_of(Plan, values) | derived,
        problem=problem,
        scheduler_asked="scheduler" in values,
        elastic=address is not None and "workers" not in values,
        other_resources=gpu_resources(share),
    )


def _fields_of(table: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are fields of a table."""
    return {row.name: values[row.name] for row in rows(table) if row.name in values}


def _misplaced_options(values: dict[str, Any]) -> Iterator[str]:
    """Yield each option that lacks or excludes another one, one per line."""
    if values.get("engine") is Engine.KERAS_TUNER:
        for name, value in values.items():
            row = OPTIONS[name]
            is_default = value == row.default and name != "algorithm"
            if row.instead is not None and not is_default:
                yield f"{row.called(value)} needs --engine ray: {row.instead}."
    elif "tuner" in values:
        tuner = OPTIONS["tuner"].called(values["tuner"])
        yield f"{tuner} needs --engine keras-tuner: add it, or use --algorithm instead."
    if "seeds" in values and "confirm" not in values:
        yield _seeds_alone(values["seeds"])
    is_resumable = "out" in values and values.get("engine") is not Engine.KERAS_TUNER
    if values.get("or_resume") and not is_resumable:
        yield "--or-resume needs --engine ray, and --out with the folder of the run to resume."


def _without_effect(values: dict[str, Any], plan: Plan) -> Iterator[str]:
    """Say which options that were typed have no effect with the others, one line each."""
    if plan.engine is Engine.KERAS_TUNER:
        cause = "--engine keras-tuner"
        names = [
            "scheduler",
            "grace_period",
            "workers",
            "reuse_workers",
            "checkpoint_seconds",
            "hung_after_seconds",
            "wait",
        ]
    elif plan.scheduler is Scheduler.NONE:
        cause, names = "--scheduler none", ["grace_period", "reduction_factor"]
    else:
        return
    for name in names:
        if name in values:
            yield f"{OPTIONS[name].called(values[name])} has no effect with {cause}"


def _seeds_alone(seeds: int) -> str:
    return f"--seeds {seeds} needs --confirm: add it."


def _trials(values: dict[str, Any], tuner: Tuner | None) -> int | None:
    trials: int | None = values.get("trials")
    # Hyperband and grid search determine their number of trials.
    tuner_decides = tuner in (Tuner.HYPERBAND, Tuner.GRID)
    if trials is not None or "time_budget_seconds" in values or tuner_decides:
        return trials
    return DEFAULT_TRIALS


def _default_out(space: str, algorithm: str) -> Path:
    return Path("runs") / f"{space}-{algorithm}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
