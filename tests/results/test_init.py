"""The names that a script imports from results."""

import pytest

import results
from results import compare, reading, record, run


def test_the_names_for_scripts_are_those_of_their_modules():
    assert results.read_run is reading.read_run
    assert results.row_of is run.row_of
    assert (results.Row, results.Run) == (run.Row, run.Run)
    assert results.ranked is compare.rows.ranked
    assert results.RunError is record.errors.RunFolderError


def test_every_name_that_is_announced_exists():
    missing = [name for name in results.__all__ if not hasattr(results, name)]
    assert not missing, f"results announces what it lacks: {missing}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'results' has no attribute 'read_runs'"):
        results.read_runs  # noqa: B018
