"""The report in a real browser: drawn whole, without a complaint, asking for nothing."""

import afterwards
import made_up
import pytest
from in_memory import run_of, trial_of
from page import DESKTOP, PHONE, shown

from results.reading import read_run
from results.report.report import write_report

# The page says so of itself.
DRAWN = "body[data-drawn]"
DRAWING_MS = 120_000
INK = "getComputedStyle(document.querySelector('.xtick text')).fill"
PAPER = "getComputedStyle(document.body).backgroundColor"
DARK_INK = "rgb(230, 232, 234)"


@pytest.fixture(scope="module")
def report(retrained_folder, tmp_path_factory):
    """The report of a run with a final model."""
    return write_report(
        [read_run(retrained_folder)], tmp_path_factory.mktemp("report") / "report.html"
    )


@pytest.fixture(scope="module")
def opened(chromium, report):
    """That report, open and drawn on a light desktop; tests only look at it."""
    with shown(chromium, report) as page:
        yield drawn(page)


@pytest.fixture(scope="module")
def on_a_dark_phone(chromium, report):
    """The same report on a phone whose reader likes dark pages; tests only look at it."""
    with shown(chromium, report, device=PHONE, color_scheme="dark") as page:
        yield drawn(page)


def drawn(shown_page):
    """Wait until the charts of a page are drawn; return the page."""
    shown_page.page.wait_for_selector(DRAWN, timeout=DRAWING_MS)
    return shown_page


def sizes(page):
    """Return width and height of what is drawn of each chart, by its name."""
    boxes = page.page.eval_on_selector_all(
        "[data-chart]",
        "places => places.map(place => [place.dataset.chart, "
        "(box => [box.width, box.height])(place.querySelector('.main-svg').getBoundingClientRect())])",
    )
    return {name: tuple(size) for name, size in boxes}


def small_charts(page):
    return [name for name, (width, height) in sizes(page).items() if width <= 200 or height <= 100]


def overflow(page, device):
    """Return by how many pixels a page is wider than its device."""
    width = page.page.evaluate("document.documentElement.scrollWidth")
    return max(0, width - device["viewport"]["width"])


def open_details(page):
    for details in page.page.locator("details").all():
        details.evaluate("one => one.open = true")


# --- A run with a final model -----------------------------------------------------------------


def test_every_chart_is_drawn(opened):
    assert len(sizes(opened)) == 2 + 3 + len(made_up.SPACE) + 1 + 4
    assert small_charts(opened) == []
    assert "WebGL is not supported" not in opened.page.inner_text("body")


def test_every_mistake_is_a_picture(opened):
    widths = opened.page.eval_on_selector_all(
        ".mistakes img", "pictures => pictures.map(picture => picture.naturalWidth)"
    )
    assert widths == [8] * 5


def test_the_browser_has_no_complaint_and_no_request(opened):
    assert (opened.complaints, opened.requests) == ([], [])


def test_no_rule_of_accessibility_is_broken(opened):
    assert (opened.violations(), overflow(opened, DESKTOP)) == ([], 0)


def test_a_dark_phone_shows_the_whole_width_and_breaks_no_rule(on_a_dark_phone):
    assert (on_a_dark_phone.violations(), overflow(on_a_dark_phone, PHONE)) == ([], 0)


@pytest.mark.long  # in the short tier a phone is dark and a desktop is light
@pytest.mark.parametrize(
    ("device", "color_scheme"),
    [(PHONE, "light"), (DESKTOP, "dark")],
    ids=["light-phone", "dark-desktop"],
)
def test_no_device_and_no_colours_break_a_rule(show, report, device, color_scheme):
    page = drawn(show(report, device=device, color_scheme=color_scheme))
    assert (page.violations(), overflow(page, device)) == ([], 0)


def test_the_charts_take_the_colours_of_a_light_page(opened):
    assert opened.page.evaluate(PAPER) == "rgb(255, 255, 255)"
    assert opened.page.evaluate(INK) == "rgb(28, 33, 38)"


def test_the_charts_take_the_colours_of_a_dark_page(on_a_dark_phone):
    assert on_a_dark_phone.page.evaluate(PAPER) == "rgb(20, 24, 28)"
    assert on_a_dark_phone.page.evaluate(INK) == DARK_INK


def test_the_charts_follow_a_reader_who_turns_to_dark(show, report):
    window = drawn(show(report)).page
    window.emulate_media(color_scheme="dark")
    window.wait_for_selector("body[data-drawn=dark]", timeout=DRAWING_MS)
    assert window.evaluate(INK) == DARK_INK


def test_the_trials_are_reached_and_sorted_by_the_keyboard_alone(show, report):
    window = drawn(show(report)).page
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.textContent") == "Skip to the report"
    window.locator("summary", has_text="All trials").first.focus()
    window.keyboard.press("Enter")
    window.locator("table[data-sortable] th button", has_text="best val_accuracy").focus()
    window.keyboard.press("Enter")
    window.keyboard.press("Enter")
    cells = window.locator("table[data-sortable] tbody tr td:nth-child(4)").all_inner_texts()
    values = [float(cell) for cell in cells if cell]
    assert len(values) == 38
    assert values == sorted(values, reverse=True)
    # Two trials have no value: one failed, one diverged.
    assert cells[-2:] == ["", ""]
    assert window.locator("th[aria-sort=descending]").inner_text().startswith("best")


