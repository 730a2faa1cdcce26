"""What a logger answers: it shows a search in another program while it runs.

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
    """Called with every event of a search.

    What it writes follows from the journal, so it never ends the search: where it cannot be
    written, that is said once, and the search goes on without it.

    Args:
        folder: The run.
        history: Brought up to date before an event comes here.
        say: Called with a line for the user.
        before: The events of a run that is resumed, as it was left.
    """

    def __init__(
        self,
        folder: RunFolder,
        history: History,
        say: Callable[[str], None],
        *,
        before: Iterable[Event] = (),
    ) -> None:
        self.folder = folder
        self.history = history
        self._say = say
        self._has_failed = False
        self.times = WallClock()
        for event in before:
            self.times.know(event)

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file or folder of the log, in the run folder."""

    @property
    @abstractmethod
    def command(self) -> str:
        """What a user types to look at it."""

    @abstractmethod
    def _write(self, event: Event) -> None:
        """Write what an event adds; it may be of a kind that only newer versions know."""

    @abstractmethod
    def _write_all(self) -> None:
        """Write what the history holds, in the place of what stands there."""

    def __call__(self, event: Event) -> None:
        """Write an event; of a run that is resumed, everything anew."""
        self.times.know(event)
        with self._search_goes_on():
            if event["event"] == "search_resumed":
                self._write_all()
            else:
                self._write(event)

    def write_all(self) -> None:
        """Write a run whose search has ended."""
        with self._search_goes_on():
            self._write_all()

    @contextlib.contextmanager
    def _search_goes_on(self) -> Iterator[None]:
        """Say the first error, and go on after it."""
        try:
            yield
        except Exception as error:  # of a foreign library, any
            if not self._has_failed:
                self._has_failed = True
                reason = getattr(error, "strerror", None) or one_line(error)
                self._say(
                    f"{os.path.relpath(self.path)} cannot be written ({reason}): the search goes "
                    "on, and nothing else is lost. To have the log whole, make that possible, and "
                    "resume the run once it has ended."
                )


class WallClock:
    """Tells the time of day of a journal's seconds, which run on over the sessions of a run."""

    def __init__(self) -> None:
        self._zeros: list[tuple[float, float]] = []

    def know(self, event: Event) -> None:
        """Learn from an event with which the run was begun or gone on with."""
        if "run" in event:
            newest = [event["run"], *event["run"].get("resumed", [])][-1]
            now = datetime.fromisoformat(newest["started_at"]).timestamp()
            self._zeros.append((event["at_seconds"], now - event["at_seconds"]))

    def at(self, seconds: float) -> float:
        """Return seconds since 1970; of a journal that lost its beginning, those of the search."""
        session = bisect_right(self._zeros, seconds, key=itemgetter(0)) - 1
        return seconds + (self._zeros[max(session, 0)][1] if self._zeros else 0.0)


def make_logger(
    plan: Plan,
    folder: RunFolder,
    history: History,
    say: Callable[[str], None],
    *,
    before: Iterable[Event],
) -> Logger | None:
    """Make the logger of a plan and say how to look at the log; None where it names none."""
    if plan.log is None:
        return None
    log: Logger = plan.log.load()(folder, history, say, before=before)
    say(f"log: {log.command}")
    return log
