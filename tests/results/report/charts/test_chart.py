"""What all charts share: escaping, ranges, colours, the figure on paper."""

import plotly.graph_objects as go
import pytest

from results.record.columns import State
from results.report.charts import chart
from results.report.charts.chart import (
    Chart,
    draw_points,
    escaped,
    figure_on_paper,
    lay_out,
    padded_range,
    slug,
    template,
    without_worst_tenth,
)
from results.report.report import TEMPLATES


def test_a_name_that_a_user_gave_is_text_and_not_markup():
    assert escaped('<b>a & "b"</b>') == '&lt;b&gt;a &amp; "b"&lt;/b&gt;'
    assert escaped(3) == "3"


@pytest.mark.parametrize(
    ("name", "part"),
    [("rate", "rate"), ("/../..\\<b>x", "_b_x"), ("a b-c_d", "a_b-c_d"), ("y" * 300, "y" * 60)],
)
def test_a_name_becomes_a_valid_part_of_a_file_name(name, part):
    assert slug(name) == part


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [-1.0, 11.0]),
        (5.0, 5.0, [4.95, 5.05]),  # a single value: a hundredth of it
        (-5.0, -5.0, [-5.05, -4.95]),
        (0.0, 0.0, [-0.01, 0.01]),
    ],
)
def test_a_padded_range_is_wider_at_both_ends(low, high, expected):
    assert padded_range(low, high, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "mode", "expected"),
    [
        ([5, 1, 2, 3, 4, 6, 7, 8, 9, 10], "max", (2, 10)),
        ([5, 1, 2, 3, 4, 6, 7, 8, 9, 10], "min", (1, 9)),
        ([1, 2, 3], "max", (1, 3)),  # the worst tenth of three is none
        ([7], "max", (7, 7)),
        ([], "max", None),
    ],
)
def test_the_worst_tenth_of_the_values_is_left_out(values, mode, expected):
    assert without_worst_tenth(values, mode) == expected


def test_points_are_one_entry_of_the_legend():
    figure = go.Figure()
    draw_points(figure, [(0.5, 1, "a"), (None, 2, "b")], "means", {"size": 9}, opacity=0.5)
    [trace] = figure.data
    assert (trace.x, trace.y, trace.text) == ((0.5, None), (1, 2), ("a", "b"))
    assert (trace.name, trace.mode, trace.showlegend) == ("means", "markers", True)
    assert (trace.marker.size, trace.opacity) == (9, 0.5)


def test_without_points_there_is_no_entry_of_the_legend():
    figure = go.Figure()
    draw_points(figure, [], "means", {})
    assert figure.data == ()


def test_titles_of_axes_are_text():
    figure = go.Figure()
    lay_out(figure, x="<b>x", y="y", height=200)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("&lt;b&gt;x", "y")
    assert figure.layout.height == 200


def test_a_figure_on_paper_is_white_with_its_title_and_leaves_the_chart_as_it_was():
    figure = go.Figure(go.Scatter(y=[1, 2]))
    lay_out(figure)
    on_paper = figure_on_paper(Chart("name", "a <b>title", "text", figure))
    assert on_paper.layout.paper_bgcolor == "#ffffff"
    assert on_paper.layout.title.text == "a &lt;b&gt;title"
    assert on_paper.layout.margin.t == 8 + 60
    assert on_paper.layout.template.layout.font.color == "#1c2126"
    assert figure.layout.title.text is None
    assert figure.layout.margin.t == 8


def test_every_state_has_a_colour_of_its_own():
    assert set(chart.STATE_COLORS) == set(State)
    assert len(set(chart.STATE_COLORS.values())) == len(State)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_of_the_charts_are_those_of_the_page(scheme):
    css = (TEMPLATES / "report.css").read_text()
    light, _, dark = css.partition("@media (prefers-color-scheme: dark)")
    part = {"light": light, "dark": dark}[scheme]
    assert f"--text: {chart.TEXT[scheme]};" in part
    assert f"--line: {chart.LINES[scheme]};" in part


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_template_has_the_colours_of_its_page(scheme):
    layout = template(scheme)["layout"]
    assert layout["font"]["color"] == chart.TEXT[scheme]
    assert layout["xaxis"] == layout["yaxis"]
    assert set(layout["xaxis"].values()) == {chart.LINES[scheme]}
