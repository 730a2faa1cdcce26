"""What can go wrong in a search, under one root.

Each message says what came and where, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class SearchError(Exception):
    """Root of this room's errors; a command shows it as one line and ends with status 2."""

    exit_status = 2


class UsageError(SearchError):
    """What was asked cannot be done as it was asked; found before any work started."""


class ProblemError(SearchError):
    """The hypermodel or the data cannot be loaded or are not what a search needs."""


class ObjectiveError(SearchError):
    """No epoch reports the objective that was asked for."""


class AllTrialsFailedError(SearchError):
    """The first trials all failed in the same way, or no trial reported one epoch."""

    exit_status = 1


class TrainingError(SearchError):
    """Retraining or evaluating the best configuration failed."""

    exit_status = 1


class RunFolderError(SearchError):
    """A run folder is missing, taken, or does not hold what is needed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say the known name nearest to ``name``, as a hint to put behind a message, or nothing."""
    matches = difflib.get_close_matches(name, [str(one) for one in known], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
