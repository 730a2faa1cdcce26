"""What a person sees while a search runs: the live view, or lines where there is no screen."""

from collections.abc import Mapping
from typing import Protocol

from rich.console import Console

from results.record.history import History
from results.record.journal import Event
from search.plan.plan import Plan
from search.storage.clock import Clock
from search.view.live import LiveView
from search.view.plain import PlainView


class View(Protocol):
    """Shown a run; computes nothing that is kept."""

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""

    def begin(self, plan: Plan, history: History, clock: Clock) -> None:
        """Show a search from now on."""

    def tell(self, event: Event) -> None:
        """Take notice of an event."""

    def tick(self) -> None:
        """Bring what moves up to date."""

    def end(self) -> None:
        """Stop showing the search."""

    def progress(self, done: Mapping[int, int]) -> None:
        """Show how far the retrainings are: epochs done, by epochs planned."""


def make_view(console: Console) -> View:
    """Return the view that fits the console."""
    return LiveView(console) if console.is_terminal else PlainView(console)
