"""Print the events of a search as lines of text."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from results.follow.follow import JournalLine, note
from results.reading import CUT_OFF
from results.record import columns
from results.record.history import EpochRecord, History, Objective
from results.record.journal import Event, describe_damage
from results.record.run_file import how_to_continue
from results.record.words import (
    describe_best,
    describe_new_best,
    describe_totals,
    describe_trial_end,
    first_line,
    format_values,
)
from results.run import Run

INTERRUPTED = "interrupted"


class TextPrinter:
    """Prints a table of the trials so far, then a line for each new event.

    Args:
        folder: The run folder.
        show_table: Prints the table and returns the run, or None if the run has no tables yet.
    """

    def __init__(self, folder: Path, show_table: Callable[[], Run | None]) -> None:
        self._folder = folder
        self._show_table = show_table
        # The objective has no name until the journal gives it.
        self._history = History(Objective("", "max"))
        # Numbers of the damaged lines that were reported already.
        self._reported: set[int] = set()

    def begin(self, lines: Sequence[JournalLine]) -> None:
        """Print the table; without tables, print a line of totals."""
        run = self._show_table()
        if run is not None:
            self._history.objective = Objective(run.objective, run.mode)
            numbers = (run.trials.schema.metadata or {}).get(columns.DAMAGED_LINES.encode(), b"")
            self._reported = {int(part) for part in numbers.decode().split(",") if part.strip()}
        for line in lines:
            if line.event is not None:
                list(self._sentences(line.event))
            elif run is None:
                self._report_damage(line.number)
        if run is None:
            _say(f"so far: {self._totals()}")

    def print_line(self, line: JournalLine) -> None:
        """Print the new event."""
        if line.event is None:
            self._report_damage(line.number)
            return
        for sentence in self._sentences(line.event):
            _say(f"{line.event['at_seconds']:7.1f} s  {sentence}")

    def end(self, reason: str) -> None:
        """Print why the search ended, its best value, and how to continue it."""
        advice = f"to continue it, {how_to_continue(self._folder)}"
        if reason == CUT_OFF:
            _say(f"the search was cut off; {advice}")
            return
        _say(f"search ended ({reason}): {self._totals()}")
        if reason == INTERRUPTED:
            _say(advice)

    def _report_damage(self, number: int) -> None:
        if number not in self._reported:
            note(describe_damage([number]))
        self._reported.add(number)

    def _totals(self) -> str:
        best = self._history.best
        totals = describe_totals(self._history)
        return f"{totals}, {describe_best(best, self._objective)}" if best else totals

    @property
    def _objective(self) -> str:
        return self._history.objective.name

    def _sentences(self, event: Event) -> Iterator[str]:
        """Apply an event to the history; yield the lines that describe it."""
        if event["event"] in ("search_started", "search_resumed"):
            objective = event["run"]["plan"]["problem"]["objective"]
            self._history.objective = Objective.from_json(objective)
        best_before = self._history.best
        self._history.apply(event)
        kind, number = event["event"], event.get("trial")
        if kind in ("search_started", "search_resumed"):
            yield _search_line(event)
        elif kind == "trial_started":
            yield f"trial {number} started: {format_values(event['values'])}"
        elif number in self._history.trials:
            yield from self._trial_lines(event, number, best_before)

    def _trial_lines(
        self, event: Event, number: int, best_before: EpochRecord | None
    ) -> Iterator[str]:
        best = self._history.best
        value_before = best_before.objective if best_before else None
        if best and self._history.objective.is_better(best.objective, value_before):
            yield describe_new_best(best, self._objective)
        match event["event"]:
            case "trial_restarted":
                yield f"trial {number} continues in another process"
            case "trial_retried":
                yield f"trial {number} failed and restarts: {first_line(event['error'])}"
            case "worker_lost":
                lost = "its process" if event["by_trial"] else "its node or Ray"
                error = first_line(event["error"])
                yield f"trial {number} continues after the loss of {lost}: {error}"
            case "trial_ended":
                yield describe_trial_end(self._history.trials[number], self._objective)


def _search_line(event: Event) -> str:
    plan = event["run"]["plan"]
    trials = f", {plan['trials']} trials" if plan["trials"] else ""
    kind = event["event"].replace("_", " ")
    return f"{kind}: space {plan['problem']['space']}, {plan['algorithm']}{trials}"


def _say(text: str) -> None:
    # Flushed, so that a program at the other end of a pipe receives each line at once.
    print(text, flush=True)
