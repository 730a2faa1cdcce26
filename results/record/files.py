"""Read and write the files of a run; a write replaces the whole file or leaves it unchanged."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from results.record.errors import RunFolderError

# What a user can do if a file of a run, or a file named by --out, cannot be written.
FREE_DISK_SPACE = "nothing was changed. Free disk space, or check the permissions."
CHOOSE_ANOTHER_OUT = "choose another place with --out."


@contextmanager
def replacing(path: Path, *, advice: str = FREE_DISK_SPACE) -> Iterator[Path]:
    """Give a temporary path to write to; it replaces ``path`` if the block succeeds.

    ``path`` is never half-written, whether the process is killed or the disk is full.

    Args:
        path: The file; its folder exists.
        advice: End of the message if the file cannot be written: what to do.

    Raises:
        RunFolderError: The file cannot be written.
    """
    new_file = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield new_file
        with new_file.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new_file, path)
    except OSError as error:
        raise _not_written(path, error, advice) from error
    finally:
        with suppress(OSError):  # its folder may not exist
            new_file.unlink(missing_ok=True)


@contextmanager
def replacing_output(path: Path) -> Iterator[Path]:
    """Do as ``replacing`` for a file that the user named with --out; create its folder.

    Raises:
        RunFolderError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error, CHOOSE_ANOTHER_OUT) from error
    with replacing(path, advice=CHOOSE_ANOTHER_OUT) as new_file:
        yield new_file


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as new_file:
        new_file.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}): expected a JSON file.") from error


def _not_written(path: Path, error: OSError, advice: str) -> RunFolderError:
    reason = os.strerror(error.errno or 0)
    return RunFolderError(f"{path} cannot be written ({reason}): {advice}")
