"""The comparison over seeds: runs that differ only in the seed form a group; groups are paired."""

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
from results.record.words import quantity
from results.run import Run, row_of

# With fewer pairs than this, a warning says that the interval is too narrow: see mean_interval.
MIN_PAIRS = 10
# Values of ``Run.ended`` of searches that are not complete.
UNFINISHED = (RUNNING, CUT_OFF, "interrupted", "failed")
# Members of the plan that do not influence the results of a search.
IGNORED_SETTINGS = ("problem", "seed", "out", "data_dir", "address", "log")
# Settings that label a group first, in this order; others are added if these are equal.
MAIN_SETTINGS = ("engine", "space", "algorithm", "scheduler", "trials", "time_budget_seconds")
# Settings that a label shows without their name.
UNNAMED_SETTINGS = ("engine", "space", "algorithm")
TEST_METRIC = "test accuracy"

# Results by seed.
Scores = Mapping[int, float]


class Against(StrEnum):
    """The reference group of a comparison."""

    BEST = "best"
    FIRST = "first"


@dataclass(frozen=True)
class Difference:
    """The paired difference of two groups.

    Attributes:
        pairs: Number of seeds that both have.
        mean: Mean difference over those seeds; None without a pair.
        interval: Both ends of the mean's 95 % interval; None with fewer than two pairs.
    """

    pairs: int
    mean: float | None
    interval: tuple[float, float] | None

    @property
    def is_tie(self) -> bool | None:
        """Whether the interval includes zero; None without an interval."""
        return None if self.interval is None else self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed.

    Attributes:
        label: Settings that distinguish the group from the others.
        data: Reference to the training data.
        objective: Name of the metric.
        mode: ``max`` if larger values of the objective are better, ``min`` if smaller ones are.
        runs: Number of runs.
        best: Best objective by seed; the mean if several runs have the same seed.
        accuracy: Test accuracy by seed, in 0..1; empty if any run has none.
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
        """Data, objective and mode; groups are comparable if these are equal."""
        return self.data, self.objective, self.mode

    @property
    def merit(self) -> float:
        """Mean of the best values with a sign, so that larger is better."""
        mean = statistics.fmean(self.best.values())
        return -mean if self.mode == "min" else mean


@dataclass(frozen=True)
class SeedsRow:
    """A row of the comparison over seeds: one metric of one group. Unknown values are None.

    Attributes:
        group: Label of the group.
        data: Reference to the training data; groups with different data are not comparable.
        metric: Name of the objective, whose best value counts, or ``test accuracy``.
        mode: ``max`` if larger values of the metric are better, ``min`` if smaller ones are.
        seeds: Number of seeds.
        mean: Mean over the seeds.
        low: Lower end of the mean's 95 % bootstrap interval; None for a single seed.
        high: Upper end of that interval.
        against: Label of the reference group; None for the reference group itself.
        pairs: Number of seeds that both groups have.
        difference: Mean of its values minus the reference's over those seeds.
        difference_low: Lower end of its 95 % bootstrap interval; None with fewer than two pairs.
        difference_high: Upper end of that interval.
        tie: Whether that interval includes zero.
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


def paired_difference(scores: Scores, reference: Scores) -> Difference:
    """Return the mean of the scores minus the reference's, paired by seed."""
    # Sorted, so that equal values always give the same interval.
    seeds = sorted(scores.keys() & reference.keys())
    differences = [scores[seed] - reference[seed] for seed in seeds]
    mean = statistics.fmean(differences) if differences else None
    return Difference(len(differences), mean, mean_interval(differences))


def check_complete(run: Run) -> None:
    """Check that a run can be compared over seeds.

    Raises:
        RunFolderError: It has no result or no seed, or its search is not complete.
    """
    seed = run.description["plan"]["problem"].get("seed")
    if row_of(run).best is None:
        raise RunFolderError(f"{str(run.path)!r} has no results.")
    if run.ended in UNFINISHED:
        raise RunFolderError(
            f"{str(run.path)!r} is not complete (search: {run.ended}), so its result cannot be "
            "compared."
        )
    if not isinstance(seed, int):
        raise RunFolderError(f"{str(run.path)!r} cannot be paired by seed: its seed is {seed!r}.")


