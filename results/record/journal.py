"""The journal: all events of a run, each a JSON line with a checksum.

Each line is passed to the operating system immediately, so a killed process loses nothing. The file
is synced to disk at least every second while events occur, and at the end of each trial.
"""

import json
import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.columns import STOPPED_BY_ASHA, Ending
from results.record.errors import RunFolderError

VERSION = 2
# In version 1, the state of a stopped trial contained the scheduler. Version 0.1.0 of this program
# only reads version 1 and reports an error for any other.
READABLE = (1, VERSION)
SYNC_SECONDS = 1.0
# Events that are synced at once, so that not even a power failure loses them.
SYNCED_EVENTS = frozenset({"search_started", "search_resumed", "trial_ended", "search_ended"})

Event = dict[str, Any]


class Journal:
    """Appends events to a run's journal.

    Args:
        path: The file; created if it does not exist, else appended to.
        clock: Returns seconds; decides when the file is synced.
        guard: Called before each event; raises if another driver has taken over the run.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._guard = guard
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._end_torn_line()
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written ({error.strerror}).") from error
        self._synced_at = clock()

    def append(self, event: Event) -> None:
        """Append an event as one whole line, in one call to the operating system.

        Raises:
            RunFolderError: The event cannot be written, for example because the disk is full.
        """
        self._guard()
        line = encode(event)
        try:
            size = os.fstat(self._handle).st_size
            written = os.write(self._handle, line)
            if written == len(line):
                self._sync_when_due(event)
                return
            os.ftruncate(self._handle, size)  # a torn line would damage the next one too
            reason = f"only {written} of {len(line)} bytes were written"
        except OSError as error:
            reason = str(error.strerror)
        raise RunFolderError(
            f"{self._path} cannot be written ({reason}): its earlier events are kept. "
            "Free disk space."
        )

    def close(self) -> None:
        """Sync the file to disk and close it."""
        os.fsync(self._handle)
        os.close(self._handle)

    def _end_torn_line(self) -> None:
        """End a torn last line, so that it does not damage the next one."""
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")

    def _sync_when_due(self, event: Event) -> None:
        now = self._clock()
        if event["event"] in SYNCED_EVENTS or now - self._synced_at >= SYNC_SECONDS:
            os.fsync(self._handle)
            self._synced_at = now


@dataclass(frozen=True)
class JournalContent:
    """The content of a journal.

    Attributes:
        events: The events of the intact lines, in order.
        damaged_lines: Numbers of the torn or altered lines, from 1.
    """

    events: tuple[Event, ...]
    damaged_lines: tuple[int, ...]


def encode(event: Event) -> bytes:
    """Return an event as a line: JSON with the CRC-32 of its other members as ``crc``."""
    body = {"version": VERSION, **event}
    return _json({**body, "crc": _checksum(body)}).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Return the event of a line, converted from version 1 if needed.

    Raises:
        ValueError: The line is torn or altered.
    """
    body = json.loads(line)
    if not isinstance(body, dict) or body.pop("crc", None) != _checksum(body):
        raise ValueError("checksum does not match")
    if not {"version", "event"} <= set(body):
        raise ValueError("it has no version or no event")
    if body["version"] == 1 and body.get("state") == STOPPED_BY_ASHA:
        ending = Ending.read(STOPPED_BY_ASHA)
        return body | {"state": ending.state, "scheduler": ending.scheduler}
    return body


def describe_damage(numbers: Sequence[int | str]) -> str:
    """Return the message about damaged lines.

    Args:
        numbers: The numbers of the lines, from 1.
    """
    lines = "lines" if len(numbers) > 1 else "line"
    return f"journal: skipped damaged {lines} {', '.join(map(str, numbers))}"


def read(path: Path) -> JournalContent:
    """Read a journal; skip damaged lines.

    Raises:
        RunFolderError: The file cannot be read, or a newer version of this program wrote it.
    """
    try:
        return parse(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path} is missing: it records the search. Restore it; without it fmnist-results "
            "shows the tables that are there, but the run cannot be continued."
        ) from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}.") from error


def parse(content: bytes, path: Path) -> JournalContent:
    """Return the events of a journal's content.

    Raises:
        RunFolderError: A newer version of this program wrote it; the message names ``path``.
    """
    lines = content.splitlines()
    events = [read_line(line, path, number) for number, line in enumerate(lines, start=1)]
    return JournalContent(
        events=tuple(event for event in events if event is not None),
        damaged_lines=tuple(n for n, event in enumerate(events, start=1) if event is None),
    )


def read_line(line: bytes, path: Path, number: int) -> Event | None:
    """Return the event of a line of a journal; None if the line is torn or altered.

    Raises:
        RunFolderError: A newer version of this program wrote it; the message names ``path`` and
            ``number``.
    """
    try:
        event = decode(line)
    except (ValueError, RecursionError):  # also covers JSON and UTF-8 errors
        return None
    if event["version"] not in READABLE:
        raise RunFolderError(
            f"{path}, line {number}: the format is version {event['version']}, but this program "
            f"reads versions {' and '.join(map(str, READABLE))}. Use a newer version."
        )
    return event


def _checksum(body: Event) -> str:
    return f"{zlib.crc32(_json(body).encode()):08x}"


def _json(body: Event) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
