"""The folder of a tuner's project: what stands there goes on, is moved away, or is left alone."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from results.record.history import History, Objective
from search.errors import UsageError
from search.storage.folder import RunFolder
from search.tuner.project import Project, move_away
from search.view.view import View

ASSETS = Path(__file__).parents[2] / "assets" / "version-0.1.0"
ACCURACY = Objective("val_accuracy", "max")


class Screen(View):
    def __init__(self):
        self.file = io.StringIO()
        super().__init__(Console(file=self.file, width=400))

    @property
    def notes(self):
        return self.file.getvalue().splitlines()


@pytest.fixture
def project(tmp_path):
    """Make the project of a run that an asset holds; nothing stands there without one."""

    def make(asset=None, *, overwrites=False):
        if asset is not None:
            shutil.copytree(ASSETS / asset, tmp_path / "run")
            (tmp_path / "run" / "driver.lock").unlink(missing_ok=True)
        return Project(RunFolder(tmp_path / "run"), overwrites)

    return make


def history_of(project):
    return History.replay(ACCURACY, project.read_events(ACCURACY))


def test_a_search_that_has_a_result_continues(project):
    made = project("finished")
    assert made.is_continued(history_of(made))
    made.overwrites = True
    assert not made.is_continued(history_of(made))


def test_a_search_with_an_unfinished_trial_continues(project):
    history = History(ACCURACY)
    assert not project().is_continued(history)
    history.apply({"event": "trial_started", "trial": 0, "at_seconds": 1.0, "values": {}})
    assert project().is_continued(history)


def test_a_run_that_continues_is_locked_unchanged(project):
    made, screen = project("finished"), Screen()
    content = made.folder.journal_file.read_bytes()
    with made.lock(history_of(made), screen) as run:
        assert run.folder == made.folder
        assert made.folder.lock_file.exists()
    assert not made.folder.lock_file.exists()
    assert made.folder.journal_file.read_bytes() == content
    assert screen.notes == []


def test_an_overwritten_run_is_moved_away_and_the_user_learns_where(project, tmp_path):
    made, screen = project("finished", overwrites=True), Screen()
    content = made.folder.journal_file.read_bytes()
    with made.lock(history_of(made), screen) as run:
        assert not run.folder.run_file.exists()
        run.folder.journal_file.write_bytes(b"")
    assert (tmp_path / "run.previous" / "journal.jsonl").read_bytes() == content
    assert screen.notes == [f"{tmp_path / 'run'}: the previous content is now in run.previous"]


def test_an_empty_folder_is_used_as_the_run_folder(project, tmp_path):
    (tmp_path / "run").mkdir()
    screen = Screen()
    with project().lock(History(ACCURACY), screen):
        pass
    assert screen.notes == []
    assert list(tmp_path.iterdir()) == []  # nothing was recorded


def test_other_data_and_another_objective_are_refused(project):
    made = project("finished")
    assert made.read_previous("problems:blobs", Screen()).plan.problem.data == "problems:blobs"
    with pytest.raises(UsageError, match=r"was searched with other data \(.*, now search\(9x4\)\)"):
        made.read_previous("search(9x4)", Screen())
    with pytest.raises(UsageError, match=r"was searched for val_accuracy \(max\), not for loss"):
        made.read_events(Objective("loss", "min"))


def test_the_trials_that_were_asked_for_are_read(project):
    assert project("finished").read_max_trials() == 4


def test_an_overwritten_run_is_moved_to_a_free_name(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run.previous").mkdir()
    (tmp_path / "run.previous" / "thesis.txt").write_text("years of work")
    move_away(tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run.previous", "run.previous-2"}
    assert (tmp_path / "run.previous" / "thesis.txt").read_text() == "years of work"
