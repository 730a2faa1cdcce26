"""How a file of a run is written and read: whole, or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results.record.errors import RunFolderError


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` when the block ends well.

    A reader, a kill or a full disk never meets a half-written ``path``.

    Raises:
        RunFolderError: It could not be written.
    """
    fresh = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield fresh
        _sync(fresh)
        os.replace(fresh, path)
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be written ({os.strerror(error.errno or 0)}): what stood there is "
            "kept. Make room on that disk."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file beside its place and move it there."""
    with beside(path) as fresh:
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
