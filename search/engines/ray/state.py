"""The state that the parts of the engine share while a search runs."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from search.session.session import DeferredSession, Session


@dataclass
class SearchState:
    """The state of a search on one Ray.

    Attributes:
        deferred: The session, opened once the space is known.
        unfinished: Numbers of the trials to continue.
        started_ray_ids: Ray's ids of the trials whose process has started.
        ray_loss: Why Ray must be started again; None while it runs.
        error: The error that ends the search; None if there is none.
    """

    deferred: DeferredSession
    unfinished: deque[int] = field(default_factory=deque)
    started_ray_ids: set[str] = field(default_factory=set)
    ray_loss: str | None = None
    error: Exception | None = None

    @property
    def session(self) -> Session | None:
        """The session; None before the space is known."""
        return self.deferred.session

    @property
    def open_session(self) -> Session:
        """The session, which must be open."""
        assert self.deferred.session is not None
        return self.deferred.session

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep a raised error, such as that of a user's hook: Ray Tune would replace it."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise
