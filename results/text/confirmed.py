"""A confirmation on new seeds in words and as a table: for the screen and for the report."""

from collections.abc import Iterator, Sequence

from results.compare import seeds
from results.compare.formats import Column
from results.compare.rows import difference, ends, number
from results.reading import Run, best_trial
from results.record import columns
from results.record.confirmation import Confirmation, ConfirmedCandidate, Verdict
from results.record.intervals import Mean

# Of more configurations that are alike the others are counted.
MOST_NAMED = 3


def label(one: ConfirmedCandidate) -> str:
    """Return what a candidate is called in a sentence."""
    return f"{one.name} with {one.epochs} {'epoch' if one.epochs == 1 else 'epochs'}"


def verdict(one: ConfirmedCandidate) -> str:
    """Return how a candidate stands to the winner, in a word or two."""
    lost = one.scores.count(None)
    if not lost:
        return one.verdict
    return "diverged" if lost == len(one.scores) else f"diverged on {lost} of {len(one.scores)}"


def shown_columns(found: Confirmation) -> list[Column]:
    """Return the columns of the table of candidates, but for those in which none has anything."""
    like = found.chosen.mean
    all_of_them: list[Column] = [
        ("configuration", lambda one: one.name),
        ("epochs", lambda one: str(one.epochs)),
        ("search's best", lambda one: number(one.search_value)),
        ("mean", lambda one: number(one.mean)),
        ("95 % interval", lambda one: ends(one.low, one.high)),
        ("verdict", verdict),
        ("difference", lambda one: _difference(one, like)),
        ("95 % of difference", lambda one: _difference_ends(one, like)),
        ("test acc.", lambda one: number(one.test.mean) if one.test else ""),
        ("95 % of test", lambda one: ends(one.test.low, one.test.high) if one.test else ""),
    ]
    return [
        (heading, text)
        for heading, text in all_of_them
        if any(text(one) for one in found.candidates)
    ]


def cells(found: Confirmation) -> list[list[str]]:
    """Return the table of candidates, the best first; its headings are the first row."""
    shown = shown_columns(found)
    rows = [[text(one) for _, text in shown] for one in found.best_first]
    return [[heading for heading, _ in shown], *rows]


def sentences(found: Confirmation) -> list[str]:
    """Say what there is to see in the table, and how far it can be relied on."""
    said = [optimism(found), *_ties(found), *_lost(found), *_others(found), *_tested(found)]
    return said + [text[0].upper() + text[1:] for text in caution(found)]


def optimism(found: Confirmation) -> str:
    """Say what the winner is worth, and how much more the search had shown."""
    one, gap = found.chosen, found.optimism
    said = f"The winner, {label(one)}, has a mean {found.objective} of {_spoken(one.estimate)}"
    said += f" over {len(found.seeds)} new seeds"
    if gap is None:
        return f"{said}."
    said += f"; its best in the search, {number(one.search_value)}, was "
    if gap == 0:
        return f"{said}the same."
    amount = difference(abs(gap), one.mean, sign="-")
    return f"{said}{amount} {'better' if gap > 0 else 'worse'}."


def outdated(run: Run) -> Iterator[str]:
    """Say where the search has gone on since, and found what was not confirmed."""
    best, found = best_trial(run), run.confirmation
    if best is None or found is None:
        return
    number = best[columns.TRIAL]
    if number not in [one.trial for one in found.candidates]:
        yield (
            f"The search has gone on since: its best, trial {number}, is not among those that were "
            "confirmed."
        )


def caution(found: Confirmation) -> Iterator[str]:
    """Warn of the intervals of few seeds."""
    if any(one.difference for one in found.candidates):
        yield from seeds.caution([len(found.seeds)])


def _ties(found: Confirmation) -> Iterator[str]:
    own = [one for one in found.best_first if not one.is_for_comparison]
    ties = [one for one in own if one.verdict is Verdict.TIE]
    if ties:
        yield (
            "A tie with it, as the 95 % interval of the difference, paired by seed, contains zero: "
            f"{_listed(ties)}."
        )


def _lost(found: Confirmation) -> Iterator[str]:
    lost = [one for one in found.best_first if one.mean is None]
    if lost:
        yield f"Without a mean, as a training diverged: {_listed(lost)}."


def _others(found: Confirmation) -> Iterator[str]:
    """Say how far the configurations to compare go, each at its best number of epochs."""
    for one in found.compared:
        yield f"For comparison, {label(one)} has {_spoken(one.estimate)}: {one.verdict}."


def _tested(found: Confirmation) -> Iterator[str]:
    parts = [
        f"{_spoken(one.test.estimate)} of {label(one)}" for one in found.best_first if one.test
    ]
    if parts:
        yield f"Mean test accuracy, read once by each of these models: {'; '.join(parts)}."


def _listed(some: Sequence[ConfirmedCandidate]) -> str:
    named = ", ".join(map(label, some[:MOST_NAMED]))
    more = len(some) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _spoken(estimate: Mean | None) -> str:
    if estimate is None:
        return "no number"
    return f"{number(estimate.mean)} ({ends(estimate.low, estimate.high)})"


def _difference(one: ConfirmedCandidate, like: float | None) -> str:
    return "" if one.difference is None else difference(one.difference.mean, like)


def _difference_ends(one: ConfirmedCandidate, like: float | None) -> str:
    ends = one.difference
    return f"{difference(ends.low, like)} to {difference(ends.high, like)}" if ends else ""
