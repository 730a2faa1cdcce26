"""What is missing, or older than the journal, is made anew before it is read.

The journal is read by the program that writes it alone: it is run as a process.
"""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.record import columns

PROGRAM = "fmnist-search"
# Begins its line on a run.json that was damaged.
DAMAGE = columns.RUN_FILE


def refresh(run: Path) -> str | None:
    """Have the tables of a run written anew where they do not tell the whole journal.

    Returns:
        Why that could not be done, or what is damaged, for the user; None where all is well.
    """
    if is_current(run):
        return _damage(run)
    beside_python = Path(sys.executable).with_name(PROGRAM)
    program = beside_python if beside_python.exists() else PROGRAM
    try:
        done = subprocess.run(
            [program, "tables", "--", run], capture_output=True, text=True, check=False, timeout=600
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"its tables cannot be made anew ({error}): what they tell may be old"
    if done.returncode == 0:
        of_run_json = [line for line in done.stdout.splitlines() if line.startswith(DAMAGE)]
        return "\n".join([*of_run_json, *filter(None, [_damage(run)])]) or None
    said = (done.stderr.strip().splitlines() or ["it left no word"])[-1].removeprefix("error: ")
    return f"its tables cannot be made anew ({said}): what they tell may be old"


def is_current(run: Path) -> bool:
    """Tell whether run.json is whole and both tables tell all that the journal does.

    So too where there is no journal, and so nothing to make them of.
    """
    journal = run / columns.JOURNAL_FILE
    if not journal.is_file():
        return True
    if not _is_json(run / columns.RUN_FILE):
        return False
    crc = str(zlib.crc32(journal.read_bytes()))
    tables = (columns.TRIALS_FILE, columns.EPOCHS_FILE)
    return all(_told(run / name, columns.JOURNAL_CRC) == crc for name in tables)


def _damage(run: Path) -> str | None:
    lines = _told(run / columns.TRIALS_FILE, columns.DAMAGED_LINES)
    return f"journal: damaged and left out: line {lines}" if lines else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _told(table: Path, name: str) -> str | None:
    try:
        known = pq.read_schema(table, memory_map=False).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    told: bytes | None = known.get(name.encode())
    return None if told is None else told.decode(errors="replace")
