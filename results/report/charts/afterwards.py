"""What was done after the search: stopped trials at their end, and the best on new seeds."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from results.record.audit import Audit, AuditedTrial
from results.record.confirmation import ConfirmedCandidate, Verdict
from results.record.words import format_interval, format_number
from results.report.charts.chart import (
    COLORS,
    GREY,
    Chart,
    draw_points,
    escaped,
    lay_out,
    padded_range,
    quantity,
    without_worst_tenth,
)
from results.run import Run
from results.text import audited, confirmed

MAX_HEIGHT_PIXELS = 1600
AUDIT_ROW_PIXELS = 26
# So many rows have room for the numbers of their trials.
MAX_LABELS = 60
# By colour and by form: how a candidate stands to the winner.
MARKS = {
    Verdict.WINNER: (COLORS[0], "diamond"),
    Verdict.BETTER: (COLORS[3], "star"),
    Verdict.TIE: (COLORS[2], "circle"),
    Verdict.WORSE: (GREY, "square"),
}
CANDIDATE_ROW_PIXELS = 52
# Of a name that the user gave.
LABEL_CHARACTERS, LABEL_LINES = 22, 2


def audit_chart(run: Run) -> Chart | None:
    """Draw audited trials as lines from their stop to their end; None where none was audited."""
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
    height = min(MAX_HEIGHT_PIXELS, 150 + AUDIT_ROW_PIXELS * len(trials))
    lay_out(figure, x=f"best {found.objective}", height=height)
    step = -(-len(trials) // MAX_LABELS)
    _name_rows(figure, [f"trial {one.trial}" for one in trials], step)
    text = "\n".join([*audited.sentences(found), *audited.outdated(run), *_cut_off(figure, found)])
    return Chart("early-stop-audit", "What early stopping cost", text, figure, audited.cells(found))


def _cut_off(figure: Any, found: Audit) -> Iterator[str]:
    """Show where the trials come near to the best; say so where some lie outside of that."""
    pairs = [(one.stopped_value, one.value) for one in found.trials]
    values = [found.search_best, *(value for pair in pairs for value in pair if value is not None)]
    low, high = without_worst_tenth(values, found.mode) or (found.search_best, found.search_best)
    figure.update_xaxes(range=padded_range(low, high, 0.04))
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
        (
            one.stopped_value,
            place,
            _audit_told(one, "stopped", one.stopped_epoch, one.stopped_value),
        )
        for place, one in enumerate(trials)
        if one.stopped_value is not None
    ]
    mark = {"color": GREY, "symbol": "circle-open", "size": 9, "line": {"width": 2}}
    draw_points(figure, points, "when it was stopped", mark)


def _draw_ends(figure: Any, trials: Sequence[AuditedTrial], *, is_wrong: bool) -> None:
    points = [
        (one.value, place, _audit_told(one, one.state, one.epochs, one.value))
        for place, one in enumerate(trials)
        if one.is_wrong is is_wrong and one.value is not None
    ]
    color, symbol = (COLORS[5], "diamond") if is_wrong else (COLORS[0], "circle")
    name = f"at its end: {'wrongly' if is_wrong else 'rightly'} stopped"
    draw_points(figure, points, name, {"color": color, "symbol": symbol, "size": 10})


def _audit_told(one: AuditedTrial, ended: str, epoch: int, value: float | None) -> str:
    return f"trial {one.trial}, {ended} after epoch {epoch}: {format_number(value)}"


def _draw_best(figure: Any, found: Audit) -> None:
    # A line with its name in the legend: a note beside it would be cut off at the edge.
    figure.add_scatter(
        x=[found.search_best] * 2, y=[-0.6, len(found.trials) - 0.4], mode="lines",
        line={"color": COLORS[1], "dash": "dot", "width": 2}, hoverinfo="skip",
        name=f"the search's best, {format_number(found.search_best)}", showlegend=True,
    )  # fmt: skip


def confirmation_chart(run: Run) -> Chart | None:
    """Draw means with intervals, seeds and the search's best; None where nothing was confirmed."""
    found = run.confirmation
    if found is None:
        return None
    candidates = found.best_first
    figure = go.Figure()
    for verdict in Verdict:
        _draw_means(figure, candidates, verdict)
    _draw_seeds(figure, candidates, found.seeds)
    _draw_search(figure, candidates)
    height = min(MAX_HEIGHT_PIXELS, 130 + CANDIDATE_ROW_PIXELS * len(candidates))
    lay_out(figure, x=found.objective, height=height)
    _name_rows(figure, [_label(one) for one in candidates])
    text = "\n".join([*confirmed.sentences(found), *confirmed.outdated(run)])
    return Chart("confirmed", "Confirmed on new seeds", text, figure, confirmed.cells(found))


def _draw_seeds(
    figure: Any, candidates: Sequence[ConfirmedCandidate], seeds: Sequence[int]
) -> None:
    points = [
        (score, place, f"{escaped(confirmed.label(one))}, seed {seed}: {format_number(score)}")
        for place, one in enumerate(candidates)
        for seed, score in zip(seeds, one.scores, strict=True)
        if score is not None
    ]
    # Below the mean, which would hide them.
    mark = {"color": GREY, "symbol": "line-ns-open", "size": 9, "line": {"width": 1.5}}
    draw_points(figure, [(x, place + 0.24, text) for x, place, text in points], "each seed", mark)


def _draw_means(figure: Any, candidates: Sequence[ConfirmedCandidate], verdict: Verdict) -> None:
    shown = [
        (place, one)
        for place, one in enumerate(candidates)
        if one.verdict is verdict and one.mean is not None
    ]
    color, symbol = MARKS[verdict]
    lines = {
        "type": "data", "symmetric": False, "color": color, "thickness": 2, "width": 5,
        "array": [(one.high or one.mean or 0.0) - (one.mean or 0.0) for _, one in shown],
        "arrayminus": [(one.mean or 0.0) - (one.low or one.mean or 0.0) for _, one in shown],
    }  # fmt: skip
    points = [(one.mean, place, _mean_told(one)) for place, one in shown]
    mark = {"color": color, "symbol": symbol, "size": 11}
    draw_points(figure, points, f"{verdict}: mean", mark, error_x=lines)


def _draw_search(figure: Any, candidates: Sequence[ConfirmedCandidate]) -> None:
    points = [
        (
            one.search_value,
            place,
            f"{escaped(one.name)} in the search: {format_number(one.search_value)}",
        )
        for place, one in enumerate(candidates)
        if one.search_value is not None
    ]
    mark = {"color": COLORS[1], "symbol": "circle-open", "size": 11, "line": {"width": 2}}
    draw_points(figure, points, "best in the search", mark)


def _mean_told(one: ConfirmedCandidate) -> str:
    between = format_interval(one.low, one.high)
    return f"{escaped(confirmed.label(one))}: {format_number(one.mean)} ({between}), {one.verdict}"


def _label(one: ConfirmedCandidate) -> str:
    """Return a candidate's name on two or three short lines, for a narrow screen too."""
    lines = textwrap.wrap(one.name, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder=" …") or [
        ""
    ]
    return "<br>".join([*map(escaped, lines), quantity(one.epochs, "epoch")])


def _name_rows(figure: Any, labels: Sequence[str], step: int = 1) -> None:
    """Name rows from the top to the bottom, or one of so many."""
    figure.update_yaxes(
        tickvals=list(range(0, len(labels), step)), ticktext=labels[::step],
        range=[len(labels) - 0.4, -0.6], showgrid=False, zeroline=False,
    )  # fmt: skip
