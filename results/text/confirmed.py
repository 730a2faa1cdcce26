"""A confirmation on new seeds in sentences and as a table, for the screen and the report."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from results.compare import formats, seeds
from results.compare.formats import Column
from results.record import columns
from results.record.confirmation import Confirmation, ConfirmedCandidate, Verdict
from results.record.intervals import Estimate
from results.record.words import format_difference, format_number, quantity
from results.run import Run, best_trial

# A list of configurations names at most this many and counts the others.
MAX_NAMED = 3


def label(candidate: ConfirmedCandidate) -> str:
    """Return the name of a candidate in a sentence."""
    return f"{candidate.name} with {quantity(candidate.epochs, 'epoch')}"


def verdict(candidate: ConfirmedCandidate) -> str:
    """Return how a candidate compares with the winner, in a few words."""
    diverged, seeds = candidate.scores.count(None), len(candidate.scores)
    if not diverged:
        return candidate.verdict
    return "diverged" if diverged == seeds else f"diverged on {diverged} of {seeds}"


def shown_columns(confirmation: Confirmation) -> list[Column]:
    """Return the columns of the table of candidates, without those that are empty."""
    format_gap = partial(format_difference, like=confirmation.winning_candidate.mean)
    all_columns: list[Column] = [
        ("configuration", lambda row: row.name),
        ("epochs", lambda row: str(row.epochs)),
        ("search's best", lambda row: format_number(row.search_value)),
        ("mean", lambda row: format_number(row.mean)),
        ("95 % interval", lambda row: _interval(row.estimate, format_number)),
        ("verdict", verdict),
        ("difference", lambda row: format_gap(row.difference.mean) if row.difference else ""),
        ("95 % of difference", lambda row: _interval(row.difference, format_gap)),
        ("test acc.", lambda row: format_number(row.test.mean) if row.test else ""),
        ("95 % of test", lambda row: _interval(row.test and row.test.estimate, format_number)),
    ]
    return [
        (heading, text)
        for heading, text in all_columns
        if any(text(candidate) for candidate in confirmation.candidates)
    ]


def cells(confirmation: Confirmation) -> list[list[str]]:
    """Return the table of candidates, best first; the first row holds the headings."""
    return formats.cells(confirmation.best_first, shown_columns(confirmation))


def sentences(confirmation: Confirmation) -> list[str]:
    """Describe the results in the table and warn of narrow intervals."""
    lines = [
        optimism(confirmation),
        *_ties(confirmation),
        *_diverged(confirmation),
        *_comparisons(confirmation),
        *_test_accuracies(confirmation),
    ]
    return lines + [line[0].upper() + line[1:] for line in few_seeds_warning(confirmation)]


def optimism(confirmation: Confirmation) -> str:
    """Describe the winner's mean and how it differs from its best value in the search."""
    winner, gap = confirmation.winning_candidate, confirmation.optimism
    mean = f"a mean {confirmation.objective} of {_describe(winner.estimate)}"
    sentence = f"The winner, {label(winner)}, has {mean} over {len(confirmation.seeds)} new seeds"
    if gap is None:
        return f"{sentence}."
    sentence += f"; its best in the search, {format_number(winner.search_value)}, was "
    if gap == 0:
        return f"{sentence}the same."
    amount = format_difference(abs(gap), winner.mean, sign="-")
    return f"{sentence}{amount} {'better' if gap > 0 else 'worse'}."


def outdated(run: Run) -> Iterator[str]:
    """Report a new best trial of the search that was not confirmed."""
    best, confirmation = best_trial(run), run.confirmation
    if best is None or confirmation is None:
        return
    trial = best[columns.TRIAL]
    if trial not in confirmation.confirmed_trials:
        yield (
            f"The search has continued since the confirmation: its best, trial {trial}, was not "
            "confirmed."
        )


def few_seeds_warning(confirmation: Confirmation) -> Iterator[str]:
    """Warn that intervals of few seeds are too narrow."""
    if any(candidate.difference for candidate in confirmation.candidates):
        yield from seeds.few_pairs_warning([len(confirmation.seeds)])


def _ties(confirmation: Confirmation) -> Iterator[str]:
    ties = [
        candidate
        for candidate in confirmation.best_first
        if candidate.verdict is Verdict.TIE and not candidate.is_for_comparison
    ]
    if ties:
        yield (
            "Tied with the winner, because the 95 % interval of the difference, paired by seed, "
            f"includes zero: {_list(ties)}."
        )


def _diverged(confirmation: Confirmation) -> Iterator[str]:
    diverged = [candidate for candidate in confirmation.best_first if candidate.mean is None]
    if diverged:
        yield f"Without a mean, because a training diverged: {_list(diverged)}."


def _comparisons(confirmation: Confirmation) -> Iterator[str]:
    """Describe each configuration added for comparison, at its best number of epochs."""
    for candidate in confirmation.comparisons:
        mean = _describe(candidate.estimate)
        yield f"For comparison, {label(candidate)} has a mean of {mean}: {candidate.verdict}."


def _test_accuracies(confirmation: Confirmation) -> Iterator[str]:
    parts = [
        f"{label(candidate)} {_describe(candidate.test.estimate)}"
        for candidate in confirmation.best_first
        if candidate.test
    ]
    if parts:
        yield f"Mean test accuracy, each model evaluated once: {'; '.join(parts)}."


def _list(candidates: Sequence[ConfirmedCandidate]) -> str:
    names = ", ".join(map(label, candidates[:MAX_NAMED]))
    more = len(candidates) - MAX_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _describe(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no number"
    return f"{format_number(estimate.mean)} ({_interval(estimate, format_number)})"


def _interval(estimate: Estimate | None, text: Callable[[float], str]) -> str:
    return f"{text(estimate.low)} to {text(estimate.high)}" if estimate else ""
