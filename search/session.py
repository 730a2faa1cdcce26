"""What an engine works with once the space is known."""

from collections.abc import Callable
from dataclasses import dataclass

from search.folder import RunFolder
from search.recorder import Recorder
from search.searchers import Searcher
from search.space import Space


@dataclass(frozen=True)
class Session:
    """A search under way.

    Attributes:
        folder: The run folder, made and with its run.json.
        searcher: Chooses the configurations (the Ray engine asks it).
        recorder: Is told of everything that happens.
        on_tick: To be called several times a second.
    """

    folder: RunFolder
    searcher: Searcher
    recorder: Recorder
    on_tick: Callable[[], None]


# Called by an engine, once, as soon as it knows the space: nothing is written before.
Begin = Callable[[Space], Session]
