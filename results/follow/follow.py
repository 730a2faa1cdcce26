"""Telling of a run while it happens: what is new in its journal, as it comes."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from results.reading import CUT_OFF, DEAD_AFTER_SECONDS
from results.record import columns
from results.record.errors import RunFolderError
from results.record.journal import Event, read_line

POLL_SECONDS = 0.5
# A lock without a beat is watched for so long before its driver is taken for dead: a machine that
# has slept wakes with an old one, and that of another machine goes by another clock.
QUIET_POLLS = 10


@dataclass(frozen=True)
class JournalLine:
    """A whole line of a journal.

    Attributes:
        number: Its number, from 1.
        event: What it tells; None: it is torn or altered.
    """

    number: int
    text: str
    event: Event | None


class JournalTail:
    """Gives the lines of a growing journal, each once and not before it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> list[JournalLine]:
        """Return the lines that have become whole since the last call.

        Raises:
            RunFolderError: The journal is gone, is another now, or is of a newer version.
        """
        # What follows the last line's end is read again next time: a writer may take it back.
        whole, end, _ = self._rest().rpartition(b"\n")
        self._offset += len(whole) + len(end)
        return [self._line(content) for content in whole.split(b"\n")] if end else []

    def _rest(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size >= self._offset:
                    file.seek(self._offset)
                    return file.read()
        except FileNotFoundError:
            if self._offset == 0 and self._path.parent.is_dir():
                return b""
            raise RunFolderError(
                f"{self._path.parent} is gone: its run was removed or moved."
            ) from None
        except OSError as error:
            raise RunFolderError(f"{self._path} cannot be read: {error.strerror}.") from error
        raise RunFolderError(
            f"{self._path} is shorter than it was: another run has taken its place."
        )

    def _line(self, content: bytes) -> JournalLine:
        self._number += 1
        event = read_line(content, self._path, self._number)
        return JournalLine(self._number, content.decode(errors="replace"), event)


class Printer(Protocol):
    """Says what happens in a run."""

    def begin(self, lines: Sequence[JournalLine]) -> None:
        """Tell of what had happened before."""

    def print_line(self, line: JournalLine) -> None:
        """Tell of what is new."""

    def end(self, reason: str) -> None:
        """Tell why the search ended, or that it was cut off."""


def follow_run(
    run: Path,
    printer: Printer,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Tell of a run until its search ends; wait for it where nothing is recorded yet.

    Args:
        run: Its folder.
        printer: Is told.
        clock: Seconds, as the file system counts them.
        sleep: Waits for so many seconds.

    Returns:
        Why the search ended; ``CUT_OFF`` where its driver is gone without a word.

    Raises:
        RunFolderError: It is no run, or is none any more.
    """
    _check(run)
    watch = _Watch(run, printer, clock)
    watch.begin()
    reason = watch.poll()
    while reason is None:
        sleep(POLL_SECONDS)
        reason = watch.poll()
    printer.end(reason)
    return reason


def note(text: str) -> None:
    """Say something about the following, not of the run."""
    print(text, file=sys.stderr, flush=True)


class JsonPrinter:
    """Prints each event as it stands in the journal: a JSON object a line, the former ones too."""

    def begin(self, lines: Sequence[JournalLine]) -> None:
        for line in lines:
            self.print_line(line)

    def print_line(self, line: JournalLine) -> None:
        if line.event is None:
            note(describe_damage(line.number))
        else:
            print(line.text, flush=True)

    def end(self, reason: str) -> None:
        if reason == CUT_OFF:
            note("its search was cut off")


def describe_damage(number: int) -> str:
    """Return what is said of a damaged line."""
    return f"journal: damaged lines skipped: {number}"


class _Watch:
    """Looks at a run again and again, and remembers what it has seen."""

    def __init__(self, run: Path, printer: Printer, clock: Callable[[], float]) -> None:
        self._run = run
        self._printer = printer
        self._tail = JournalTail(run / columns.JOURNAL_FILE)
        self._driver = _Driver(run / columns.LOCK_FILE, clock)
        self._reason: str | None = None
        self._has_recorded = False
        self._was_quiet = False

    def begin(self) -> None:
        """Tell of what has happened before."""
        lines = self._tail.read()
        if not lines:
            note(f"waiting: nothing is recorded in {self._run} yet")
            return
        self._take_in(lines)
        self._printer.begin(lines)
        if self._reason is not None and self._driver.is_alive():
            note(f"its search has ended ({self._reason}), its driver is at work still: waiting")

    def poll(self) -> str | None:
        """Tell of what is new; return why the search is over, None while it goes on."""
        # Looked at before the journal: what a driver writes last is read before it is missed.
        is_alive = self._driver.is_alive()
        lines = self._tail.read()
        self._take_in(lines)
        for line in lines:
            self._printer.print_line(line)
        is_quiet = self._has_recorded and not (lines or is_alive)
        # Twice: while another driver takes a lock over it is not there for a moment.
        is_cut_off = is_quiet and self._was_quiet
        self._was_quiet = is_quiet
        if self._reason is not None and (lines or is_quiet):
            return self._reason
        return CUT_OFF if is_cut_off else None

    def _take_in(self, lines: Sequence[JournalLine]) -> None:
        self._has_recorded |= bool(lines)
        for event in (line.event for line in lines if line.event is not None):
            if event["event"] == "search_ended":
                self._reason = str(event["reason"])
            elif event["event"] == "search_resumed":
                self._reason = None


class _Driver:
    """The driver of a run, by the beat of its lock."""

    def __init__(self, lock: Path, clock: Callable[[], float]) -> None:
        self._lock = lock
        self._clock = clock
        self._beat: float | None = None
        self._quiet_polls = 0

    def is_alive(self) -> bool:
        """Tell whether it has shown lately that it lives."""
        try:
            beat = self._lock.stat().st_mtime
        except OSError:
            return False
        is_new = beat != self._beat or abs(self._clock() - beat) < DEAD_AFTER_SECONDS
        self._beat, self._quiet_polls = beat, 0 if is_new else self._quiet_polls + 1
        return self._quiet_polls < QUIET_POLLS


def _check(run: Path) -> None:
    """Make sure that a folder is a run, or can become one."""
    if not run.is_dir():
        raise RunFolderError(
            f"{str(run)!r} is no folder: expected a run, as `fmnist-search run` makes it."
        )
    names = {entry.name for entry in run.iterdir()}
    if columns.JOURNAL_FILE in names:
        return
    if columns.TRIALS_FILE in names:
        raise RunFolderError(
            f"{str(run)!r} has no {columns.JOURNAL_FILE}: there is nothing to follow."
        )
    # What a search makes before it records anything.
    begun = {columns.RUN_FILE, columns.LOCK_FILE, columns.CHECKPOINTS_DIR}
    if names and not names & begun:
        raise RunFolderError(f"{str(run)!r} is no run: it has no {columns.JOURNAL_FILE}.")
