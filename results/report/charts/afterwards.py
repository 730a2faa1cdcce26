"""Charts of what follows a search: the audit of early stopping, and the confirmation."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from results.record.audit import Audit, AuditedTrial
from results.record.confirmation import ConfirmedCandidate, Verdict
from results.record.words import format_interval, format_number, quantity
from results.report.charts.chart import (
    COLORS,
    GREY,
    Chart,
    draw_points,
    escaped,
    lay_out,
    padded_range,
    without_worst_tenth,
)
from results.run import Run
from results.text import audited, confirmed

MAX_HEIGHT_PIXELS = 1600
AUDIT_ROW_PIXELS = 26
# With more rows, only some have a label.
MAX_LABELS = 60
# Colour and symbol of a candidate by its verdict.
MARKERS = {
    Verdict.WINNER: (COLORS[0], "diamond"),
    Verdict.BETTER: (COLORS[3], "star"),
    Verdict.TIE: (COLORS[2], "circle"),
    Verdict.WORSE: (GREY, "square"),
}
CANDIDATE_ROW_PIXELS = 52
# Limits of the name of a candidate in its label.
MAX_LABEL_CHARACTERS, MAX_LABEL_LINES = 22, 2


def audit_chart(run: Run) -> Chart | None:
    """Draw audited trials as lines from their stop to their end; None without an audit."""
    audit = run.audit
    if audit is None:
        return None
    trials = audit.best_first
    figure = go.Figure()
    _draw_lines(figure, trials)
    _draw_stops(figure, trials)
    for is_wrong in (True, False):
        _draw_ends(figure, trials, is_wrong=is_wrong)
    _draw_search_best(figure, audit)
    height = min(MAX_HEIGHT_PIXELS, 150 + AUDIT_ROW_PIXELS * len(trials))
    lay_out(figure, x=f"best {audit.objective}", height=height)
    step = -(-len(trials) // MAX_LABELS)
    _label_rows(figure, [f"trial {trial.trial}" for trial in trials], step)
    notes = [*audited.outdated(run), *_limit_range(figure, audit)]
    text = "\n".join([*audited.sentences(audit), *notes])
    return Chart("early-stop-audit", "What early stopping cost", text, figure, audited.cells(audit))


def _limit_range(figure: Any, audit: Audit) -> Iterator[str]:
    """Limit the axis to values near the best; yield a note if some values are outside."""
    best = audit.search_best
    pairs = [(trial.stopped_value, trial.value) for trial in audit.trials]
    values = [best, *(value for pair in pairs for value in pair if value is not None)]
    low, high = without_worst_tenth(values, audit.mode) or (best, best)
    figure.update_xaxes(range=padded_range(low, high, 0.04))
    if min(values) < low or max(values) > high:
        yield "Some values are outside the visible range; the table has them all."


def _draw_lines(figure: Any, trials: Sequence[AuditedTrial]) -> None:
    x: list[float | None] = []
    y: list[int | None] = []
    for row, trial in enumerate(trials):
        if trial.stopped_value is not None and trial.value is not None:
            x += [trial.stopped_value, trial.value, None]
            y += [row, row, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": GREY, "width": 1.5}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip


def _draw_stops(figure: Any, trials: Sequence[AuditedTrial]) -> None:
    points = [
        (
            trial.stopped_value,
            row,
            _audit_hover_text(trial, "stopped", trial.stopped_epoch, trial.stopped_value),
        )
        for row, trial in enumerate(trials)
        if trial.stopped_value is not None
    ]
    marker = {"color": GREY, "symbol": "circle-open", "size": 9, "line": {"width": 2}}
    draw_points(figure, points, "when stopped", marker)


def _draw_ends(figure: Any, trials: Sequence[AuditedTrial], *, is_wrong: bool) -> None:
    points = [
        (trial.value, row, _audit_hover_text(trial, trial.state, trial.epochs, trial.value))
        for row, trial in enumerate(trials)
        if trial.is_wrong is is_wrong and trial.value is not None
    ]
    color, symbol = (COLORS[5], "diamond") if is_wrong else (COLORS[0], "circle")
    name = f"at its end: {'wrongly' if is_wrong else 'rightly'} stopped"
    draw_points(figure, points, name, {"color": color, "symbol": symbol, "size": 10})


def _audit_hover_text(trial: AuditedTrial, ending: str, epoch: int, value: float | None) -> str:
    return f"trial {trial.trial}, {ending} after epoch {epoch}: {format_number(value)}"


def _draw_search_best(figure: Any, audit: Audit) -> None:
    # The line has a legend entry, because an annotation beside it would be cut off at the edge.
    figure.add_scatter(
        x=[audit.search_best] * 2, y=[-0.6, len(audit.trials) - 0.4], mode="lines",
        line={"color": COLORS[1], "dash": "dot", "width": 2}, hoverinfo="skip",
        name=f"the search's best, {format_number(audit.search_best)}", showlegend=True,
    )  # fmt: skip


def confirmation_chart(run: Run) -> Chart | None:
    """Draw means with intervals, seeds and values of the search; None without a confirmation."""
    confirmation = run.confirmation
    if confirmation is None:
        return None
    candidates = confirmation.best_first
    figure = go.Figure()
    for verdict in Verdict:
        _draw_means(figure, candidates, verdict)
    _draw_seeds(figure, candidates, confirmation.seeds)
    _draw_search_values(figure, candidates)
    height = min(MAX_HEIGHT_PIXELS, 130 + CANDIDATE_ROW_PIXELS * len(candidates))
    lay_out(figure, x=confirmation.objective, height=height)
    _label_rows(figure, [_label(candidate) for candidate in candidates])
    text = "\n".join([*confirmed.sentences(confirmation), *confirmed.outdated(run)])
    rows = confirmed.cells(confirmation)
    return Chart("confirmed", "Confirmed on new seeds", text, figure, rows)


def _draw_seeds(
    figure: Any, candidates: Sequence[ConfirmedCandidate], seeds: Sequence[int]
) -> None:
    points = [
        (
            score,
            row + 0.24,  # below the mean, which would hide it
            f"{escaped(confirmed.label(candidate))}, seed {seed}: {format_number(score)}",
        )
        for row, candidate in enumerate(candidates)
        for seed, score in zip(seeds, candidate.scores, strict=True)
        if score is not None
    ]
    marker = {"color": GREY, "symbol": "line-ns-open", "size": 9, "line": {"width": 1.5}}
    draw_points(figure, points, "each seed", marker)


def _draw_means(figure: Any, candidates: Sequence[ConfirmedCandidate], verdict: Verdict) -> None:
    rows = [
        (row, candidate.estimate, candidate)
        for row, candidate in enumerate(candidates)
        if candidate.verdict is verdict and candidate.estimate is not None
    ]
    color, symbol = MARKERS[verdict]
    error_bars = {
        "type": "data", "symmetric": False, "color": color, "thickness": 2, "width": 5,
        "array": [estimate.high - estimate.mean for _, estimate, _ in rows],
        "arrayminus": [estimate.mean - estimate.low for _, estimate, _ in rows],
    }  # fmt: skip
    points = [
        (estimate.mean, row, _mean_hover_text(candidate)) for row, estimate, candidate in rows
    ]
    marker = {"color": color, "symbol": symbol, "size": 11}
    draw_points(figure, points, f"{verdict}: mean", marker, error_x=error_bars)


def _draw_search_values(figure: Any, candidates: Sequence[ConfirmedCandidate]) -> None:
    points = [
        (
            candidate.search_value,
            row,
            f"{escaped(candidate.name)} in the search: {format_number(candidate.search_value)}",
        )
        for row, candidate in enumerate(candidates)
        if candidate.search_value is not None
    ]
    marker = {"color": COLORS[1], "symbol": "circle-open", "size": 11, "line": {"width": 2}}
    draw_points(figure, points, "best in the search", marker)


def _mean_hover_text(candidate: ConfirmedCandidate) -> str:
    name, mean = escaped(confirmed.label(candidate)), format_number(candidate.mean)
    interval = format_interval(candidate.low, candidate.high)
    return f"{name}: {mean} ({interval}), {candidate.verdict}"


def _label(candidate: ConfirmedCandidate) -> str:
    """Return the name of a candidate on short lines that fit on a narrow screen."""
    lines = textwrap.wrap(
        candidate.name, MAX_LABEL_CHARACTERS, max_lines=MAX_LABEL_LINES, placeholder=" …"
    )
    return "<br>".join([*map(escaped, lines or [""]), quantity(candidate.epochs, "epoch")])


def _label_rows(figure: Any, labels: Sequence[str], step: int = 1) -> None:
    """Label the rows from top to bottom; ``step`` 2 labels every second row."""
    figure.update_yaxes(
        tickvals=list(range(0, len(labels), step)), ticktext=labels[::step],
        range=[len(labels) - 0.4, -0.6], showgrid=False, zeroline=False,
    )  # fmt: skip
