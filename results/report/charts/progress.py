"""How a search came to its best, and how its trials learnt."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import plotly.graph_objects as go

from results.record import columns
from results.record.columns import Ending, State
from results.record.words import format_number
from results.report.charts.chart import (
    COLORS,
    DASHES,
    GREY,
    STATE_COLORS,
    Chart,
    escaped,
    lay_out,
    padded_range,
    quantity,
    without_worst_tenth,
)
from results.run import Row, Run, ending_of

# Of more curves than this each is drawn thinner, and lets others be seen through it.
MANY_TRIALS = 100


class Step(NamedTuple):
    """A value of the objective that counted, and when it was known.

    Attributes:
        at_seconds: Since the start of the process.
        nth: Epochs trained by then by all trials.
        value: The objective.
    """

    at_seconds: float
    nth: int
    value: float


def best_over_time(
    runs: Sequence[Run], published: Sequence[Row] = (), names: Sequence[str] = ()
) -> Chart | None:
    """Draw the best so far over the seconds since each process began; None where there is none."""
    scale = _Scale("seconds since the start", lambda step: step.at_seconds, "{:.0f} s".format)
    drawn = _best_so_far(runs, published, names, scale)
    return drawn and Chart("best-over-time", "Best so far over time", *drawn)


def best_over_epochs(
    runs: Sequence[Run], published: Sequence[Row] = (), names: Sequence[str] = ()
) -> Chart | None:
    """Draw the best so far over the epochs trained by all trials; None where there is none."""
    scale = _Scale("epochs trained", lambda step: step.nth, lambda at: quantity(int(at), "epoch"))
    drawn = _best_so_far(runs, published, names, scale)
    return drawn and Chart("best-over-epochs", "Best so far over epochs trained", *drawn)


class _Scale(NamedTuple):
    """What a search is drawn over: its name, where a step stands on it, and how that is said."""

    title: str
    where: Callable[[Step], float]
    told: Callable[[float], str]


def _best_so_far(
    runs: Sequence[Run],
    published: Sequence[Row],
    names: Sequence[str],
    scale: _Scale,
) -> tuple[str, Any] | None:
    """Return what there is to say of each run, and a figure with a line for each."""
    figure, texts = go.Figure(), []
    drawn: list[list[float]] = []
    for place, run in enumerate(runs):
        found = steps(run)
        if not found:
            continue
        name = names[place] if names else run.name
        best = list(accumulate((step.value for step in found), max if run.mode == "max" else min))
        line = {
            "shape": "hv", "color": COLORS[place % len(COLORS)],
            "dash": DASHES[place // len(COLORS) % len(DASHES)],
        }  # fmt: skip
        x = [scale.where(step) for step in found]
        figure.add_scatter(
            x=x, y=best, name=escaped(name), mode="lines", line=line, showlegend=len(runs) > 1
        )
        texts.append(
            f"{name}: {format_number(best[-1])} after {scale.told(x[best.index(best[-1])])}"
        )
        drawn.append(best)
    if not drawn:
        return None
    for row in published:
        figure.add_hline(
            y=row.best, line={"dash": "dot", "width": 1, "color": GREY},
            annotation={
                "text": escaped(f"{row.name} {format_number(row.best)}"), "font": {"size": 10},
            },
            annotation_position="bottom right",
        )  # fmt: skip
    lay_out(figure, x=scale.title, y=f"best {runs[0].objective}")
    figure.update_yaxes(range=_later_part(drawn, published))
    return f"Best {runs[0].objective}. {'; '.join(texts)}.", figure


def learning_curves(run: Run) -> Chart | None:
    """Draw the objective of every trial over its epochs, by how it ended, with ASHA's rungs."""
    reports = reported(run)
    if not reports:
        return None
    figure = go.Figure()
    endings = {row[columns.TRIAL]: ending_of(row) for row in run.trials.to_pylist()}
    curves: dict[int, list[dict[str, Any]]] = {}
    for row in reports:
        curves.setdefault(row[columns.TRIAL], []).append(row)
    is_many = len(curves) > MANY_TRIALS
    present = _in_order(endings.values())
    for ending in sorted(present, key=lambda one: one.state is not State.STOPPED):
        x, y, texts = _one_line(
            [rows for trial, rows in curves.items() if endings[trial] == ending]
        )
        figure.add_scatter(
            x=x, y=y, text=texts, name=str(ending), mode="lines+markers", connectgaps=False,
            line={"color": STATE_COLORS[ending.state], "width": 1.0 if is_many else 1.6},
            marker={"size": 3}, opacity=0.5 if is_many else 1.0, showlegend=True,
            hovertemplate="%{text}, epoch %{x}: %{y}<extra></extra>",
        )  # fmt: skip
    found = rungs(run)
    for rung in found:
        figure.add_vline(
            x=rung, line={"dash": "dash", "width": 1, "color": GREY},
            annotation={"text": f"rung {rung}", "font": {"size": 10}},
            annotation_position="bottom right",
        )  # fmt: skip
    lay_out(figure, x="epoch", y=run.objective, height=460)
    ends = without_worst_tenth([row[columns.OBJECTIVE] for row in reports], run.mode)
    text = _ends_told(list(endings.values()), found)
    if ends:
        figure.update_yaxes(range=padded_range(*ends, 0.05))
        text += _left_out(curves, padded_range(*ends, 0.05))
    return Chart("learning-curves", "Learning curves of all trials", text, figure)


