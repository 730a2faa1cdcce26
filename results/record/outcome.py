"""What follows from a journal: both tables and best.json, at the end or anew."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record import columns
from results.record.errors import RunFolderError
from results.record.files import write_json
from results.record.history import EpochRecord, History
from results.record.journal import parse, read
from results.record.run_file import described_objective, is_whole, read_description
from results.record.tables import write_tables


@dataclass(frozen=True)
class Rebuilt:
    """What was damaged in a run that was rebuilt.

    Attributes:
        damaged_lines: Numbers of the journal's lines that are left out.
        run_file: What was done for run.json; None where it was whole.
    """

    damaged_lines: tuple[int, ...]
    run_file: str | None


def rebuild(run: Path) -> Rebuilt:
    """Write the tables and best.json of a run anew, and run.json where that is damaged.

    Raises:
        RunFolderError: The journal or what it repeats of run.json cannot be read, or a file cannot
            be written.
    """
    journal = run / columns.JOURNAL_FILE
    content = read(journal)
    description = read_description(run, content.events)
    objective = described_objective(run, description)
    note = None
    if not is_whole(run):
        write_json(run / columns.RUN_FILE, description)
        note = f"{columns.RUN_FILE} was missing or damaged: made anew from the journal"
    try:
        write_outcome(run, History.replay(objective, content.events))
    except (LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{journal} holds what this program does not write ({type(error).__name__}: {error})."
        ) from error
    return Rebuilt(content.damaged_lines, note)


def write_outcome(run: Path, history: History) -> None:
    """Write both tables and best.json.

    Args:
        run: The run folder, with its journal.
        history: That journal, folded.
    """
    journal = run / columns.JOURNAL_FILE
    content = journal.read_bytes()
    write_tables(
        run,
        history,
        journal_crc=zlib.crc32(content),
        damaged_lines=parse(content, journal).damaged_lines,
    )
    if history.best is not None:
        write_json(run / columns.BEST_FILE, best_record(history, history.best))


def best_record(history: History, best: EpochRecord) -> dict[str, Any]:
    """Return what best.json says of the best epoch, as JSON values."""
    return {
        "trial": best.trial,
        "epoch": best.epoch,
        "objective": history.objective.name,
        "value": best.objective,
        "at_seconds": best.at_seconds,
        "values": history.trials[best.trial].values,
    }
