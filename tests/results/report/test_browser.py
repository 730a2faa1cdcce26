"""The report in a real browser: drawn whole, without a complaint, asking for nothing."""

import json
import re
import subprocess
from dataclasses import replace

import afterwards
import made_up
import pytest
from page import DESKTOP, PHONE

from results.compare.rows import DATA
from results.reading import read_run
from results.record import columns
from results.record.files import write_json
from results.report.report import page, write_report

# The page says so of itself.
DRAWN = "body[data-drawn]"
DRAWING_MS = 120_000


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a <b>run"
    return made_up.retrained(made_up.made_up_run(path, trials=40))


@pytest.fixture(scope="module")
def report(run_folder):
    return write_report([read_run(run_folder)], run_folder / "report.html")


def wait(shown_page):
    shown_page.page.wait_for_selector(DRAWN, timeout=DRAWING_MS)
    return shown_page.page


def sizes(window):
    """Return width and height of what is drawn of each chart, by its name."""
    return window.eval_on_selector_all(
        "[data-chart]",
        "places => places.map(place => [place.dataset.chart, "
        "...(box => [box.width, box.height])(place.querySelector('.main-svg').getBoundingClientRect())])",
    )


def test_every_chart_is_drawn_without_a_complaint_and_without_a_request(show, report):
    one = show(report)
    window = wait(one)
    drawn = sizes(window)
    assert len(drawn) == 2 + 3 + len(made_up.SPACE) + 1 + 4
    assert all(width > 200 and height > 100 for _, width, height in drawn)
    assert "WebGL is not supported" not in window.inner_text("body")
    assert window.locator(".mistakes img").count() == 5
    widths = window.eval_on_selector_all(
        ".mistakes img", "pictures => pictures.map(picture => picture.naturalWidth)"
    )
    assert widths == [8] * 5
    assert one.complaints == []
    assert one.requests == []


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_rule_of_accessibility_is_broken_and_nothing_is_cut_off(show, report, device):
    one = show(report, device=device)
    window = wait(one)
    assert one.violations() == []
    width = device["viewport"]["width"]
    assert window.evaluate("document.documentElement.scrollWidth") <= width


def test_the_charts_take_the_colours_of_a_dark_page(show, report):
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        one = show(report, color_scheme=scheme)
        window = wait(one)
        found[scheme] = window.evaluate(paper), window.evaluate(ink)
        if scheme == "dark":
            assert one.violations() == []
    assert found["light"] == ("rgb(255, 255, 255)", "rgb(28, 33, 38)")
    assert found["dark"] == ("rgb(20, 24, 28)", "rgb(230, 232, 234)")


def test_the_page_follows_when_the_reader_turns_to_dark(show, report):
    one = show(report)
    window = wait(one)
    window.emulate_media(color_scheme="dark")
    window.wait_for_selector("body[data-drawn=dark]", timeout=DRAWING_MS)
    ink = window.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
    assert ink == "rgb(230, 232, 234)"


def test_it_is_read_and_sorted_by_the_keyboard_alone(show, report):
    one = show(report)
    window = wait(one)
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.textContent") == "Skip to the report"
    summary = window.locator("summary", has_text="All trials").first
    summary.focus()
    window.keyboard.press("Enter")
    best = window.locator("table[data-sortable] th button", has_text="best val_accuracy")
    best.focus()
    window.keyboard.press("Enter")
    window.keyboard.press("Enter")
    cells = window.locator("table[data-sortable] tbody tr td:nth-child(4)").all_inner_texts()
    values = [float(cell) for cell in cells if cell]
    assert values == sorted(values, reverse=True)
    # Two trials have no value: one failed, one diverged.
    assert cells[-2:] == ["", ""]
    assert window.locator("th[aria-sort=descending]").inner_text().startswith("best")


def test_names_and_errors_are_text_and_nothing_else(run_folder):
    html = page([read_run(run_folder)])
    assert "<b>run" not in html
    assert "<b>made up</b>" not in html
    assert "&lt;b&gt;made up&lt;/b&gt;" in html
    assert html.count("<script") == html.count("</script>")


def test_the_page_says_the_command_and_every_trial(run_folder):
    run = read_run(run_folder)
    html = page([run])
    assert "fmnist-search run --hypermodel stormy:Steady" in html
    body = html.partition("data-sortable")[2].partition("</table>")[0]
    assert body.count("<tr>") == run.trials.num_rows + 1


