"""What came of a race: a line of a file for each cell, tables of medians, its goals and its plot."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outcome import markdown, read_lines, sittings, write_lines

from results.compare.seeds import Difference, paired_difference

# 0.9007 and 0.9055 are published, 0.9120 is a goal of our own; 0.89 is within reach of most.
TARGETS = (0.8900, 0.9007, 0.9055, 0.9120)
MARKS_SECONDS = (60, 180, 300)
BUDGET_SECONDS = 300
OURS = "fmnist-search"

# Searcher, space, whether the first configuration is given, seconds.
Row = tuple[str, str, bool, int]
Cell = tuple[Row, int]


@dataclass(frozen=True)
class Outcome:
    """What came of one cell: what the committed file holds a line of.

    Attributes:
        racer: Name of the program.
        space: The space that it searched.
        first: Whether it was given the first configuration.
        seed: Of the split of the data and of everything that is drawn.
        budget_seconds: From the start of its process.
        curve: When the best so far rose, and to what: ``seconds:accuracy`` pairs.
        trials: Trainings begun.
        epochs: Epochs trained.
        cpu_seconds: Of all its processes.
        peak_memory_mib: Of all its processes, what they share counted once.
        machine: Its cores and their kind.
        date: When it ran, as ``YYYY-MM-DD``.
    """

    racer: str
    space: str
    first: bool
    seed: int
    budget_seconds: int
    curve: tuple[tuple[float, float], ...]
    trials: int
    epochs: int
    cpu_seconds: float
    peak_memory_mib: int
    machine: str
    date: str

    @property
    def row(self) -> Row:
        """What outcomes that differ in the seed alone share."""
        return self.racer, self.space, self.first, self.budget_seconds

    @property
    def cell(self) -> Cell:
        """Which cell of the race it is of."""
        return self.row, self.seed

    def seconds_to(self, target: float) -> float:
        """Return when the target was reached; the budget where it was not."""
        return next((at for at, value in self.curve if value >= target), float(self.budget_seconds))

    def has_reached(self, target: float) -> bool:
        """Tell whether the target was reached within the budget."""
        return any(value >= target for _, value in self.curve)

    def best_at(self, seconds: float) -> float | None:
        """Return the best validation accuracy known after so many seconds."""
        return max((value for at, value in self.curve if at <= seconds), default=None)


@dataclass(frozen=True)
class Goal:
    """What this project set itself for the median of its seconds to a target.

    Attributes:
        name: As the table has it.
        target: Validation accuracy.
        ours: The row that is to reach it.
        theirs: Rows whose fastest is the measure; none where the goal is a number of seconds.
        most: Share of the fastest's seconds, or seconds.
    """

    name: str
    target: float
    ours: Row
    theirs: tuple[Row, ...]
    most: float


def _row(racer: str, space: str, *, first: bool = True) -> Row:
    return racer, space, first, BUDGET_SECONDS


def _of_keras_tuner(*, first: bool) -> tuple[Row, ...]:
    tuners = ("Hyperband", "BayesianOptimization", "RandomSearch")
    return tuple(_row(f"keras-tuner {tuner}", "published", first=first) for tuner in tuners)


def _goals() -> Iterator[Goal]:
    published, wide = _row("fmnist-search", "published"), _row("fmnist-search", "wide")
    for ray in ("Ray Tune ASHA", "Ray Tune ASHA reuse_actors"):
        for ours in (published, wide):
            theirs = (_row(ray, ours[1]),)
            yield from _shares(f"{ray}, both on `{ours[1]}`", ours, theirs, 1 / 3)
    given, drawn = _of_keras_tuner(first=True), _of_keras_tuner(first=False)
    yield from _shares("fastest keras-tuner, both on `published`", published, given, 1 / 5)
    yield from _shares(
        "fastest keras-tuner on `published`, drawn; ours on `wide`", wide, drawn, 0.1
    )
    for target, seconds in ((0.9007, 30), (0.9055, 60), (0.9120, 180)):
        yield Goal("a number of seconds, on `wide`", target, wide, (), seconds)


def _shares(name: str, ours: Row, theirs: tuple[Row, ...], most: float) -> Iterator[Goal]:
    for target in (0.9007, 0.9055):
        yield Goal(name, target, ours, theirs, most)


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a line for each cell."""
    lines = []
    for one in outcomes:
        curve = " ".join(f"{at}:{value}" for at, value in one.curve)
        lines.append(asdict(one) | {"curve": curve})
    write_lines(path, lines)


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what ``write_outcomes`` wrote; nothing where there is no file yet."""
    return [_outcome(line) for line in read_lines(path)]


def _outcome(line: dict[str, str]) -> Outcome:
    pairs = (pair.split(":") for pair in line["curve"].split())
    return Outcome(
        racer=line["racer"],
        space=line["space"],
        first=line["first"] == "True",
        seed=int(line["seed"]),
        budget_seconds=int(line["budget_seconds"]),
        curve=tuple((float(at), float(value)) for at, value in pairs),
        trials=int(line["trials"]),
        epochs=int(line["epochs"]),
        cpu_seconds=float(line["cpu_seconds"]),
        peak_memory_mib=int(line["peak_memory_mib"]),
        machine=line["machine"],
        date=line["date"],
    )


def tables(outcomes: Sequence[Outcome], total: int) -> str:
    """Return both Markdown tables, and where and when the cells were run.

    One is on the seeds that all searchers have, the other on all where there are more. ``total`` is
    the number of cells of the whole race.
    """
    groups = grouped(one for one in outcomes if one.budget_seconds == BUDGET_SECONDS)
    seeds = [{one.seed for one in group} for group in groups]
    common = set.intersection(*seeds) if seeds else {one.seed for one in outcomes}
    of_all = [one for one in outcomes if one.seed in common]
    more = [one for group in groups if len(group) > len(common) for one in group]
    where = f"{sittings(map(asdict, outcomes), 'cells')}; of {total}"
    return "\n\n".join([where, *(table(some) for some in (of_all, more) if some)])


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return the Markdown table of README.md: ``wide``, the first configuration given."""
    of_all = [
        one
        for one in outcomes
        if one.first and one.space == "wide" and one.budget_seconds == BUDGET_SECONDS
    ]
    groups = sorted(grouped(of_all), key=lambda group: _best(group, BUDGET_SECONDS), reverse=True)
    heads = ["searcher", "s to 0.9007", "s to 0.9055", "best at 300 s"]
    rows = (
        [group[0].racer, *(_reached(group, target) for target in TARGETS[1:3]),
         _best(group, BUDGET_SECONDS)]
        for group in groups
    )  # fmt: skip
    return markdown(heads, rows)


