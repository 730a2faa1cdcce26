"""The chart class, shared colours and layout; on a light or dark page, or on paper."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from results.record.columns import State

# Okabe and Ito's palette for colour-blind readers, in shades that are visible on white and black.
# Source: https://jfly.uni-koeln.de/color
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
# Colours of text and lines by colour scheme; keep equal to templates/report.css.
TEXT = {"light": "#1c2126", "dark": "#e6e8ea"}
LINES = {"light": "#d9dde1", "dark": "#3a4149"}
TRANSPARENT = "rgba(0,0,0,0)"
TITLE_PIXELS = 60
HEIGHT_PIXELS = 380
MAX_SLUG_CHARACTERS = 60
Cells = list[list[str]]


@dataclass(frozen=True)
class Chart:
    """A chart with a description in words, for readers who cannot see it.

    Attributes:
        name: Name of its file and its element in the report: letters, digits, ``-`` and ``_`` only.
        title: Title.
        text: Description: one or two sentences, or several lines.
        figure: The figure, without colours of text and background, which the page provides.
        rows: The data as a table, headings first; None if the table of trials has them.
        is_wide: Whether it must scroll sideways on a narrow screen.
    """

    name: str
    title: str
    text: str
    figure: go.Figure
    rows: Cells | None = None
    is_wide: bool = False


def lay_out(figure: go.Figure, *, x: str = "", y: str = "", height: int = HEIGHT_PIXELS) -> None:
    """Set the axis titles, the height, the legend above the chart and small margins of a figure."""
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
    **options: Any,
) -> None:
    """Draw points, each with x, y and hover text, as one entry of the legend."""
    if not points:
        return
    x, y, texts = zip(*points, strict=True)
    figure.add_scatter(
        x=x, y=y, text=texts, name=name, mode="markers", marker=marker, showlegend=True,
        hovertemplate="%{text}<extra></extra>", **options,
    )  # fmt: skip


def template(scheme: str) -> dict[str, Any]:
    """Return a Plotly template for a ``light`` or ``dark`` page."""
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
    """Return the figure of a chart on white, with its title, for a file of its own."""
    figure = go.Figure(chart.figure)
    top_margin = (figure.layout.margin.t or 0) + TITLE_PIXELS
    position = {"x": 0.01, "y": 0.99, "yanchor": "top", "yref": "container"}
    figure.update_layout(
        template=template("light"),
        paper_bgcolor="#ffffff",
        title={"text": escaped(chart.title), **position},
        margin={"t": top_margin},
    )
    return figure


def escaped(text: object) -> str:
    """Escape text, so that Plotly shows ``<b>`` literally instead of as bold."""
    return html.escape(str(text), quote=False)


def slug(name: str) -> str:
    """Return a user's name as a valid part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:MAX_SLUG_CHARACTERS]


def padded_range(low: float, high: float, share: float) -> list[float]:
    """Return a range that is wider at both ends, by a share of its width."""
    padding = share * (high - low) or abs(low) * 0.01 or 0.01
    return [low - padding, high + padding]


def without_worst_tenth(values: Sequence[float], mode: str) -> tuple[float, float] | None:
    """Return the range of the values without the worst tenth; None without values."""
    if not values:
        return None
    best_first = sorted(values, reverse=mode == "max")
    best = best_first[: math.ceil(0.9 * len(best_first))]
    return min(best), max(best)