def _left_out(curves: dict[int, list[dict[str, Any]]], shown: list[float]) -> str:
    """Say how many curves lie outside of what is shown."""
    outside = [
        trial
        for trial, rows in curves.items()
        if not any(shown[0] <= row[columns.OBJECTIVE] <= shown[1] for row in rows)
    ]
    if not outside:
        return ""
    lie = "lies" if len(outside) == 1 else "lie"
    return f" {quantity(len(outside), 'trial')} {lie} outside of what is shown."


def _in_order(endings: Iterable[Ending]) -> list[Ending]:
    """Return the different endings in the order of the states."""
    order = list(State)
    return sorted(set(endings), key=lambda one: (order.index(one.state), str(one)))


def _ends_told(endings: list[Ending], found: Sequence[int]) -> str:
    text = f"{quantity(len(endings), 'trial')}: "
    text += ", ".join(f"{endings.count(one)} {one}" for one in _in_order(endings)) + "."
    if found:
        text += f" ASHA decides after epoch {', '.join(map(str, found))}."
    return text


def reported(run: Run) -> list[dict[str, Any]]:
    """Return the epochs that gave a value, as reported; of repeated trainings the first alone.

    Each has its place among all epochs trained, from 1, as ``nth``.
    """
    rows = sorted(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS])
    placed = [row | {"nth": nth} for nth, row in enumerate(rows, start=1)]
    return [
        row
        for row in placed
        if row[columns.OBJECTIVE] is not None and not row.get(columns.EXECUTION)
    ]


def steps(run: Run) -> list[Step]:
    """Return the values that counted, in their order.

    A trial counts with each of its epochs; where its score is another, which its ``fit`` returned
    or the mean of several trainings, it counts with that, at its end.
    """
    reports = reported(run)
    of_trials: dict[int, list[float]] = {}
    for row in reports:
        of_trials.setdefault(row[columns.TRIAL], []).append(row[columns.OBJECTIVE])
    trials = {row[columns.TRIAL]: row for row in run.trials.to_pylist()}
    by_epochs = {
        trial
        for trial, values in of_trials.items()
        if trials[trial][columns.BEST_OBJECTIVE] in values
    }
    found = [
        Step(row[columns.AT_SECONDS], row["nth"], row[columns.OBJECTIVE])
        for row in reports
        if row[columns.TRIAL] in by_epochs
    ]
    told = sorted(run.epochs[columns.AT_SECONDS].to_pylist())
    for trial, row in trials.items():
        if trial not in by_epochs and row[columns.BEST_OBJECTIVE] is not None:
            at = row[columns.ENDED_SECONDS] or row[columns.BEST_SECONDS] or 0.0
            nth = bisect_right(told, at)
            found.append(Step(at, nth, row[columns.BEST_OBJECTIVE]))
    return sorted(found)


def rungs(run: Run) -> list[int]:
    """Return the epochs after which ASHA decided; none where nothing stopped trials early.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020; a trial
    at its last epoch ends by itself, and one is judged at its first epoch at or past a rung.
    """
    plan = run.description["plan"]
    most, factor = plan["problem"].get("epochs"), plan.get("reduction_factor")
    if plan.get("scheduler") != "asha" or plan["engine"] != "ray" or not (most and factor):
        return []
    found, rung = [], float(plan["grace_period"])
    while rung < most:
        found.append(math.ceil(rung))
        rung *= factor
    return [rung for rung in dict.fromkeys(found) if rung < most]


def _one_line(trials: list[list[dict[str, Any]]]) -> tuple[list[Any], list[Any], list[str]]:
    """Return many curves as one line with gaps: a trace for each would be slow to draw."""
    x: list[Any] = []
    y: list[Any] = []
    texts: list[str] = []
    for rows in trials:
        x += [*(row[columns.EPOCH] for row in rows), None]
        y += [*(row[columns.OBJECTIVE] for row in rows), None]
        texts += [*(f"trial {row[columns.TRIAL]}" for row in rows), ""]
    return x, y, texts


def _later_part(drawn: Sequence[Sequence[float]], published: Sequence[Row]) -> list[float]:
    """Return the range in which searches differ: from what a tenth of the reports had given."""
    values = [best[len(best) // 10] for best in drawn] + [best[-1] for best in drawn]
    values += [row.best for row in published if row.best is not None]
    return padded_range(min(values), max(values), 0.06)
