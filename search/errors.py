"""What can go wrong in a search, under one root.

Each message says what came and where, what was expected and what to do.
"""

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path

from results.record.errors import RunFolderError as RunFolderError
from results.record.errors import SearchError as SearchError
from results.record.errors import nearest as nearest

MAX_MESSAGE_CHARACTERS = 400
# Where Python keeps what is not the user's own.
LIBRARIES = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}


class UsageError(SearchError, ValueError):
    """What was asked cannot be done as it was asked; found before any work started."""


class ProblemError(SearchError):
    """The hypermodel or the data cannot be loaded or are not what a search needs."""


class ObjectiveError(SearchError):
    """No epoch reports the objective that was asked for."""


def raise_any(problems: Collection[str]) -> None:
    """Refuse what was asked by a UsageError that names every problem, a line each."""
    if problems:
        raise UsageError("\n".join(problems))


class AllTrialsFailedError(SearchError):
    """The first trials all failed in the same way, or no trial reported one epoch."""

    exit_status = 1


class FatalTrialError(SearchError):
    """A trial raised what keras-tuner calls fatal: an error that every trial would meet.

    Attributes:
        kind: Name of keras-tuner's error class.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class NewEntriesError(SearchError, RuntimeError):
    """A build asked for a parameter, and new ones are not allowed."""


class FailureLimitError(SearchError, RuntimeError):
    """So many trials failed in a row that the search was told to end."""

    exit_status = 1


class RayLostError(SearchError):
    """Ray has ended on this machine; what ran is unfinished and can be gone on with."""

    exit_status = 1


class TrainingError(SearchError):
    """Retraining or evaluating the best configuration failed."""

    exit_status = 1


def one_line(error: BaseException) -> str:
    """Return ``ErrorType: message`` in one line without colours, for a table or a screen."""
    words = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()
    text = " ".join(words) or "no message"
    return f"{type(error).__name__}: {textwrap.shorten(text, MAX_MESSAGE_CHARACTERS)}"


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback, the lines of the user's own code first."""
    whole = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_a_librarys(frame.filename)]
    if not own or len(own) == len(frames):
        return whole
    lines = "".join(traceback.format_list(own))
    return f"In your own code:\n{lines}{one_line(error)}\n\nIn full:\n{whole}"


def _is_a_librarys(filename: str) -> bool:
    path = Path(filename)
    ours = path.is_relative_to(Path(__file__).parent)
    return ours or filename.startswith("<") or any(path.is_relative_to(one) for one in LIBRARIES)


def objective_not_reported(name: str, reported: Iterable[str]) -> str:
    """Return the message that tells what is reported in the place of an objective."""
    known = sorted(reported)
    return (
        f"objective {name!r} is reported by no epoch: expected one of "
        f"{', '.join(known)}.{nearest(name, known)}"
    )
