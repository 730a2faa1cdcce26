"""A run with a final model and a name that is markup, for all tests of the report."""

import made_up
import pytest


@pytest.fixture(scope="session")
def retrained_folder(tmp_path_factory):
    """A run folder with a final model and its mistakes; not to be written to."""
    path = tmp_path_factory.mktemp("report") / "a <b>run"
    return made_up.retrained(made_up.made_up_run(path, trials=40))
