"""The live view: what is drawn on a terminal, and that it fits any."""

import io
from itertools import pairwise

import pytest
from rich.console import Console

from results.record.columns import Decision, State
from results.record.history import History, Objective
from search.view.live import (
    BEST_COLUMNS,
    REFRESH_SECONDS,
    Column,
    LiveView,
    draw_search,
    make_view,
    table_lines,
    wrap,
)
from search.view.slots import Slots
from search.view.view import View

SIZES = [(80, 24), (120, 40)]


class Screen:
    """A terminal that shows a search."""

    def __init__(self, search):
        self.search = search

    def __getattr__(self, name):
        return getattr(self.search, name)

    def wait(self, seconds):
        self.search.now += seconds

    def lines(self):
        """Draw the search anew; return the lines on the screen, which fit it."""
        self.wait(REFRESH_SECONDS)
        self.file.seek(0)
        self.file.truncate()
        self.view.tick()
        # The former lines are erased upwards before anything is written.
        lines = self.printed.replace("\r", "").split("\n")
        assert len(lines) <= self.height, lines
        assert max(map(len, lines)) <= self.width, lines
        return lines

    def new_lines(self):
        """Return the lines that were printed since the last drawing."""
        return self.printed.replace("\r", "\n").split("\n")


@pytest.fixture
def screen(show):
    """Make a screen of some size."""

    def make(width=80, height=24, **options):
        search = show(
            lambda console, clock: LiveView(console, now=clock),
            terminal=(width, height),
            **options,
        )
        return Screen(search)

    return make


def table(lines, heading):
    """Return the rows of the table whose headings begin so, each as its words."""
    start = next(number for number, line in enumerate(lines) if line.startswith(heading))
    rows = lines[start + 1 : lines.index("", start)]
    return [row.split() for row in rows]


def workers(screen):
    return table(screen.lines(), "worker")


# --- The parts of the drawing ---------------------------------------------------------------------


@pytest.fixture(params=SIZES, ids=["80x24", "120x40"])
def searched(screen, request):
    """A search of three trials: one runs, one was stopped, one starts in its place."""
    search = screen(*request.param)
    for trial in (0, 1):
        search.start(trial, epochs=20)
    search.epoch(0, 1, 0.8, "vm:11")
    search.epoch(1, 1, 0.6, "vm:12", decision=Decision.STOP)
    search.end(1, State.STOPPED)
    search.start(2)
    search.wait(4.0)
    search.epoch(0, 2, 0.7, "vm:11")
    search.wait(3.0)
    return search


def test_each_worker_is_shown_with_its_trial(searched):
    first, second = workers(searched)
    assert first[:9] == ["vm:11", "0", "0", "2/20", "3", "s", "ago", "0.7000", "0.8000"]
    assert second[:7] == ["vm:12", "1", "2", "0/30", "starting", "-", "-"]


def test_from_the_second_training_on_its_number_is_shown(screen):
    search = screen(120, 40)
    search.start(0, epochs=20)
    search.epoch(0, 20, 0.8)
    assert workers(search)[0][3] == "20/20"
    search.epoch(0, 2, 0.8, execution=1)
    assert workers(search)[0][3:6] == ["training", "2:", "2/20"]


def test_a_configuration_is_cut_where_the_screen_ends(searched):
    headings, first, *_ = searched.lines()[1:]
    assert headings.endswith("configuration")
    assert first.endswith("…") == (searched.width == 80)


def test_the_best_trials_are_ranked(searched):
    best, second = table(searched.lines(), "rank")
    assert best[:5] == ["1", "0", "0.8000", "1", "running"]
    assert second[:7] == ["2", "1", "0.6000", "1", "stopped", "by", "ASHA"]


def test_the_summary_is_at_the_foot(searched):
    lines = searched.lines()
    summary = " ".join(lines[lines.index("", 6) + 1 :])
    assert "8 s · trials of 40: 2 running, 0 finished, 1 stopped by ASHA" in summary
    assert "best val_accuracy 0.8000 · 0.40 epochs/s" in summary


def test_a_screen_without_trials_says_that_none_has_started(screen):
    lines = screen().lines()
    assert "no trial has started yet" in lines
    assert not any(line.startswith(("worker", "rank")) for line in lines)


