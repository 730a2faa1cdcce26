"""The colours of text and lines: those of the page, light or dark, or of paper."""

from typing import TYPE_CHECKING, Any

from results.report.charts.chart import COLORS, Chart, plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Of text and of lines, by the scheme of the page (results/templates/report.css has the same).
TEXT = {"light": "#1c2126", "dark": "#e6e8ea"}
LINES = {"light": "#d9dde1", "dark": "#3a4149"}
TRANSPARENT = "rgba(0,0,0,0)"
TITLE_PIXELS = 60


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


def on_paper(chart: Chart) -> "go.Figure":
    """Return a chart's figure for a picture of its own: on white, with its title."""
    import plotly.graph_objects as go

    figure = go.Figure(chart.figure)
    top = (figure.layout.margin.t or 0) + TITLE_PIXELS
    place = {"x": 0.01, "y": 0.99, "yanchor": "top", "yref": "container"}
    figure.update_layout(
        template=template("light"),
        paper_bgcolor="#ffffff",
        title={"text": plain(chart.title), **place},
        margin={"t": top},
    )
    return figure
