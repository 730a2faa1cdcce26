"""An early-stop audit in words and as a table: for the screen and for the report."""

import statistics
from collections.abc import Iterator

from results.compare.rows import difference, number
from results.reading import Run, best_trial
from results.record import columns
from results.record.audit import Audit, AuditedTrial
from results.record.columns import State

Cells = list[list[str]]


def sentences(found: Audit) -> list[str]:
    """Say how often stopping was wrong, by how much, and what it saved."""
    return [_how_often(found), *_by_how_much(found), _saved(found), *_others(found)]


def outdated(run: Run) -> Iterator[str]:
    """Say where the search has gone on since."""
    found = run.audit
    if found is None:
        return
    rows = run.trials.to_pylist()
    stopped = sum(
        row[columns.STATE] == State.STOPPED and row[columns.BEST_OBJECTIVE] is not None
        for row in rows
    )
    best = (best_trial(run) or {}).get(columns.BEST_OBJECTIVE)
    if (stopped, best) != (found.stopped, found.search_best):
        yield (
            f"The search has gone on since: {stopped} trials were stopped, and its best is "
            f"{number(best)}."
        )


def cells(found: Audit) -> Cells:
    """Return the table of the audited trials, the best first; its headings are the first row."""
    heads = [
        "trial", "stopped after epoch", "best by then", "trained epochs", "best of all",
        "better than the search's best by", "wrongly stopped", "ended", "s to the stop",
        "s after it", "as in the journal",
    ]  # fmt: skip
    return [heads, *(_row(one, found) for one in found.best_first)]


def _row(one: AuditedTrial, found: Audit) -> list[str]:
    return [
        str(one.trial), str(one.stopped_epoch), number(one.stopped_value), str(one.epochs),
        number(one.value),
        "" if one.excess is None else difference(one.excess, found.search_best),
        _yes(one.is_wrong), one.state, f"{one.seconds_to_stop:.1f}",
        f"{one.seconds_after_stop:.1f}", _yes(one.is_same),
    ]  # fmt: skip


def _how_often(found: Audit) -> str:
    trials = f"{found.stopped} stopped trials" if found.stopped > 1 else "1 stopped trial"
    were = "were" if found.audited > 1 else "was"
    best = f"the search's best {found.objective}, {number(found.search_best)}"
    return (
        f"{found.audited} of {trials}, drawn at random, {were} trained to the end: "
        f"{found.wrong or 'none'} would have beaten {best}. That is {found.wrong_share:.0%}; of "
        f"all stopped trials between {found.wrong_low:.0%} and {found.wrong_high:.0%}, by the "
        "95 % Wilson interval."
    )


def _by_how_much(found: Audit) -> Iterator[str]:
    known = [one for one in found.trials if one.excess is not None]
    if not known:
        return
    best = max(known, key=lambda one: one.excess or 0.0)
    amount = difference(abs(best.excess or 0.0), found.search_best, sign="-")
    how = f"{amount} better" if best.is_wrong else f"{amount} short of it"
    said = f"The best of them, trial {best.trial}, came to {number(best.value)}, {how}"
    wrong = [one.excess for one in known if one.is_wrong and one.excess is not None]
    if len(wrong) > 1:
        mean = difference(statistics.fmean(wrong), found.search_best, sign="-")
        said += f"; the {len(wrong)} that were wrongly stopped are {mean} better on average"
    yield f"{said}."


def _saved(found: Audit) -> str:
    return (
        f"Stopping saved about {found.seconds_saved:.0f} seconds of a worker, "
        f"{found.saved_share:.0%} of what all trials to their end would have taken: an estimate, "
        "by the mean of those that were audited. The search took "
        f"{found.seconds_searched:.0f} seconds of its workers."
    )


def _others(found: Audit) -> Iterator[str]:
    """Name the trials that came out otherwise than in the search: they say less."""
    others = [str(one.trial) for one in found.trials if not one.is_same]
    if others:
        yield (
            f"Up to the stop, {'trial' if len(others) == 1 else 'trials'} {', '.join(others)} came "
            "out otherwise than in the search: on another machine, or with other versions."
        )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
