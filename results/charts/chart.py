"""What a chart is, and the colours that all share."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.columns import State

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito's palette, told apart by the colour-blind, in shades that stand out on white and on
# black. Source: https://jfly.uni-koeln.de/color
COLORS = ("#2f8fd0", "#e08a00", "#00a37a", "#c96aa5", "#c9a400", "#d55e00", "#56b4e9", "#8a8f98")
STATE_COLORS = {
    State.COMPLETED: "#2f8fd0",
    State.STOPPED: "#8a8f98",
    State.EARLY_STOPPED: "#56b4e9",
    State.RUNNING: "#00a37a",
    State.INTERRUPTED: "#c9a400",
    State.DIVERGED: "#d55e00",
    State.OUT_OF_MEMORY: "#c96aa5",
    State.FAILED: "#d55e00",
    State.LOST: "#c96aa5",
    State.HUNG: "#c96aa5",
}
HEIGHT_PIXELS = 380
Cells = list[list[str]]


@dataclass(frozen=True)
class Chart:
    """A chart with what it says in words, for those who do not see it.

    Attributes:
        name: Of its file, and of its place in the report.
        title: What it shows.
        text: What there is to see in it, a sentence or two.
        figure: The chart, without colours of text and background: those are the page's.
        rows: The same as a table, its headings first; empty where the table of trials has it.
        is_wide: Whether it cannot be read on a narrow screen unless that scrolls.
    """

    name: str
    title: str
    text: str
    figure: "go.Figure"
    rows: Cells | None = None
    is_wide: bool = False


def laid_out(figure: "go.Figure", *, x: str = "", y: str = "", height: int = HEIGHT_PIXELS) -> None:
    """Give a figure titles of its axes, a legend below and little margin."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
        hoverlabel={"align": "left"},
    )
    for update, title in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
        update(title={"text": title, "standoff": 12}, automargin=True)


def plain(text: object) -> str:
    """Return text that Plotly shows as it is, where it would take ``<b>`` for bold."""
    return html.escape(str(text), quote=False)


def number(value: float | None) -> str:
    """Return a value of an objective as text."""
    return "" if value is None else f"{value:.4f}"
