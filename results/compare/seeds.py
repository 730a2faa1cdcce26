"""The comparison over seeds: runs that differ in the seed alone are a group, groups are paired."""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from results.compare.formats import Column
from results.reading import CUT_OFF, RUNNING
from results.record.errors import RunFolderError
from results.record.intervals import mean_interval
from results.run import Run, row_of

# Of fewer pairs than this the interval is narrow: see mean_interval.
MANY_PAIRS = 10
# A search that ended so has not done what was asked of it.
UNFINISHED = (RUNNING, CUT_OFF, "interrupted", "failed")
# What is no setting of a search: where it lies, which machines ran it, what it was watched with.
NO_SETTINGS = ("problem", "seed", "out", "data_dir", "address", "log")
# What tells groups apart, in this order; another setting does where these do not.
MAIN_SETTINGS = ("engine", "space", "algorithm", "scheduler", "trials", "time_budget_seconds")
# Their values need no name beside them.
CLEAR_SETTINGS = ("engine", "space", "algorithm")
TEST_METRIC = "test accuracy"

# By seed, what was reached.
Scores = Mapping[int, float]


class Against(StrEnum):
    """Which group the others are held against."""

    BEST = "best"
    FIRST = "first"


@dataclass(frozen=True)
class Difference:
    """How far one side is from another.

    Attributes:
        pairs: Seeds that both sides have.
        mean: Of ours less theirs over those seeds; None where there are none.
        interval: Both ends of that of the mean; None where there are fewer than two pairs.
    """

    pairs: int
    mean: float | None
    interval: tuple[float, float] | None

    @property
    def is_tie(self) -> bool | None:
        """Whether the interval contains zero; None where there is no interval."""
        return None if self.interval is None else self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
        label: What tells it from the other groups.
        best: Best value of the objective; the mean of a seed that has several runs.
        accuracy: Accuracy on the test set, in 0..1, likewise; empty where a run has none.
    """

    label: str
    data: str | None
    objective: str | None
    mode: str
    runs: int
    best: Scores
    accuracy: Scores

    @property
    def peers(self) -> tuple[str | None, str | None, str]:
        """What groups share that can be held against each other."""
        return self.data, self.objective, self.mode

    @property
    def merit(self) -> float:
        """The mean of the best values: the larger the better."""
        mean = statistics.fmean(self.best.values())
        return -mean if self.mode == "min" else mean


@dataclass(frozen=True)
class SeedsRow:
    """A row of the comparison over seeds: one metric of one group. None is what is not known.

    Attributes:
        group: What tells the group from the others.
        data: Reference of the data that was learnt: groups of other data are no peers.
        metric: The objective, of which the best value counts, or ``test accuracy``.
        mode: ``max`` or ``min``: which values of it are the better ones.
        seeds: How many seeds the group has.
        mean: Mean over those seeds.
        low: Lower end of its 95 % bootstrap interval; None of one seed.
        high: Upper end of it.
        against: The group that it is held against; None for that group itself.
        pairs: Seeds that both have.
        difference: Mean over those of its value less the other's.
        difference_low: Lower end of its 95 % bootstrap interval; None of fewer than two pairs.
        difference_high: Upper end of it.
        tie: Whether that interval contains zero.
    """

    group: str
    data: str | None
    metric: str
    mode: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    against: str | None = None
    pairs: int | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    tie: bool | None = None


def paired_difference(ours: Scores, theirs: Scores) -> Difference:
    """Return the mean of ours less theirs over the seeds that both have, each with itself."""
    # In one order, so that the same values are resampled alike.
    values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    mean = statistics.fmean(values) if values else None
    return Difference(len(values), mean, mean_interval(values))


def check_complete(run: Run) -> None:
    """Check that a run can stand for its seed.

    Raises:
        RunFolderError: It has no result, its search has not done what was asked, or it has no seed.
    """
    seed = run.description["plan"]["problem"].get("seed")
    if row_of(run).best is None:
        raise RunFolderError(f"{str(run.path)!r} holds no results.")
    if run.ended in UNFINISHED:
        raise RunFolderError(
            f"{str(run.path)!r} has not done what was asked (its search: {run.ended}): it is no "
            "measure of its settings."
        )
    if not isinstance(seed, int):
        raise RunFolderError(f"{str(run.path)!r} cannot be paired: its plan has the seed {seed!r}.")


def compare_groups(runs: Iterable[Run], against: Against) -> tuple[list[SeedsRow], list[str]]:
    """Compare groups of runs, those of the same data and objective with each other.

    Args:
        runs: Such as ``check_complete`` lets pass.
        against: Which group the others are held against.

    Returns:
        The rows, the best first; and what is to be said of them, a line each.
    """
    groups = group_runs(runs)
    standings: list[SeedsRow] = []
    for peers in dict.fromkeys(group.peers for group in groups):
        standings += _standings([group for group in groups if group.peers == peers], against)
    repeated = [
        f"{group.label}: {group.runs} runs of {len(group.best)} seeds; of a seed their mean counts"
        for group in groups
        if group.runs > len(group.best)
    ]
    return standings, [*repeated, *few_pairs_warning(row.pairs for row in standings if row.pairs)]


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Return the groups of runs, in the order in which groups first come."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_text(_settings(run)), []).append(run)
    labels = _labels([_settings(some[0]) for some in members.values()])
    return [_group(label, some) for label, some in zip(labels, members.values(), strict=True)]


def _settings(run: Run) -> dict[str, Any]:
    """Return all that was planned but the seed; None is what is not there."""
    plan = {**run.description["plan"]["problem"], **run.description["plan"]}
    return {
        name: value for name, value in plan.items() if name not in NO_SETTINGS and value is not None
    }


def _group(label: str, runs: Sequence[Run]) -> Group:
    rows = [(run.description["plan"]["problem"]["seed"], row_of(run)) for run in runs]
    first = rows[0][1]
    has_all = all(row.test_accuracy is not None for _, row in rows)
    return Group(
        label=label,
        data=first.data,
        objective=first.objective,
        mode=first.mode,
        runs=len(runs),
        best=_by_seed((seed, row.best) for seed, row in rows),
        accuracy=_by_seed((seed, row.test_accuracy) for seed, row in rows) if has_all else {},
    )


def _by_seed(scores: Iterable[tuple[int, float | None]]) -> Scores:
    found: dict[int, list[float]] = {}
    for seed, score in scores:
        if score is not None:
            found.setdefault(seed, []).append(score)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _labels(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells each plan from the others: the main settings that differ, and others."""
    names = dict.fromkeys([*MAIN_SETTINGS, *(name for plan in plans for name in plan)])
    chosen = [name for name in MAIN_SETTINGS if _kinds(plans, [name]) > 1]
    for name in names:
        if _kinds(plans, [*chosen, name]) > _kinds(plans, chosen):
            chosen.append(name)
    told = chosen or CLEAR_SETTINGS
    return [", ".join(_said(name, plan.get(name)) for name in told) for plan in plans]


