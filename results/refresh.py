"""What is missing, or older than the journal, is made anew before it is read.

The journal is read by the program that writes it alone: it is run as a process.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results import columns

PROGRAM = "fmnist-search"
# What it says of damage, in the lines that it begins with these words.
DAMAGE = ("journal: line", columns.RUN_FILE)


def refresh(run: Path) -> str | None:
    """Have the tables of a run written anew where they do not tell the whole journal.

    Returns:
        Why that could not be done, or what is damaged, for the user; None where all is well.
    """
    if is_current(run):
        return None
    beside_python = Path(sys.executable).with_name(PROGRAM)
    program = beside_python if beside_python.exists() else PROGRAM
    try:
        done = subprocess.run(
            [program, "tables", "--", run], capture_output=True, text=True, check=False, timeout=600
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"its tables cannot be made anew ({error}): what they tell may be old"
    if done.returncode == 0:
        damaged = [line for line in done.stdout.splitlines() if line.startswith(DAMAGE)]
        return "\n".join(damaged) or None
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
    size = str(journal.stat().st_size)
    return all(_told(run / name) == size for name in (columns.TRIALS_FILE, columns.EPOCHS_FILE))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _told(table: Path) -> str | None:
    try:
        known = pq.read_schema(table, memory_map=False).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    told: bytes | None = known.get(columns.JOURNAL_BYTES.encode())
    return None if told is None else told.decode(errors="replace")
