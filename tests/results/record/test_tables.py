"""The tables of a run, of this version and of former ones."""

import pyarrow as pa
import pytest

from results.record.tables import with_scheduler


def test_tables_of_0_1_0_get_their_column_of_schedulers():
    old = pa.table({"trial": [0, 1], "state": ["completed", "stopped by ASHA"], "epochs": [3, 1]})
    new = with_scheduler(old)
    assert new.column_names == ["trial", "state", "scheduler", "epochs"]
    assert new["state"].to_pylist() == ["completed", "stopped"]
    assert new["scheduler"].to_pylist() == [None, "asha"]
    assert with_scheduler(new) == new


def test_a_state_that_no_trial_can_have_is_refused():
    with pytest.raises(ValueError, match="'gone' is not a valid State"):
        with_scheduler(pa.table({"state": ["gone"]}))
