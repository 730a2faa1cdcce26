"""Whole searches that several files look at; they are not to be written to."""

import shutil

import pytest
from made_up_runs import ACCURACY, make_plan

from results.record.history import History
from results.record.tables import write_tables
from search.storage.folder import RunFolder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Return the folder and the history of an undisturbed search, by the name of its algorithm."""
    from made_up_searches import SPACE, MadeUpSearch  # imports Ray

    from search.algorithms.base import make_searcher

    runs = {}

    def of(algorithm, searcher=None):
        if algorithm not in runs:
            folder = RunFolder.create(tmp_path_factory.mktemp("whole") / algorithm)
            plan = make_plan(folder.path, algorithm=algorithm)
            searcher = searcher or make_searcher(plan, SPACE)
            runs[algorithm] = folder, MadeUpSearch(folder, searcher, History(ACCURACY)).run()
            write_tables(folder.path, runs[algorithm][1])
        return runs[algorithm]

    return of


@pytest.fixture
def copy(whole_run, tmp_path):
    """A copy of a search by random search, with its tables."""
    return RunFolder(shutil.copytree(whole_run("random")[0].path, tmp_path / "run"))
