"""The live view: workers with their trials, the best trials and a summary, redrawn in place."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from results.record.history import EpochRecord, History, TrialRecord
from results.record.journal import Event
from results.record.screen import make_console
from results.record.words import format_number, format_values
from search.plan.plan import Plan
from search.signals import lasting_output
from search.storage.clock import Clock
from search.view.slots import Slot, Slots
from search.view.view import SEPARATOR, View, all_done, describe_retraining, summary

REFRESH_SECONDS = 0.5
TOP_TRIALS = 5
# Columns for host and process id; a longer name loses its start.
MAX_WORKER_WIDTH = 18
# In fewer columns, the values of a configuration tell nothing.
MIN_VALUES_WIDTH = 6
# Lines of the shortest table: headings, a row, and the number of rows left out.
MIN_TABLE_LINES = 3


class Column(NamedTuple):
    """A column of a table; text is aligned left, numbers right."""

    heading: str
    min_width: int = 0
    is_text: bool = False


CONFIGURATION = Column("configuration", is_text=True)
WORKER_COLUMNS = (
    Column("worker", 8, is_text=True),
    Column("done"),
    Column("trial"),
    Column("epoch"),
    Column("reported", 8),
    Column("newest", 6),
    Column("best", 6),
    CONFIGURATION,
)
BEST_COLUMNS = (
    Column("rank"),
    Column("trial"),
    Column("best", 6),
    Column("at epoch"),
    Column("state", 15, is_text=True),
    CONFIGURATION,
)


class LiveView(View):
    """A view with tables of the workers and of the best trials, and a summary line.

    Args:
        console: A terminal.
        now: The clock in seconds that limits it to two drawings a second.
    """

    def __init__(self, console: Console, *, now: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._now = now

    def begin(self, plan: Plan, history: History, clock: Clock) -> None:
        super().begin(plan, history, clock)
        self._slots = Slots(reuse_workers=plan.reuse_workers)
        self._drawn_at = -math.inf
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        with lasting_output():
            self._live.start()
        self.tick()

    def observe(self, event: Event) -> None:
        self._slots.observe(event)
        self._show_trial_event(event)

    def tick(self) -> None:
        now = self._now()
        if now - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = now
            with lasting_output():
                self._live.update(self._draw(), refresh=True)

    def end(self) -> None:
        with lasting_output():
            self._live.stop()

    def progress(self, epochs_done: Mapping[int, int]) -> None:
        end = "\n" if all_done(epochs_done) else "\r"
        with lasting_output():
            self._console.print(describe_retraining(epochs_done), end=end)

    def _with_values(self, line: str, trial: TrialRecord) -> str:
        free_columns = self._console.width - cell_len(line)
        values = Text(f"  {format_values(trial.values)}")
        values.truncate(max(free_columns, 0), overflow="ellipsis")
        # The line itself, which may hold an error, is never cut.
        return f"{line}{values}" if free_columns > MIN_VALUES_WIDTH else line

    def _draw(self) -> Text:
        width, height = self._console.size
        return draw_search(
            self._plan, self._history, self._slots, self._clock(), width=width, height=height
        )


def make_view(console: Console | None = None) -> View:
    """Return the view that fits the console; None: the standard output."""
    console = console or make_console()
    return LiveView(console) if console.is_terminal else View(console)


def draw_search(
    plan: Plan, history: History, slots: Slots, seconds: float, *, width: int, height: int
) -> Text:
    """Return the drawing of a search, which fits the screen.

    Args:
        plan: The plan of the search.
        history: Its history so far.
        slots: Which process trains which trial.
        seconds: The time now, on the clock of the events.
        width: Columns of the screen.
        height: Lines of the screen.
    """
    footer = wrap(summary(plan, history, seconds), width)[:height]
    best = _best_lines(history)
    # Without the footer, the blank lines at the top and before the footer, and one to spare.
    free_lines = height - len(footer) - 3
    if free_lines < len(best) + 1 + MIN_TABLE_LINES:
        best = []
    workers = _worker_lines(plan, history, slots, seconds, free_lines - len(best) - bool(best))
    parts = [part for part in (workers, best, [Text(line, "bold") for line in footer]) if part]
    lines = [line for part in parts for line in (Text(), *part)]
    lines = lines if len(parts) > 1 else lines[1:]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def _worker_lines(
    plan: Plan, history: History, slots: Slots, seconds: float, free_lines: int
) -> list[Text]:
    """Return the table of workers, and of trials that wait for one, in at most ``free_lines``."""
    if free_lines < MIN_TABLE_LINES:
        return []
    rows = [*slots, *_waiting(history, slots)]
    if not rows:
        return [] if history.trials else [Text("no trial has started yet")]
    shown = rows if len(rows) < free_lines else rows[: free_lines - 2]
    lines = table_lines(
        WORKER_COLUMNS,
        [_cells(plan, history, slot, seconds) for slot in shown],
        [_style(slot) for slot in shown],
    )
    left_out = len(rows) - len(shown)
    return [*lines, Text(f"and {left_out} more")] if left_out else lines


def _waiting(history: History, slots: Slots) -> Iterator[Slot]:
    """Yield slots for the unfinished trials without a process, as after a resume."""
    in_slots = {slot.trial for slot in slots}
    for trial in history.unfinished():
        if trial.trial not in in_slots:
            yield Slot(trial=trial.trial, is_lost=True)


def _cells(plan: Plan, history: History, slot: Slot, seconds: float) -> tuple[str, ...]:
    excess = max(0, len(slot.worker) - MAX_WORKER_WIDTH)
    worker = f"…{slot.worker[excess + 1 :]}" if excess else slot.worker or "-"
    if slot.trial is None:
        return worker, str(slot.done), "-", "-", "idle", "-", "-", ""
    trial = history.trials[slot.trial]
    newest = trial.epochs[-1] if trial.epochs else None
    return (
        worker,
        str(slot.done),
        str(slot.trial),
        _progress(newest, trial.planned_epochs or plan.problem.epochs),
        _last_report(slot, seconds),
        format_number(newest.objective if newest else None, "-"),
        format_number(trial.best_value, "-"),
        format_values(trial.values),
    )


def _progress(newest: EpochRecord | None, planned: int) -> str:
    """Return the epochs of the present execution; from the second on, with its number."""
    epochs = f"{newest.epoch if newest else 0}/{planned}"
    return f"training {newest.execution + 1}: {epochs}" if newest and newest.execution else epochs


def _last_report(slot: Slot, seconds: float) -> str:
    """Return how long ago a trial reported, or why it does not."""
    if slot.is_lost:
        return "lost" if slot.worker else "waiting"
    if slot.heard_seconds is None:
        return "starting"
    silent_seconds = max(seconds - slot.heard_seconds, 0.0)
    for unit, unit_seconds in (("h", 3600), ("min", 60)):
        if silent_seconds >= 2 * unit_seconds:
            return f"{silent_seconds // unit_seconds:.0f} {unit} ago"
    return f"{silent_seconds // 1:.0f} s ago"


def _style(slot: Slot) -> str:
    if slot.trial is None:
        return "dim"
    return "red" if slot.is_lost and slot.worker else ""


def _best_lines(history: History) -> list[Text]:
    rows = [
        (
            str(rank),
            str(trial.trial),
            format_number(trial.best_value, "-"),
            str(trial.best.epoch if trial.best else "-"),
            str(trial.ending),
            format_values(trial.values),
        )
        for rank, trial in enumerate(history.ranked(limit=TOP_TRIALS), start=1)
    ]
    return table_lines(BEST_COLUMNS, rows, [""] * len(rows)) if rows else []


def table_lines(
    columns: Sequence[Column], rows: Sequence[tuple[str, ...]], styles: Sequence[str]
) -> list[Text]:
    """Return a line of headings and a styled line for each row; lines may be too long.

    A table of Rich would take several times as long, at the cost of the driver.
    """
    headings_and_rows = [tuple(column.heading for column in columns), *rows]
    widths = [
        max(column.min_width, *map(len, cells))
        for column, cells in zip(columns, zip(*headings_and_rows, strict=True), strict=True)
    ]
    return [
        Text("  ".join(_padded(cells, columns, widths)).rstrip(), style=style)
        for cells, style in zip(headings_and_rows, ["bold", *styles], strict=True)
    ]


def _padded(
    cells: Iterable[str], columns: Iterable[Column], widths: Iterable[int]
) -> Iterator[str]:
    for cell, column, width in zip(cells, columns, widths, strict=True):
        # A value may be a text of several lines.
        text = " ".join(cell.split())
        yield text.ljust(width) if column.is_text else text.rjust(width)


def wrap(text: str, width: int) -> list[str]:
    """Break a line between its parts, so that each line fits the width if it can."""
    lines: list[str] = []
    for part in text.split(SEPARATOR):
        longer = f"{lines[-1]}{SEPARATOR}{part}" if lines else ""
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
