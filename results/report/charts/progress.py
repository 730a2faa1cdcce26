"""Progress charts: the best value so far, and the learning curves of the trials."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import plotly.graph_objects as go

from results.record import columns
from results.record.columns import Ending, State
from results.record.words import format_number, quantity
from results.report.charts.chart import (
    COLORS,
    DASHES,
    GREY,
    STATE_COLORS,
    Chart,
    escaped,
    lay_out,
    padded_range,
    without_worst_tenth,
)
from results.run import Row, Run, ending_of

# With more trials than this, curves are thinner and half transparent.
MANY_TRIALS = 100


class Step(NamedTuple):
    """A value of the objective and when it was reported.

    Attributes:
        at_seconds: Seconds since the start of the process.
        nth: Number of epochs that all trials had trained by then.
        value: The objective.
    """

    at_seconds: float
    nth: int
    value: float


def best_over_time(
    runs: Sequence[Run], published: Sequence[Row] = (), names: Sequence[str] = ()
) -> Chart | None:
    """Draw the best value so far over the seconds since the start; None without values."""
    scale = _Scale("seconds since the start", lambda step: step.at_seconds, "{:.0f} s".format)
    text_and_figure = _best_so_far(runs, published, names, scale)
    return text_and_figure and Chart("best-over-time", "Best so far over time", *text_and_figure)


def best_over_epochs(
    runs: Sequence[Run], published: Sequence[Row] = (), names: Sequence[str] = ()
) -> Chart | None:
    """Draw the best value so far over the epochs trained by all trials; None without values."""
    scale = _Scale("epochs trained", lambda step: step.nth, lambda at: quantity(int(at), "epoch"))
    text_and_figure = _best_so_far(runs, published, names, scale)
    return text_and_figure and Chart(
        "best-over-epochs", "Best so far over epochs trained", *text_and_figure
    )


class _Scale(NamedTuple):
    """The x axis of a progress chart: its title, the position of a step, a position as text."""

    title: str
    position: Callable[[Step], float]
    text: Callable[[float], str]


def _best_so_far(
    runs: Sequence[Run],
    published: Sequence[Row],
    names: Sequence[str],
    scale: _Scale,
) -> tuple[str, Any] | None:
    """Return a description and a figure with a line for each run; None without values."""
    figure, texts = go.Figure(), []
    curves: list[list[float]] = []
    for index, run in enumerate(runs):
        run_steps = steps(run)
        if not run_steps:
            continue
        name = names[index] if names else run.name
        better = max if run.mode == "max" else min
        best = list(accumulate((step.value for step in run_steps), better))
        line = {
            "shape": "hv", "color": COLORS[index % len(COLORS)],
            "dash": DASHES[index // len(COLORS) % len(DASHES)],
        }  # fmt: skip
        x = [scale.position(step) for step in run_steps]
        figure.add_scatter(
            x=x, y=best, name=escaped(name), mode="lines", line=line, showlegend=len(runs) > 1
        )
        reached = scale.text(x[best.index(best[-1])])
        texts.append(f"{format_number(best[-1])} after {reached} ({name})")
        curves.append(best)
    if not curves:
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
    figure.update_yaxes(range=_late_range(curves, published))
    return f"Best {runs[0].objective}: {'; '.join(texts)}.", figure


def learning_curves(run: Run) -> Chart | None:
    """Draw the objective of all trials over their epochs, coloured by ending, with ASHA's rungs."""
    reports = reported(run)
    if not reports:
        return None
    figure = go.Figure()
    endings = {row[columns.TRIAL]: ending_of(row) for row in run.trials.to_pylist()}
    curves: dict[int, list[dict[str, Any]]] = {}
    for row in reports:
        curves.setdefault(row[columns.TRIAL], []).append(row)
    has_many = len(curves) > MANY_TRIALS
    # The stopped trials first, so that the others are drawn on top of them.
    in_order = _in_order(endings.values())
    for ending in sorted(in_order, key=lambda ending: ending.state is not State.STOPPED):
        x, y, texts = _one_line(
            [rows for trial, rows in curves.items() if endings[trial] == ending]
        )
        figure.add_scatter(
            x=x, y=y, text=texts, name=str(ending), mode="lines+markers", connectgaps=False,
            line={"color": STATE_COLORS[ending.state], "width": 1.0 if has_many else 1.6},
            marker={"size": 3}, opacity=0.5 if has_many else 1.0, showlegend=True,
            hovertemplate="%{text}, epoch %{x}: %{y}<extra></extra>",
        )  # fmt: skip
    rung_epochs = rungs(run)
    for rung in rung_epochs:
        figure.add_vline(
            x=rung, line={"dash": "dash", "width": 1, "color": GREY},
            annotation={"text": f"rung {rung}", "font": {"size": 10}},
            annotation_position="bottom right",
        )  # fmt: skip
    lay_out(figure, x="epoch", y=run.objective, height=460)
    value_range = without_worst_tenth([row[columns.OBJECTIVE] for row in reports], run.mode)
    text = _describe_endings(list(endings.values()), rung_epochs)
    if value_range:
        shown = padded_range(*value_range, 0.05)
        figure.update_yaxes(range=shown)
        text += _describe_hidden(curves, shown)
    return Chart("learning-curves", "Learning curves of all trials", text, figure)


