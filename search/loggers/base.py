"""The base class of loggers, which show a running search in another program.

A new logger is a subclass of ``Logger`` and one line of ``search.plan.registry.Log``.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from operator import itemgetter
from pathlib import Path

from results.record.history import History
from results.record.journal import Event
from search.errors import one_line
from search.plan.plan import Plan
from search.storage.folder import RunFolder


class Logger(ABC):
    """A listener that writes the events of a search to a log in the run folder.

    A log that cannot be written does not end the search: the user gets one message, and the log
    can be restored from the journal.

    Args:
        folder: The run folder.
        history: The history, which already includes each event that is logged.
        say: Shows a line to the user.
        previous_events: The events of a resumed run before this session.
    """

    def __init__(
        self,
        folder: RunFolder,
        history: History,
        say: Callable[[str], None],
        *,
        previous_events: Iterable[Event] = (),
    ) -> None:
        self.folder = folder
        self.history = history
        self._say = say
        self._has_failed = False
        self.wall_clock = WallClock()
        for event in previous_events:
            self.wall_clock.observe(event)

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file or folder of the log, in the run folder."""

    @property
    @abstractmethod
    def command(self) -> str:
        """The command that shows the log."""

    @abstractmethod
    def _write(self, event: Event) -> None:
        """Write what an event adds; ignore kinds of events that this version does not know."""

    @abstractmethod
    def _write_all(self) -> None:
        """Replace the log by what the history holds."""

    def __call__(self, event: Event) -> None:
        """Write an event; at the start of a resumed search, write the whole log anew."""
        self.wall_clock.observe(event)
        with self._reporting_errors():
            if event["event"] == "search_resumed":
                self._write_all()
            else:
                self._write(event)

    def write_all(self) -> None:
        """Write the whole log of a run whose search has ended."""
        with self._reporting_errors():
            self._write_all()

    @contextlib.contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        """Suppress errors, and report the first one to the user."""
        try:
            yield
        except Exception as error:  # a foreign library may raise any
            if not self._has_failed:
                self._has_failed = True
                reason = getattr(error, "strerror", None) or one_line(error)
                self._say(
                    f"{os.path.relpath(self.path)} cannot be written ({reason}): expected a "
                    "writable folder with free space. The search continues without this log. To "
                    "complete the log, correct this, and resume the run after it has ended."
                )


class WallClock:
    """A converter of a journal's seconds, which continue over all sessions, to time of day."""

    def __init__(self) -> None:
        # By session: its first second in the journal, and the offset to seconds since 1970.
        self._sessions: list[tuple[float, float]] = []

    def observe(self, event: Event) -> None:
        """Learn the start of a session from its first event; ignore all other events."""
        if "run" in event:
            session = [event["run"], *event["run"].get("resumed", [])][-1]
            started_at = datetime.fromisoformat(session["started_at"]).timestamp()
            self._sessions.append((event["at_seconds"], started_at - event["at_seconds"]))

    def seconds_since_1970(self, journal_seconds: float) -> float:
        """Return the time of day; the journal's seconds if the journal lost its start."""
        if not self._sessions:
            return journal_seconds
        session = bisect_right(self._sessions, journal_seconds, key=itemgetter(0)) - 1
        return journal_seconds + self._sessions[max(session, 0)][1]


def make_logger(
    plan: Plan,
    folder: RunFolder,
    history: History,
    say: Callable[[str], None],
    *,
    previous_events: Iterable[Event],
) -> Logger | None:
    """Return the logger of a plan, and show its command; return None if the plan names none."""
    if plan.log is None:
        return None
    logger: Logger = plan.log.load()(folder, history, say, previous_events=previous_events)
    say(f"log: {logger.command}")
    return logger
