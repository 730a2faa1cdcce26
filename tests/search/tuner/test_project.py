"""The folder of a tuner's project: what stands there goes on, is moved away, or is left alone."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from results.record.history import History, Objective
from search.carry.description import DataDescription, DataPart, Numbers, Way
from search.errors import UsageError
from search.storage.folder import RunFolder
from search.tuner.project import Project
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


def test_an_empty_folder_is_used_as_the_run_folder_and_stays(project, tmp_path):
    (tmp_path / "run").mkdir()
    screen = Screen()
    with project().lock(History(ACCURACY), screen):
        pass
    assert screen.notes == []
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]  # nothing was recorded


@pytest.mark.parametrize("overwrites", [False, True])
def test_folders_of_trials_that_the_user_filled_before_are_kept(project, tmp_path, overwrites):
    file = tmp_path / "run" / "trial_0" / "drawing.txt"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    made = project(overwrites=overwrites)
    for _ in range(2):  # the first records nothing
        made.check()
        with made.lock(History(ACCURACY), Screen()) as run:
            assert file.read_text() == "mine"
        assert file.read_text() == "mine"
    assert [path.name for path in run.folder.path.iterdir()] == ["trial_0"]


def test_a_run_that_found_nothing_is_moved_away_and_nothing_is_deleted(project, tmp_path):
    for number in ("", "-2", "-3"):
        shutil.copytree(ASSETS / "finished", tmp_path / f"run.previous{number}")
    with project("finished").lock(History(ACCURACY), Screen()):
        assert (tmp_path / "run.previous-4" / "journal.jsonl").exists()


KERAS_TUNER_TRIAL = {
    "status": "COMPLETED", "hyperparameters": {"space": [], "values": {"units": 5}},
    "metrics": {"metrics": {"val_accuracy": {"observations": [{"value": [0.5], "step": 0}]}}},
}  # fmt: skip


@pytest.fixture
def keras_tuner_project(tmp_path):
    """The folder ``run`` with a project of keras-tuner's own, of one trial."""
    file = tmp_path / "run" / "trial_0" / "trial.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(KERAS_TUNER_TRIAL))
    (tmp_path / "run" / "oracle.json").write_text("{}")
    return tmp_path / "run"


def test_a_project_of_keras_tuner_stays_and_the_run_folder_is_beside_it(keras_tuner_project):
    project = Project.at(keras_tuner_project, overwrites=False)
    beside = keras_tuner_project.with_name("run-ray")
    assert project.folder.path == beside
    project.check()
    screen = Screen()
    earlier = project.read_earlier_search(None, ACCURACY, screen)
    assert [(trial.values, trial.score) for trial in earlier.trials] == [({"units": 5}, 0.5)]
    assert screen.notes == [
        f"{keras_tuner_project} is a project of keras-tuner and stays as it is; this search is in "
        f"{beside}"
    ]


def test_a_project_of_keras_tuner_that_teaches_nothing_is_no_obstacle(keras_tuner_project):
    project, screen = Project.at(keras_tuner_project, overwrites=False), Screen()
    assert project.read_earlier_search(None, Objective("mae", "min"), screen) is None
    assert "nothing is learnt from it" in screen.notes[1]
    assert "trial 0 reports val_accuracy, not mae" in screen.notes[1]


def test_the_search_that_the_user_names_goes_before_a_project_of_keras_tuner(keras_tuner_project):
    project = Project.at(keras_tuner_project, overwrites=False)
    earlier = project.read_earlier_search(str(ASSETS / "finished"), ACCURACY, Screen())
    assert earlier.kind == "fmnist-search"


def test_an_overwritten_project_of_keras_tuner_is_moved_away(keras_tuner_project):
    project, screen = Project.at(keras_tuner_project, overwrites=True), Screen()
    assert project.folder.path == keras_tuner_project
    project.check()
    with project.lock(History(ACCURACY), screen) as run:
        assert not any(run.folder.path.glob("trial_*"))
    assert (keras_tuner_project.with_name("run.previous") / "trial_0" / "trial.json").exists()
    assert screen.notes == [f"{keras_tuner_project}: the previous content is now in run.previous"]