def _kinds(plans: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Return how many plans can be told apart by some of their settings."""
    return len({_text([plan.get(name) for name in names]) for plan in plans})


def _said(name: str, value: Any) -> str:
    words = name.removesuffix("_seconds").replace("_", " ")
    if value is None or value == []:
        text = "none"
    elif name.endswith("_seconds") and isinstance(value, int | float):
        text = f"{value:g} s"
    else:
        text = value if isinstance(value, str) else _text(value)
    return text if name in CLEAR_SETTINGS else f"{words} {text}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _standings(groups: Sequence[Group], against: Against) -> Iterator[SeedsRow]:
    """Compare groups that are peers: by the objective, then by the accuracy on the test set."""
    ordered = sorted(groups, key=lambda group: group.merit, reverse=True)
    several = [group for group in ordered if len(group.best) > 1]
    # One seed alone is no measure where another group has more.
    reference = groups[0] if against is Against.FIRST else (several or ordered)[0]
    for group in ordered:
        yield _standing(group, reference, str(group.objective), group.best, reference.best)
    for group in ordered:
        if group.accuracy:
            yield _standing(group, reference, TEST_METRIC, group.accuracy, reference.accuracy)


def _standing(
    group: Group, reference: Group, metric: str, ours: Scores, theirs: Scores
) -> SeedsRow:
    low, high = mean_interval([ours[seed] for seed in sorted(ours)]) or (None, None)
    standing = SeedsRow(
        group=group.label,
        data=group.data,
        metric=metric,
        mode="max" if metric == TEST_METRIC else group.mode,
        seeds=len(ours),
        mean=statistics.fmean(ours.values()),
        low=low,
        high=high,
    )
    if group is reference:
        return standing
    found = paired_difference(ours, theirs)
    low, high = found.interval or (None, None)
    return replace(
        standing,
        against=reference.label,
        pairs=found.pairs,
        difference=found.mean,
        difference_low=low,
        difference_high=high,
        tie=found.is_tie,
    )


def few_pairs_warning(pairs: Iterable[int]) -> Iterator[str]:
    """Warn of the intervals of few pairs; each number of pairs is of some comparison."""
    few = sorted({count for count in pairs if 1 < count < MANY_PAIRS})
    if few:
        yield (
            f"caution: few seeds make an interval narrow ({', '.join(map(str, few))} pairs here). "
            "Where nothing differs, it misses zero in a half of all comparisons of 2 pairs, a "
            "quarter of 3, a seventh of 5, a tenth of 10."
        )


def shown_columns(standings: Sequence[SeedsRow]) -> list[Column]:
    """Return the columns of the table."""
    columns: list[Column] = [
        ("group", lambda row: row.group),
        ("metric", lambda row: row.metric),
        ("seeds", lambda row: str(row.seeds)),
        ("mean", lambda row: f"{row.mean:.4f}"),
        ("95 % interval", lambda row: _range(row.low, row.high, "1 seed")),
        ("difference", _difference),
        ("95 % of difference", _difference_range),
        ("pairs", lambda row: "" if row.pairs is None else str(row.pairs)),
        ("tie", lambda row: {True: "tie", False: "no", None: ""}[row.tie]),
    ]
    if len({row.data for row in standings}) > 1:
        columns.insert(1, ("data", lambda row: row.data or ""))
    return columns


def _difference(row: SeedsRow) -> str:
    if row.against is None:
        return "(reference)"
    return "" if row.difference is None else f"{row.difference:+.4f}"


def _difference_range(row: SeedsRow) -> str:
    if row.against is None:
        return ""
    pairs = f"{row.pairs} pair" if row.pairs == 1 else f"{row.pairs} pairs"
    return _range(row.difference_low, row.difference_high, pairs, sign="+")


def _range(low: float | None, high: float | None, few: str, sign: str = "") -> str:
    if low is None or high is None:
        return f"none of {few}"
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
