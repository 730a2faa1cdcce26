"""Values and events of a search as people read them."""

from collections.abc import Mapping
from typing import Any

from results.record.history import EpochRecord, History, TrialRecord


def format_number(value: float | None, none: str = "") -> str:
    """Return a value of an objective as text: an accuracy with four digits, a tiny loss too.

    Args:
        value: The value.
        none: What stands in its place where there is none.
    """
    if value is None:
        return none
    return f"{value:.4f}" if _has_four_digits(value) else f"{value:.4g}"


def format_difference(value: float, like: float | None, sign: str = "+") -> str:
    """Return how far two values are apart as text, with as many digits as they have.

    Args:
        value: The difference.
        like: One of the two.
        sign: ``+`` to show that of more, too; ``-``: that of less alone.
    """
    form = ".4f" if like is None or _has_four_digits(like) else ".4g"
    return f"{value:{sign}{form}}"


def format_interval(low: float | None, high: float | None) -> str:
    """Return an interval as text; nothing where there is none."""
    return "" if low is None or high is None else f"{format_number(low)} to {format_number(high)}"


def format_values(values: Mapping[str, Any]) -> str:
    """Return a configuration as ``name=value`` words, floats with three digits."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def first_line(text: str | None) -> str:
    """Return the first line of a text, such as an error; nothing where there is none."""
    return next(iter((text or "").splitlines()), "")


def describe_trial_end(trial: TrialRecord, objective: str) -> str:
    """Say how a trial ended and what it reached."""
    sentence = f"trial {trial.trial} {trial.ending} after {len(trial.epochs)} epochs"
    if trial.best:
        sentence += f", best {objective} {trial.best.objective:.4f}"
    return f"{sentence}: {first_line(trial.error)}" if trial.error else sentence


def describe_new_best(best: EpochRecord, objective: str) -> str:
    """Say that a value is the best so far."""
    return f"trial {best.trial}, epoch {best.epoch}: best {objective} so far {best.objective:.4f}"


def describe_totals(history: History) -> str:
    """Say how much was trained."""
    return f"{len(history.trials)} trials, {history.epochs_trained} epochs"


def describe_best(best: EpochRecord, objective: str) -> str:
    """Say where and when the best value was reached."""
    return (
        f"best {objective} {best.objective:.4f} in trial {best.trial}, epoch {best.epoch}, after "
        f"{best.at_seconds:.0f} s"
    )


def _has_four_digits(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e4
