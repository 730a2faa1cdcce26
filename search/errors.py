"""The errors of a search, under one base class.

Each message says what came and where, what was expected, and what to do.
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
# Folders of the standard library and of installed packages.
LIBRARY_FOLDERS = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}

# What Keras 3 writes around the error of a layer.
LAYER_ERROR = re.compile(
    r"Exception encountered when calling (?P<layer>.+?)\.\s*\n\n(?P<reason>.*)\n\n"
    r"Arguments received by [^\n]*:\n(?P<inputs>.*)",
    re.DOTALL,
)
# An error while TensorFlow 2 runs a graph: the nodes and where they were defined, the reason below.
GRAPH_ERROR = "Graph execution error:"
GRAPH_NODE = re.compile(r"Detected at node '?([^\s']+)'? defined at")
# The lines that are no reason.
GRAPH_STACK = re.compile(
    rf"{GRAPH_ERROR}|Detected at node|<stack traces unavailable>|The op is created at:"
    r"|Traceback \(most recent call last\)|\s*File \"|\s{4,}|\d+ root error\(s\) found"
    r"|\d+ successful operations|\d+ derived errors ignored|\s*\[\[|\s*tf2xla conversion failed"
)
IN_GRAPH = "(in the graph at"
# Marks of nodes and operations, and the labels of a whole batch.
GRAPH_MARKS = re.compile(
    r"\{\{function_node [^}]*\}\}\s*|\[\[\{\{node .*?\]\]|(?<=\))\{\{node [^}]*\}\}"
    r"|^\s*\(\d+\) [A-Z_]+:\s*|\s*\[Op:[^\]]*\](\s*name:[^\n]*)?"
    r"|\s*Label values:[ \d-]*",
    re.MULTILINE,
)


class UsageError(SearchError, ValueError):
    """A request that cannot be carried out; it is raised before any work starts."""


class ProblemError(SearchError):
    """A hypermodel or data that cannot be loaded, or that a search cannot use."""


class ObjectiveError(SearchError):
    """An objective that no epoch reports."""


def raise_any(problems: Collection[str]) -> None:
    """Raise a UsageError that lists the problems, one per line, if there are any."""
    if problems:
        raise UsageError("\n".join(problems))


class AllTrialsFailedError(SearchError, RuntimeError):
    """The first trials all failed with the same error, or no trial reached a finite objective."""

    exit_status = 1


class FatalTrialError(SearchError):
    """A trial raised a fatal error: one that every other trial would raise too.

    Attributes:
        kind: Class name of the error, such as ``FatalValueError`` of keras-tuner.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class NewEntriesError(SearchError, RuntimeError):
    """A build registered a new hyperparameter although ``allow_new_entries`` is False."""


class FailureLimitError(SearchError, RuntimeError):
    """``max_consecutive_failed_trials`` trials failed in a row."""

    exit_status = 1


class RayLostError(SearchError):
    """Ray ended on this machine during the search; ``resume`` continues the unfinished trials."""

    exit_status = 1


class TrainingError(SearchError):
    """The best configuration could not be retrained or evaluated."""

    exit_status = 1


def one_line(error: BaseException) -> str:
    """Return ``ErrorType: message`` in one line, without colour codes and shortened.

    The reason of an error of TensorFlow or of a Keras layer comes first, then where it occurred.
    """
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = " ".join(_reason_first(message).split()) or "no message"
    return f"{type(error).__name__}: {textwrap.shorten(text, MAX_MESSAGE_CHARACTERS)}"


def without_data(line: str | None) -> str | None:
    """Return the line of an error without numbers if it is of a graph: they are those of the data.

    Trials see the data in different orders, so that the same mistake shows different numbers.
    """
    return re.sub(r"\d+", "#", line) if line is not None and IN_GRAPH in line else line


def _reason_first(message: str) -> str:
    """Return a message with the reason before the layer or the node of the graph."""
    layer = LAYER_ERROR.fullmatch(message)
    if layer is not None:
        inputs = ", ".join(layer["inputs"].replace("•", "").split("\n")).strip(", ")
        return f"{_without_marks(layer['reason'])} (in {layer['layer']}: {inputs})"
    if not message.startswith(GRAPH_ERROR):
        return _without_marks(message)
    lines = [line for line in message.splitlines() if not GRAPH_STACK.match(line)]
    # An error of the user's Python code stands above and below its traceback.
    reasons = dict.fromkeys(_without_marks(line).strip() for line in lines)
    reason = " ".join(reasons).strip()
    node = GRAPH_NODE.search(message)
    if not reason:
        return message
    return f"{reason} {IN_GRAPH} {node[1]})" if node else reason


def _without_marks(text: str) -> str:
    """Return a text of TensorFlow without the marks of its nodes and operations."""
    return GRAPH_MARKS.sub("", text)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, with the frames of the user's own code first."""
    full_traceback = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if not _is_library_file(frame.filename)]
    if not user_frames or len(user_frames) == len(frames):
        return full_traceback
    lines = "".join(traceback.format_list(user_frames))
    return f"In your code:\n{lines}{one_line(error)}\n\nFull traceback:\n{full_traceback}"


def _is_library_file(filename: str) -> bool:
    path = Path(filename)
    folders = {Path(__file__).parent, *LIBRARY_FOLDERS}
    return filename.startswith("<") or any(path.is_relative_to(folder) for folder in folders)


def objective_not_reported(name: str, reported: Iterable[str]) -> str:
    """Return the message for an objective that is not among the metrics that epochs report."""
    metrics = sorted(reported)
    return (
        f"objective {name!r} is not reported by any epoch: expected one of "
        f"{', '.join(metrics)}.{nearest(name, metrics)}"
    )
