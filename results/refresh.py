"""What is missing, or older than the journal, is made anew before it is read."""

import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns
from results.record.errors import RunFolderError
from results.record.outcome import rebuild
from results.record.run_file import is_whole


def refresh(run: Path) -> str | None:
    """Write the tables of a run anew where they do not tell the whole journal.

    Returns:
        Why that could not be done, or what is damaged, for the user; None where all is well.
    """
    note = None
    if not is_current(run):
        try:
            note = rebuild(run).run_file
        except RunFolderError as error:
            return f"its tables cannot be made anew ({error}): what they tell may be old"
    lines = _metadata(run / columns.TRIALS_FILE, columns.DAMAGED_LINES)
    damage = f"journal: damaged and left out: line {lines}" if lines else None
    return "\n".join(filter(None, [note, damage])) or None


def is_current(run: Path) -> bool:
    """Tell whether run.json is whole and both tables tell all that the journal does.

    So too where there is no journal, and so nothing to make them of.
    """
    journal = run / columns.JOURNAL_FILE
    if not journal.is_file():
        return True
    if not is_whole(run):
        return False
    crc = str(zlib.crc32(journal.read_bytes()))
    tables = (columns.TRIALS_FILE, columns.EPOCHS_FILE)
    return all(_metadata(run / name, columns.JOURNAL_CRC) == crc for name in tables)


def _metadata(table: Path, name: str) -> str | None:
    """Return what a table says of itself by a name; None where it cannot be read."""
    try:
        metadata = pq.read_schema(table, memory_map=False).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    value: bytes | None = metadata.get(name.encode())
    return None if value is None else value.decode(errors="replace")
