"""Report the result of a command, where it is saved, and what to do next."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from results.record import columns
from results.record.audit import Audit
from results.record.confirmation import Confirmation, Verdict
from results.record.console import INTERRUPTED_STATUS
from results.record.intervals import Estimate
from search.final.follow_up import Outcome
from search.session.stopping import INTERRUPTED
from search.view.view import View

REPEAT_TO_CONTINUE = "interrupted; finished trainings are saved: run the same command to continue"
# The scores of the final model that are shown after the score of the objective.
SCORES = ("test_accuracy", "precision_macro", "recall_macro", "test_loss")


def carry_out(
    work: Callable[[], Outcome], run_folder: Path, view: View, *, is_repeatable: bool = False
) -> None:
    """Do the work of a command; report its result and what to do next.

    Args:
        work: Does the work.
        run_folder: The run folder of the command.
        view: Shows the messages.
        is_repeatable: Whether the same command continues after an interruption.

    Raises:
        typer.Exit: The user interrupted the command.
    """
    try:
        outcome = work()
    except KeyboardInterrupt:
        _end_interrupted(run_folder, view, is_repeatable=is_repeatable)
    if is_repeatable and outcome.reason == INTERRUPTED:
        _end_interrupted(run_folder, view, is_repeatable=True)
    _say_result(outcome, view)
    path = Path(os.path.relpath(outcome.folder.path))
    quoted_path, quoted_parent = shlex.quote(str(path)), shlex.quote(str(path.parent))
    view.note(f"saved in {path}")
    if outcome.reason == INTERRUPTED:
        view.note(f"to continue: fmnist-search resume {quoted_path}")
        view.note(f"to list its trials: fmnist-results show {quoted_path}")
        raise typer.Exit(INTERRUPTED_STATUS)
    view.note(f"for a report: fmnist-results report {quoted_path}")
    view.note(f"to compare runs: fmnist-results compare {quoted_parent}/*")


def _end_interrupted(run_folder: Path, view: View, *, is_repeatable: bool) -> NoReturn:
    """Report what an interrupted command leaves, and end the command."""
    if is_repeatable:
        view.note(REPEAT_TO_CONTINUE)
    elif (run_folder / columns.JOURNAL_FILE).exists():
        quoted_path = shlex.quote(os.path.relpath(run_folder))
        view.note(f"interrupted; to continue: fmnist-search resume {quoted_path}")
    else:
        view.note("interrupted before anything was recorded: nothing is saved")
    raise typer.Exit(INTERRUPTED_STATUS) from None


def _say_result(outcome: Outcome, view: View) -> None:
    if outcome.audit is not None:
        _say_audit(outcome.audit, view)
    if outcome.confirmation is not None:
        _say_confirmation(outcome.confirmation, view)
    elif outcome.evaluation is not None:
        evaluation = outcome.evaluation
        objective = f"test_{outcome.history.objective.name.removeprefix('val_')}"
        scores = [
            f"{name} {evaluation[name]:.4f}"
            for name in dict.fromkeys((objective, *SCORES))
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
    value = winner.search_value
    before = "" if value is None else f"; in the search it had {value:.4f}"
    view.note(
        f"confirmed: {winner.name} at {winner.epochs} epochs, mean {confirmation.objective} of "
        f"{seeds} new seeds {_mean(winner.estimate)}{before}"
    )
    for candidate in confirmation.candidates:
        if candidate.verdict is Verdict.BETTER:
            mean = _mean(candidate.estimate)
            view.note(
                f"{candidate.name} at {candidate.epochs} epochs is better, mean {mean}: it was "
                "trained for comparison only and does not become the final model"
            )
        if candidate.test is not None:
            mean = _mean(candidate.test.estimate)
            view.note(f"test accuracy of {candidate.name}, mean of {seeds} models: {mean}")


def _mean(estimate: Estimate | None) -> str:
    assert estimate is not None
    return f"{estimate.mean:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"
