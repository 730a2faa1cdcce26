"""What the parts of the engine share while a search runs."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from search.errors import SearchError
from search.session.session import DeferredSession, Session


@dataclass
class SearchState:
    """A search on the Ray that runs now.

    Attributes:
        deferred: The session, which opens once the space is known.
        unfinished: Numbers of the trials to continue.
        started: Ray's ids of the trials that have a process.
        ray_lost: Why Ray must be started again; None while it runs.
        error: The error that ends the search.
    """

    deferred: DeferredSession
    unfinished: deque[int] = field(default_factory=deque)
    started: set[str] = field(default_factory=set)
    ray_lost: str | None = None
    error: SearchError | None = None

    @property
    def session(self) -> Session | None:
        """The session; None before the space is known."""
        return self.deferred.session

    @property
    def opened(self) -> Session:
        """The session, once it is open."""
        assert self.deferred.session is not None
        return self.deferred.session

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep an error that is raised: Ray Tune turns it into text in an error of its own."""
        try:
            yield
        except SearchError as error:
            self.error = error
            raise
