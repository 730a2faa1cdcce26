"""Turn the table of options into parameters of commands, and typed values into those of a plan."""

import functools
import inspect
import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from results.record.history import Objective
from search.errors import SearchError, UsageError, nearest
from search.machine.machine import this_machine
from search.plan.address import cluster_address
from search.plan.options import TYPE_WORDS, Option, in_order
from search.plan.plan import (
    DEFAULT_OBJECTIVE,
    NO_RETRAINING,
    OPTIONS,
    RETRAIN_EPOCHS,
    SHIPPED_DATA,
    SHIPPED_SPACES,
    Engine,
    infer_objective,
)
from search.storage.folder import RunFolder

Choice = TypeVar("Choice", bound=StrEnum)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]


def takes(*options: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds options of the table to a command.

    The command receives the typed options, by name, as keyword arguments.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command_parameters = [
            parameter
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        parameters = [*command_parameters, *map(_make_parameter, in_order(options))]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            arguments = {each.name: values.pop(each.name) for each in command_parameters}
            row = OPTIONS["address"]
            name = f"{row.flag} (or {row.environment_variable})"
            if values.get("engine") != Engine.KERAS_TUNER:  # which takes no notice of it
                values["address"] = cluster_address(values.get("address"), name)
            typed = {name: value for name, value in values.items() if value is not None}
            command(**arguments, **typed)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def parse_values(typed: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return typed options as values of a plan; add a line to ``problems`` for each invalid one."""
    values = {}
    for name, value in typed.items():
        row = OPTIONS[name]
        if row.names:
            if value not in row.names:
                problems.append(row.problem(value) or "")
                continue
            value = row.type(value)
        elif row.name == RETRAIN_EPOCHS.name:
            value = parse_epochs(value, problems)
        elif row.type in (int, float):
            try:
                value = row.type(value)
            except ValueError:
                problems.append(f"{row.flag} {value!r}: expected {TYPE_WORDS[row.type]}.")
                continue
        values[name] = value
    return values


def parse_choice(choices: type[Choice], flag: str, value: str, problems: list[str]) -> Choice:
    """Return the choice that a value names.

    For an unknown name, add a line to ``problems`` and return the first choice, so that the other
    options can be checked too.
    """
    try:
        return choices(value)
    except ValueError:
        names = ", ".join(choices)
        problems.append(f"{flag} {value!r}: expected one of {names}.{nearest(value, choices)}")
        return next(iter(choices))


def parse_problem(typed: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return hypermodel, space and data of a ``Problem``, by field, from typed options.

    Add a line to ``problems`` for each mistake.
    """
    space = typed.get("space", OPTIONS["space"].default)
    hypermodel, data = typed.get("hypermodel"), typed.get("data")
    if hypermodel is not None:
        if data is None:
            problems.append(
                f"--hypermodel {hypermodel!r} needs --data: name a function that returns the "
                "splits, as MODULE:NAME."
            )
        space = hypermodel.rpartition(":")[2]
    elif space not in SHIPPED_SPACES:
        names = ", ".join(SHIPPED_SPACES)
        problems.append(
            f"--space {space!r}: expected one of {names}.{nearest(space, SHIPPED_SPACES)}"
        )
    return {
        "hypermodel": hypermodel or SHIPPED_SPACES.get(space, ""),
        "space": space,
        "data": data or SHIPPED_DATA,
        "data_dir": typed.get("data_dir"),
    }


def parse_objective(typed: dict[str, Any], problems: list[str]) -> Objective:
    """Return the objective of typed options.

    Add a line to ``problems`` if its direction is invalid or unknown, and return one to maximize,
    so that the other options can be checked too.
    """
    name, direction = typed.get("objective", DEFAULT_OBJECTIVE), typed.get("direction")
    problem = None if direction is None else OPTIONS["direction"].problem(direction)
    try:
        if problem is None:
            return infer_objective(name, direction)
    except UsageError as error:
        problem = str(error)
    problems.append(problem)
    return Objective(name, "max")


def check_run(run_folder: Path, problems: list[str]) -> None:
    """Add a line to ``problems`` if a folder is no run."""
    try:
        RunFolder.open(run_folder)
    except SearchError as error:
        problems.append(str(error))


def parse_epochs(text: str, problems: list[str]) -> tuple[int, ...]:
    """Return the numbers of epochs for retraining, typed as ``20,50,100``.

    Add a line to ``problems`` if they are not numbers.
    """
    if text == NO_RETRAINING:
        return ()
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        problems.append(
            f"--retrain-epochs {text!r}: expected whole numbers such as 20,50,100, or "
            f"{NO_RETRAINING}."
        )
        return (1,)  # so that the other options can be checked too


def workers_at_once(workers: int | None, engine: Engine, cpus_per_trial: float) -> int:
    """Return the number of trials that run at once on this machine."""
    if engine is Engine.KERAS_TUNER:
        return 1
    if workers is not None or not 0 < cpus_per_trial < math.inf:
        return 1 if workers is None else workers
    return this_machine().workers(cpus_per_trial)


def _make_parameter(row: Option) -> inspect.Parameter:
    """Return an option of the table as a parameter for typer."""
    flag = row.flag or ""
    if row.type is bool and row.default:
        flag = f"{flag}/{flag.replace('--', '--no-', 1)}"
    # parse_values converts the text of all others, with better messages.
    type_of_value = row.type if row.type in (bool, Path) else str
    info = typer.Option(
        flag,
        help=row.help_and_default,
        rich_help_panel=row.section,
        metavar=row.placeholder or None,
        envvar=row.environment_variable,
        autocompletion=(lambda: list(row.names)) if row.names else None,
    )
    annotation = Annotated[type_of_value | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
