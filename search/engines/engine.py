"""What an engine is to the rest of the program: it runs the trials of a search."""

from typing import Protocol

from search.plan.plan import Plan
from search.ray.renewable import Stored
from search.session.session import DeferredSession
from search.session.stopping import INTERRUPTED, TRIALS_DONE, Stopping


class SearchEngine(Protocol):
    """Runs the trials of a search."""

    @property
    def plan(self) -> Plan:
        """What was asked, for as many trials at once as there is room for."""

    @property
    def stored(self) -> Stored | None:
        """What all trials train on, in Ray's memory; None: the engine keeps it to itself."""

    def data_digest(self) -> str:
        """Return what equal data share; nothing where the engine's runs cannot be resumed."""

    def search(self, deferred: DeferredSession, stopping: Stopping) -> None:
        """Run trials until they are done or ``stopping`` says that the search must end.

        The session is opened with the space once it is known.
        """


def run_trials(engine: SearchEngine, deferred: DeferredSession, stopping: Stopping) -> str:
    """Run an engine's search, close the session that it opened, and return why it ended."""
    reason = "failed"
    try:
        engine.search(deferred, stopping)
        reason = stopping.reason or TRIALS_DONE
    except KeyboardInterrupt:
        if deferred.session is None:
            raise
        reason = INTERRUPTED
    finally:
        if deferred.session is not None:
            deferred.session.close(reason)
    return reason
