"""Charts of the search space: parallel coordinates, and a slice for each hyperparameter."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from results.record import columns
from results.record.words import quantity
from results.report.charts.axes import Axis, axes_of
from results.report.charts.chart import (
    STATE_COLORS,
    Chart,
    escaped,
    lay_out,
    padded_range,
    slug,
    without_worst_tenth,
)
from results.run import Run, ending_of

# Label of an inactive hyperparameter on its axis.
INACTIVE = "inactive"
# Plotly draws at most 60 axes; the last is the objective.
MAX_AXES = 59
# The colour scale starts at this quantile of the objective, so that good and best trials differ.
COLORED_FROM_QUANTILE = 0.25
# From worse to better; all colours are visible on white and black.
COLORSCALE = [[0.0, "#8a8f98"], [0.6, "#2f8fd0"], [1.0, "#e08a00"]]
# Mantissas of the ticks of a logarithmic axis.
STEPS = (1, 2, 5)


def parallel_coordinates(run: Run) -> Chart | None:
    """Draw each trial as a line through all axes; None without values or axes."""
    objectives = run.trials[columns.BEST_OBJECTIVE].to_pylist()
    scored = [index for index, value in enumerate(objectives) if value is not None]
    axes = axes_of(run)
    if not scored or not axes:
        return None
    # Worst first, so that the best lines are on top.
    scored.sort(key=lambda index: objectives[index], reverse=run.mode == "min")
    values = [objectives[index] for index in scored]
    worst, best = values[int(COLORED_FROM_QUANTILE * (len(values) - 1))], values[-1]
    dimensions = [_dimension(axis, scored) for axis in axes[:MAX_AXES]]
    figure = go.Figure(
        go.Parcoords(
            dimensions=[*dimensions, _objective_dimension(run, values, worst)],
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
    text = _describe(run, len(scored), axes)
    return Chart("parallel-coordinates", "Parallel coordinates", text, figure, is_wide=True)


def _describe(run: Run, trials: int, axes: Sequence[Axis]) -> str:
    text = f"{quantity(trials, 'trial')}. Each line is a configuration, coloured by its best "
    text += f"{run.objective}."
    if any(len(axis.active) < len(axis.values) for axis in axes):
        text += f" Hyperparameters that a configuration does not use are at “{INACTIVE}”."
    if len(axes) > MAX_AXES:
        text += f" The chart shows the first {MAX_AXES} of {len(axes)} hyperparameters."
    return f"{text} Drag along an axis to select a range."


def slices(run: Run) -> list[Chart]:
    """Draw the best value of each trial over each hyperparameter that it uses."""
    if all(value is None for value in run.trials[columns.BEST_OBJECTIVE].to_pylist()):
        return []
    return [_slice(run, axis, number) for number, axis in enumerate(axes_of(run), start=1)]


def _slice(run: Run, axis: Axis, number: int) -> Chart:
    figure = go.Figure()
    trials = run.trials.to_pylist()
    for ending in dict.fromkeys(map(ending_of, trials)):
        points = [
            (value, row[columns.BEST_OBJECTIVE], row[columns.TRIAL])
            for value, row in zip(axis.values, trials, strict=True)
            if value is not None and ending_of(row) == ending
        ]
        x, y, trial_numbers = zip(*points, strict=True) if points else ((), (), ())
        figure.add_scatter(
            x=[_display_value(axis, value) for value in x], y=y, customdata=trial_numbers,
            mode="markers",
            name=str(ending),
            marker={"color": STATE_COLORS[ending.state], "size": 6, "opacity": 0.75},
            hovertemplate="trial %{customdata}: %{x}, %{y}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, y=run.objective, height=240)
    figure.update_layout(showlegend=False)
    values = [
        value for value in run.trials[columns.BEST_OBJECTIVE].to_pylist() if value is not None
    ]
    value_range = without_worst_tenth(values, run.mode)
    figure.update_yaxes(range=padded_range(*value_range, 0.1) if value_range else None)
    _set_x_axis(figure, axis)
    active, trial_count = len(axis.active), quantity(len(axis.values), "trial")
    is_always_active = active == len(axis.values)
    text = f"{trial_count}." if is_always_active else f"Active in {active} of {trial_count}."
    return Chart(f"slice-{number:02}-{slug(axis.name)}", axis.name, text, figure)


def _set_x_axis(figure: Any, axis: Axis) -> None:
    if axis.choices is not None:
        order = [_display_value(axis, choice) for choice in axis.choices]
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=order)
        return
    low, high = axis.ends
    figure.update_xaxes(range=padded_range(low, high, 0.04))
    if axis.is_log:
        ticks = _ticks(axis, low, high)
        if len(ticks) > 5:  # there is little space: powers of ten only
            ticks = [(position, text) for position, text in ticks if position == round(position)]
        figure.update_xaxes(
            type="log",
            tickvals=[10**position for position, _ in ticks],
            ticktext=[text for _, text in ticks],
        )
    elif axis.is_integer and high - low <= 12:
        figure.update_xaxes(dtick=1)


def _display_value(axis: Axis, value: Any) -> Any:
    return escaped(value) if axis.choices is not None else value


def _dimension(axis: Axis, trials: list[int]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; inactive values are at a tick below its range.

    Args:
        axis: The hyperparameter.
        trials: Indices of the trials to show, in order.
    """
    low, high = axis.ends
    gap = (high - low or 1.0) * 0.18
    inactive = low - gap
    values = [axis.values[index] for index in trials]
    ticks = _ticks(axis, low, high)
    has_inactive = len(axis.active) < len(axis.values)
    if has_inactive:
        ticks = [(inactive, INACTIVE), *ticks]
    return {
        "label": escaped(axis.name),
        "values": [inactive if value is None else axis.position(value) for value in values],
        "range": [inactive if has_inactive else low, high if high > low else low + gap],
        "tickvals": [position for position, _ in ticks],
        "ticktext": [escaped(text) for _, text in ticks],
    }


def _objective_dimension(run: Run, values: list[float], worst: float) -> dict[str, Any]:
    """Return the axis of the objective; values beyond ``worst`` are shown at its end.

    Args:
        run: The run.
        values: Best value of each trial, worst first.
        worst: End of the axis; without it, bad trials would stretch the axis.
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
        "tickvals": [position for position, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }


def _round_numbers(low: float, high: float) -> list[float]:
    """Return about four round numbers in a range, in ascending order."""
    span = high - low
    if span <= 0.0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step * power for step in (*STEPS, 10) if span / (step * power) <= 5)
    first = math.ceil(low / step)
    return [round(factor * step, 12) for factor in range(first, math.floor(high / step) + 1)]


def _ticks(axis: Axis, low: float, high: float) -> list[tuple[float, str]]:
    if axis.choices is not None:
        return [(float(index), str(choice)) for index, choice in enumerate(axis.choices)]
    if axis.is_log:
        powers = range(math.floor(low), math.ceil(high) + 1)
        marks = [step * 10.0**power for power in powers for step in STEPS]
        inside = [mark for mark in marks if low <= math.log10(mark) <= high]
        return [(math.log10(mark), f"{mark:g}") for mark in inside] or [(low, f"{10**low:.3g}")]
    return [(mark, f"{mark:g}") for mark in _round_numbers(low, high)]
