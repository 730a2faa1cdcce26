"""What several commands take: their options, and what the words of an option mean."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from search.errors import nearest
from search.plan.plan import SEEDS, Engine, local_workers
from search.plan.registry import Log

# The problem that ships with the project, by name: nothing of it is imported here.
SHIPPED_SPACES = {"published": "fmnist_model.mlp:published", "wide": "fmnist_model.mlp:Wide"}
SHIPPED_DATA = "fmnist_model.data:load_data"
NO_RETRAINING = "none"

Choice = TypeVar("Choice", bound=StrEnum)


def listed(choices: type[StrEnum]) -> str:
    """Return the names that there are to choose from."""
    return ", ".join(choices)


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
AddressOption = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to run on: HOST:PORT, or auto for the one of this machine.",
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(help=f"Write each trial's scalars and values for: {listed(Log)}."),
]
ConfirmOption = Annotated[
    int | None,
    typer.Option(help="Train so many of the best again on new seeds, and choose by the mean."),
]
SeedsOption = Annotated[
    int | None, typer.Option(help=f"With --confirm: so many new seeds. Default: {SEEDS}.")
]
AuditOption = Annotated[
    int | None,
    typer.Option(help="Let so many stopped trials run to the end, to see what stopping cost."),
]


def chosen(choices: type[Choice], option: str, value: str, problems: list[str]) -> Choice:
    """Return what the value of an option names.

    Where nothing has that name ``problems`` gets a line, and the first choice stands for it while
    the rest is checked.
    """
    try:
        return choices(value)
    except ValueError:
        problems.append(
            f"{option} {value!r}: expected one of {listed(choices)}.{nearest(value, choices)}"
        )
        return next(iter(choices))


def named_problem(
    space: str, hypermodel: str | None, data: str | None, problems: list[str]
) -> tuple[str, str]:
    """Return the hypermodel's reference and the name of its space, of what was typed.

    ``problems`` gets a line for what is wrong.
    """
    if hypermodel is not None:
        if data is None:
            problems.append(
                f"--hypermodel {hypermodel!r} without --data: name its data too, as "
                "module:attribute of a function that returns the splits."
            )
        return hypermodel, hypermodel.rpartition(":")[2]
    if space not in SHIPPED_SPACES:
        known = ", ".join(SHIPPED_SPACES)
        problems.append(
            f"--space {space!r}: expected one of {known}.{nearest(space, SHIPPED_SPACES)}"
        )
    return SHIPPED_SPACES.get(space, ""), space


def epoch_numbers(text: str, problems: list[str]) -> tuple[int, ...]:
    """Return the numbers of epochs at which the best is retrained, typed as ``20,50,100``.

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
        return (1,)  # stands for it while the rest is checked


def workers_at_once(workers: int | None, engine: Engine, cpus_per_trial: float) -> int:
    """Return how many trials are trained at once on this machine."""
    if engine is Engine.KERAS_TUNER:  # which runs one trial at a time
        return 1
    if workers is not None or not 0 < cpus_per_trial < math.inf:
        return 1 if workers is None else workers
    return local_workers(cpus_per_trial)
