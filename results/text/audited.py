"""An early-stop audit in words and as a table: for the screen and for the report."""

import statistics
from collections.abc import Iterator

from results.record import columns
from results.record.audit import Audit, AuditedTrial
from results.record.columns import State
from results.record.words import format_difference, format_number
from results.run import Run, best_trial


def sentences(audit: Audit) -> list[str]:
    """Say how often stopping was wrong, by how much, and what it saved."""
    return [_how_often(audit), *_by_how_much(audit), _saved(audit), *_others(audit)]


def outdated(run: Run) -> Iterator[str]:
    """Say where the search has gone on since."""
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
            f"The search has gone on since: {stopped} trials were stopped, and its best is "
            f"{format_number(best)}."
        )


def cells(audit: Audit) -> list[list[str]]:
    """Return the table of the audited trials, the best first; its headings are the first row."""
    heads = [
        "trial", "stopped after epoch", "best by then", "trained epochs", "best of all",
        "better than the search's best by", "wrongly stopped", "ended", "s to the stop",
        "s after it", "as in the journal",
    ]  # fmt: skip
    return [heads, *(_row(trial, audit) for trial in audit.best_first)]


def _row(trial: AuditedTrial, audit: Audit) -> list[str]:
    return [
        str(trial.trial), str(trial.stopped_epoch), format_number(trial.stopped_value),
        str(trial.epochs), format_number(trial.value),
        "" if trial.excess is None else format_difference(trial.excess, audit.search_best),
        _yes(trial.is_wrong), trial.state, f"{trial.seconds_to_stop:.1f}",
        f"{trial.seconds_after_stop:.1f}", _yes(trial.is_same),
    ]  # fmt: skip


def _how_often(audit: Audit) -> str:
    trials = f"{audit.stopped} stopped trials" if audit.stopped > 1 else "1 stopped trial"
    were = "were" if audit.audited > 1 else "was"
    best = f"the search's best {audit.objective}, {format_number(audit.search_best)}"
    return (
        f"{audit.audited} of {trials}, drawn at random, {were} trained to the end: "
        f"{audit.wrong or 'none'} would have beaten {best}. That is {audit.wrong_share:.0%}; of "
        f"all stopped trials between {audit.wrong_low:.0%} and {audit.wrong_high:.0%}, by the "
        "95 % Wilson interval."
    )


def _by_how_much(audit: Audit) -> Iterator[str]:
    known = [trial for trial in audit.trials if trial.excess is not None]
    if not known:
        return
    best = max(known, key=lambda trial: trial.excess or 0.0)
    amount = format_difference(abs(best.excess or 0.0), audit.search_best, sign="-")
    how = f"{amount} better" if best.is_wrong else f"{amount} short of it"
    sentence = f"The best of them, trial {best.trial}, came to {format_number(best.value)}, {how}"
    wrong = [trial.excess for trial in known if trial.is_wrong and trial.excess is not None]
    if len(wrong) > 1:
        mean = format_difference(statistics.fmean(wrong), audit.search_best, sign="-")
        sentence += f"; the {len(wrong)} that were wrongly stopped are {mean} better on average"
    yield f"{sentence}."


def _saved(audit: Audit) -> str:
    return (
        f"Stopping saved about {audit.seconds_saved:.0f} seconds of a worker, "
        f"{audit.saved_share:.0%} of what all trials to their end would have taken: an estimate, "
        "by the mean of those that were audited. The search took "
        f"{audit.seconds_searched:.0f} seconds of its workers."
    )


def _others(audit: Audit) -> Iterator[str]:
    """Name the trials that came out otherwise than in the search: they say less."""
    others = [str(trial.trial) for trial in audit.trials if not trial.is_same]
    if others:
        yield (
            f"Up to the stop, {'trial' if len(others) == 1 else 'trials'} {', '.join(others)} came "
            "out otherwise than in the search: on another machine, or with other versions."
        )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