def compare_groups(runs: Iterable[Run], against: Against) -> tuple[list[SeedsRow], list[str]]:
    """Compare groups of runs that have the same data and objective.

    Args:
        runs: Runs that pass ``check_complete``.
        against: The reference group.

    Returns:
        The rows, best first; and notes for the user, a line each.
    """
    groups = group_runs(runs)
    rows: list[SeedsRow] = []
    for peers in dict.fromkeys(group.peers for group in groups):
        rows += _compare_peers([group for group in groups if group.peers == peers], against)
    repeated = [
        f"{group.label}: {group.runs} runs with {len(group.best)} seeds; runs with the same seed "
        "are averaged"
        for group in groups
        if group.runs > len(group.best)
    ]
    return rows, [*repeated, *few_pairs_warning(row.pairs for row in rows if row.pairs)]


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Return the groups of runs, in order of their first run."""
    runs_by_settings: dict[str, list[Run]] = {}
    for run in runs:
        runs_by_settings.setdefault(_text(_settings(run)), []).append(run)
    groups = list(runs_by_settings.values())
    labels = _labels([_settings(group[0]) for group in groups])
    return [_group(label, group) for label, group in zip(labels, groups, strict=True)]


def _settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run that influence its results, without the seed and None."""
    plan = {**run.description["plan"]["problem"], **run.description["plan"]}
    return {
        name: value
        for name, value in plan.items()
        if name not in IGNORED_SETTINGS and value is not None
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
    scores_by_seed: dict[int, list[float]] = {}
    for seed, score in scores:
        if score is not None:
            scores_by_seed.setdefault(seed, []).append(score)
    return {seed: statistics.fmean(values) for seed, values in scores_by_seed.items()}


def _labels(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return labels that distinguish plans: main settings that differ, then further ones."""
    names = dict.fromkeys([*MAIN_SETTINGS, *(name for plan in plans for name in plan)])
    chosen = [name for name in MAIN_SETTINGS if _count_distinct(plans, [name]) > 1]
    for name in names:
        if _count_distinct(plans, [*chosen, name]) > _count_distinct(plans, chosen):
            chosen.append(name)
    labelled = chosen or UNNAMED_SETTINGS
    return [", ".join(_label(name, plan.get(name)) for name in labelled) for plan in plans]


def _count_distinct(plans: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Return the number of plans that differ in the named settings."""
    return len({_text([plan.get(name) for name in names]) for plan in plans})


def _label(name: str, value: Any) -> str:
    words = name.removesuffix("_seconds").replace("_", " ")
    if value is None or value == []:
        text = "none"
    elif name.endswith("_seconds") and isinstance(value, int | float):
        text = f"{value:g} s"
    else:
        text = value if isinstance(value, str) else _text(value)
    return text if name in UNNAMED_SETTINGS else f"{words} {text}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _compare_peers(groups: Sequence[Group], against: Against) -> Iterator[SeedsRow]:
    """Compare groups with equal data and objective, by the objective and by the test accuracy."""
    ordered = sorted(groups, key=lambda group: group.merit, reverse=True)
    with_several_seeds = [group for group in ordered if len(group.best) > 1]
    # A single seed is a poor reference, so prefer groups with several.
    reference = groups[0] if against is Against.FIRST else (with_several_seeds or ordered)[0]
    for group in ordered:
        yield _compare_group(group, reference, str(group.objective), group.best, reference.best)
    for group in ordered:
        if group.accuracy:
            yield _compare_group(group, reference, TEST_METRIC, group.accuracy, reference.accuracy)


def _compare_group(
    group: Group, reference: Group, metric: str, scores: Scores, reference_scores: Scores
) -> SeedsRow:
    low, high = mean_interval([scores[seed] for seed in sorted(scores)]) or (None, None)
    row = SeedsRow(
        group=group.label,
        data=group.data,
        metric=metric,
        mode="max" if metric == TEST_METRIC else group.mode,
        seeds=len(scores),
        mean=statistics.fmean(scores.values()),
        low=low,
        high=high,
    )
    if group is reference:
        return row
    difference = paired_difference(scores, reference_scores)
    low, high = difference.interval or (None, None)
    return replace(
        row,
        against=reference.label,
        pairs=difference.pairs,
        difference=difference.mean,
        difference_low=low,
        difference_high=high,
        tie=difference.is_tie,
    )


def few_pairs_warning(pairs: Iterable[int]) -> Iterator[str]:
    """Warn that intervals of few pairs are too narrow.

    Args:
        pairs: Number of pairs of each comparison.
    """
    few = sorted({count for count in pairs if 1 < count < MIN_PAIRS})
    if few:
        yield (
            f"caution: the intervals of few seeds are too narrow ({', '.join(map(str, few))} pairs "
            "here). If two settings are equally good, the interval of their difference excludes "
            "zero in half of the cases with 2 pairs, a quarter with 3, a seventh with 5 and a "
            "tenth with 10."
        )


def shown_columns(rows: Sequence[SeedsRow]) -> list[Column]:
    """Return the columns of the table."""
    columns: list[Column] = [
        ("group", lambda row: row.group),
        ("metric", lambda row: row.metric),
        ("seeds", lambda row: str(row.seeds)),
        ("mean", lambda row: f"{row.mean:.4f}"),
        ("95 % interval", lambda row: _interval(row.low, row.high, "1 seed")),
        ("difference", _difference),
        ("95 % of difference", _difference_interval),
        ("pairs", lambda row: "" if row.pairs is None else str(row.pairs)),
        ("tie", lambda row: {True: "tie", False: "no", None: ""}[row.tie]),
    ]
    if len({row.data for row in rows}) > 1:
        columns.insert(1, ("data", lambda row: row.data or ""))
    return columns


def _difference(row: SeedsRow) -> str:
    if row.against is None:
        return "(reference)"
    return "" if row.difference is None else f"{row.difference:+.4f}"


def _difference_interval(row: SeedsRow) -> str:
    if row.against is None:
        return ""
    pairs = quantity(row.pairs or 0, "pair")
    return _interval(row.difference_low, row.difference_high, pairs, sign="+")


def _interval(low: float | None, high: float | None, count: str, sign: str = "") -> str:
    if low is None or high is None:
        return f"none with {count}"
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
