"""What became of the best configurations on new seeds, beside what the search had shown."""

import textwrap
from collections.abc import Sequence
from typing import Any

from results.record.confirmation import ConfirmedCandidate, Verdict
from results.record.words import interval, number
from results.report.charts.chart import COLORS, GREY, Chart, counted, draw_points, laid_out, plain
from results.run import Run
from results.text import confirmed

# By colour and by form: how a candidate stands to the winner.
MARKS = {
    Verdict.WINNER: (COLORS[0], "diamond"),
    Verdict.BETTER: (COLORS[3], "star"),
    Verdict.TIE: (COLORS[2], "circle"),
    Verdict.WORSE: (GREY, "square"),
}
ROW_PIXELS = 52
MOST_PIXELS = 1600
# Of a name that the user gave.
LABEL_CHARACTERS, LABEL_LINES = 22, 2


def confirmation_chart(run: Run) -> Chart | None:
    """Draw the mean of each candidate with its interval, its seeds and the search's best.

    Returns:
        The chart; None where nothing was confirmed.
    """
    import plotly.graph_objects as go

    found = run.confirmation
    if found is None:
        return None
    candidates = found.best_first
    figure = go.Figure()
    for verdict in Verdict:
        _draw_means(figure, candidates, verdict)
    _draw_seeds(figure, candidates, found.seeds)
    _draw_search(figure, candidates)
    height = min(MOST_PIXELS, 130 + ROW_PIXELS * len(candidates))
    laid_out(figure, x=found.objective, height=height)
    figure.update_yaxes(
        tickvals=list(range(len(candidates))), ticktext=[_label(one) for one in candidates],
        range=[len(candidates) - 0.4, -0.6], showgrid=False, zeroline=False,
    )  # fmt: skip
    text = "\n".join([*confirmed.sentences(found), *confirmed.outdated(run)])
    return Chart("confirmed", "Confirmed on new seeds", text, figure, confirmed.cells(found))


def _draw_seeds(
    figure: Any, candidates: Sequence[ConfirmedCandidate], seeds: Sequence[int]
) -> None:
    points = [
        (score, place, f"{plain(confirmed.label(one))}, seed {seed}: {number(score)}")
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
    points = [(one.mean, place, _told(one)) for place, one in shown]
    mark = {"color": color, "symbol": symbol, "size": 11}
    draw_points(figure, points, f"{verdict}: mean", mark, error_x=lines)


def _draw_search(figure: Any, candidates: Sequence[ConfirmedCandidate]) -> None:
    points = [
        (one.search_value, place, f"{plain(one.name)} in the search: {number(one.search_value)}")
        for place, one in enumerate(candidates)
        if one.search_value is not None
    ]
    mark = {"color": COLORS[1], "symbol": "circle-open", "size": 11, "line": {"width": 2}}
    draw_points(figure, points, "best in the search", mark)


def _told(one: ConfirmedCandidate) -> str:
    between = interval(one.low, one.high)
    return f"{plain(confirmed.label(one))}: {number(one.mean)} ({between}), {one.verdict}"


def _label(one: ConfirmedCandidate) -> str:
    """Return a candidate's name on two or three short lines, for a narrow screen too."""
    lines = textwrap.wrap(one.name, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder=" …") or [
        ""
    ]
    return "<br>".join([*map(plain, lines), counted(one.epochs, "epoch")])
