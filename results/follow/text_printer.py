"""What happens in a search, a line for each thing: for a person who follows it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from results.follow.follow import JournalLine, describe_damage, note
from results.reading import CUT_OFF
from results.record import columns
from results.record.history import EpochRecord, History, Objective
from results.record.journal import Event
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
    """Prints a table of what was there, then a line for each thing that happens.

    Args:
        run: The folder.
        show_table: Prints the table of the trials so far and returns the run, or None where no
            table is to be had.
    """

    def __init__(self, run: Path, show_table: Callable[[], Run | None]) -> None:
        self._run = run
        self._show_table = show_table
        # Of an objective without a name, which no epoch reports, until the journal names it.
        self._history = History(Objective("", "max"))
        self._named: set[int] = set()

    def begin(self, lines: Sequence[JournalLine]) -> None:
        """Print the table; where there is none, a line on what is known."""
        run = self._show_table()
        if run is not None:
            self._history.objective = Objective(run.objective, run.mode)
            numbers = (run.trials.schema.metadata or {}).get(columns.DAMAGED_LINES.encode(), b"")
            self._named = {int(number) for number in numbers.decode().split(",") if number.strip()}
        for line in lines:
            if line.event is not None:
                list(self._sentences(line.event))
            elif run is None:
                self._name(line.number)
        if run is None:
            _say(f"so far: {self._so_far()}")

    def print_line(self, line: JournalLine) -> None:
        """Print what is new."""
        if line.event is None:
            self._name(line.number)
            return
        for sentence in self._sentences(line.event):
            _say(f"{line.event['at_seconds']:7.1f} s  {sentence}")

    def end(self, reason: str) -> None:
        """Print why the search ended and what it found, and how to go on."""
        go_on = f"fmnist-search resume {shlex.quote(str(self._run))} goes on with it"
        if reason == CUT_OFF:
            _say(f"its search was cut off: {go_on}")
            return
        _say(f"search ended ({reason}): {self._so_far()}")
        if reason == INTERRUPTED:
            _say(go_on)

    def _name(self, number: int) -> None:
        if number not in self._named:
            note(describe_damage(number))
        self._named.add(number)

    def _so_far(self) -> str:
        best = self._history.best
        trained = describe_totals(self._history)
        return f"{trained}, {describe_best(best, self._objective)}" if best else trained

    @property
    def _objective(self) -> str:
        return self._history.objective.name

    def _sentences(self, event: Event) -> Iterator[str]:
        """Take in an event; yield what there is to say of it."""
        if event["event"] in ("search_started", "search_resumed"):
            objective = event["run"]["plan"]["problem"]["objective"]
            self._history.objective = Objective.from_json(objective)
        best_before = self._history.best
        self._history.apply(event)
        kind, number = event["event"], event.get("trial")
        if kind in ("search_started", "search_resumed"):
            yield _search(event)
        elif kind == "trial_started":
            yield f"trial {number} started: {format_values(event['values'])}"
        elif number in self._history.trials:
            yield from self._of_a_trial(event, number, best_before)

    def _of_a_trial(
        self, event: Event, number: int, best_before: EpochRecord | None
    ) -> Iterator[str]:
        best = self._history.best
        than = best_before.objective if best_before else None
        if best and self._history.objective.is_better(best.objective, than):
            yield describe_new_best(best, self._objective)
        match event["event"]:
            case "trial_restarted":
                yield f"trial {number} goes on in another process"
            case "trial_retried":
                yield f"trial {number} failed and begins again: {first_line(event['error'])}"
            case "worker_lost":
                whose = "its process" if event["by_trial"] else "its node, or Ray,"
                yield f"trial {number}: {whose} is lost ({first_line(event['error'])}), it goes on"
            case "trial_ended":
                yield describe_trial_end(self._history.trials[number], self._objective)


def _search(event: Event) -> str:
    plan = event["run"]["plan"]
    of = f", {plan['trials']} trials" if plan["trials"] else ""
    kind = event["event"].replace("_", " ")
    return f"{kind}: space {plan['problem']['space']}, {plan['algorithm']}{of}"


def _say(text: str) -> None:
    # At once: what is piped into another program is wanted as it happens.
    print(text, flush=True)
