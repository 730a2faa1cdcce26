"""A confirmation on new seeds in words and as a table: for the screen and for the report."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from results.compare import formats, seeds
from results.compare.formats import Column
from results.record import columns
from results.record.confirmation import Confirmation, ConfirmedCandidate, Verdict
from results.record.intervals import Estimate
from results.record.words import format_difference, format_number
from results.run import Run, best_trial

# Of more configurations that are alike the others are counted.
MOST_NAMED = 3


def label(candidate: ConfirmedCandidate) -> str:
    """Return what a candidate is called in a sentence."""
    epochs = "1 epoch" if candidate.epochs == 1 else f"{candidate.epochs} epochs"
    return f"{candidate.name} with {epochs}"


def verdict(candidate: ConfirmedCandidate) -> str:
    """Return how a candidate compares with the winner, in a word or two."""
    diverged, seeds = candidate.scores.count(None), len(candidate.scores)
    if not diverged:
        return candidate.verdict
    return "diverged" if diverged == seeds else f"diverged on {diverged} of {seeds}"


def shown_columns(confirmation: Confirmation) -> list[Column]:
    """Return the columns of the table of candidates, but for those in which none has anything."""
    gap = partial(format_difference, like=confirmation.winning_candidate.mean)
    all_of_them: list[Column] = [
        ("configuration", lambda row: row.name),
        ("epochs", lambda row: str(row.epochs)),
        ("search's best", lambda row: format_number(row.search_value)),
        ("mean", lambda row: format_number(row.mean)),
        ("95 % interval", lambda row: _interval(row.estimate, format_number)),
        ("verdict", verdict),
        ("difference", lambda row: gap(row.difference.mean) if row.difference else ""),
        ("95 % of difference", lambda row: _interval(row.difference, gap)),
        ("test acc.", lambda row: format_number(row.test.mean) if row.test else ""),
        ("95 % of test", lambda row: _interval(row.test and row.test.estimate, format_number)),
    ]
    return [
        (heading, text)
        for heading, text in all_of_them
        if any(text(candidate) for candidate in confirmation.candidates)
    ]


def cells(confirmation: Confirmation) -> list[list[str]]:
    """Return the table of candidates, the best first; its headings are the first row."""
    return formats.cells(confirmation.best_first, shown_columns(confirmation))


def sentences(confirmation: Confirmation) -> list[str]:
    """Say what there is to see in the table, and how far it can be relied on."""
    lines = [
        optimism(confirmation),
        *_ties(confirmation),
        *_lost(confirmation),
        *_others(confirmation),
        *_tested(confirmation),
    ]
    return lines + [line[0].upper() + line[1:] for line in few_seeds_warning(confirmation)]


def optimism(confirmation: Confirmation) -> str:
    """Say what the winner is worth, and how much more the search had shown."""
    winner, gap = confirmation.winning_candidate, confirmation.optimism
    mean = f"a mean {confirmation.objective} of {_spoken(winner.estimate)}"
    sentence = f"The winner, {label(winner)}, has {mean} over {len(confirmation.seeds)} new seeds"
    if gap is None:
        return f"{sentence}."
    sentence += f"; its best in the search, {format_number(winner.search_value)}, was "
    if gap == 0:
        return f"{sentence}the same."
    amount = format_difference(abs(gap), winner.mean, sign="-")
    return f"{sentence}{amount} {'better' if gap > 0 else 'worse'}."


def outdated(run: Run) -> Iterator[str]:
    """Say where the search has gone on since, and confirmation what was not confirmed."""
    best, confirmation = best_trial(run), run.confirmation
    if best is None or confirmation is None:
        return
    trial = best[columns.TRIAL]
    if trial not in confirmation.confirmed_trials:
        yield (
            f"The search has gone on since: its best, trial {trial}, is not among those that were "
            "confirmed."
        )


def few_seeds_warning(confirmation: Confirmation) -> Iterator[str]:
    """Warn of the intervals of few seeds."""
    if any(candidate.difference for candidate in confirmation.candidates):
        yield from seeds.few_pairs_warning([len(confirmation.seeds)])


def _ties(confirmation: Confirmation) -> Iterator[str]:
    own = [candidate for candidate in confirmation.best_first if not candidate.is_for_comparison]
    ties = [candidate for candidate in own if candidate.verdict is Verdict.TIE]
    if ties:
        yield (
            "A tie with it, as the 95 % interval of the difference, paired by seed, contains zero: "
            f"{_listed(ties)}."
        )


def _lost(confirmation: Confirmation) -> Iterator[str]:
    lost = [candidate for candidate in confirmation.best_first if candidate.mean is None]
    if lost:
        yield f"Without a mean, as a training diverged: {_listed(lost)}."


def _others(confirmation: Confirmation) -> Iterator[str]:
    """Say how far the configurations to compare go, each at its best number of epochs."""
    for candidate in confirmation.comparisons:
        mean = _spoken(candidate.estimate)
        yield f"For comparison, {label(candidate)} has {mean}: {candidate.verdict}."


def _tested(confirmation: Confirmation) -> Iterator[str]:
    parts = [
        f"{_spoken(candidate.test.estimate)} of {label(candidate)}"
        for candidate in confirmation.best_first
        if candidate.test
    ]
    if parts:
        yield f"Mean test accuracy, read once by each of these models: {'; '.join(parts)}."


def _listed(some: Sequence[ConfirmedCandidate]) -> str:
    named = ", ".join(map(label, some[:MOST_NAMED]))
    more = len(some) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _spoken(mean: Estimate | None) -> str:
    return f"{format_number(mean.mean)} ({_interval(mean, format_number)})" if mean else "no number"


def _interval(mean: Estimate | None, text: Callable[[float], str]) -> str:
    return f"{text(mean.low)} to {text(mean.high)}" if mean else ""
