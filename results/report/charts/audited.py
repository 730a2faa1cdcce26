"""What early stopping cost: stopped trials at their stop, and at the end that they never had."""

from collections.abc import Iterator, Sequence
from typing import Any

from results.record.audit import Audit, AuditedTrial
from results.record.words import number
from results.report.charts.chart import (
    COLORS,
    GREY,
    Chart,
    draw_points,
    laid_out,
    padded,
    without_worst_tenth,
)
from results.run import Run
from results.text import audited

ROW_PIXELS = 26
MOST_PIXELS = 1600
# So many rows have room for their numbers.
MOST_LABELS = 60


def audit_chart(run: Run) -> Chart | None:
    """Draw each audited trial as a line from its value at the stop to that at its end.

    Returns:
        The chart; None where no trial was audited.
    """
    import plotly.graph_objects as go

    found = run.audit
    if found is None:
        return None
    trials = found.best_first
    figure = go.Figure()
    _draw_ways(figure, trials)
    _draw_stops(figure, trials)
    for is_wrong in (True, False):
        _draw_ends(figure, trials, is_wrong=is_wrong)
    _draw_best(figure, found)
    height = min(MOST_PIXELS, 150 + ROW_PIXELS * len(trials))
    laid_out(figure, x=f"best {found.objective}", height=height)
    step = -(-len(trials) // MOST_LABELS)
    figure.update_yaxes(
        tickvals=list(range(0, len(trials), step)),
        ticktext=[f"trial {one.trial}" for one in trials[::step]],
        range=[len(trials) - 0.4, -0.6], showgrid=False, zeroline=False,
    )  # fmt: skip
    text = "\n".join([*audited.sentences(found), *audited.outdated(run), *_cut_off(figure, found)])
    return Chart("early-stop-audit", "What early stopping cost", text, figure, audited.cells(found))


def _cut_off(figure: Any, found: Audit) -> Iterator[str]:
    """Show where the trials come near to the best; say so where some lie outside of that."""
    pairs = [(one.stopped_value, one.value) for one in found.trials]
    values = [found.search_best, *(value for pair in pairs for value in pair if value is not None)]
    low, high = without_worst_tenth(values, found.mode) or (found.search_best, found.search_best)
    figure.update_xaxes(range=padded(low, high, 0.04))
    if min(values) < low or max(values) > high:
        yield "What is furthest off lies outside of what is drawn; the table has it."


def _draw_ways(figure: Any, trials: Sequence[AuditedTrial]) -> None:
    x: list[float | None] = []
    y: list[int | None] = []
    for place, one in enumerate(trials):
        if one.stopped_value is not None and one.value is not None:
            x += [one.stopped_value, one.value, None]
            y += [place, place, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": GREY, "width": 1.5}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip


def _draw_stops(figure: Any, trials: Sequence[AuditedTrial]) -> None:
    points = [
        (one.stopped_value, place, _told(one, "stopped", one.stopped_epoch, one.stopped_value))
        for place, one in enumerate(trials)
        if one.stopped_value is not None
    ]
    mark = {"color": GREY, "symbol": "circle-open", "size": 9, "line": {"width": 2}}
    draw_points(figure, points, "when it was stopped", mark)


def _draw_ends(figure: Any, trials: Sequence[AuditedTrial], *, is_wrong: bool) -> None:
    points = [
        (one.value, place, _told(one, one.state, one.epochs, one.value))
        for place, one in enumerate(trials)
        if one.is_wrong is is_wrong and one.value is not None
    ]
    color, symbol = (COLORS[5], "diamond") if is_wrong else (COLORS[0], "circle")
    name = f"at its end: {'wrongly' if is_wrong else 'rightly'} stopped"
    draw_points(figure, points, name, {"color": color, "symbol": symbol, "size": 10})


def _told(one: AuditedTrial, ended: str, epoch: int, value: float | None) -> str:
    return f"trial {one.trial}, {ended} after epoch {epoch}: {number(value)}"


def _draw_best(figure: Any, found: Audit) -> None:
    # A line with its name in the legend: a note beside it would be cut off at the edge.
    figure.add_scatter(
        x=[found.search_best] * 2, y=[-0.6, len(found.trials) - 0.4], mode="lines",
        line={"color": COLORS[1], "dash": "dot", "width": 2}, hoverinfo="skip",
        name=f"the search's best, {number(found.search_best)}", showlegend=True,
    )  # fmt: skip
