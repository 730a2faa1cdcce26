"""What the parts of the engine share while a search runs."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from search.errors import SearchError
from search.session.session import DeferredSession, Session


@dataclass
class SearchState:
    """How far a search is, on the Ray that runs now.

    Attributes:
        deferred: The session, which opens once the space is known.
        unfinished: Numbers of the trials that are to be continued.
        begun: Of Ray's trials, the ids of those that have a process.
        ray_lost: Why Ray must be started anew; None while it runs.
        error: What must end the search, as it was raised.
    """

    deferred: DeferredSession
    unfinished: deque[int] = field(default_factory=deque)
    begun: set[str] = field(default_factory=set)
    ray_lost: str | None = None
    error: SearchError | None = None

    @property
    def session(self) -> Session | None:
        """The session; None while the space is not known."""
        return self.deferred.session

    @property
    def opened(self) -> Session:
        """The session, which is open: there are trials."""
        assert self.deferred.session is not None
        return self.deferred.session

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep an error that passes: Ray Tune makes it the text of an error of its own."""
        try:
            yield
        except SearchError as error:
            self.error = error
            raise