def test_of_equal_trials_the_first_to_reach_the_value_comes_first(screen):
    search = screen()
    for trial in range(3):
        search.start(trial)
    for trial in (2, 0, 1):
        search.wait(1.0)
        search.epoch(trial, 1, 0.5, f"vm:{trial}")
    assert [row[1] for row in table(search.lines(), "rank")] == ["2", "0", "1"]


def test_of_hundreds_of_trials_the_five_best_are_shown(screen):
    search = screen(name="val_loss", mode="min")
    for trial in range(300):
        if trial >= 4:
            search.end(trial - 4, State.STOPPED)
        search.start(trial)
        # Each value twice: of equal ones the earlier comes first. 37 * 146 = 2 (mod 150).
        search.epoch(trial, 1, ((trial * 37) % 150) / 1000, f"vm:{trial % 4}")
    lines = search.lines()
    assert [(row[1], row[2]) for row in table(lines, "rank")] == [
        ("0", "0.0000"), ("150", "0.0000"), ("73", "0.0010"), ("223", "0.0010"), ("146", "0.0020"),
    ]  # fmt: skip
    assert [row[1] for row in table(lines, "worker")] == ["74"] * 4


# --- Workers --------------------------------------------------------------------------------------


def test_a_lost_process_is_shown_until_another_takes_its_trial(screen):
    search = screen()
    search.start(0)
    search.epoch(0, 1, 0.8, "vm:11")
    search.recorder.worker_lost(0, "it was killed", by_trial=True)
    line = "trial 0 continues after the loss of its process: it was killed"
    assert line in search.file.getvalue()
    assert [row[:5] for row in workers(search)] == [["vm:11", "0", "0", "1/30", "lost"]]
    search.recorder.trial_restarted(0)
    assert [row[:5] for row in workers(search)] == [["-", "0", "0", "1/30", "starting"]]
    search.epoch(0, 2, 0.8, "vm:99")
    assert [row[:4] for row in workers(search)] == [["vm:99", "0", "0", "2/30"]]


def test_an_idle_process_is_shown_as_idle(screen):
    search = screen()
    for trial, state in enumerate([State.HUNG, State.FAILED]):
        search.start(trial)
        search.epoch(trial, 1, 0.8, f"vm:{trial}")
        search.end(trial, state, error="it ended")
    assert workers(search) == [["vm:1", "1", "-", "-", "idle", "-", "-"]]


def test_a_search_with_a_process_for_each_trial_shows_no_idle_one(screen):
    search = screen(reuse_workers=False)
    for trial in range(3):
        search.start(trial)
        search.epoch(trial, 1, 0.5, f"vm:{trial}")
        search.end(trial, State.COMPLETED)
    lines = search.lines()
    assert "no trial has started yet" not in lines
    assert not any(line.startswith("worker") or "vm:" in line for line in lines)


def test_unfinished_trials_of_a_resumed_search_wait_for_a_process(screen):
    before = screen()
    for trial in (0, 1):
        before.start(trial)
        before.epoch(trial, 1, 0.5, f"vm:{trial}")
    search = screen(history=before.history)
    search.recorder.trial_restarted(1)
    starting, waiting = workers(search)
    assert starting[:5] == ["-", "0", "1", "1/30", "starting"]
    assert waiting[:5] == ["-", "0", "0", "1/30", "waiting"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s ago"),
        (0.7, "1 s ago"),
        (119, "119 s ago"),
        (119.5, "2 min ago"),
        (121, "2 min ago"),
        (7199, "119 min ago"),
        (7199.5, "2 h ago"),
        (9000, "2 h ago"),
    ],
)
def test_the_time_since_the_last_report_is_shown(screen, seconds, text):
    search = screen()
    search.start(0)
    search.epoch(0, 1, 0.8, "vm:11")
    search.wait(seconds)  # and half a second until the drawing
    assert f" {text} " in search.lines()[2]


def test_a_report_from_the_future_was_made_now(screen):
    search = screen()
    search.start(0)
    search.wait(10.0)
    search.epoch(0, 1, 0.8, "vm:11")
    search.search.now = 0.0
    assert " 0 s ago " in search.lines()[2]