def test_the_page_says_the_best_configuration_and_how_it_was_gone_on_with(run_folder):
    run = read_run(run_folder)
    asked = run.description | {"resumed": [{"command": ["fmnist-search", "resume", "a run"]}]}
    html = page([replace(run, description=asked)])
    best = html.partition("The best configuration")[2].partition("</dl>")[0]
    values = json.loads((run_folder / "best.json").read_text())["values"]
    assert re.findall(r"<dt>(\w+)</dt>", best) == [
        row["name"] for row in made_up.SPACE if row["name"] in values
    ]
    assert f"<dd>{values['layers']}</dd>" in best
    assert "resume &#39;a run&#39;" in html


def test_several_runs_stand_side_by_side(run_folder, tmp_path, show):
    other = made_up.made_up_run(tmp_path / "another", trials=12, seed=2)
    target = write_report([read_run(run_folder), read_run(other)], tmp_path / "report.html")
    one = show(target)
    window = wait(one)
    rows = window.locator("#comparison tbody tr").all_inner_texts()
    assert len(rows) == 2
    lines = window.locator("[data-chart=all-best-over-time] .legendtext").all_text_contents()
    assert lines == ["a <b>run", "another"]
    for details in window.locator("details").all():
        details.evaluate("one => one.open = true")
    assert one.violations() == []
    assert window.locator("section[id^=run-]").count() == 2
    assert one.complaints == []


def test_runs_that_differ_in_the_seed_alone_are_compared_over_seeds(tmp_path):
    runs = [
        read_run(made_up.made_up_run(tmp_path / f"seed {seed}", trials=6, seed=seed))
        for seed in (1, 2)
    ]
    html = page(runs)
    assert "Over seeds" in html
    assert "(reference)" in html
    assert "Over seeds" not in page(runs[:1])


def test_a_run_without_trials_has_a_report(tmp_path, show):
    empty = made_up.made_up_run(tmp_path / "empty", trials=0)
    one = show(write_report([read_run(empty)], tmp_path / "report.html"))
    window = wait(one)
    assert "No epoch gave a value." in window.inner_text("main")
    assert "Nothing was retrained" in window.inner_text("main")
    assert one.complaints == []


def command(commands, *arguments, cwd):
    words = [commands / "fmnist-results", "report", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, timeout=120)


