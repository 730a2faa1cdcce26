"""Follow the journal of a run and print each new event."""

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
from results.record.journal import Event, describe_damage, read_line

POLL_SECONDS = 0.5
# Polls without a change of an old lock file before its driver is considered dead. One poll is not
# enough: the file is old after a machine has slept, and another machine's clock may differ.
QUIET_POLLS = 10


@dataclass(frozen=True)
class JournalLine:
    """A complete line of a journal.

    Attributes:
        number: Number of the line, from 1.
        text: The line.
        event: Its event; None if the line is torn or altered.
    """

    number: int
    text: str
    event: Event | None


class JournalTail:
    """Reads a growing journal; returns each line once, when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> list[JournalLine]:
        """Return the lines that were completed since the last call.

        Raises:
            RunFolderError: The journal was removed or replaced, or its format is newer.
        """
        # An incomplete last line is read again next time, because its writer may remove it.
        lines, newline, _ = self._read_rest().rpartition(b"\n")
        self._offset += len(lines) + len(newline)
        return [self._line(content) for content in lines.split(b"\n")] if newline else []

    def _read_rest(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size >= self._offset:
                    file.seek(self._offset)
                    return file.read()
        except FileNotFoundError:
            if self._offset == 0 and self._path.parent.is_dir():
                return b""
            raise RunFolderError(
                f"{self._path.parent} was removed or moved: there is nothing left to follow."
            ) from None
        except OSError as error:
            raise RunFolderError(f"{self._path} cannot be read: {error.strerror}.") from error
        raise RunFolderError(
            f"{self._path} became shorter: another run has replaced it. Run the command "
            "again to follow that."
        )

    def _line(self, content: bytes) -> JournalLine:
        self._number += 1
        event = read_line(content, self._path, self._number)
        return JournalLine(self._number, content.decode(errors="replace"), event)


class Printer(Protocol):
    """Prints the events of a run."""

    def begin(self, lines: Sequence[JournalLine]) -> None:
        """Print what happened before the command started."""

    def print_line(self, line: JournalLine) -> None:
        """Print a new line of the journal."""

    def end(self, reason: str) -> None:
        """Print why the search ended, or that it was cut off."""


def follow_run(
    folder: Path,
    printer: Printer,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Print the events of a run until its search ends; wait if nothing is recorded yet.

    Args:
        folder: The run folder.
        printer: Prints the events.
        clock: Returns the time in seconds, comparable with the file system's times.
        sleep: Waits for a number of seconds.

    Returns:
        Why the search ended; ``CUT_OFF`` if its driver died.

    Raises:
        RunFolderError: The folder is no run, or it was removed or replaced.
    """
    _check_folder(folder)
    watch = _Watch(folder, printer, clock)
    watch.begin()
    reason = watch.poll()
    while reason is None:
        sleep(POLL_SECONDS)
        reason = watch.poll()
    printer.end(reason)
    return reason


def note(text: str) -> None:
    """Print a message about the following itself, not about the run."""
    print(text, file=sys.stderr, flush=True)


class JsonPrinter:
    """Prints every line of the journal, a JSON object each, earlier events included."""

    def begin(self, lines: Sequence[JournalLine]) -> None:
        for line in lines:
            self.print_line(line)

    def print_line(self, line: JournalLine) -> None:
        if line.event is None:
            note(describe_damage([line.number]))
        else:
            print(line.text, flush=True)

    def end(self, reason: str) -> None:
        if reason == CUT_OFF:
            note("the search was cut off")


class _Watch:
    """Polls the journal and the driver of a run."""

    def __init__(self, folder: Path, printer: Printer, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._printer = printer
        self._tail = JournalTail(folder / columns.JOURNAL_FILE)
        self._driver = _Driver(folder / columns.LOCK_FILE, clock)
        self._reason: str | None = None
        self._has_recorded = False
        self._was_quiet = False

    def begin(self) -> None:
        """Print what happened before the command started."""
        lines = self._tail.read()
        if not lines:
            note(f"waiting: nothing is recorded in {self._folder} yet")
            return
        self._apply(lines)
        self._printer.begin(lines)
        if self._reason is not None and self._driver.is_alive():
            note(f"waiting: the search has ended ({self._reason}), but its driver still works")

    def poll(self) -> str | None:
        """Print what is new; return why the search ended, or None while it continues."""
        # The driver is checked first, so that its last events are read before it counts as dead.
        is_alive = self._driver.is_alive()
        lines = self._tail.read()
        self._apply(lines)
        for line in lines:
            self._printer.print_line(line)
        is_quiet = self._has_recorded and not (lines or is_alive)
        # Two quiet polls: the lock file is missing for a moment while another driver takes it over.
        is_cut_off = is_quiet and self._was_quiet
        self._was_quiet = is_quiet
        if self._reason is not None and (lines or is_quiet):
            return self._reason
        return CUT_OFF if is_cut_off else None

    def _apply(self, lines: Sequence[JournalLine]) -> None:
        self._has_recorded |= bool(lines)
        for event in (line.event for line in lines if line.event is not None):
            if event["event"] == "search_ended":
                self._reason = str(event["reason"])
            elif event["event"] == "search_resumed":
                self._reason = None


class _Driver:
    """The driver of a run, known by its lock file, which it touches regularly."""

    def __init__(self, lock: Path, clock: Callable[[], float]) -> None:
        self._lock = lock
        self._clock = clock
        self._touched_at: float | None = None
        self._quiet_polls = 0

    def is_alive(self) -> bool:
        """Tell whether the driver has touched its lock file recently."""
        try:
            touched_at = self._lock.stat().st_mtime
        except OSError:
            return False
        is_recent = abs(self._clock() - touched_at) < DEAD_AFTER_SECONDS
        is_new = is_recent or touched_at != self._touched_at
        self._touched_at, self._quiet_polls = touched_at, 0 if is_new else self._quiet_polls + 1
        return self._quiet_polls < QUIET_POLLS


def _check_folder(folder: Path) -> None:
    """Check that a folder is a run, or that a search is about to start in it."""
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise RunFolderError(
            f"{str(folder)!r} {problem}: expected a run folder that `fmnist-search run` made."
        )
    names = {entry.name for entry in folder.iterdir()}
    if columns.JOURNAL_FILE in names:
        return
    if columns.TRIALS_FILE in names:
        raise RunFolderError(
            f"{str(folder)!r} has no {columns.JOURNAL_FILE}: there is nothing to follow."
        )
    # Files that a search creates before its journal.
    first_files = {columns.RUN_FILE, columns.LOCK_FILE, columns.CHECKPOINTS_DIR}
    if names and not names & first_files:
        raise RunFolderError(
            f"{str(folder)!r} is not a run folder: it has no {columns.JOURNAL_FILE}."
        )