def test_a_long_name_of_a_worker_loses_its_start(screen):
    search = screen()
    for trial, name in enumerate(["123456789012345:78", "a-machine-with-a-name:10000"]):
        search.start(trial)
        search.epoch(trial, 1, 0.5, name)
    assert [row[0] for row in workers(search)] == ["123456789012345:78", "…with-a-name:10000"]


# --- Fitting the screen ---------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_as_many_of_64_workers_are_shown_as_fit(screen, width, height):
    search = screen(width, height)
    for trial in range(64):
        search.start(trial)
        search.epoch(trial, 1, trial / 100, f"a-machine-with-a-long-name-{trial}:{10000 + trial}")
    lines = search.lines()
    *rows, more = table(lines, "worker")
    assert more == ["and", str(64 - len(rows)), "more"]
    assert len(rows) >= height - 14
    assert rows[0][0] == "…" + "a-machine-with-a-long-name-0:10000"[-17:]
    assert len(table(lines, "rank")) == 5


@pytest.mark.parametrize(
    ("count", "last"),
    [
        # Of 24 lines 5 are blank, of the summary, or of the headings; "and 2 more" is one too.
        pytest.param(19, ["-", "0", "18"], id="as-many-as-fit"),
        pytest.param(20, ["and", "2", "more"], id="one-more"),
    ],
)
def test_all_workers_that_fit_are_shown(screen, count, last):
    search = screen(200, 24)
    for trial in range(count):
        search.start(trial)
    rows = workers(search)
    assert rows[-1][:3] == last
    assert len(rows) == 19


@pytest.mark.parametrize("width", [1, 10, 33, 60, 79, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 9, 12, 16, 60])
def test_the_drawing_fits_any_screen(screen, width, height):
    search = screen(width, height, trials=None, name="a_metric_with_a_very_long_name_indeed")
    values = {**search.VALUES, "text": "over\ntwo lines"}
    search.lines()
    for trial in range(9):
        search.start(trial, values=values)
        search.epoch(trial, 1, 1e9 * trial, f"vm:{trial}")
        search.lines()


@pytest.mark.parametrize(
    ("height", "headings"),
    [
        (5, []),
        (6, []),
        (7, ["worker"]),
        (13, ["worker"]),
        (14, ["worker", "rank"]),
    ],
)
def test_a_low_screen_shows_the_summary_before_the_workers_before_the_best_trials(
    screen, height, headings
):
    search = screen(120, height)
    for trial in range(6):
        search.start(trial)
        search.epoch(trial, 1, 0.5, f"vm:{trial}")
    lines = search.lines()
    shown = [line.split()[0] for line in lines if line.startswith(("worker", "rank"))]
    assert shown == headings
    assert "trials of 40: 6 running" in lines[-1]


def test_a_blank_line_stands_between_the_parts(make_plan):
    history = History(Objective("val_accuracy", "max"))
    history.apply({"event": "trial_started", "trial": 0, "values": {}, "at_seconds": 0.0})
    plan = make_plan(history.objective)
    drawing = draw_search(plan, history, Slots(reuse_workers=True), 1.0, width=200, height=24)
    blank, headings, row, *rest = drawing.plain.split("\n")
    assert (blank, headings.split()[0], row.split()[:2]) == ("", "worker", ["-", "0"])
    assert rest[0] == ""
    assert len(rest) == 2


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a · bc · d", 20, ["a · bc · d"]),
        ("a · bc · d", 10, ["a · bc · d"]),
        ("a · bc · d", 9, ["a · bc", "d"]),
        ("a · bc · d", 6, ["a · bc", "d"]),
        ("a · bc · d", 1, ["a", "bc", "d"]),
        ("日本 · 語", 8, ["日本", "語"]),
        ("日本 · 語", 9, ["日本 · 語"]),
    ],
)
def test_a_line_is_broken_between_its_parts(text, width, lines):
    assert wrap(text, width) == lines


def test_a_table_aligns_texts_left_and_numbers_right():
    columns = (Column("n", 3), Column("word", is_text=True), Column("wide", 6))
    lines = table_lines(columns, [("1", "a\n b", "2"), ("12345", "abcde", "34")], ["red", ""])
    assert [line.plain for line in lines] == [
        "    n  word     wide",
        "    1  a b         2",
        "12345  abcde      34",
    ]
    assert [str(line.style) for line in lines] == ["bold", "red", ""]


