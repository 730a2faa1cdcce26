"""Errors of a run and its record.

Each message says what came and where, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class SearchError(Exception):
    """Base class of the errors of ``search`` and ``results``; a command prints it as one line.

    Attributes:
        exit_status: Exit status of the command.
    """

    exit_status = 2


class RunFolderError(SearchError):
    """A run folder is missing, in use, damaged or not writable."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a "Did you mean ...?" hint at the known name nearest to ``name``, or nothing."""
    matches = difflib.get_close_matches(name, [str(known_name) for known_name in known], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