def test_a_chart_that_cannot_be_drawn_leaves_the_others(show, report, tmp_path):
    text = report.read_text()
    broken = tmp_path / "report.html"
    start = text.index('id="run-1-importances">')
    broken.write_text(text[:start] + 'id="run-1-importances">not JSON' + text[start + 23 :])
    page = drawn(show(broken))
    assert page.page.locator("text=This chart could not be drawn.").count() == 1
    assert page.page.locator("[data-chart=run-1-timeline] .main-svg").count() > 0
    assert len(page.complaints) == 1


# --- Small runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run_of(), id="no-trials"),
        pytest.param(
            run_of([trial_of(0, 0.5)], evaluation={"test_loss": 2.5e-6, "test_mae": 0.1}),
            id="regression",
        ),
    ],
)
def test_a_run_with_few_charts_has_a_page_without_a_complaint(show, tmp_path, run):
    page = drawn(show(write_report([run], tmp_path / "report.html")))
    assert "The final model" in page.page.inner_text("main")
    assert (page.complaints, page.violations()) == ([], [])


# --- Several runs, and what followed the search -----------------------------------------------

NAMES = ("a <b>run", "another")


@pytest.fixture(scope="module")
def followed_up(tmp_path_factory):
    """A report of two runs: one confirmed and audited, one of a loss that was confirmed."""
    folder = tmp_path_factory.mktemp("followed up")
    first = made_up.retrained(made_up.made_up_run(folder / NAMES[0], trials=12))
    second = made_up.made_up_run(folder / NAMES[1], trials=12, seed=2)
    afterwards.confirm(first)
    afterwards.audit(first)
    losses = [(f"trial {n}", 20, 0.2, (0.3, 0.4 + n / 10, 0.5)) for n in range(3)]
    afterwards.confirm(second, losses, seeds=(1, 2, 3), mode="min", objective="val_loss")
    return write_report([read_run(first), read_run(second)], folder / "report.html")


@pytest.fixture(scope="module")
def several(chromium, followed_up):
    """That report on a dark phone; tests look at it, and open what can be opened."""
    with shown(chromium, followed_up, device=PHONE, color_scheme="dark") as page:
        yield drawn(page)


def test_several_runs_stand_side_by_side(several):
    rows = several.page.locator("#comparison tbody tr").all_inner_texts()
    # The third is of both, which differ in their seeds.
    assert [row.split("\t")[0] for row in rows] == [*NAMES, "ray, Steady, tpe"]
    entries = several.page.locator("[data-chart=all-best-over-time] .legendtext")
    assert tuple(entries.all_text_contents()) == NAMES
    assert several.page.locator("section[id^=run-]").count() == 2


def assert_follow_up_is_drawn(page, device):
    """Look at what followed the search of both runs, and at the whole page with it."""
    window = page.page
    assert set(sizes(page)) - set(small_charts(page)) >= {
        "run-1-confirmed", "run-1-early-stop-audit", "run-2-confirmed",
    }  # fmt: skip
    assert window.locator("[data-chart=run-2-early-stop-audit]").count() == 0
    # The winner, a tie, four that are worse in one trace, seeds, the search's own: all have marks.
    assert window.locator("[data-chart=run-1-confirmed] .point").count() == 5 + 29 + 4
    table = window.get_by_role("region", name=f"Confirmed on new seeds of {NAMES[0]}, as a table")
    assert table.locator("tbody tr").first.inner_text().split()[:3] == ["trial", "17", "20"]
    open_details(page)
    assert overflow(page, device) == 0
    assert (page.violations(), page.complaints, page.requests) == ([], [], [])


def test_what_followed_the_search_is_drawn_of_each_run_that_has_it(several):
    assert_follow_up_is_drawn(several, PHONE)


@pytest.mark.long  # in the short tier on a phone, where a page is too wide first
def test_what_followed_the_search_is_drawn_on_a_light_desktop(show, followed_up):
    assert_follow_up_is_drawn(drawn(show(followed_up)), DESKTOP)


def test_what_followed_the_search_is_reached_by_its_link(several):
    window = several.page
    for name in ("Confirmed on new seeds", "What early stopping cost"):
        window.get_by_role("link", name=name).first.press("Enter")
        heading = window.get_by_role("heading", name=name).first
        assert heading.evaluate("place => Math.abs(place.getBoundingClientRect().top)") < 100


# --- Large and real runs ----------------------------------------------------------------------


@pytest.mark.long
def test_a_thousand_trials_are_drawn(show, tmp_path):
    many = made_up.retrained(made_up.made_up_run(tmp_path / "many", trials=1000, workers=16))
    page = drawn(show(write_report([read_run(many)], tmp_path / "report.html")))
    assert small_charts(page) == []
    assert page.page.locator("[data-chart=run-1-timeline] .point").count() == 999
    assert (page.complaints, page.requests) == ([], [])


@pytest.mark.long
def test_the_report_of_a_real_search_is_drawn_whole(show, real_run, tmp_path):
    page = drawn(show(write_report([read_run(real_run[0])], tmp_path / "report.html")))
    assert set(sizes(page)) >= {
        "all-best-over-time", "run-1-learning-curves", "run-1-parallel-coordinates",
        "run-1-timeline", "run-1-retrained-accuracy", "run-1-confusion-matrix",
    }  # fmt: skip
    assert small_charts(page) == []
    assert page.page.locator(".mistakes img").count() == 24
    assert "published: best of the search" in page.page.inner_text("#comparison")
    assert (page.complaints, page.requests, page.violations()) == ([], [], [])
