"""The table of options as parameters of commands, and what was typed as values of a plan."""

import functools
import inspect
import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from search.errors import nearest
from search.plan.options import Option, in_order
from search.plan.plan import (
    NO_RETRAINING,
    OPTIONS,
    RETRAIN_EPOCHS,
    SHIPPED_DATA,
    SHIPPED_SPACES,
    Engine,
    local_workers,
)

Choice = TypeVar("Choice", bound=StrEnum)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]


def takes(*options: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command options of the table.

    The command gets those that were typed, by name, as keyword arguments.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        parameters = [*own, *map(_parameter, in_order(options))]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            arguments = {parameter.name: values.pop(parameter.name) for parameter in own}
            typed = {name: value for name, value in values.items() if value is not None}
            command(**arguments, **typed)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def converted(typed: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return typed options as values of a plan; ``problems`` gets a line for each that is none."""
    values = {}
    for name, value in typed.items():
        row = OPTIONS[name]
        if row.names:
            value = chosen(row.type, row.flag or "", value, problems)
        elif row is RETRAIN_EPOCHS:
            value = epoch_numbers(value, problems)
        values[name] = value
    return values


def chosen(choices: type[Choice], flag: str, value: str, problems: list[str]) -> Choice:
    """Return what the value of an option names.

    Where nothing has that name ``problems`` gets a line, and the first choice is returned, so that
    the other options can be checked.
    """
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(choices)
        problems.append(f"{flag} {value!r}: expected one of {known}.{nearest(value, choices)}")
        return next(iter(choices))


def named_problem(typed: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the hypermodel, the space's name and the data of what was typed, by field.

    ``problems`` gets a line for what is wrong.
    """
    space = typed.get("space", OPTIONS["space"].default)
    hypermodel, data = typed.get("hypermodel"), typed.get("data")
    if hypermodel is not None:
        if data is None:
            problems.append(
                f"--hypermodel {hypermodel!r} needs --data: name a function that returns the "
                "splits, as module:attribute."
            )
        space = hypermodel.rpartition(":")[2]
    elif space not in SHIPPED_SPACES:
        known = ", ".join(SHIPPED_SPACES)
        problems.append(
            f"--space {space!r}: expected one of {known}.{nearest(space, SHIPPED_SPACES)}"
        )
    return {
        "hypermodel": hypermodel or SHIPPED_SPACES.get(space, ""),
        "space": space,
        "data": data or SHIPPED_DATA,
        "data_dir": typed.get("data_dir"),
    }


def epoch_numbers(text: str, problems: list[str]) -> tuple[int, ...]:
    """Return the numbers of epochs for retraining, typed as ``20,50,100``.

    ``problems`` gets a line where these are no numbers.
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
        return (1,)  # the other options are checked with it


def workers_at_once(workers: int | None, engine: Engine, cpus_per_trial: float) -> int:
    """Return how many trials run at once on this machine."""
    if engine is Engine.KERAS_TUNER:
        return 1
    if workers is not None or not 0 < cpus_per_trial < math.inf:
        return 1 if workers is None else workers
    return local_workers(cpus_per_trial)


def _parameter(row: Option) -> inspect.Parameter:
    """Return an option of the table as a parameter that typer makes an option of."""
    flag = row.flag or ""
    if row.type is bool and row.default:
        flag = f"{flag}/{flag.replace('--', '--no-', 1)}"
    is_text = bool(row.names) or row.type is tuple  # converted by us, with our own messages
    info = typer.Option(
        flag,
        help=row.help_and_default,
        rich_help_panel=row.section,
        metavar=row.placeholder or None,
        envvar=row.environment_variable,
        autocompletion=(lambda: list(row.names)) if row.names else None,
    )
    annotation = Annotated[(str if is_text else row.type) | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(
        row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