def test_the_command_writes_it_into_the_run_and_names_what_is_no_run(
    commands, run_folder, tmp_path
):
    done = command(commands, run_folder, tmp_path / "nothing", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search("skipped: .*nothing", done.stderr)
    assert (run_folder / "report.html").stat().st_size > 1e6


@pytest.mark.parametrize("name", ["notes.md", "a folder"])
def test_what_is_no_report_is_not_replaced(commands, run_folder, tmp_path, name):
    mine = tmp_path / name
    if name == "notes.md":
        mine.write_text("by hand: fmnist-results report runs/first\n")
    else:
        mine.mkdir()
    done = command(commands, run_folder, "--out", mine, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert mine.is_dir() or mine.read_text().startswith("by hand")


def test_runs_named_alike_are_told_apart_by_their_folders(tmp_path):
    for folder in ("one", "two"):
        made_up.made_up_run(tmp_path / folder / "run", trials=3)
    html = page([read_run(tmp_path / folder / "run") for folder in ("one", "two")])
    assert "one/run" in html
    assert "two/run" in html


def test_published_figures_stand_beside_the_same_objective_alone(run_folder):
    run = read_run(run_folder)
    problem = run.description["plan"]["problem"] | {"data": DATA}
    asked = run.description | {"plan": run.description["plan"] | {"problem": problem}}
    assert "published: best of the search" in page([replace(run, description=asked)])
    other = problem | {"objective": {"name": "val_loss", "mode": "min"}}
    asked = run.description | {"plan": run.description["plan"] | {"problem": other}}
    assert "published" not in page([replace(run, description=asked)]).partition("<script>")[0]


@pytest.fixture(scope="module")
def followed_up(tmp_path_factory):
    """A report of two runs: one confirmed and audited, one of a loss that was confirmed."""
    folder = tmp_path_factory.mktemp("followed up")
    first = made_up.retrained(made_up.made_up_run(folder / "first", trials=12))
    second = made_up.made_up_run(folder / "second", trials=12, seed=2)
    afterwards.confirm(first)
    afterwards.audit(first)
    losses = [(f"trial {n}", 20, 0.2, (0.3, 0.4 + n / 10, 0.5)) for n in range(3)]
    afterwards.confirm(second, losses, seeds=(1, 2, 3), mode="min", objective="val_loss")
    return write_report([read_run(first), read_run(second)], folder / "report.html")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_followed_the_search_is_drawn_of_each_run_that_has_it(show, followed_up, device):
    one = show(followed_up, device=device, color_scheme="dark")
    window = wait(one)
    drawn = {name for name, width, height in sizes(window) if width > 200 and height > 100}
    assert drawn >= {"run-1-confirmed", "run-1-early-stop-audit", "run-2-confirmed"}
    assert window.locator("[data-chart=run-2-early-stop-audit]").count() == 0
    # The winner, a tie, four that are worse in one trace, seeds, the search's own: all have marks.
    assert window.locator("[data-chart=run-1-confirmed] .point").count() == 5 + 29 + 4
    table = window.get_by_role("region", name="Confirmed on new seeds of first, as a table")
    assert table.locator("tbody tr").first.inner_text().split()[:3] == ["trial", "17", "20"]
    for details in window.locator("details").all():
        details.evaluate("one => one.open = true")
    assert window.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
    assert (one.violations(), one.complaints, one.requests) == ([], [], [])


def test_what_followed_the_search_is_reached_by_its_link(show, followed_up):
    window = wait(show(followed_up))
    for name in ("Confirmed on new seeds", "What early stopping cost"):
        window.get_by_role("link", name=name).first.press("Enter")
        heading = window.get_by_role("heading", name=name).first
        assert heading.evaluate("place => Math.abs(place.getBoundingClientRect().top)") < 100


def test_a_chart_that_cannot_be_drawn_leaves_the_others(show, report, tmp_path):
    text = report.read_text()
    broken = tmp_path / "report.html"
    start = text.index('id="run-1-importances">')
    broken.write_text(text[:start] + 'id="run-1-importances">not JSON' + text[start + 23 :])
    one = show(broken)
    window = wait(one)
    assert window.locator("text=This chart could not be drawn.").count() == 1
    assert window.locator("[data-chart=run-1-timeline] .main-svg").count() > 0
    assert len(one.complaints) == 1


def test_a_regression_has_a_report_and_claims_nothing_of_classes(show, tmp_path):
    path = made_up.made_up_run(tmp_path / "regression", trials=25)
    made_up.retrained(path)
    (path / "final" / columns.MISTAKES_FILE).unlink()
    write_json(path / "final" / columns.EVALUATION_FILE, {"test_loss": 2.5e-6, "test_mae": 0.1})
    one = show(write_report([read_run(path)], tmp_path / "report.html"))
    text = wait(one).inner_text("main")
    assert "2.5e-06" in text
    assert "Its mistakes were not saved" not in text
    assert "Confusion matrix" not in text
    assert one.complaints == []


def test_a_report_that_cannot_be_written_is_one_line(commands, run_folder, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    done = command(commands, run_folder, "--out", blocked / "report.html", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "--out" in done.stderr
    assert blocked.read_text() == "mine"


@pytest.mark.long
def test_a_thousand_trials_are_drawn(show, tmp_path):
    many = made_up.retrained(made_up.made_up_run(tmp_path / "many", trials=1000, workers=16))
    one = show(write_report([read_run(many)], tmp_path / "report.html"))
    window = wait(one)
    assert all(width > 200 for _, width, _ in sizes(window))
    assert window.locator("[data-chart=run-1-timeline] .point").count() == 999
    assert one.complaints == []
    assert one.requests == []


@pytest.mark.long
def test_the_report_of_a_real_search_is_drawn_whole(show, real_run, tmp_path):
    one = show(write_report([read_run(real_run[0])], tmp_path / "report.html"))
    window = wait(one)
    drawn = sizes(window)
    assert {name for name, *_ in drawn} >= {
        "all-best-over-time", "run-1-learning-curves", "run-1-parallel-coordinates",
        "run-1-timeline", "run-1-retrained-accuracy", "run-1-confusion-matrix",
    }  # fmt: skip
    assert all(width > 200 and height > 100 for _, width, height in drawn)
    assert window.locator(".mistakes img").count() == 24
    assert "published: best of the search" in window.inner_text("#comparison")
    assert (one.complaints, one.requests, one.violations()) == ([], [], [])