def _describe_hidden(curves: dict[int, list[dict[str, Any]]], shown: list[float]) -> str:
    """Describe how many curves are outside the visible range."""
    outside = [
        trial
        for trial, rows in curves.items()
        if not any(shown[0] <= row[columns.OBJECTIVE] <= shown[1] for row in rows)
    ]
    if not outside:
        return ""
    verb = "is" if len(outside) == 1 else "are"
    return f" {quantity(len(outside), 'trial')} {verb} outside the visible range."


def _in_order(endings: Iterable[Ending]) -> list[Ending]:
    """Return the distinct endings in the order of the states."""
    states = list(State)
    return sorted(set(endings), key=lambda ending: (states.index(ending.state), str(ending)))


def _describe_endings(endings: list[Ending], rung_epochs: Sequence[int]) -> str:
    text = f"{quantity(len(endings), 'trial')}: "
    text += ", ".join(f"{endings.count(ending)} {ending}" for ending in _in_order(endings)) + "."
    if rung_epochs:
        text += f" ASHA decides after epoch {', '.join(map(str, rung_epochs))}."
    return text


def reported(run: Run) -> list[dict[str, Any]]:
    """Return the epochs with a value, in order; of repeated executions, only the first counts.

    Each row has its number among all trained epochs, from 1, as ``nth``.
    """
    rows = sorted(run.epochs.to_pylist(), key=lambda row: row[columns.AT_SECONDS])
    numbered = [row | {"nth": nth} for nth, row in enumerate(rows, start=1)]
    return [
        row
        for row in numbered
        if row[columns.OBJECTIVE] is not None and not row.get(columns.EXECUTION)
    ]


def steps(run: Run) -> list[Step]:
    """Return the values of the search, in order of their time.

    A trial counts with each of its epochs. If its score is not the value of an epoch, because its
    ``fit`` returned it or it is a mean of several executions, the trial counts with its score, at
    its end.
    """
    reports = reported(run)
    values_by_trial: dict[int, list[float]] = {}
    for row in reports:
        values_by_trial.setdefault(row[columns.TRIAL], []).append(row[columns.OBJECTIVE])
    trials = {row[columns.TRIAL]: row for row in run.trials.to_pylist()}
    scored_by_epochs = {
        trial
        for trial, values in values_by_trial.items()
        if trials[trial][columns.BEST_OBJECTIVE] in values
    }
    run_steps = [
        Step(row[columns.AT_SECONDS], row["nth"], row[columns.OBJECTIVE])
        for row in reports
        if row[columns.TRIAL] in scored_by_epochs
    ]
    report_seconds = sorted(run.epochs[columns.AT_SECONDS].to_pylist())
    for trial, row in trials.items():
        if trial not in scored_by_epochs and row[columns.BEST_OBJECTIVE] is not None:
            at_seconds = row[columns.ENDED_SECONDS] or row[columns.BEST_SECONDS] or 0.0
            nth = bisect_right(report_seconds, at_seconds)
            run_steps.append(Step(at_seconds, nth, row[columns.BEST_OBJECTIVE]))
    return sorted(run_steps)


def rungs(run: Run) -> list[int]:
    """Return the epochs after which ASHA decided; empty for other schedulers.

    The last epoch is no rung, because the trial ends there anyway. A trial is judged at its first
    epoch at or after a rung.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
    """
    plan = run.description["plan"]
    max_epochs, factor = plan["problem"].get("epochs"), plan.get("reduction_factor")
    if plan.get("scheduler") != "asha" or plan["engine"] != "ray" or not (max_epochs and factor):
        return []
    epochs, rung = [], float(plan["grace_period"])
    while rung < max_epochs:
        epochs.append(math.ceil(rung))
        rung *= factor
    return [epoch for epoch in dict.fromkeys(epochs) if epoch < max_epochs]


def _one_line(trials: list[list[dict[str, Any]]]) -> tuple[list[Any], list[Any], list[str]]:
    """Return curves as a single line with gaps, because a trace for each would be slow."""
    x: list[Any] = []
    y: list[Any] = []
    texts: list[str] = []
    for rows in trials:
        x += [*(row[columns.EPOCH] for row in rows), None]
        y += [*(row[columns.OBJECTIVE] for row in rows), None]
        texts += [*(f"trial {row[columns.TRIAL]}" for row in rows), ""]
    return x, y, texts


def _late_range(curves: Sequence[Sequence[float]], published: Sequence[Row]) -> list[float]:
    """Return the range of the best values after the first tenth of the steps of each run."""
    values = [best[len(best) // 10] for best in curves] + [best[-1] for best in curves]
    values += [row.best for row in published if row.best is not None]
    return padded_range(min(values), max(values), 0.06)
