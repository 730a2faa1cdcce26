"""How a file of results is written: whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from results.reading import RunError


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` when the block ends well.

    The folder is made where there is none.

    Raises:
        RunError: It could not be written.
    """
    fresh = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        fresh.replace(path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}): name another place with --out."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