@pytest.mark.parametrize("overwrites", [False, True])
def test_a_run_in_the_folder_is_used_whatever_stands_beside_it(keras_tuner_project, overwrites):
    (keras_tuner_project / "journal.jsonl").write_bytes(b"")
    project = Project.at(keras_tuner_project, overwrites=overwrites)
    assert project.folder.path == keras_tuner_project


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    project = Project.at(tmp_path / "file" / "run", overwrites=False)
    with pytest.raises(UsageError, match=r"file/run' cannot be made \(Not a directory\)"):
        project.make_folder()


def test_another_objective_is_refused(project):
    made = project("finished")
    with pytest.raises(UsageError, match=r"was searched for val_accuracy \(max\), not for loss"):
        made.read_events(Objective("loss", "min"))


@pytest.fixture
def searched_with(project):
    """Read a run that was searched with some data; return what was said."""

    def read(recorded, data, *, has_rows=True):
        made = project("finished" if not project().folder.path.exists() else None)
        run_file = made.folder.run_file
        run = json.loads(run_file.read_text())
        run["plan"]["problem"]["data"] = str(recorded)
        run_file.write_text(json.dumps(run | ({"data": recorded.rows()} if has_rows else {})))
        screen = Screen()
        made.read_previous(data, screen)
        return "\n".join(screen.notes)

    return read


def data_with(digest="aaaaaaaa", unstable=(), **values):
    part = {"argument": "x", "kind": "array", "shape": "900x4", "way": Way.SHARED} | values
    return DataDescription((DataPart(**part),), digest, unstable)


def test_equal_data_are_continued_without_a_word(searched_with):
    assert searched_with(data_with(), data_with()) == ""


@pytest.mark.parametrize("has_rows", [True, False])
def test_data_of_another_shape_are_refused(searched_with, has_rows):
    with pytest.raises(
        UsageError, match=r"with other data \(search\(900x4\) a+, now search\(9x4\)"
    ):
        searched_with(data_with(), data_with(shape="9x4"), has_rows=has_rows)


def measured(mean, deviation, shape="900x4"):
    return (Numbers(shape, mean, deviation),)


FORMER = data_with(arrays=measured(0.0, 1.0))


@pytest.mark.parametrize(
    "arrays",
    [measured(0.2, 1.0), measured(0.0, 1.5), measured(0.0, 1.0, "700x4"), measured(0.0, 1.0, "900x5"), ()],
)  # fmt: skip
def test_other_numbers_are_refused(searched_with, arrays):
    with pytest.raises(UsageError, match="was searched with other data"):
        searched_with(FORMER, data_with("bbbbbbbb", arrays=arrays))


@pytest.mark.parametrize(
    ("former", "data"),
    [
        pytest.param(FORMER, data_with("bbbbbbbb", arrays=measured(0.1, 1.1)), id="array"),
        pytest.param(
            data_with(kind="dataset", shape=""),
            data_with("bbbbbbbb", kind="dataset", shape=""),
            id="without-numbers",
        ),
        pytest.param(
            data_with(kind="Batches", shape="", arrays=measured(0.0, 1.0, "900")),
            data_with("bbbbbbbb", kind="Batches", shape="", arrays=measured(0.0, 1.0, "880")),
            id="object-with-some-more",
        ),
    ],
)
def test_another_split_of_the_data_is_named_and_continued(searched_with, former, data):
    assert "perhaps another split of them; their results are ranked together" in searched_with(
        former, data
    )


def test_other_data_beside_data_that_cannot_be_compared_are_refused(searched_with):
    with pytest.raises(UsageError, match="was searched with other data"):
        searched_with(FORMER, data_with("bbbbbbbb", ("y",), arrays=measured(9.0, 1.0)))


def test_data_that_cannot_be_compared_are_named_and_continued(searched_with):
    data = data_with("bbbbbbbb", unstable=("x",))
    assert "x cannot be compared with the data of the earlier trials" in searched_with(
        data_with(), data
    )


def test_the_trials_that_were_asked_for_are_read(project):
    assert project("finished").read_max_trials() == 4
