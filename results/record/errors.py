"""What can go wrong with a run and its record, for the person who asked.

Each message says what came and where, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class SearchError(Exception):
    """Root of the errors of ``search`` and ``results``; a command shows it as one line.

    Attributes:
        exit_status: With what a command ends.
    """

    exit_status = 2


class RunFolderError(SearchError):
    """A run folder is missing, taken or damaged, or cannot be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name nearest to ``name``, to put behind a message, or nothing."""
    matches = difflib.get_close_matches(name, [str(one) for one in known], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
