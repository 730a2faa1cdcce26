"""The journal: every event of a run, one checksummed JSON line each.

A line is handed to the operating system at once, so a killed process loses nothing, and synced
to disk at least every second while events come and at the end of each trial.
"""

import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.columns import STOPPED_BY_ASHA, Ending
from results.record.errors import RunFolderError

VERSION = 2
# In version 1 the name of the scheduler was part of a stopped trial's state. Version 0.1.0 of the
# program reads that version alone, and refuses any other by name.
READABLE = (1, VERSION)
SYNC_SECONDS = 1.0
# Events after which nothing may be lost, not even to a power cut.
SYNCED_EVENTS = frozenset({"search_started", "search_resumed", "trial_ended", "search_ended"})

Event = dict[str, Any]


class Journal:
    """Appends events to a run's journal.

    Args:
        path: The file; it is made where it does not exist, and gone on with where it does.
        clock: Seconds, for the times at which it is synced.
        guard: Called before each event; raises where another driver has taken the run over.
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
        """Write one event, whole, in one call to the operating system.

        Raises:
            RunFolderError: It could not be written, for example because the disk is full.
        """
        self._guard()
        line = encode(event)
        try:
            size = os.fstat(self._handle).st_size
            written = os.write(self._handle, line)
            if written == len(line):
                self._sync_when_due(event)
                return
            os.ftruncate(self._handle, size)  # a torn line would cost the next one too
            reason = f"only {written} of {len(line)} bytes were taken"
        except OSError as error:
            reason = str(error.strerror)
        raise RunFolderError(
            f"{self._path} cannot be written ({reason}): what it holds is kept. "
            "Make room on that disk."
        )

    def close(self) -> None:
        """Sync to disk and close."""
        os.fsync(self._handle)
        os.close(self._handle)

    def _end_torn_line(self) -> None:
        """Put an end to a line that was cut off, so that it does not take the next one with it."""
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
    """What a journal holds.

    Attributes:
        events: The whole events, in order.
        damaged_lines: Numbers, from 1, of the lines that are torn or altered.
    """

    events: tuple[Event, ...]
    damaged_lines: tuple[int, ...]


def encode(event: Event) -> bytes:
    """Return the line of an event: its JSON with a CRC-32 of the rest as ``crc``."""
    body = {"version": VERSION, **event}
    return _json({**body, "crc": _checksum(body)}).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Return the event of a line; one of version 1 as this version writes it.

    Raises:
        ValueError: The line is torn or altered.
    """
    body = json.loads(line)
    if not isinstance(body, dict) or body.pop("crc", None) != _checksum(body):
        raise ValueError("checksum does not match")
    if not {"version", "event"} <= set(body):
        raise ValueError("no event")
    if body["version"] == 1 and body.get("state") == STOPPED_BY_ASHA:
        ending = Ending.read(STOPPED_BY_ASHA)
        return body | {"state": ending.state, "scheduler": ending.scheduler}
    return body


def read(path: Path) -> JournalContent:
    """Read a journal; a damaged line costs that line only.

    Raises:
        RunFolderError: The file cannot be read, or a newer version wrote it.
    """
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}.") from error


def parse(content: bytes, path: Path) -> JournalContent:
    """Return the events of a journal's content.

    Raises:
        RunFolderError: A newer version wrote it; ``path`` says which.
    """
    lines = content.splitlines()
    read_lines = [read_line(line, path, number) for number, line in enumerate(lines, start=1)]
    return JournalContent(
        events=tuple(event for event in read_lines if event is not None),
        damaged_lines=tuple(n for n, event in enumerate(read_lines, start=1) if event is None),
    )


def read_line(line: bytes, path: Path, number: int) -> Event | None:
    """Return the event of a journal's line; None where the line is torn or altered.

    Raises:
        RunFolderError: A newer version wrote it; ``path`` and ``number`` say where.
    """
    try:
        event = decode(line)
    except (ValueError, RecursionError):  # also covers JSON and UTF-8 errors
        return None
    if event["version"] not in READABLE:
        raise RunFolderError(
            f"{path}, line {number}: its format is version {event['version']}, this program reads "
            f"versions {' and '.join(map(str, READABLE))}. Use the version of this program that "
            "wrote it, or a newer."
        )
    return event


def _checksum(body: Event) -> str:
    return f"{zlib.crc32(_json(body).encode()):08x}"


def _json(body: Event) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
