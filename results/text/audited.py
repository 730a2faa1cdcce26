"""The audit of early stopping in sentences and as a table, for the screen and the report."""

import statistics
from collections.abc import Iterator

from results.record import columns
from results.record.audit import Audit, AuditedTrial
from results.record.columns import State
from results.record.words import format_difference, format_number, quantity
from results.run import Run, best_trial


def sentences(audit: Audit) -> list[str]:
    """Describe how often stopping was wrong, by how much, and what it saved."""
    return [_error_rate(audit), *_best_audited(audit), _savings(audit), *_irreproducible(audit)]


def outdated(run: Run) -> Iterator[str]:
    """Describe how the search has continued since the audit, if it has."""
    audit = run.audit
    if audit is None:
        return
    rows = run.trials.to_pylist()
    stopped = sum(
        row[columns.STATE] == State.STOPPED and row[columns.BEST_OBJECTIVE] is not None
        for row in rows
    )
    best = (best_trial(run) or {}).get(columns.BEST_OBJECTIVE)
    if (stopped, best) != (audit.stopped, audit.search_best):
        yield (
            f"The search has continued since the audit: it has {stopped} stopped trials now, and "
            f"its best is {format_number(best)}."
        )


def cells(audit: Audit) -> list[list[str]]:
    """Return the table of the audited trials, best first; the first row holds the headings."""
    headings = [
        "trial", "stopped after epoch", "best by then", "trained epochs", "best of all",
        "better than the search's best by", "wrongly stopped", "ended", "s to the stop",
        "s after it", "as in the journal",
    ]  # fmt: skip
    return [headings, *(_row(trial, audit) for trial in audit.best_first)]


def _row(trial: AuditedTrial, audit: Audit) -> list[str]:
    return [
        str(trial.trial), str(trial.stopped_epoch), format_number(trial.stopped_value),
        str(trial.epochs), format_number(trial.value),
        "" if trial.excess is None else format_difference(trial.excess, audit.search_best),
        _yes_or_no(trial.is_wrong), trial.state, f"{trial.seconds_to_stop:.1f}",
        f"{trial.seconds_after_stop:.1f}", _yes_or_no(trial.is_same),
    ]  # fmt: skip


def _error_rate(audit: Audit) -> str:
    trials = quantity(audit.stopped, "stopped trial")
    were = "were" if audit.audited > 1 else "was"
    best = f"the search's best {audit.objective}, {format_number(audit.search_best)}"
    return (
        f"{audit.audited} of {trials}, drawn at random, {were} trained to the last epoch: "
        f"{audit.wrong or 'none'} would have beaten {best}. That is {audit.wrong_share:.0%}; the "
        f"share among all stopped trials is between {audit.wrong_low:.0%} and "
        f"{audit.wrong_high:.0%} (95 % Wilson interval)."
    )


def _best_audited(audit: Audit) -> Iterator[str]:
    with_value = [trial for trial in audit.trials if trial.excess is not None]
    if not with_value:
        return
    best = max(with_value, key=lambda trial: trial.excess or 0.0)
    amount = format_difference(abs(best.excess or 0.0), audit.search_best, sign="-")
    comparison = f"{amount} {'better' if best.is_wrong else 'worse'} than the search's best"
    value = format_number(best.value)
    sentence = f"The best audited trial is trial {best.trial}: it reached {value}, {comparison}"
    wrong = [trial.excess for trial in with_value if trial.is_wrong and trial.excess is not None]
    if len(wrong) > 1:
        mean = format_difference(statistics.fmean(wrong), audit.search_best, sign="-")
        sentence += f"; the {len(wrong)} wrongly stopped trials are {mean} better on average"
    yield f"{sentence}."


def _savings(audit: Audit) -> str:
    return (
        f"Stopping saved about {audit.seconds_saved:.0f} worker seconds, {audit.saved_share:.0%} "
        "of the time that training every trial to its last epoch would take (estimated from the "
        f"mean of the audited trials). The search took {audit.seconds_searched:.0f} worker seconds."
    )


def _irreproducible(audit: Audit) -> Iterator[str]:
    """Name the trials whose epochs up to the stop differ from the journal."""
    numbers = [str(trial.trial) for trial in audit.trials if not trial.is_same]
    if numbers:
        yield (
            f"Up to the stop, {'trial' if len(numbers) == 1 else 'trials'} {', '.join(numbers)} "
            "gave other values than in the search, because the machine or a version differs."
        )


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