def goals(outcomes: Iterable[Outcome]) -> str:
    """Return a Markdown table of the goals, each on the seeds that both sides have run."""
    groups = {group[0].row: group for group in grouped(outcomes)}
    heads = ["against", "to", "seeds", "ours s", "theirs s", "goal", "measured", "met"]
    return markdown(heads, [_standing(goal, groups) for goal in _goals()])


def _standing(goal: Goal, groups: Mapping[Row, list[Outcome]]) -> list[str]:
    asked = f"1/{1 / goal.most:.0f}" if goal.theirs else f"{goal.most} s"
    sides = [groups.get(row, []) for row in (goal.ours, *goal.theirs)]
    seeds = set.intersection(*({one.seed for one in side} for side in sides))
    if not seeds:
        return [goal.name, str(goal.target), "0", "", "", asked, "not run", ""]
    times = [[one.seconds_to(goal.target) for one in side if one.seed in seeds] for side in sides]
    # Of two middle ones the one that is not to our advantage.
    ours, theirs = statistics.median_high(times[0]), list(map(statistics.median_low, times[1:]))
    fastest = min(theirs, default=1.0)
    measured = f"{ours / fastest:.3f}" if theirs else f"{ours:.0f} s"
    if ours >= BUDGET_SECONDS:
        measured = "not reached"
    elif theirs and fastest >= BUDGET_SECONDS:
        measured = f"≤ {measured}"
    has_met = ours < BUDGET_SECONDS and ours / fastest <= goal.most
    shown = [_seconds(ours), _seconds(fastest) if theirs else ""]
    return [
        goal.name, str(goal.target), str(len(seeds)), *shown, asked, measured,
        "yes" if has_met else "no",
    ]  # fmt: skip


def _seconds(median: float) -> str:
    return f"≥ {median:.0f}" if median >= BUDGET_SECONDS else f"{median:.0f}"


def paired(outcomes: Iterable[Outcome]) -> str:
    """Return a Markdown table: our best less each other searcher's, paired by seed.

    Each is held against ours of the same space and kind of first configuration, at the end of the
    race's budget.
    """
    groups = {group[0].row: group for group in grouped(outcomes)}
    heads = ["against", "space", "first", "seeds", "ours less theirs", "95 % interval", "tie"]
    rows = []
    for (racer, space, first, seconds), group in groups.items():
        ours = groups.get((OURS, space, first, seconds))
        if racer != OURS and ours and seconds == BUDGET_SECONDS:
            found = paired_difference(_bests(ours), _bests(group))
            rows.append([racer, space, "given" if first else "drawn", *_difference(found)])
    return markdown(heads, rows)


