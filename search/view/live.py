"""The live view: who trains what, the best so far and a line on the whole, redrawn in place."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from results.record.history import History, TrialRecord
from results.record.journal import Event
from results.record.words import format_number, format_values
from search.plan.plan import Plan
from search.storage.clock import Clock
from search.view.slots import Slot, Slots
from search.view.view import SEPARATOR, View, all_done, retraining, summary

REFRESH_SECONDS = 0.5
TOP_TRIALS = 5
# Host and process id; of a longer name the end is shown.
WORKER_WIDTH = 18
# Of a configuration less than so many columns says nothing.
LEAST_VALUES = 6
# A heading, a row, and how many more there are.
LEAST_LINES = 3


class Column(NamedTuple):
    """A column: numbers stand to the right."""

    heading: str
    least_width: int = 0
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
    """Tables of the workers and of the best trials, and a line on the whole.

    Args:
        console: A terminal.
        now: Seconds, by which it is redrawn twice a second at most.
    """

    def __init__(self, console: Console, *, now: Clock = time.monotonic) -> None:
        super().__init__(console)
        self._now = now

    def begin(self, plan: Plan, history: History, clock: Clock) -> None:
        super().begin(plan, history, clock)
        self._slots = Slots(reuse_workers=plan.reuse_workers)
        self._drawn_at = -math.inf
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self.tick()

    def tell(self, event: Event) -> None:
        self._slots.tell(event)
        self._tell_of_a_trial(event)

    def tick(self) -> None:
        now = self._now()
        if now - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = now
            self._live.update(self._drawing(), refresh=True)

    def end(self) -> None:
        self._live.stop()

    def progress(self, done: Mapping[int, int]) -> None:
        self._console.print(retraining(done), end="\n" if all_done(done) else "\r")

    def _with_values(self, line: str, trial: TrialRecord) -> str:
        room = self._console.width - cell_len(line)
        values = Text(f"  {format_values(trial.values)}")
        values.truncate(max(room, 0), overflow="ellipsis")
        return f"{line}{values}" if room > LEAST_VALUES else line  # an error is said whole

    def _drawing(self) -> Text:
        width, height = self._console.size
        return drawing(
            self._plan, self._history, self._slots, self._clock(), width=width, height=height
        )


def make_view(console: Console) -> View:
    """Return the view that fits the console."""
    return LiveView(console) if console.is_terminal else View(console)


def drawing(
    plan: Plan, history: History, slots: Slots, seconds: float, *, width: int, height: int
) -> Text:
    """Draw a search: no line is longer than the screen is wide, nor are there more than fit.

    Args:
        plan: What was asked.
        history: What has happened.
        slots: Which process trains which trial.
        seconds: Now, on the clock of the events.
        width: Columns of the screen.
        height: Lines of the screen.
    """
    foot = folded(summary(plan, history, seconds), width)[:height]
    best = _best_lines(history)
    room = height - len(foot) - 3  # blank lines before all and before the foot, and a free one
    if room < len(best) + 1 + LEAST_LINES:
        best = []
    workers = _worker_lines(plan, history, slots, seconds, room - len(best) - bool(best))
    parts = [part for part in (workers, best, [Text(line, "bold") for line in foot]) if part]
    lines = [line for part in parts for line in (Text(), *part)]
    lines = lines if len(parts) > 1 else lines[1:]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def _worker_lines(
    plan: Plan, history: History, slots: Slots, seconds: float, room: int
) -> list[Text]:
    """Return a line for each worker and each trial that waits for one, as far as there is room."""
    if room < LEAST_LINES:
        return []
    rows = [*slots, *_waiting(history, slots)]
    if not rows:
        return [] if history.trials else [Text("no trial has started yet")]
    shown = rows if len(rows) < room else rows[: room - 2]
    lines = table(
        WORKER_COLUMNS,
        [_cells(plan, history, slot, seconds) for slot in shown],
        [_style(slot) for slot in shown],
    )
    left_out = len(rows) - len(shown)
    return [*lines, Text(f"and {left_out} more")] if left_out else lines


def _waiting(history: History, slots: Slots) -> Iterator[Slot]:
    """Yield unfinished trials without a process: of a search that goes on after a break."""
    placed = {slot.trial for slot in slots}
    for trial in history.unfinished():
        if trial.trial not in placed:
            yield Slot(trial=trial.trial, is_lost=True)


def _cells(plan: Plan, history: History, slot: Slot, seconds: float) -> tuple[str, ...]:
    cut = max(0, len(slot.worker) - WORKER_WIDTH)
    worker = f"…{slot.worker[cut + 1 :]}" if cut else slot.worker or "-"
    if slot.trial is None:
        return worker, str(slot.done), "-", "-", "idle", "-", "-", ""
    trial = history.trials[slot.trial]
    newest = trial.epochs[-1] if trial.epochs else None
    return (
        worker,
        str(slot.done),
        str(slot.trial),
        f"{newest.epoch if newest else 0}/{trial.planned_epochs or plan.problem.epochs}",
        _standing(slot, seconds),
        format_number(newest.objective if newest else None, "-"),
        format_number(trial.best_value, "-"),
        format_values(trial.values),
    )


def _standing(slot: Slot, seconds: float) -> str:
    """Say since when nothing was heard of a trial, or why."""
    if slot.is_lost:
        return "lost" if slot.worker else "waiting"
    if slot.heard_seconds is None:
        return "starting"
    since = max(seconds - slot.heard_seconds, 0.0)
    for unit, size in (("h", 3600), ("min", 60)):
        if since >= 2 * size:
            return f"{since // size:.0f} {unit} ago"
    return f"{since // 1:.0f} s ago"


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
    return table(BEST_COLUMNS, rows, [""] * len(rows)) if rows else []


def table(
    columns: Sequence[Column], rows: Sequence[tuple[str, ...]], styles: Sequence[str]
) -> list[Text]:
    """Return a line of headings and a styled one for each row; the screen cuts what is too long.

    By hand: a table of Rich's takes several times as long, and it is the driver's time.
    """
    rows_of_text = [tuple(column.heading for column in columns), *rows]
    widths = [
        max(column.least_width, *map(len, cells))
        for column, cells in zip(columns, zip(*rows_of_text, strict=True), strict=True)
    ]
    return [
        Text("  ".join(_set(cells, columns, widths)).rstrip(), style=style)
        for cells, style in zip(rows_of_text, ["bold", *styles], strict=True)
    ]


def _set(cells: Iterable[str], columns: Iterable[Column], widths: Iterable[int]) -> Iterator[str]:
    for cell, column, width in zip(cells, columns, widths, strict=True):
        # A value may be a text of several lines.
        text = " ".join(cell.split())
        yield text.ljust(width) if column.is_text else text.rjust(width)


def folded(text: str, width: int) -> list[str]:
    """Break a line between its parts, so that each fits the width if it can."""
    lines: list[str] = []
    for part in text.split(SEPARATOR):
        longer = f"{lines[-1]}{SEPARATOR}{part}" if lines else ""
        if lines and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
