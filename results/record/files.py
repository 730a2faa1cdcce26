"""How a file of a run is written and read: whole, or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from results.record.errors import RunFolderError

# What a person can do where a file of a run cannot be written, and where one of --out cannot.
MAKE_ROOM = "what stood there is kept. Make room on that disk."
NAME_ANOTHER_PLACE = "name another place with --out."


@contextmanager
def replacing(path: Path, *, advice: str = MAKE_ROOM) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` when the block ends well.

    A reader, a kill or a full disk never meets a half-written ``path``.

    Args:
        path: The file; its folder exists.
        advice: What to do where it cannot be written.

    Raises:
        RunFolderError: It could not be written.
    """
    fresh = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield fresh
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise _not_written(path, error, advice) from error
    finally:
        with suppress(OSError):  # its folder may be none
            fresh.unlink(missing_ok=True)


@contextmanager
def replacing_output(path: Path) -> Iterator[Path]:
    """Give a path to write to as ``replacing``, of a file that a user asked for: makes its folder.

    Raises:
        RunFolderError: It could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error, NAME_ANOTHER_PLACE) from error
    with replacing(path, advice=NAME_ANOTHER_PLACE) as fresh:
        yield fresh


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file beside its place and move it there."""
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}): expected a JSON file.") from error


def _not_written(path: Path, error: OSError, advice: str) -> RunFolderError:
    reason = os.strerror(error.errno or 0)
    return RunFolderError(f"{path} cannot be written ({reason}): {advice}")
