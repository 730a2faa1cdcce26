"""Where in the space the good configurations are; inactive hyperparameters are shown as such."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from results.record import columns
from results.report.charts.axes import Axis, axes_of
from results.report.charts.chart import (
    STATE_COLORS,
    Chart,
    escaped,
    lay_out,
    padded_range,
    quantity,
    slug,
    without_worst_tenth,
)
from results.run import Run, ending_of

# What an inactive hyperparameter is called on its axis.
INACTIVE = "inactive"
# Plotly draws 60 axes and leaves out what comes after; the last is the objective's.
MAX_AXES = 59
# Lines take the colour of their objective from the better part, where good and best differ.
COLORED_FROM_QUANTILE = 0.25
# From the worse to the better; each stands out on white and on black.
COLORSCALE = [[0.0, "#8a8f98"], [0.6, "#2f8fd0"], [1.0, "#e08a00"]]
# Ticks of a logarithmic axis.
STEPS = (1, 2, 5)


def parallel_coordinates(run: Run) -> Chart | None:
    """Draw each trial as a line through all axes; None where there is none to draw."""
    objectives = run.trials[columns.BEST_OBJECTIVE].to_pylist()
    shown = [place for place, value in enumerate(objectives) if value is not None]
    axes = axes_of(run)
    if not shown or not axes:
        return None
    # The worst first, so that the best lie on top.
    shown.sort(key=lambda place: objectives[place], reverse=run.mode == "min")
    values = [objectives[place] for place in shown]
    worst, best = values[int(COLORED_FROM_QUANTILE * (len(values) - 1))], values[-1]
    dimensions = [_dimension(axis, shown) for axis in axes[:MAX_AXES]]
    figure = go.Figure(
        go.Parcoords(
            dimensions=[*dimensions, _of_objective(run, values, worst)],
            line={
                "color": values, "colorscale": COLORSCALE, "cmin": min(worst, best),
                "cmax": max(worst, best), "reversescale": run.mode == "min", "showscale": True,
                "colorbar": {"title": {"text": escaped(run.objective)}, "thickness": 12},
            },
            labelangle=-20,
        )
    )  # fmt: skip
    lay_out(figure, height=480)
    figure.update_layout(margin={"l": 60, "r": 30, "t": 80, "b": 30})
    text = _told(run, len(shown), axes)
    return Chart("parallel-coordinates", "Parallel coordinates", text, figure, is_wide=True)


def _told(run: Run, lines: int, axes: Sequence[Axis]) -> str:
    text = f"{quantity(lines, 'trial')}; a line is a configuration, its colour the best "
    text += f"{run.objective}."
    if any(len(axis.active) < len(axis.values) for axis in axes):
        text += f" A hyperparameter that a configuration does not use stands at “{INACTIVE}”."
    if len(axes) > MAX_AXES:
        text += f" Of {len(axes)} hyperparameters the first {MAX_AXES} are drawn."
    return f"{text} Drag along an axis to single out a part of it."


def slices(run: Run) -> list[Chart]:
    """Draw the best of each trial over each hyperparameter, where that is active."""
    if all(value is None for value in run.trials[columns.BEST_OBJECTIVE].to_pylist()):
        return []
    return [_slice(run, axis, place) for place, axis in enumerate(axes_of(run), start=1)]


def _slice(run: Run, axis: Axis, place: int) -> Chart:
    figure = go.Figure()
    trials = run.trials.to_pylist()
    for ending in dict.fromkeys(map(ending_of, trials)):
        points = [
            (value, row[columns.BEST_OBJECTIVE], row[columns.TRIAL])
            for value, row in zip(axis.values, trials, strict=True)
            if value is not None and ending_of(row) == ending
        ]
        x, y, numbers = zip(*points, strict=True) if points else ((), (), ())
        figure.add_scatter(
            x=[_shown(axis, value) for value in x], y=y, customdata=numbers, mode="markers",
            name=str(ending),
            marker={"color": STATE_COLORS[ending.state], "size": 6, "opacity": 0.75},
            hovertemplate="trial %{customdata}: %{x}, %{y}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, y=run.objective, height=240)
    figure.update_layout(showlegend=False)
    values = [
        value for value in run.trials[columns.BEST_OBJECTIVE].to_pylist() if value is not None
    ]
    ends = without_worst_tenth(values, run.mode)
    figure.update_yaxes(range=padded_range(*ends, 0.1) if ends else None)
    _scale(figure, axis)
    active, number = len(axis.active), len(axis.values)
    where = f"Active in {active} of {quantity(number, 'trial')}"
    text = f"{where if active < number else quantity(number, 'trial')}."
    return Chart(f"slice-{place:02}-{slug(axis.name)}", axis.name, text, figure)


def _scale(figure: Any, axis: Axis) -> None:
    if axis.choices is not None:
        order = [_shown(axis, choice) for choice in axis.choices]
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=order)
        return
    low, high = axis.ends
    figure.update_xaxes(range=padded_range(low, high, 0.04))
    if axis.is_log:
        # Of a wide range the powers of ten alone: there is little room.
        marks = _ticks(axis, low, high)
        few = [one for one in marks if one[0] == round(one[0])] if len(marks) > 5 else marks
        figure.update_xaxes(
            type="log", tickvals=[10**place for place, _ in few], ticktext=[text for _, text in few]
        )
    elif axis.is_integer and high - low <= 12:
        figure.update_xaxes(dtick=1)


def _shown(axis: Axis, value: Any) -> Any:
    return escaped(value) if axis.choices is not None else value


def _dimension(axis: Axis, shown: list[int]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates, with a place below it for what is inactive."""
    low, high = axis.ends
    gap = (high - low or 1.0) * 0.18
    below = low - gap
    values = [axis.values[place] for place in shown]
    ticks = _ticks(axis, low, high)
    has_inactive = len(axis.active) < len(axis.values)
    if has_inactive:
        ticks = [(below, INACTIVE), *ticks]
    return {
        "label": escaped(axis.name),
        "values": [below if value is None else axis.position(value) for value in values],
        "range": [below if has_inactive else low, high if high > low else low + gap],
        "tickvals": [place for place, _ in ticks],
        "ticktext": [escaped(text) for _, text in ticks],
    }