def test_a_table_has_at_least_the_widths_of_its_columns():
    [headings] = table_lines(BEST_COLUMNS, [], [])
    assert headings.plain == "rank  trial    best  at epoch  state            configuration"


def test_a_lost_process_is_red_and_an_idle_one_dim(show, make_plan):
    search = show(lambda console, _clock: View(console))
    slots = Slots(reuse_workers=True)
    search.recorder.listen(slots.observe)
    for trial in range(3):
        search.start(trial)
        search.epoch(trial, 1, 0.5, f"vm:{trial}")
    search.recorder.worker_lost(1, "killed", by_trial=True)
    search.end(2, State.COMPLETED)
    plan = make_plan(search.history.objective)
    drawing = draw_search(plan, search.history, slots, 1.0, width=200, height=24)
    styles = {
        line.plain.split()[0]: str(line.spans[0].style) if line.spans else ""
        for line in drawing.split("\n")
        if line.plain.startswith("vm:")
    }
    assert styles == {"vm:0": "", "vm:1": "red", "vm:2": "dim"}


# --- Drawing and printing -------------------------------------------------------------------------


def test_the_end_of_a_trial_is_a_line_that_is_cut_where_the_screen_ends(screen):
    search = screen()
    search.start(0)
    search.epoch(0, 1, 0.8, "vm:11")
    search.lines()
    search.end(0, State.COMPLETED)
    [line] = [line for line in search.new_lines() if "trial 0 completed" in line]
    assert line.startswith("    0.5 s  trial 0 completed after 1 epoch, best val_accuracy 0.8000")
    assert line.endswith("…")
    assert len(line) == search.width


@pytest.mark.parametrize(("width", "values"), [(74, ""), (75, "  acti…"), (76, "  activ…")])
def test_a_line_with_less_than_seven_free_columns_has_no_values(screen, width, values):
    search = screen(width)
    search.start(0)
    search.epoch(0, 1, 0.8, "vm:11")
    search.end(0, State.COMPLETED)
    line = "    0.0 s  trial 0 completed after 1 epoch, best val_accuracy 0.8000"
    assert f"{line}{values}" in [line.rstrip() for line in search.new_lines()]


def test_an_error_is_printed_whole(screen):
    search = screen()
    search.start(0)
    search.epoch(0, 1, 0.7, "vm:12")
    error = "ValueError: " + "a long reason, " * 9 + "which ends here"
    search.end(0, State.FAILED, error=f"{error}\nin line 3")
    assert error in search.file.getvalue()
    assert "in line 3" not in search.file.getvalue()


def test_a_new_best_value_is_no_line(screen):
    search = screen()
    search.start(0)
    search.epoch(0, 1, 0.8, "vm:11")
    assert "best val_accuracy so far" not in search.printed


def test_the_search_is_drawn_twice_a_second_at_most(screen):
    search = screen()
    search.lines()
    sizes = [search.file.tell()]
    for share in (0.9, 0.1, 0.9, 0.1):
        search.wait(REFRESH_SECONDS * share)
        search.view.tick()
        sizes.append(search.file.tell())
    assert [after > before for before, after in pairwise(sizes)] == [False, True, False, True]


def test_the_search_is_drawn_when_it_begins(screen):
    assert "no trial has started yet" in screen().printed


def test_the_drawing_is_erased_at_the_end(screen):
    search = screen()
    search.lines()
    search.view.end()
    assert "\x1b[2K" in search.file.getvalue(), "the lines of the drawing are not erased"


@pytest.mark.parametrize(("epochs_done", "end"), [({2: 1, 4: 2}, "\r"), ({2: 2, 4: 4}, "\n")])
def test_the_progress_of_retrainings_stays_in_one_line_until_its_end(epochs_done, end):
    file = io.StringIO()
    LiveView(Console(file=file, force_terminal=True, color_system=None)).progress(epochs_done)
    one, two = epochs_done.values()
    assert file.getvalue() == f"retraining: epoch {one} of 2, {two} of 4{end}"


def test_a_terminal_gets_the_live_view():
    assert type(make_view(Console(file=io.StringIO(), force_terminal=True))) is LiveView


def test_a_pipe_gets_plain_lines():
    assert type(make_view(Console(file=io.StringIO()))) is View
