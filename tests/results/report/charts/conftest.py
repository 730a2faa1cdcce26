"""A run whose charts have something to show."""

import made_up
import pytest

from results.reading import read_run


@pytest.fixture(scope="session")
def made_up_run(tmp_path_factory):
    """A made-up run of 60 trials, as it was read."""
    return read_run(made_up.made_up_run(tmp_path_factory.mktemp("charts") / "run", trials=60))
