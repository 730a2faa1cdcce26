"""What several commands share: their options, and what is said at the end of each."""

import math
import os
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from results.record import columns
from results.record.audit import Audit
from results.record.confirmation import Confirmation, Verdict
from results.record.console import INTERRUPTED_STATUS
from results.record.intervals import Estimate
from search.errors import nearest
from search.final.follow_up import Outcome
from search.plan.plan import SEEDS, Engine, local_workers
from search.plan.registry import Log
from search.session.stopping import INTERRUPTED
from search.view.view import View

# The problem that ships with the project, by name: nothing of it is imported here.
SHIPPED_SPACES = {"published": "fmnist_model.mlp:published", "wide": "fmnist_model.mlp:Wide"}
SHIPPED_DATA = "fmnist_model.data:load_data"
NO_RETRAINING = "none"
AGAIN = "interrupted; what is trained is kept: the same command goes on"
# Of an evaluation, behind what was searched for.
SCORES = ("test_accuracy", "precision_macro", "recall_macro", "test_loss")

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


def carry_out(
    work: Callable[[], Outcome], run_folder: Path, view: View, *, is_repeatable: bool = False
) -> None:
    """Do the work of a command; say how it ended and how to go on.

    Args:
        work: What the command does.
        run_folder: The run that it does it with.
        view: Shows it.
        is_repeatable: Whether the same command, interrupted, goes on with what it has done.
    """
    try:
        outcome = work()
    except KeyboardInterrupt:
        _end_interrupted(run_folder, view, is_repeatable=is_repeatable)
    if is_repeatable and outcome.reason == INTERRUPTED:
        _end_interrupted(run_folder, view, is_repeatable=True)
    _say_what_came_out(outcome, view)
    shown = os.path.relpath(outcome.folder.path)
    view.note(f"kept in {shown}")
    if outcome.reason == INTERRUPTED:
        view.note(f"to go on: fmnist-search resume {shlex.quote(shown)}")
        view.note(f"to see its trials: fmnist-results show {shown}")
        raise typer.Exit(INTERRUPTED_STATUS)
    view.note(f"to look into it: fmnist-results report {shlex.quote(shown)}")
    view.note(f"to compare: fmnist-results compare {shlex.quote(str(Path(shown).parent))}/*")


def _end_interrupted(run_folder: Path, view: View, *, is_repeatable: bool) -> NoReturn:
    """Say what is left where Ctrl-C came while nothing else would."""
    if is_repeatable:
        view.note(AGAIN)
    elif (run_folder / columns.JOURNAL_FILE).exists():
        shown = shlex.quote(os.path.relpath(run_folder))
        view.note(f"interrupted; to go on: fmnist-search resume {shown}")
    else:
        view.note("interrupted before anything was recorded: nothing is left of it")
    raise typer.Exit(INTERRUPTED_STATUS) from None


def _say_what_came_out(outcome: Outcome, view: View) -> None:
    if outcome.audit is not None:
        _say_audit(outcome.audit, view)
    if outcome.confirmation is not None:
        _say_confirmation(outcome.confirmation, view)
    elif outcome.evaluation is not None:
        evaluation = outcome.evaluation
        searched_for = f"test_{outcome.history.objective.name.removeprefix('val_')}"
        scores = [
            f"{name} {evaluation[name]:.4f}"
            for name in dict.fromkeys((searched_for, *SCORES))
            if evaluation.get(name) is not None
        ]
        view.note(f"final model ({evaluation['epochs']} epochs): {', '.join(scores)}")


def _say_audit(audit: Audit, view: View) -> None:
    hours = audit.seconds_saved / 3600
    view.note(
        f"audit: {audit.wrong} of {audit.audited} audited trials would have beaten the best of "
        f"the search (95 % interval of the share: {audit.wrong_low:.0%} to "
        f"{audit.wrong_high:.0%}); stopping {audit.stopped} saved about {hours:.1f} worker hours"
    )


def _say_confirmation(confirmation: Confirmation, view: View) -> None:
    winner, seeds = confirmation.winning_candidate, len(confirmation.seeds)
    view.note(
        f"confirmed: {winner.name} at {winner.epochs} epochs, mean {confirmation.objective} of "
        f"{seeds} new seeds {_mean(winner.estimate)}; the search had said "
        f"{winner.search_value:.4f}"
    )
    for candidate in confirmation.candidates:
        if candidate.verdict is Verdict.BETTER:
            mean = _mean(candidate.estimate)
            view.note(
                f"{candidate.name} at {candidate.epochs} epochs is better, mean {mean}: it is "
                "there to compare, and makes no final model"
            )
        if candidate.test is not None:
            mean = _mean(candidate.test.estimate)
            view.note(f"test accuracy of {candidate.name}, mean of {seeds} models: {mean}")


def _mean(estimate: Estimate | None) -> str:
    assert estimate is not None
    return f"{estimate.mean:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"
