"""A run whose stopped trials are recorded as version 0.1.0 did is shown as a run of today."""

import shutil
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.record import columns
from results.record.columns import STOPPED_BY_ASHA, State
from results.record.journal import encode, read
from results.record.tables import is_current


@pytest.fixture
def old(plain, tmp_path):
    """The same run, in the words of version 0.1.0."""
    run = tmp_path / plain.name
    shutil.copytree(plain, run)
    journal = run / columns.JOURNAL_FILE
    journal.write_bytes(b"".join(encode(_as_before(event)) for event in read(journal).events))
    for name in (columns.TRIALS_FILE, columns.EPOCHS_FILE):
        table = pq.read_table(run / name)
        crc = {columns.JOURNAL_CRC: str(zlib.crc32(journal.read_bytes()))}
        if columns.STATE in table.column_names:
            states = table[columns.STATE].to_pylist()
            words = [STOPPED_BY_ASHA if state == State.STOPPED else state for state in states]
            table = table.set_column(1, columns.STATE, pa.array(words))
            table = table.drop_columns(columns.SCHEDULER)
        pq.write_table(table.replace_schema_metadata(crc), run / name)
    return run


def _as_before(event):
    before = {name: value for name, value in event.items() if name != "scheduler"}
    is_stopped = event.get("state") == State.STOPPED
    return before | {"version": 1} | ({"state": STOPPED_BY_ASHA} if is_stopped else {})


@pytest.mark.parametrize("output", ["table", "json"])
def test_its_trials_are_shown_as_those_of_today(results, plain, old, output):
    of_today = results("show", plain, "--format", output)
    assert of_today[0] == 0
    assert ("stopped by ASHA" in of_today[1]) == (output == "table")
    assert is_current(old)  # its tables are read as they are
    assert results("show", old, "--format", output) == of_today
    (old / columns.TRIALS_FILE).unlink()  # and made anew from its journal
    assert results("show", old, "--format", output) == of_today
    assert pq.read_table(old / columns.TRIALS_FILE) == pq.read_table(plain / columns.TRIALS_FILE)