def _bests(group: Iterable[Outcome]) -> dict[int, float]:
    bests = ((one.seed, one.best_at(BUDGET_SECONDS)) for one in group)
    return {seed: best for seed, best in bests if best is not None}


def _difference(found: Difference) -> list[str]:
    mean = "" if found.mean is None else f"{found.mean:+.4f}"
    if found.interval is None:
        return [str(found.pairs), mean, "none", ""]
    interval = "{:+.4f} to {:+.4f}".format(*found.interval)
    return [str(found.pairs), mean, interval, "tie" if found.is_tie else "no"]


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a Markdown table: medians over the seeds; ``of`` tells how many reached a target."""
    heads = ["searcher", "space", "first", "seeds"]
    heads += [f"s to {target}" for target in TARGETS]
    heads += [f"best at {seconds} s" for seconds in MARKS_SECONDS]
    heads += ["trials", "epochs", "CPU s", "memory MiB"]
    rows = []
    for group in grouped(outcomes):
        one = group[0]
        name = one.racer + (
            f", {one.budget_seconds} s" if one.budget_seconds > BUDGET_SECONDS else ""
        )
        cells = [name, one.space, "given" if one.first else "drawn", str(len(group))]
        cells += [_reached(group, target) for target in TARGETS]
        cells += [_best(group, seconds) for seconds in MARKS_SECONDS]
        cells += [_median(one.trials for one in group), _median(one.epochs for one in group)]
        cells += [_median(one.cpu_seconds for one in group)]
        cells += [_median(one.peak_memory_mib for one in group)]
        rows.append(cells)
    return markdown(heads, rows)


def grouped(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """Return the outcomes of each row, in the order in which rows first come."""
    rows: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.row, []).append(outcome)
    return list(rows.values())


def _reached(group: list[Outcome], target: float) -> str:
    # The higher of two middle ones: a mean of a time and a budget is neither.
    median = statistics.median_high(one.seconds_to(target) for one in group)
    reached = sum(one.has_reached(target) for one in group)
    mark = "≥ " if median >= group[0].budget_seconds else ""
    return f"{mark}{median:.0f} ({reached} of {len(group)})"


def _best(group: list[Outcome], seconds: float) -> str:
    # The lower of two middle ones: a mean of a value and none is neither.
    median = statistics.median_low(one.best_at(seconds) or 0.0 for one in group)
    return f"{median:.4f}" if median else "none"


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.0f}"


def draw(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Draw the best so far over time: the median of the seeds and their range.

    A panel for each space, above with the first configuration given, below with it drawn.

    Args:
        path: The picture, an SVG file.
        outcomes: At least one; all have the budget of the race.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.name  # the same file of the same outcomes
    from matplotlib import pyplot

    groups = grouped(outcomes)
    spaces = list(dict.fromkeys(group[0].space for group in groups))
    names = list(dict.fromkeys(group[0].racer for group in groups))
    figure, axes = pyplot.subplots(
        2, len(spaces), figsize=(6 * len(spaces), 8), sharex=True, sharey=True, squeeze=False
    )
    lines = {}
    for group in groups:
        one = group[0]
        axis = axes[0 if one.first else 1][spaces.index(one.space)]
        times = list(range(BUDGET_SECONDS + 1))
        known = [[run.best_at(at) or 0.0 for run in group] for at in times]
        color = f"C{names.index(one.racer)}"
        [lines[one.racer]] = axis.plot(
            times, [statistics.median(values) for values in known], color=color
        )
        low, high = map(min, known), map(max, known)
        axis.fill_between(times, list(low), list(high), color=color, alpha=0.12, linewidth=0)
    for row, first in zip(axes, ("given", "drawn"), strict=True):
        row[0].set_ylabel("best validation accuracy so far")
        for axis, space in zip(row, spaces, strict=True):
            for target in TARGETS[1:3]:
                axis.axhline(target, color="grey", linewidth=0.5)
            axis.set(ylim=(0.86, 0.92), title=f"{space}, first configuration {first}")
    for axis in axes[1]:
        axis.set_xlabel("seconds from the start of the process")
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=4)
    figure.savefig(path, metadata={"Date": None})
