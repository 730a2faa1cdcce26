"""The browser of these tests draws charts, and notices what a page must not do."""

import json

import pytest
from browser import BrowserError, find
from page import DESKTOP, PHONE

# Nothing listens on this port.
NOBODY = "127.0.0.1:9"


def page_file(folder, body, head=""):
    path = folder / "a page.html"
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>'
        f"{head}</head><body><main><h1>A page</h1>{body}</main></body></html>"
    )
    return path


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    """Page of two charts: lines, drawn as SVG, and parallel coordinates, drawn by WebGL."""
    from plotly.offline import get_plotlyjs

    figures = {
        "lines": {"type": "scatter", "y": [1, 3, 2]},
        "parallel": {"type": "parcoords", "dimensions": [{"values": [1, 2]}, {"values": [4, 3]}]},
    }
    calls = "".join(
        f"Plotly.newPlot({json.dumps(name)}, {json.dumps([trace])}, {{height: 300}});"
        for name, trace in figures.items()
    )
    body = "".join(f'<div id="{name}"></div>' for name in figures) + f"<script>{calls}</script>"
    head = f"<script>{get_plotlyjs()}</script>"
    return page_file(tmp_path_factory.mktemp("chart"), body, head)


def test_charts_are_drawn_without_a_complaint_or_a_request(show, chart):
    opened = show(chart)
    assert (opened.complaints, opened.requests) == ([], [])
    for name in ("lines", "parallel"):
        box = opened.page.locator(f"#{name} .main-svg").first.bounding_box()
        assert box["width"] > 600, name
        assert box["height"] == 300, name


def test_what_webgl_draws_is_seen(show, chart):
    canvas = show(chart).page.locator("#parallel canvas").first
    colors = canvas.evaluate(
        """canvas => {
            const copy = document.createElement("canvas");
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const pen = copy.getContext("2d");
            pen.drawImage(canvas, 0, 0);
            return new Set(pen.getImageData(0, 0, copy.width, copy.height).data).size;
        }"""
    )
    assert colors > 1


def test_text_has_a_width(show, tmp_path):
    page = show(page_file(tmp_path, "<b>iiii</b> <b>WWWW</b>")).page
    narrow, wide = (page.locator("b").nth(index).bounding_box()["width"] for index in (0, 1))
    assert 0 < narrow < wide


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        pytest.param("console.error('wrong', 1)", "error: wrong 1", id="console-error"),
        pytest.param("console.warn('odd')", "warning: odd", id="console-warning"),
        pytest.param("throw new Error('broken')", "exception: broken", id="exception"),
        pytest.param("Promise.reject(new Error('lost'))", "exception: lost", id="promise"),
    ],
)
def test_a_complaint_is_noticed(show, tmp_path, script, complaint):
    opened = show(page_file(tmp_path, f"<script>console.log('well'); {script}</script>"))
    assert opened.complaints == [complaint]
    assert opened.requests == []


@pytest.mark.parametrize(
    ("body", "address"),
    [
        pytest.param(f'<img alt="" src="http://{NOBODY}/a.png">', f"http://{NOBODY}/a.png", id="img"),
        pytest.param(
            f"<script>fetch('http://{NOBODY}/b').catch(() => 0)</script>", f"http://{NOBODY}/b", id="fetch"
        ),
        pytest.param(
            f"<script>new WebSocket('ws://{NOBODY}/c')</script>", f"ws://{NOBODY}/c", id="websocket"
        ),
    ],
)  # fmt: skip
def test_a_request_is_noticed(show, tmp_path, body, address):
    opened = show(page_file(tmp_path, body))
    assert opened.requests == [address]


def test_a_file_beside_the_page_is_a_request_and_what_is_written_in_it_is_none(show, tmp_path):
    body = (
        '<img alt="" src="beside.png"><img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
    )
    assert show(page_file(tmp_path, body)).requests == [(tmp_path / "beside.png").as_uri()]


def test_a_page_is_as_wide_as_its_device_and_as_bright_as_its_reader_likes(show, tmp_path):
    path = page_file(tmp_path, "", '<meta name="viewport" content="width=device-width">')
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    seen = [
        show(path, device=device, color_scheme=scheme).page.evaluate(f"[innerWidth, {dark}]")
        for device, scheme in ((DESKTOP, "light"), (PHONE, "dark"))
    ]
    assert seen == [[1280, False], [390, True]]


def test_a_page_can_be_read_without_scripts(show, tmp_path):
    path = page_file(tmp_path, "<script>console.error('seen')</script><noscript>none</noscript>")
    opened = show(path, java_script_enabled=False)
    assert opened.page.locator("noscript").inner_text() == "none"
    assert opened.complaints == []


def test_a_picture_is_of_the_whole_page(show, tmp_path):
    import matplotlib.image

    opened = show(page_file(tmp_path, '<div style="height: 3000px"></div>'), device=PHONE)
    height, width, _ = matplotlib.image.imread(opened.screenshot(tmp_path / "page.png")).shape
    assert height > 3000
    assert width >= 390


def test_a_broken_rule_of_accessibility_is_named_with_its_place(show, tmp_path):
    assert show(page_file(tmp_path, "<p>text</p>")).violations() == []
    (violation,) = show(page_file(tmp_path, '<img id="bare" src="data:,">')).violations()
    assert violation.startswith("image-alt (critical): ")
    assert violation.endswith(": #bare")


def test_a_program_that_shows_no_page_is_no_browser(tmp_path, monkeypatch):
    stub = tmp_path / "bin" / "chromium-browser"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\necho 'requires the chromium snap to be installed' >&2\nexit 1\n")
    stub.chmod(0o755)
    # Without the folders in which a machine may have a browser.
    monkeypatch.setenv("PATH", str(stub.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        BrowserError, match=r"chromium snap.*; Chromium is neither on the PATH nor in"
    ):
        find()