def _of_objective(run: Run, values: list[float], worst: float) -> dict[str, Any]:
    """Return the axis of the objective; the worse part, which would stretch it, stands at its end.

    Args:
        run: Whose objective.
        values: The best of each trial, the worst first.
        worst: The value from which on they are told apart.
    """
    is_max = run.mode == "max"
    low, high = sorted((worst, values[-1]))
    marks = [mark for mark in _round_numbers(low, high) if mark != worst]
    ticks = [(mark, f"{mark:g}") for mark in marks]
    ticks.insert(0 if is_max else len(ticks), (worst, f"{'≤' if is_max else '≥'} {worst:.3g}"))
    return {
        "label": escaped(run.objective),
        "values": [max(value, worst) if is_max else min(value, worst) for value in values],
        "range": [low, high if high > low else low + abs(low) + 1.0],
        "tickvals": [place for place, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }


def _round_numbers(low: float, high: float) -> list[float]:
    """Return some four round numbers within a range, the lower first."""
    span = high - low
    if span <= 0.0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step * power for step in (*STEPS, 10) if span / (step * power) <= 5)
    first = math.ceil(low / step)
    return [round(place * step, 12) for place in range(first, math.floor(high / step) + 1)]


def _ticks(axis: Axis, low: float, high: float) -> list[tuple[float, str]]:
    if axis.choices is not None:
        return [(float(place), str(choice)) for place, choice in enumerate(axis.choices)]
    if axis.is_log:
        powers = range(math.floor(low), math.ceil(high) + 1)
        marks = [step * 10.0**power for power in powers for step in STEPS]
        inside = [mark for mark in marks if low <= math.log10(mark) <= high]
        return [(math.log10(mark), f"{mark:g}") for mark in inside] or [(low, f"{10**low:.3g}")]
    return [(mark, f"{mark:g}") for mark in _round_numbers(low, high)]
