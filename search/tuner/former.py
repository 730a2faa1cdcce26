"""Keeps the former content of a project folder beside it, the newest as ``NAME.previous``."""

import os
import shutil
from collections.abc import Iterator
from itertools import chain, count, pairwise
from pathlib import Path

from results.record.columns import JOURNAL_FILE, RUN_FILE
from search.errors import UsageError
from search.session.warm_start import KERAS_TUNER_FILE, is_keras_tuner_project

# How many former runs ``overwrite=True`` keeps.
MAX_FORMER_RUNS = 3


def holds_run(path: Path) -> bool:
    """Tell whether a folder holds a run of this program."""
    return (path / RUN_FILE).exists() or (path / JOURNAL_FILE).exists()


def move_away(path: Path, most: int | None = None) -> Path:
    """Rename a project folder to ``NAME.previous``; that one to ``NAME.previous-2``, and so on.

    Each folder is renamed, the oldest first, so that a process killed in between loses none. Only
    the oldest of ``most`` is deleted, to make room. A name is left out if what has it is neither a
    run nor a project of keras-tuner.

    Args:
        path: The project folder.
        most: How many former ones to keep; None: all.

    Returns:
        The new path.

    Raises:
        UsageError: The oldest cannot be deleted, or a folder cannot be renamed.
    """
    slots = list(_slots_to_fill(path, most))
    try:
        if not _is_free(slots[-1]):
            _delete(slots[-1])
        for older, newer in pairwise(reversed([path, *slots])):
            newer.rename(older)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be moved to {slots[0].name!r} ({error.filename}: "
            f"{error.strerror}). Move it away yourself, or choose another project_name."
        ) from error
    return slots[0]


def _slots_to_fill(path: Path, most: int | None) -> Iterator[Path]:
    """Yield the names of former runs, from the newest to the first free one or the last allowed."""
    suffixes = chain([".previous"], map(".previous-{}".format, count(2)))
    paths = (path.with_name(path.name + suffix) for suffix in suffixes)
    slots = (slot for slot in paths if _is_free(slot) or _is_project(slot))
    for number, slot in enumerate(slots, start=1):
        yield slot
        if number == most or _is_free(slot):
            return


def _is_free(path: Path) -> bool:
    """Tell whether a folder can be renamed to this path: nothing is there, or an empty folder."""
    if not path.is_dir():
        return not os.path.lexists(path)
    return not path.is_symlink() and not any(path.iterdir())


def _is_project(path: Path) -> bool:
    return holds_run(path) or is_keras_tuner_project(path)


def _delete(path: Path) -> None:
    """Delete a project; the files by which it is recognized last, so that the next call can finish.

    Of a link, only the link is removed.
    """
    if path.is_symlink():
        path.unlink()
        return
    entries = sorted(path.iterdir(), key=_is_mark)
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    path.rmdir()


def _is_mark(entry: Path) -> bool:
    return entry.name in (RUN_FILE, JOURNAL_FILE, KERAS_TUNER_FILE)
