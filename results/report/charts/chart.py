"""What a chart is, and the colours that all share: on a page, light or dark, or on paper."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from results.record.columns import State

# Okabe and Ito's palette, told apart by the colour-blind, in shades that stand out on white and on
# black. Source: https://jfly.uni-koeln.de/color
COLORS = ("#2f8fd0", "#e08a00", "#00a37a", "#c96aa5", "#c9a400", "#d55e00", "#56b4e9", "#8a8f98")
GREY = COLORS[-1]
DASHES = ("solid", "dash", "dot", "dashdot")
STATE_COLORS = {
    State.COMPLETED: "#2f8fd0",
    State.STOPPED: "#8a8f98",
    State.EARLY_STOPPED: "#56b4e9",
    State.RUNNING: "#00a37a",
    State.INTERRUPTED: "#c9a400",
    State.DIVERGED: "#d55e00",
    State.OUT_OF_MEMORY: "#c96aa5",
    State.FAILED: "#c22f2f",
    State.LOST: "#7b5fd0",
    State.HUNG: "#8c6d4f",
}
# Of text and of lines, by the scheme of the page (templates/report.css has the same).
TEXT = {"light": "#1c2126", "dark": "#e6e8ea"}
LINES = {"light": "#d9dde1", "dark": "#3a4149"}
TRANSPARENT = "rgba(0,0,0,0)"
TITLE_PIXELS = 60
HEIGHT_PIXELS = 380
MAX_SLUG_CHARACTERS = 60
Cells = list[list[str]]


@dataclass(frozen=True)
class Chart:
    """A chart with what it says in words, for those who do not see it.

    Attributes:
        name: Of its file, and of its place in the report: letters, digits, ``-`` and ``_`` alone.
        title: What it shows.
        text: What there is to see in it, a sentence or two, or a line for each of more.
        figure: The chart, without colours of text and background: those are the page's.
        rows: The same as a table, its headings first; None where the table of trials has it.
        is_wide: Whether it cannot be read on a narrow screen unless that scrolls.
    """

    name: str
    title: str
    text: str
    figure: go.Figure
    rows: Cells | None = None
    is_wide: bool = False


def lay_out(figure: go.Figure, *, x: str = "", y: str = "", height: int = HEIGHT_PIXELS) -> None:
    """Give a figure titles of its axes, a legend above it and little margin."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
        hoverlabel={"align": "left"},
    )
    for update, title in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
        update(title={"text": escaped(title), "standoff": 12}, automargin=True)


def draw_points(
    figure: go.Figure,
    points: Sequence[tuple[float | None, float, str]],
    name: str,
    marker: dict[str, Any],
    **others: Any,
) -> None:
    """Draw points, each of x, y and what is said of it, under one name in the legend."""
    if not points:
        return
    x, y, texts = zip(*points, strict=True)
    figure.add_scatter(
        x=x, y=y, text=texts, name=name, mode="markers", marker=marker, showlegend=True,
        hovertemplate="%{text}<extra></extra>", **others,
    )  # fmt: skip


def template(scheme: str) -> dict[str, Any]:
    """Return Plotly's template for a page of ``light`` or ``dark`` colours."""
    lines = ("gridcolor", "linecolor", "zerolinecolor", "tickcolor")
    axis = dict.fromkeys(lines, LINES[scheme])
    return {
        "layout": {
            "font": {"color": TEXT[scheme], "family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": TRANSPARENT,
            "plot_bgcolor": TRANSPARENT,
            "colorway": list(COLORS),
            "xaxis": axis,
            "yaxis": axis,
        }
    }


def figure_on_paper(chart: Chart) -> go.Figure:
    """Return a chart's figure for a picture of its own: on white, with its title."""
    figure = go.Figure(chart.figure)
    top = (figure.layout.margin.t or 0) + TITLE_PIXELS
    place = {"x": 0.01, "y": 0.99, "yanchor": "top", "yref": "container"}
    figure.update_layout(
        template=template("light"),
        paper_bgcolor="#ffffff",
        title={"text": escaped(chart.title), **place},
        margin={"t": top},
    )
    return figure


def escaped(text: object) -> str:
    """Return text that Plotly shows as it is, where it would take ``<b>`` for bold."""
    return html.escape(str(text), quote=False)


def slug(name: str) -> str:
    """Return a name as part of a file's: what a user called it may be a path."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:MAX_SLUG_CHARACTERS]


def quantity(count: int, thing: str) -> str:
    """Return a number of things."""
    return f"1 {thing}" if count == 1 else f"{count} {thing}s"


def padded_range(low: float, high: float, share: float) -> list[float]:
    """Return a range with some room at both ends; of a single value, room around it."""
    room = share * (high - low) or abs(low) * 0.01 or 0.01
    return [low - room, high + room]


def without_worst_tenth(values: Sequence[float], mode: str) -> tuple[float, float] | None:
    """Return the lowest and the highest, the worst tenth left out; None of no values."""
    if not values:
        return None
    best_first = sorted(values, reverse=mode == "max")
    kept = best_first[: math.ceil(0.9 * len(best_first))]
    return min(kept), max(kept)
