"""Values and events of a search in words."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from results.record.columns import ScoreKind
from results.record.history import EpochRecord, History, TrialRecord


def format_number(value: float | None, none: str = "") -> str:
    """Return a number with four decimals, or four digits if it is very small or large.

    Args:
        value: The number.
        none: Text for None.
    """
    if value is None:
        return none
    return f"{value:.4f}" if _fits_four_decimals(value) else f"{value:.4g}"


def format_difference(value: float, like: float | None, sign: str = "+") -> str:
    """Return a difference as text, with as many digits as the values that it is between.

    Args:
        value: The difference.
        like: One of the two values.
        sign: ``+`` shows the sign of positive differences too; ``-`` only that of negative ones.
    """
    form = ".4f" if like is None or _fits_four_decimals(like) else ".4g"
    return f"{value:{sign}{form}}"


def format_interval(low: float | None, high: float | None) -> str:
    """Return an interval as text; an empty text if an end is None."""
    return "" if low is None or high is None else f"{format_number(low)} to {format_number(high)}"


def format_values(values: Mapping[str, Any]) -> str:
    """Return a configuration as ``name=value`` words; floats have three digits."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def quantity(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 trial`` or ``2 trials``."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def first_line(text: str | None) -> str:
    """Return the first line of a text, such as an error; an empty text for None."""
    return next(iter((text or "").splitlines()), "")


def describe_epochs(executions: Mapping[int, int]) -> str:
    """Return the epochs of a trial in words, such as ``3 trainings of 5 epochs``.

    Executions are trainings, and so is each ``fit`` of a cross-validation.

    Args:
        executions: Number of epochs of each execution, by its number.
    """
    counts, total = list(executions.values()), sum(executions.values())
    if len(counts) <= 1:
        return quantity(total, "epoch")
    if len(set(counts)) == 1:
        return f"{len(counts)} trainings of {quantity(counts[0], 'epoch')}"
    return f"{len(counts)} trainings of {min(counts)} to {quantity(max(counts), 'epoch')}"


def describe_epochs_of(trial: TrialRecord) -> str:
    """Return the epochs of a trial in words."""
    return describe_epochs(Counter(epoch.execution for epoch in trial.epochs))


def describe_trial_end(trial: TrialRecord, objective: str) -> str:
    """Describe how a trial ended and its best value."""
    sentence = f"trial {trial.trial} {trial.ending} after {describe_epochs_of(trial)}"
    if trial.best:
        sentence += f", best {objective} {trial.best.objective:.4f}"
    return f"{sentence}: {first_line(trial.error)}" if trial.error else sentence


def describe_new_best(best: EpochRecord, objective: str) -> str:
    """Describe a new best value."""
    return f"{_place(best)}: best {objective} so far {best.objective:.4f}"


def describe_scores(kind: ScoreKind, *, has_stopped: bool) -> str | None:
    """Say what the scores of the trials are; None if they are the best of their epochs.

    Args:
        kind: What they are.
        has_stopped: Whether the scheduler has stopped trials.
    """
    match kind:
        case ScoreKind.EXECUTIONS:
            return "Scores are means over the executions of a trial."
        case ScoreKind.RETURNED:
            effect = " Stopped trials have none, and rank last." if has_stopped else ""
            return f"Scores are what the trials returned, not the best of their epochs.{effect}"
    return None


def describe_totals(history: History) -> str:
    """Return the number of trials and epochs in words."""
    trials = quantity(len(history.trials), "trial")
    return f"{trials}, {quantity(history.epochs_trained, 'epoch')}"


def describe_best(best: EpochRecord, objective: str) -> str:
    """Describe the best value: its trial, its epoch and its time."""
    return f"best {objective} {best.objective:.4f} in {_place(best)}, after {best.at_seconds:.0f} s"


def _place(best: EpochRecord) -> str:
    return f"trial {best.trial}" if best.is_score else f"trial {best.trial}, epoch {best.epoch}"


def _fits_four_decimals(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e4
